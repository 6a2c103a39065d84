"""Pictures that lack their last bytes, or have a text that cannot be read: as every viewer shows
them, with the rest made up so that a decoder comes to the end."""

from __future__ import annotations

import re
import struct
import zlib
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import JpegImagePlugin

from mmsearch.errors import MediaError

_MOST_MISSING = 0.5
_LONGEST_TEXT = 1 << 20
"""Bytes of a packed text of PNG, beyond which Pillow refuses it."""
_SEGMENT = re.compile(rb"\xff[\xc0-\xcf\xda-\xfe]")
_PNG = b"\x89PNG\r\n\x1a\n"
_ANIMATED = (b"acTL", b"fcTL", b"fdAT")
_MOST_PIXELS = 200_000_000
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
           (0, 1, 1, 2))
"""Of an interlaced PNG: the first column and row, and the steps between them."""


class Mended(NamedTuple):
    """A file that can be decoded, and what it lacks, for people to read."""

    data: bytes
    damage: str


def mended(data: bytes, name: str) -> Mended | None:
    """None for what is damaged in another way, or lacks most of its picture."""
    mend = {"JPEG": _jpeg, "PNG": _png, "WebP": _webp}.get(name)
    try:
        return mend(data) if mend else None
    except Exception:  # damaged beyond that; why, the decoder has said
        return None


def _lacking(share: float) -> str:
    if share >= _MOST_MISSING:
        raise MediaError("most of it is missing")
    return f"the last {max(1, round(100 * share))} % are missing"


# -- JPEG ----------------------------------------------------------------------------------------


def _jpeg(data: bytes) -> Mended:
    """With an end, before which libjpeg makes up what is missing: grey, where a block is."""
    last = max((match.start() for match in _SEGMENT.finditer(data)), default=0)
    if last + 4 > len(data) or last + 2 + int.from_bytes(data[last + 2 : last + 4]) > len(data):
        data = data[:last]
    whole = data + b"\xff\xd9"
    image = JpegImagePlugin.JpegImageFile(BytesIO(whole))
    image.draft(None, (image.width // 8, image.height // 8))
    grey = np.abs(np.asarray(image).astype(np.int16) - 128) <= 1
    full = grey.reshape(*grey.shape[:2], -1).all(axis=2).mean(axis=1) < 0.5
    share = float(np.argmax(full[::-1])) / len(full) if full.any() else 1.0
    return Mended(whole, _lacking(share) if share else "its last bytes are missing")


# -- PNG -----------------------------------------------------------------------------------------


def _png(data: bytes) -> Mended:
    """The first picture alone, without texts that cannot be read, and with black for missing rows.
    """
    before: list[tuple[bytes, bytes]] = []
    after: list[tuple[bytes, bytes]] = []
    packed, damage = bytearray(), ""
    at = len(_PNG)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body, check = data[at + 8 : at + 8 + length], data[at + 8 + length : at + 12 + length]
        at += 12 + length
        if kind == b"IEND":
            break
        if kind == b"IDAT":
            packed += body
            continue
        fault = _fault(kind, body, check)
        damage = damage or fault
        if not fault and kind not in _ANIMATED:
            (after if packed else before).append((kind, body))
    pixels, share = _unpacked(bytes(packed), _length(dict(before)[b"IHDR"]))
    if share:
        packed, damage = bytearray(zlib.compress(pixels, 1)), _lacking(share)
    chunks = [*before, (b"IDAT", bytes(packed)), *after, (b"IEND", b"")]
    return Mended(_PNG + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks), damage)


def _fault(kind: bytes, body: bytes, check: bytes) -> str:
    """What is wrong with a chunk that a picture can do without."""
    if check != struct.pack(">I", zlib.crc32(kind + body)):
        if not kind[0] & 32:
            raise MediaError("damaged where it counts")
        return f"what it says of itself ({kind.decode('ascii')}) cannot be read"
    start = body.find(b"\0") + 2
    if kind == b"iTXt" and body[start - 1 : start] == b"\1":  # packed, and behind two more texts
        start = body.find(b"\0", body.find(b"\0", start + 1) + 1) + 1
    elif kind != b"zTXt":
        return ""
    unpack = zlib.decompressobj()
    unpack.decompress(body[start:], _LONGEST_TEXT)
    return "a text of more than 1 MB in it is left out" if unpack.unconsumed_tail else ""


def _length(header: bytes) -> int:
    """Bytes of all rows, from IHDR."""
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if width * height > _MOST_PIXELS:
        raise MediaError("decompression bomb")
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes]
    return sum(rows * (1 + -(-columns * bits * _CHANNELS[colour] // 8))
               for columns, rows in sizes if columns > 0 and rows > 0)


def _unpacked(packed: bytes, length: int) -> tuple[bytes, float]:
    """The rows, zero where they are missing, and how many of them are."""
    unpack, rows = zlib.decompressobj(), bytearray()
    try:
        for at in range(0, len(packed), 1024):
            rows += unpack.decompress(packed[at : at + 1024], length - len(rows) + 1)
            if len(rows) >= length:
                break
    except zlib.error:
        pass
    missing = max(length - len(rows), 0)
    return bytes(rows[:length]) + bytes(missing), missing / length


# -- WebP ----------------------------------------------------------------------------------------


def _webp(data: bytes) -> Mended:
    """With zeros for the rest of the chunk that has the pixels, and some more: the last rows take
    more of those than of what they stand for."""
    at = 12
    while True:
        kind, length = struct.unpack_from("<4sI", data, at)
        if at + 8 + length > len(data):
            break
        at += 8 + length + length % 2
    if kind not in (b"VP8 ", b"VP8L"):
        raise MediaError("no pixels")
    # VP8 has how it predicts all blocks first, and then what they differ by.
    first = int.from_bytes(data[at + 8 : at + 11], "little") >> 5 if kind == b"VP8 " else 0
    missing = at + 8 + length - len(data)
    damage = _lacking(missing / max(length - first, 1))
    padded = data + bytes(missing + 4096 + length % 2)
    body = struct.pack("<4sI", kind, len(padded) - at - 8) + padded[at + 8 :]
    whole = b"WEBP" + padded[12:at] + body
    return Mended(b"RIFF" + struct.pack("<I", len(whole)) + whole, damage)
