"""Any part of a file as it is without its compression, which can only be undone forwards."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from collections import deque
from pathlib import Path
from threading import Lock
from typing import IO, Any

from mmsearch.errors import MediaError
from mmsearch.sources.members import one_reason
from mmsearch.uris import fingerprint_of

_OPENERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
_STREAMS, _KEPT = 3, 64 << 20
_BETWEEN = 1024
"""Bytes between two members of a tar that follow each other are fewer."""


class Unpacked:
    """A file, compressed or not, for several readers, each of which goes forwards.

    What they pass over is kept for a while, for threads do not ask exactly in the order of a file.
    """

    def __init__(self, path: Path) -> None:
        self._path, self.status = path, path.stat()
        with path.open("rb") as file:
            head = file.read(6)
        self._open = next((_OPENERS[magic] for magic in _OPENERS if head.startswith(magic)), open)
        self.is_packed = self._open is not open
        self._streams: list[IO[bytes]] = []
        self._passed: deque[tuple[int, bytes]] = deque(maxlen=64)
        self._lock = Lock()

    def open(self) -> IO[bytes]:
        with one_reason():
            file: IO[bytes] = self._open(self._path, "rb")
            if fingerprint_of(os.fstat(file.fileno())) != fingerprint_of(self.status):
                raise MediaError("the archive has changed meanwhile; index it again")
            return file

    def read(self, at: int, size: int) -> bytes:
        if not self.is_packed:
            with self.open() as file:
                return read_at(file, at, size)
        with self._lock:
            for start, data in self._passed:
                if start <= at and at + size <= start + len(data):
                    return data[at - start : at - start + size]
            return self._read_on(at, size)

    def _read_on(self, at: int, size: int) -> bytes:
        """By the stream that is nearest before it, which is dropped if it cannot be read."""
        before = [one for one in self._streams if one.tell() <= at]
        stream = max(before, key=lambda one: one.tell()) if before else self.open()
        self._streams = [one for one in self._streams if one is not stream][1 - _STREAMS :]
        start = stream.seek(max(stream.tell(), at - _KEPT))
        passed, data = stream.read(at - start), stream.read(size)
        self._streams.append(stream)
        if len(passed) >= _BETWEEN:
            self._passed.append((start, passed))
        while sum(len(one) for _, one in self._passed) > _KEPT:
            self._passed.popleft()
        return data


def read_at(file: IO[bytes], at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)
