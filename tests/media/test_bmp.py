"""BMPs whose rows are packed as runs."""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from mmsearch.errors import MediaError
from mmsearch.media import decode

GREYS = b"".join(bytes((level, level, level, 0)) for level in range(256))


def bmp(packed: bytes, width: int, height: int, *, in_nibbles: bool = False) -> bytes:
    bits, kind, palette = (4, 2, GREYS[:64]) if in_nibbles else (8, 1, GREYS)
    start = 54 + len(palette)
    return (b"BM" + struct.pack("<IHHI", start + len(packed), 0, 0, start) + struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, bits, kind, len(packed), 2835, 2835,
        len(palette) // 4, 0) + palette + packed)


def packed_rows(levels: np.ndarray[tuple[int, int], np.dtype[np.uint8]], *, in_nibbles: bool
                ) -> bytes:
    """By turns as a run and as they are."""
    found = b""
    for row in levels:
        for at in range(0, len(row), 12):
            part = bytes(row[at:at + 12].tolist())
            if at % 24 == 0 or len(part) < 3:
                found += b"".join(bytes((1, level << 4 if in_nibbles else level))
                                  for level in part)
                continue
            body = part
            if in_nibbles:
                even = part + bytes(len(part) % 2)
                body = bytes(one << 4 | other for one, other in zip(
                    even[::2], even[1::2], strict=True))
            found += bytes((0, len(part))) + body + bytes(len(body) % 2)
        found += b"\0\0"
    return found + b"\0\1"


@pytest.mark.parametrize("in_nibbles", [False, True])
def test_runs_are_read_as_pillow_reads_them(in_nibbles: bool) -> None:
    levels = np.random.default_rng(0).integers(0, 16 if in_nibbles else 256, (23, 61), np.uint8)
    data = bmp(packed_rows(levels, in_nibbles=in_nibbles), 61, 23, in_nibbles=in_nibbles)
    found = decode(data).image
    assert found == Image.open(BytesIO(data)).convert("RGB")
    assert np.array_equal(np.asarray(found)[::-1, :, 0], levels)


def test_what_is_skipped_is_black_and_all_behind_it_in_its_place() -> None:
    # An empty row; 1 right and 1 up; a run that is longer than the row.
    found = np.asarray(decode(bmp(b"\0\0\0\2\1\1\xff\7\0\0\2\5\0\1", 4, 4)).image)[::-1, :, 0]
    assert found.tolist() == [[0] * 4, [0] * 4, [0, 7, 7, 7], [5, 5, 0, 0]]


def test_large_ones_are_read_and_bombs_refused() -> None:
    row = b"".join(bytes((1, x % 256)) for x in range(1000)) + b"\0\0"
    assert decode(bmp(row * 400 + b"\0\1", 1000, 400)).image.size == (1000, 400)
    assert decode(bmp(b"\1\5\0\0" * 9000, 9000, 9000), min_side=64).image.size
    for packed, says in ((row * 2100, "decompression bomb"), (row[:-500], "BMP")):
        with pytest.raises(MediaError, match=says):
            decode(bmp(packed, 1000, 2200))
