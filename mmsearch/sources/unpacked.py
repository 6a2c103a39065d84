"""Any part of a file as it is without its compression, which can only be undone forwards."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from pathlib import Path
from threading import Lock
from typing import IO, Any

from mmsearch.errors import MediaError
from mmsearch.sources.members import UNREADABLE, one_reason
from mmsearch.uris import fingerprint_of

_OPENERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
_PAGE, _PAGES = 16 << 10, 4096
_STREAMS = 3


class Unpacked:
    """A file, compressed or not, for several readers, each of which goes forwards.

    The last pages are kept, for threads do not ask in exactly the order of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path, self.status = path, path.stat()
        with path.open("rb") as file:
            head = file.read(6)
        self._open = next((_OPENERS[magic] for magic in _OPENERS if head.startswith(magic)), open)
        self.is_packed = self._open is not open
        self._streams: list[IO[bytes]] = []
        self._pages: dict[int, bytes] = {}
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
            return b"".join(self._page(page)[max(at - page, 0) : at + size - page]
                            for page in range(at - at % _PAGE, at + size, _PAGE))

    def _page(self, at: int) -> bytes:
        """Read by the stream that is nearest before it."""
        while at not in self._pages:
            before = [one for one in self._streams if one.tell() <= at]
            stream: Any = max(before, key=lambda one: one.tell()) if before else self.open()
            others = [one for one in self._streams if one is not stream]
            self._streams = others[1 - _STREAMS :]
            start, page = stream.tell(), b""
            try:
                while len(page) < _PAGE and (piece := stream.read1(_PAGE - len(page))):
                    page += piece
                self._streams.append(stream)
            except UNREADABLE:  # the stream is dropped, what is before the damage is kept
                if not page:
                    raise
            self._pages[start] = page
            if len(self._pages) > _PAGES:
                del self._pages[next(iter(self._pages))]
            if len(page) < _PAGE:  # the end
                return self._pages.get(at, b"")
        return self._pages[at]


def read_at(file: IO[bytes], at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)
