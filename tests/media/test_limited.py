"""Small files of very many parts are refused before they keep a decoder busy."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from io import BytesIO

import pytest
from PIL import Image

from mmsearch.errors import MediaError
from mmsearch.media import decode, read_metadata

MANY = 600_000


def saved(format: str, size: tuple[int, int] = (32, 32)) -> bytes:
    file = BytesIO()
    Image.radial_gradient("L").resize(size).convert("RGB").save(file, format)
    return file.getvalue()


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(parts: bytes, cut: int = 0) -> bytes:
    """With parts between its head and its pixels."""
    data = saved("PNG")
    return data[:33] + parts + data[33 : len(data) - cut]


def gif(parts: bytes) -> bytes:
    data = saved("GIF")
    start = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    return data[:start] + parts + data[start:]


def jpeg(parts: bytes) -> bytes:
    data = saved("JPEG")
    return data[:2] + parts + data[2:]


def tiff_of_strips(count: int) -> bytes:
    """Of a row each, all in the same place."""
    tags = ((256, 4, 1, 4), (257, 4, 1, count), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
            (273, 4, count, 110), (278, 4, 1, 1), (279, 4, 1, 4))
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return (b"II*\0\x08\0\0\0" + directory).ljust(110, b"\0") + bytes(4 * count)


BOMBS: dict[str, Callable[[], bytes]] = {
    "PPM, one comment": lambda: b"P6\n#" + b"x" * MANY + b"\n2 2\n255\n" + bytes(12),
    "PPM, comments in digits": lambda: b"P3\n2 2\n255\n" + b"#\n" * MANY + b"0 " * 12,
    "PFM, spaces": lambda: b"Pf\n" + b" " * MANY + b"2 2\n-1.0\n" + bytes(16),
    "PNG, chunks": lambda: png(chunk(b"abCd") * (MANY // 3)),
    "PNG, chunks, cut short": lambda: png(chunk(b"abCd") * (MANY // 3), 20),
    "PNG, profiles": lambda: png(chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1_000_000))) * 99),
    "GIF, comments": lambda: gif(b"\x21\xfe\x01a\0" * (MANY // 4)),
    "GIF, blocks": lambda: gif(b"\x21\xfe" + b"\x01a" * (MANY // 2) + b"\0"),
    "JPEG, segments": lambda: jpeg(b"\xff\xed\0\2" * (MANY // 3)),
    "TIFF, strips": lambda: tiff_of_strips(MANY // 2)}


@pytest.mark.parametrize("name", BOMBS)
def test_files_of_very_many_parts_are_refused(name: str) -> None:
    data = BOMBS[name]()
    assert len(data) < 3_000_000
    with pytest.raises(MediaError, match="decompression bomb"):
        decode(data)
    if name.startswith("GIF"):
        with pytest.raises(MediaError, match="decompression bomb"):
            read_metadata(data)


def test_texts_that_unpack_to_much_are_left_out() -> None:
    """Pillow refuses so many; the picture is mended without looking at all of them."""
    texts = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_000_000), 9)) * 3000
    assert decode(png(texts)).image.size == (32, 32)


def test_what_people_have_is_read() -> None:
    """A picture of many small parts, and one with some comments."""
    data = saved("PNG", (600, 600))
    pixels, end = data.index(b"IDAT") - 4, len(data) - 12
    packed = data[pixels + 8 : end - 4]
    small = b"".join(chunk(b"IDAT", packed[at : at + 16]) for at in range(0, len(packed), 16))
    assert decode(data[:pixels] + small + data[end:]).image == decode(data).image
    assert decode(png(chunk(b"tEXt", b"a\0b") * 5000)).image.size == (32, 32)
    assert decode(b"P3\n" + b"# a comment\n" * 500 + b"2 2\n255\n" + b"0 1 2\n# row\n" * 4
                  ).image.getpixel((1, 1)) == (0, 1, 2)
