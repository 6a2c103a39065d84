"""Zip archives: a table at the end, members anywhere before it."""

from __future__ import annotations

import bz2
import lzma
import stat
import zlib
from collections.abc import Iterator
from copy import copy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from mmsearch.errors import MediaError
from mmsearch.sources.members import Member, one_reason, refuse_bomb, too_large
from mmsearch.uris import member_name

_STORED, _DEFLATE, _BZIP2, _LZMA = _METHODS = (0, 8, 12, 14)


class Zip:
    def __init__(self, path: Path) -> None:
        self._file = ZipFile(path)
        self._infos: dict[str, ZipInfo] = {}
        for info in self._file.infolist():
            if not info.is_dir():
                self._infos.setdefault(_name(info), info)
        refuse_bomb(sum(info.file_size for info in self._infos.values()), path.stat().st_size)

    def members(self) -> Iterator[Member]:
        for name, info in self._infos.items():
            yield Member(name, info.file_size, _fingerprint(info), _time(info),
                         _problem(info), lambda info=info: self._read(info))  # type: ignore[misc]

    def read(self, name: str) -> tuple[bytes, str]:
        if (info := self._infos.get(name)) is None:
            raise MediaError("cannot be read: no longer in the archive")
        return self._read(info), _fingerprint(info)

    def fingerprint(self, name: str) -> str | None:
        info = self._infos.get(name)
        return None if info is None else _fingerprint(info)

    def _read(self, info: ZipInfo) -> bytes:
        if problem := _problem(info):
            raise MediaError(problem)
        with one_reason():
            data = _unpacked(info.compress_type, self._packed(info), info.file_size)
            if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
                raise BadZipFile("a member is not as its table says")
            return data

    def _packed(self, info: ZipInfo) -> bytes:
        """A member as it is in the archive: zipfile itself would unpack gigabytes of one that
        claims to be small before it looks at the size."""
        stored: Any = copy(info)
        stored.compress_type, stored.file_size = ZIP_STORED, info.compress_size
        del stored.CRC  # of what it is unpacked
        with self._file.open(stored) as file:
            return file.read()


def _unpacked(method: int, data: bytes, size: int) -> bytes:
    """So many bytes, and one more if there are more; never all that a bomb would give."""
    if method == _DEFLATE:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)
    if method == _BZIP2:
        return bz2.BZ2Decompressor().decompress(data, size + 1)
    if method == _LZMA:  # behind its version and the length of its 5 properties (APPNOTE 5.8)
        alone = data[4:9] + b"\xff" * 8 + data[9:]
        return lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(alone, size + 1)
    return data


def _name(info: ZipInfo) -> str:
    """Its name: many programs write UTF-8 without saying so."""
    name = info.filename
    if not info.flag_bits & 0x800:
        try:
            name = name.encode("cp437").decode()
        except UnicodeError:
            name = info.filename
    return member_name(name)


def _fingerprint(info: ZipInfo) -> str:
    return f"{info.file_size}:crc={info.CRC:08x}"


def _time(info: ZipInfo) -> float | None:
    try:
        return datetime(*info.date_time, tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _problem(info: ZipInfo) -> str:
    if info.flag_bits & 1:
        return "encrypted"
    if info.compress_type not in _METHODS:
        return f"compressed in a way that cannot be read (method {info.compress_type})"
    return "a symbolic link in an archive" if stat.S_ISLNK(info.external_attr >> 16) \
        else too_large(max(info.file_size, info.compress_size))
