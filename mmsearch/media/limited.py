"""Files that are read in so many pieces at most. A decoder takes each chunk, block, comment or
directory of a file by itself, so that a few megabytes of empty ones keep it busy for minutes; what
people take or save has a few for each kilobyte."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import IO, Any, cast

from mmsearch.errors import MediaError

_PIECES, _BYTES_EACH = 400_000, 20
"""So many, and one more for so many bytes of the file: a second or two of work for what may be sent
to a server."""
_BLOCK = 4096
"""Bytes that count as a piece of their own."""
_PROFILES, _COMMENTS, _STRIPS = 10, 1000, 200_000


class Limited:
    """An open file whose `read` raises MediaError after too many pieces."""

    def __init__(self, file: IO[bytes]) -> None:
        place = file.tell()
        size = file.seek(0, os.SEEK_END)
        file.seek(place)
        self._file, self._left = file, _PIECES + size // _BYTES_EACH

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        self._left -= 1 + len(data) // _BLOCK
        if self._left < 0:
            raise MediaError("decompression bomb: a file of very many tiny parts")
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def limited(file: IO[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", Limited(file))


def refuse_profiles(file: IO[bytes]) -> None:
    """Raise MediaError for a PNG of many colour profiles: each unpacks to a megabyte."""
    file.seek(8)
    profiles = 0
    while len(head := file.read(8)) == 8:
        profiles += head[4:] == b"iCCP"
        if profiles > _PROFILES:
            raise MediaError(f"decompression bomb: a PNG of more than {_PROFILES} colour profiles")
        file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)


def refuse_comments(file: IO[bytes]) -> None:
    """Raise MediaError for a PPM in digits with many comments: for each, Pillow copies all that
    comes behind it. The file stays where it is."""
    place = file.tell()
    comments = 0
    if file.read(2) in (b"P1", b"P2", b"P3"):
        while comments <= _COMMENTS and (block := file.read(1 << 20)):
            comments += block.count(b"#")
    if comments > _COMMENTS:
        raise MediaError(f"decompression bomb: a PPM of more than {_COMMENTS:,} comments")
    file.seek(place)


def refuse_strips(tags: Mapping[int, Any]) -> None:
    """Raise MediaError for a TIFF of very many strips or tiles (tags 273, 324): Pillow makes a few
    hundred bytes of each before it reads the first."""
    for tag in (273, 324):
        places = tags.get(tag, ())
        if isinstance(places, tuple) and len(places) > _STRIPS:
            raise MediaError(f"decompression bomb: a TIFF of more than {_STRIPS:,} strips")
