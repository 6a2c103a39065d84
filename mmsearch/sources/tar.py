"""Tar archives, plain or compressed: a header before each member, and no table of them.

`tarfile` reads the headers, one at a time, from what gives it no more than a header needs.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import IO, Any, NamedTuple

from mmsearch.errors import MediaError
from mmsearch.sources.members import UNREADABLE, Member, one_reason, refuse_bomb, too_large
from mmsearch.sources.unpacked import Unpacked, read_at
from mmsearch.uris import member_name

_MAX_READ, _MAX_HEADER = 16 << 10, 1 << 20
"""Bytes of a header: of its names and attributes, and with the map of a sparse file."""
_ENDLESS, _RECORD, _MOST_RECORDS = re.compile(rb"\d{100}"), re.compile(rb"\d "), 100
"""Numbers and records on which Python before 3.11.10 would spend hours."""
_FARTHEST = 1 << 50


class _Place(NamedTuple):
    """Where a member's bytes are, in the tar as it is without its compression."""

    at: int
    size: int
    fingerprint: str
    problem: str


class Tar:
    def __init__(self, path: Path) -> None:
        self._file = Unpacked(path)
        self._places: dict[str, _Place] = {}
        self._complete = False
        self._lock = Lock()

    def members(self) -> Iterator[Member]:
        with one_reason(), self._file.open() as file:
            for info in _headers(file, self._file.status.st_size if self._file.is_packed else 0):
                name = member_name(info.name.removeprefix("./"))
                if not name or info.isdir():
                    continue
                place = self._places.setdefault(name, self._place(info))
                if place.at == info.offset_data:  # the first of its name
                    yield Member(name, place.size, place.fingerprint, float(info.mtime),
                                 place.problem, partial(_read, place, partial(read_at, file)))
        self._complete = True

    def _place(self, info: tarfile.TarInfo) -> _Place:
        problem = too_large(info.size)
        if not info.isreg() or info.issparse():
            problem = "a link or another special file in an archive"
        # Some programs give all members the time 0: nothing then tells a changed one of the same
        # size but its bytes, which are compared when the archive has changed.
        time = str(info.mtime or f"0@{self._file.status.st_mtime_ns}")
        return _Place(info.offset_data, info.size, f"{info.size}:time={time}", problem)

    def read(self, name: str) -> tuple[bytes, str]:
        if (place := self._find(name)) is None:
            raise MediaError("cannot be read: no longer in the archive")
        return _read(place, self._file.read), place.fingerprint

    def fingerprint(self, name: str) -> str | None:
        place = self._find(name)
        return None if place is None else place.fingerprint

    def _find(self, name: str) -> _Place | None:
        if name not in self._places and not self._complete:
            with self._lock:
                try:
                    for _ in () if self._complete else self.members():
                        pass
                except MediaError:  # damaged: what is not before that may be behind
                    if name not in self._places:
                        raise
        return self._places.get(name)


def _read(place: _Place, read_at: Callable[[int, int], bytes]) -> bytes:
    if place.problem:
        raise MediaError(place.problem)
    with one_reason():
        data = read_at(place.at, place.size)
    if len(data) < place.size:
        raise MediaError("cut short in the archive")
    return data


def _headers(file: IO[bytes], packed: int) -> Iterator[tarfile.TarInfo]:
    """Every header, and after a damaged one those that follow it where the tar is not compressed.

    packed: the size of a compressed tar. Raises what is in `UNREADABLE`, at the end, where the tar
    is damaged.
    """
    # It reads the first header when it is made: that is not to raise yet.
    tar: Any = tarfile.TarFile(fileobj=BytesIO(bytes(tarfile.BLOCKSIZE)), encoding="utf-8")
    tar.offset, damage, is_lost = 0, "", False
    while True:
        file.seek(tar.offset)
        tar.fileobj = header = _Header(file)
        try:
            info = tarfile.TarInfo.fromtarfile(tar)
            if len(tar.pax_headers) > _MOST_RECORDS:  # those that hold for all that follows
                raise tarfile.ReadError("headers without end")
            if info.size < 0 or not file.tell() <= tar.offset < _FARTHEST:
                raise tarfile.ReadError(f"a member of {info.size:,} bytes")
        except UNREADABLE as error:
            if not header.last:
                damage = damage or "cut short, it has no end mark"
            elif is_lost or header.last.strip(b"\0"):
                if packed or isinstance(error, OSError):
                    raise
                damage, is_lost, tar.offset = damage or str(error), True, file.tell()
                continue
            break  # the end, or its mark
        is_lost = False
        if packed:
            refuse_bomb(tar.offset, packed)
        yield info
    if damage:
        raise tarfile.ReadError(damage)


class _Header:
    """What `tarfile` reads a header from: not much, whatever size it claims."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.tell, self.last, self._left = file, file.tell, b"?", _MAX_HEADER

    def read(self, size: int) -> bytes:
        self._left -= size
        if not 0 <= size <= _MAX_READ or self._left < 0:
            raise tarfile.ReadError("a header without end")
        self.last = self._file.read(size)
        if size > tarfile.BLOCKSIZE and (
                _ENDLESS.search(self.last) or len(_RECORD.findall(self.last)) > _MOST_RECORDS):
            raise tarfile.ReadError("a header without end")
        return self.last
