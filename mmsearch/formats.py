"""Which files are pictures, told from their names and first bytes, without a decoder."""

from __future__ import annotations

import re

IMAGE_SUFFIXES: frozenset[str] = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib"}
    | {".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".heic", ".heif", ".hif", ".avif"}
)
"""Lower-case suffixes of files worth opening."""

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
}


def sniff(head: bytes) -> str | None:
    """The format ("JPEG", "HEIC", ...) that a file starting with these 64 bytes claims to have."""
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
