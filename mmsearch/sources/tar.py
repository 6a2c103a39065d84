"""Tar archives, plain or compressed: a header before each member, and no table of them."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import tarfile
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import IO, Any, NamedTuple

from mmsearch.errors import MediaError
from mmsearch.formats import IMAGE_SUFFIXES, SEVERAL_SUFFIXES
from mmsearch.sources.members import UNREADABLE, Member, one_reason, refuse_bomb, too_large
from mmsearch.uris import fingerprint_of, member_name

_MAX_HEADER = 1 << 20
_FARTHEST = 1 << 50
_PAX_TYPES = (b"x", b"g", b"X")
_MOST_DIGITS = 1000
_STEP = 16 << 20
_STREAMS = 3
_PARKED_BYTES = 64 << 20


class _Place(NamedTuple):
    """Where a member's bytes are, in the tar as it is without its compression."""

    at: int
    size: int
    fingerprint: str
    problem: str
    is_picture: bool


class Tar:
    def __init__(self, path: Path, head: bytes) -> None:
        self._path, self._status = path, path.stat()
        self._open: Callable[[IO[bytes]], Any] | None = next(
            (opener for magic, opener in _DECOMPRESSORS.items() if head.startswith(magic)), None)
        self._places: dict[str, _Place] = {}
        self._complete = False
        self._lock = Lock()
        self._packed = _Forwards(self._unpacked)

    def members(self) -> Iterator[Member]:
        seen: set[str] = set()
        with self._unpacked() as file:
            for info in _headers(file, self._open is not None, self._status.st_size):
                name = member_name(info.name.removeprefix("./"))
                if not name or name in seen or info.isdir():
                    continue
                seen.add(name)
                place = self._place(info)
                if name not in self._places:
                    self._places[name] = place
                    self._packed.note(place)
                yield Member(name, place.size, place.fingerprint, float(info.mtime), place.problem,
                             lambda place=place: _read_at(file, place))  # type: ignore[misc]
        self._complete = True

    def _place(self, info: tarfile.TarInfo) -> _Place:
        problem = too_large(info.size)
        if not info.isreg() or info.issparse():
            problem = "a link or another special file in an archive"
        # Some programs give all members the time 0: nothing then tells a changed one of the same
        # size but its bytes, which are compared when the archive has changed.
        time = str(info.mtime or f"0@{self._status.st_mtime_ns}")
        suffix = info.name[info.name.rfind("."):].lower()
        return _Place(info.offset_data, info.size, f"{info.size}:time={time}", problem,
                      suffix in IMAGE_SUFFIXES | SEVERAL_SUFFIXES)

    def read(self, name: str) -> tuple[bytes, str]:
        place = self._find(name)
        if place is None:
            raise MediaError("cannot be read: no longer in the archive")
        if self._open is not None:
            return self._packed.read(place), place.fingerprint
        with self._unpacked() as file:
            return _read_at(file, place), place.fingerprint

    def fingerprint(self, name: str) -> str | None:
        place = self._find(name)
        return None if place is None else place.fingerprint

    def _find(self, name: str) -> _Place | None:
        place = self._places.get(name)
        if place is None and not self._complete:
            with self._lock:
                try:
                    for _ in () if self._complete else self.members():
                        pass
                except MediaError:  # damaged: what is not before that may be behind
                    if name not in self._places:
                        raise
            place = self._places.get(name)
        return place

    @contextmanager
    def _unpacked(self) -> Iterator[IO[bytes]]:
        with one_reason(), self._path.open("rb") as raw:
            if fingerprint_of(os.fstat(raw.fileno())) != fingerprint_of(self._status):
                raise MediaError("the archive has changed meanwhile; index it again")
            if self._open is None:
                yield raw
            else:
                with self._open(raw) as file:
                    yield file


_DECOMPRESSORS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda raw: gzip.GzipFile(fileobj=raw),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}


def _read_at(file: IO[bytes], place: _Place) -> bytes:
    if place.problem:
        raise MediaError(place.problem)
    with one_reason():
        file.seek(place.at)
        data = file.read(place.size)
    if len(data) < place.size:
        raise MediaError("cut short in the archive")
    return data


class _Guarded:
    """What `tarfile` reads headers from: never much at once, whatever size a header claims."""

    def __init__(self, file: IO[bytes], packed: int) -> None:
        self._file, self._packed, self.last = file, packed, b""
        self.tell = file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        was_pax = len(self.last) == 512 and self.last[156:157] in _PAX_TYPES
        self.last = self._file.read(size)
        if was_pax and len(self.last) >= 512:
            _refuse_endless(self.last)
        return self.last

    def seek(self, at: int) -> int:
        while self._packed and at - (now := self._file.tell()) > 0:
            refuse_bomb(now, self._packed)
            if self._file.seek(min(at, now + _STEP)) <= now:
                return now  # the end
        return self._file.seek(at)


def _refuse_endless(records: bytes) -> None:
    """Extended headers (POSIX pax, "%d %s=%s\\n") on which the regular expressions of `tarfile` in
    Python 3.11 before 3.11.10 would spend hours, and keep gigabytes."""
    at = 0
    while at < len(records) and records[at]:
        length = records[at : at + 8].partition(b" ")[0]
        record = records[at : at + int(length)] if length.isdigit() else b""
        if not record.endswith(b"\n") or b"=" not in record:
            raise tarfile.ReadError("an extended header is not as it was written")
        at += len(record)
    if any(len(digits) > _MOST_DIGITS for digits in re.findall(rb"\d+", records)):
        raise tarfile.ReadError("an extended header with a number without end")


def _headers(file: IO[bytes], is_packed: bool, size: int) -> Iterator[tarfile.TarInfo]:
    """Every header, and after a damaged one those that follow it where the tar is not compressed.

    Raises what is in `UNREADABLE`, at the end, where the tar is damaged.
    """
    guarded: Any = _Guarded(file, size if is_packed else 0)
    # It reads the first header when it is made: that is not to raise yet.
    tar: Any = tarfile.TarFile(fileobj=BytesIO(bytes(1024)), encoding="utf-8",
                               errors="surrogateescape")
    tar.fileobj, tar.offset, tar.firstmember = guarded, 0, None
    damage = ""
    while True:
        try:
            info = tar.next()
            if info is not None and not (info.offset < tar.offset < _FARTHEST and info.size >= 0):
                tar.offset = info.offset
                raise tarfile.ReadError(f"a member of {info.size:,} bytes")
        except UNREADABLE as error:
            if is_packed or isinstance(error, OSError):
                raise
            info, guarded.last, damage = None, b"?", str(error)
        if info is not None:
            tar.members.clear()  # it keeps all of them
            yield info
        elif len(guarded.last) == 512 and not guarded.last.strip(b"\0"):
            break  # a block of zeros is the end mark
        elif not guarded.last:
            damage = damage or "cut short, it has no end mark"
            break
        elif is_packed or (at := _next_header(file, tar.offset + 512)) is None:
            damage = damage or "a header is not as it was written"
            break
        else:
            damage, tar.offset = damage or "a header is not as it was written", at
    if damage:
        raise tarfile.ReadError(damage)


def _next_header(file: IO[bytes], at: int) -> int | None:
    """Where the next block is that has the checksum of a header."""
    file.seek(at)
    while len(block := file.read(512)) == 512:
        try:
            tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            at += 512
        else:
            return at
    return None


class _Stream:
    def __init__(self, opened: Any) -> None:
        self._context = opened
        self.file: IO[bytes] = opened.__enter__()
        self.at = 0

    def close(self) -> None:
        self._context.__exit__(None, None, None)


class _Forwards:
    """Members of a compressed tar for several readers, each of which goes forwards.

    A reader moves the stream that is nearest before its member; pictures that it passes over are
    kept for a while, for threads do not ask in exactly the order of the archive.
    """

    def __init__(self, open_it: Callable[[], Any]) -> None:
        self._open_it = open_it
        self._order: list[_Place] = []
        self._streams: list[_Stream] = []
        self._parked: OrderedDict[int, bytes] = OrderedDict()
        self._parked_bytes = 0
        self._lock = Lock()

    def note(self, place: _Place) -> None:
        """Must be called in the order of the archive."""
        if place.is_picture and (not self._order or self._order[-1].at < place.at):
            self._order.append(place)

    def read(self, place: _Place) -> bytes:
        with self._lock:
            if (data := self._parked.pop(place.at, None)) is not None:
                self._parked_bytes -= len(data)
                return data
            stream = self._nearest(place.at)
            try:
                start = bisect_left(self._order, stream.at, key=lambda one: one.at)
                for passed in self._order[start : bisect_left(
                        self._order, place.at, key=lambda one: one.at)]:
                    if not passed.problem:
                        self._park(passed.at, _read_at(stream.file, passed))
                data = _read_at(stream.file, place)
            except MediaError:
                self._streams.remove(stream)
                stream.close()
                raise
            stream.at = place.at + place.size
            return data

    def _nearest(self, at: int) -> _Stream:
        before = [stream for stream in self._streams if stream.at <= at]
        if before:
            stream = max(before, key=lambda one: one.at)
            self._streams.remove(stream)
        else:
            while len(self._streams) >= _STREAMS:
                self._streams.pop(0).close()
            stream = _Stream(self._open_it())
        self._streams.append(stream)  # the last one used is the last to go
        return stream

    def _park(self, at: int, data: bytes) -> None:
        self._parked[at] = data
        self._parked_bytes += len(data)
        while self._parked_bytes > _PARKED_BYTES:
            self._parked_bytes -= len(self._parked.popitem(last=False)[1])
