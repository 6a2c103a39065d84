"""Pictures that lack their last bytes, or have a text that cannot be read: as every viewer shows
them, with the rest made up so that a decoder comes to the end."""

from __future__ import annotations

import re
import struct
import zlib
from contextlib import suppress
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PpmImagePlugin

from mmsearch.errors import MediaError

_MOST_MISSING = 0.5
_LONGEST_TEXT, _MOST_TEXT = 1 << 20, 32 << 20
"""Bytes of a packed text of PNG beyond which Pillow refuses it, and of all that are looked at."""
_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_SHORTEST = {b"cHRM": 32, b"gAMA": 4, b"iCCP": 3, b"pHYs": 9, b"sRGB": 1, b"tRNS": 1}
_SEGMENT = re.compile(rb"\xff[\xc0-\xcf\xda-\xfe]")
_PNG = b"\x89PNG\r\n\x1a\n"
_ANIMATED = (b"acTL", b"fcTL", b"fdAT")
_MOST_PIXELS = 200_000_000
_STEP = 1024
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
    mend = {"JPEG": _jpeg, "PNG": _png, "WebP": _webp, "GIF": _gif, "BMP": _bmp,
            "PPM": _ppm}.get(name)
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
    packed, damage, texts = bytearray(), "", 0
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
        if fault or kind in _ANIMATED or (kind in _TEXTS and texts > _MOST_TEXT):
            continue
        length = _text_length(kind, body)
        texts += length  # also of those that are left out: to unpack them takes time
        if length > _LONGEST_TEXT or texts > _MOST_TEXT:
            continue
        (after if packed else before).append((kind, body))
    pixels, share, is_whole = _unpacked(bytes(packed), _length(dict(before)[b"IHDR"]))
    if not is_whole:
        packed = bytearray(zlib.compress(pixels, 1))
        damage = _lacking(share) if share else "its checksum is wrong"
    chunks = [*before, (b"IDAT", bytes(packed)), *after, (b"IEND", b"")]
    return Mended(_PNG + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks), damage)


def _fault(kind: bytes, body: bytes, check: bytes) -> str:
    """What is wrong with a chunk that a picture can do without."""
    if check != struct.pack(">I", zlib.crc32(kind + body)):
        if not kind[0] & 32:
            raise MediaError("a part that the picture needs is damaged")
    elif len(body) >= _SHORTEST.get(kind, 0) and not (
            kind == b"zTXt" and body.partition(b"\0")[2][:1] not in (b"", b"\0")):
        return ""
    return f"what it says of itself ({kind.decode('ascii')}) cannot be read"


def _text_length(kind: bytes, body: bytes) -> int:
    """Of a text or a profile, unpacked as far as is looked at; 0 for anything else."""
    if kind not in _TEXTS:
        return 0
    start = body.find(b"\0") + 2
    if kind == b"iTXt" and body[start - 1 : start] == b"\1":  # packed, and behind two more texts
        start = body.find(b"\0", body.find(b"\0", start + 1) + 1) + 1
    elif kind in (b"tEXt", b"iTXt"):
        return min(len(body), _LONGEST_TEXT)  # which Pillow does not refuse
    try:
        return len(zlib.decompressobj().decompress(body[start:], _LONGEST_TEXT + 1))
    except zlib.error:
        return 0


def _length(header: bytes) -> int:
    """Bytes of all rows, from IHDR."""
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if width * height > _MOST_PIXELS:
        raise MediaError("decompression bomb")
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes]
    return sum(rows * (1 + -(-columns * bits * _CHANNELS[colour] // 8))
               for columns, rows in sizes if columns > 0 and rows > 0)


def _unpacked(packed: bytes, length: int) -> tuple[bytes, float, bool]:
    """The rows, zero where they are missing; how many of them are; whether nothing is wrong."""
    unpack, rows = zlib.decompressobj(), bytearray()
    try:
        for at in range(0, len(packed), _STEP):
            before = unpack.copy()
            rows += unpack.decompress(packed[at : at + _STEP], length - len(rows) + 1)
            if len(rows) > length:
                break
    except zlib.error:
        with suppress(zlib.error):  # up to the very byte
            for byte in packed[at : at + _STEP]:
                rows += before.decompress(bytes([byte]), length - len(rows) + 1)
    missing = max(length - len(rows), 0)
    is_whole = unpack.eof or len(rows) > length
    return bytes(rows[:length]) + bytes(missing), missing / length, is_whole


# -- WebP ----------------------------------------------------------------------------------------


def _webp(data: bytes) -> Mended:
    """The chunks that are whole. With zeros for the rest of one that has the pixels, and some more:
    the last rows take more of those than of what they stand for."""
    at, kind, length, damage = 12, b"", 0, "its last bytes are missing"
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        if at + 8 + length > len(data):
            break
        at += 8 + length + length % 2
    chunks = data[12:at]
    if at + 8 <= len(data) and kind in (b"VP8 ", b"VP8L"):
        # VP8 has how it predicts all blocks first, and then what they differ by.
        first = int.from_bytes(data[at + 8 : at + 11], "little") >> 5 if kind == b"VP8 " else 0
        missing = at + 8 + length - len(data)
        damage = _lacking(missing / max(length - first, 1))
        padded = data + bytes(missing + 4096 + length % 2)
        chunks += struct.pack("<4sI", kind, len(padded) - at - 8) + padded[at + 8 :]
    elif at + 8 <= len(data) and kind == b"ANMF" and b"ANMF" not in chunks:  # the first frame
        return _webp(data[:12] + data[at + 24 :])
    return Mended(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks, damage)


# -- GIF, BMP, PPM -------------------------------------------------------------------------------


def _gif(data: bytes) -> Mended:
    """The rows of its first picture that Pillow came to, also in place of those below."""
    image = GifImagePlugin.GifImageFile(BytesIO(data))
    is_interlaced = image.tile[0].args[1]  # type: ignore[index]
    try:
        image.load()
        return Mended(data, "")
    except OSError:
        image.tile = []
    levels = np.asarray(image)
    is_shown = (levels != levels[-1, -1]).reshape(len(levels), -1).any(axis=1)
    if not is_interlaced:
        is_shown[: len(levels) - int(np.argmax(is_shown[::-1]))] |= is_shown.any()
    damage = _lacking(1 - float(is_shown.mean()))
    above = np.maximum.accumulate(np.where(is_shown, np.arange(len(levels)), 0))
    filled = Image.frombytes(image.mode, image.size, levels[above].tobytes())
    if palette := image.getpalette():
        filled.putpalette(palette)
    file = BytesIO()
    filled.save(file, "GIF")
    return Mended(file.getvalue(), damage)


def _bmp(data: bytes) -> Mended:
    return _padded(data, BmpImagePlugin.BmpImageFile(BytesIO(data)))


def _ppm(data: bytes) -> Mended:
    return _padded(data, PpmImagePlugin.PpmImageFile(BytesIO(data)))


def _padded(data: bytes, image: Image.Image) -> Mended:
    """With zeros for missing rows, where rows lie as they are."""
    ((kind, _, start, how),) = image.tile  # type: ignore[attr-defined]
    if kind != "raw":
        raise MediaError("packed")
    row = how[1] if isinstance(how, tuple) and how[1] else len(
        Image.new(image.mode, (image.width, 1)).tobytes())
    missing = start + row * image.height - len(data)
    damage = _lacking(missing / (row * image.height))
    return Mended(data + bytes(missing), damage)
