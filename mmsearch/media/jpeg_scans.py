"""JPEGs that take hours: of a picture in several passes, each pass (scan) may be empty and cost as
much as a whole one. What people take or save has a dozen; libjpeg's own tools have `-maxscans` for
this."""

from __future__ import annotations

import re
from typing import IO

from mmsearch.errors import MediaError

MOST = 100
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_SOS, _EOI, _ALONE = 0xDA, 0xD9, (0x01, 0xD8)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)


def refuse_many(handle: IO[bytes]) -> None:
    """Raise MediaError for a JPEG with more than MOST scans; the handle stays where it is."""
    place = handle.tell()
    try:
        if _has_passes(handle):
            handle.seek(0)
            data = handle.read()
            # The first count is quick, and too high where a video follows the picture.
            if data.count(b"\xff\xda") > MOST and (found := _scans(data)) > MOST:
                raise MediaError(f"decompression bomb: {found} scans, limit {MOST}")
    finally:
        handle.seek(place)


def _has_passes(handle: IO[bytes]) -> bool:
    """Whether it is progressive, or has its colours one after the other: of all others, only the
    first scan is decoded."""
    handle.seek(2)
    components, progressive = 0, False
    while len(head := handle.read(4)) == 4:
        code, length = head[1], int.from_bytes(head[2:], "big")
        if head[0] != 0xFF:
            return True  # odd: better count
        if code == 0xFF:
            handle.seek(-3, 1)
            continue
        if code in _ALONE:
            handle.seek(-2, 1)
            continue
        body = handle.read(max(length - 2, 0))
        if code in _FRAMES and len(body) > 5:
            components, progressive = body[5], code in _PROGRESSIVE
        if code == _SOS:
            return progressive or not body or body[0] < components
    return False


def _scans(data: bytes) -> int:
    at, count = 2, 0
    while (marker := _MARKER.search(data, at)) is not None:
        code, at = marker[0][1], marker.end()
        if code == _EOI:
            break
        count += code == _SOS
        if code not in _ALONE:
            at += int.from_bytes(data[at:at + 2], "big")
    return count
