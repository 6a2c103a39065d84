"""Which files are pictures, told from their names and first bytes, without a decoder."""

from __future__ import annotations

import re
import struct
from typing import IO

RAW_SUFFIXES: frozenset[str] = frozenset(
    {".cr2", ".cr3", ".nef", ".nrw", ".arw", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw"}
)
"""What a camera's sensor saw, not developed."""
IMAGE_SUFFIXES: frozenset[str] = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib"}
    | {".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".heic", ".heif", ".hif", ".avif", ".jxl"}
    | {".mpo"}
    | RAW_SUFFIXES
)
"""Lower-case suffixes of files worth opening."""
VIDEO_SUFFIXES: frozenset[str] = frozenset(
    {".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m2ts"}
    | {".mts", ".wmv", ".flv", ".ogv"}
)
"""Not `.ts`: most of those are programs. Named on the call, one is taken by its content."""
SEVERAL_SUFFIXES: frozenset[str] = VIDEO_SUFFIXES | {".pdf"}
"""Of files that give many pictures."""

_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"IIRO": "RAW",  # Olympus
    b"IIRS": "RAW",
    b"MMOR": "RAW",
    b"IIU\0": "RAW",  # Panasonic
    b"FUJIFILMCCD-RAW": "RAW",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL",
}
_DNG_VERSION, _PHOTOMETRIC, _MAKE, _SUB_IFDS = 50706, 262, 271, 330
_SENSOR = {32803, 34892}
"""Photometric interpretations of DNG: a colour filter array, and linear."""


# What starts a file that holds more than one picture, and the name of its format.
_CONTAINER_MAGIC = {
    b"%PDF-": "PDF",
    b"\0\0\x01\xba": "MPEG",
    b"\0\0\x01\xb3": "MPEG",
    b"0&\xb2u\x8ef\xcf\x11": "ASF",
    b"FLV\x01": "FLV",
    b"OggS": "Ogg",
}
_MOV_ATOMS = {b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}
CONTAINER_HEAD = 1024
"""Bytes that `container` wants to see; PDF may have others before its own."""


def container(head: bytes) -> str | None:
    """The format ("MP4", "Matroska", "PDF", ...) of a file of many pictures that starts so."""
    if head[4:8] == b"ftyp":
        return None if sniff(head[:64]) else "MP4"
    if head[4:8] in _MOV_ATOMS:
        return "MP4"
    if head[:4] == b"RIFF":
        return "AVI" if head[8:12] == b"AVI " else None
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "WebM" if b"webm" in head[:64] else "Matroska"
    for offset, length in ((0, 188), (4, 192)):  # a transport stream is packets of one length
        starts = head[offset:CONTAINER_HEAD:length]
        if len(starts) > 2 and set(starts) == {0x47}:
            return "MPEG-TS"
    for magic, name in _CONTAINER_MAGIC.items():
        if head.startswith(magic):
            return name
    return "PDF" if b"%PDF-" in head and sniff(head[:64]) is None else None


def is_raw(file: IO[bytes]) -> bool:
    """Whether a TIFF is what a camera's sensor saw, as DNG, NEF, ARW and PEF are: from its first
    directory."""
    file.seek(0)
    order = "<" if file.read(2) == b"II" else ">"
    try:
        file.seek(4)
        file.seek(*struct.unpack(f"{order}I", file.read(4)))
        (count,) = struct.unpack(f"{order}H", file.read(2))
        entries = list(struct.iter_unpack(f"{order}HHIH2x", file.read(12 * count)))
    except struct.error:
        return False
    tags = {tag: value for tag, _, _, value in entries}
    return (_DNG_VERSION in tags or tags.get(_PHOTOMETRIC) in _SENSOR
            or (_SUB_IFDS in tags and _MAKE in tags))


def may_move(data: bytes) -> bool:
    """Whether a picture may be an animation: certain but for GIF, which tells only further on."""
    name = sniff(data[:64])
    if name == "PNG":
        return b"acTL" in data[: max(data.find(b"IDAT"), 0)]
    if name == "WebP":
        return data[12:16] == b"VP8X" and len(data) > 20 and bool(data[20] & 2)
    return name == "GIF" or (name == "AVIF" and b"avis" in data[8:64])


def sniff(head: bytes) -> str | None:
    """The format ("JPEG", "HEIC", ...) that a file starting with these 64 bytes claims to have."""
    if (head[:4] == b"II*\0" and head[8:10] == b"CR") or head[4:12] == b"ftypcrx ":  # Canon
        return "RAW"
    if head[4:8] == b"ftyp":
        # The major brand may be the generic `mif1`; the compatible ones then tell the codec.
        size = max(12, min(int.from_bytes(head[:4], "big"), len(head)))
        brands = {head[at : at + 4] for at in (8, *range(16, size - 3, 4))}
        if brands & {b"avif", b"avis"}:
            return "AVIF"
        return "HEIC" if brands & (_HEIF_BRANDS | {b"mif1", b"msf1"}) else None
    if head[:4] == b"RIFF":
        return "WebP" if head[8:12] == b"WEBP" else None
    if re.match(rb"P[1-6fy][\s#]", head):
        return "PPM"
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)
