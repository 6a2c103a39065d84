"""Zip archives: a table at the end, members anywhere before it."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZIP_STORED, ZipFile, ZipInfo

from mmsearch.errors import MediaError
from mmsearch.sources.members import Member, one_reason, refuse_bomb, too_large
from mmsearch.uris import member_name

_PIECE = 4096
"""Bytes that are unpacked at once where `zipfile` cannot be told how many to give: 100 MB at
worst."""


class Zip:
    def __init__(self, path: Path) -> None:
        try:  # many programs write names in UTF-8 without saying so
            self._file = ZipFile(path, metadata_encoding="utf-8")
        except UnicodeDecodeError:
            self._file = ZipFile(path)
        self._infos: dict[str, ZipInfo] = {}
        for info in self._file.infolist():
            if not info.is_dir():
                self._infos.setdefault(member_name(info.filename), info)
        refuse_bomb(sum(info.file_size for info in self._infos.values()), path.stat().st_size)

    def members(self) -> Iterator[Member]:
        for name, info in self._infos.items():
            yield Member(name, info.file_size, _fingerprint(info), _time(info), _problem(info),
                         partial(self._read, info))

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
        piece = _PIECE if info.compress_type in (ZIP_BZIP2, ZIP_LZMA) else info.file_size + 1
        with one_reason(), self._file.open(info) as file:
            return b"".join(iter(partial(file.read, piece), b""))


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
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED, ZIP_BZIP2, ZIP_LZMA):
        return f"compressed in a way that cannot be read (method {info.compress_type})"
    return "a symbolic link in an archive" if stat.S_ISLNK(info.external_attr >> 16) \
        else too_large(max(info.file_size, info.compress_size))
