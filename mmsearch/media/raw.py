"""RAW pictures of cameras, through LibRaw: the picture that the camera made of them and put into
the file, if it is large enough; else the sensor's data, developed at half the size."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image

from mmsearch.errors import MediaError, MissingDecoder

_LARGE = 1000
"""Pixels on the shorter side, where nobody says how many are wanted."""
_EXIF_OF = {3: 3, 5: 8, 6: 6}
"""EXIF's orientation for LibRaw's `flip`: 180 degrees, 90 to the left, 90 to the right."""
_TIFF_BYTES = 4 << 20
"""So much of the file is searched for its EXIF."""


@dataclass(frozen=True)
class Shot:
    """An open RAW picture; `width` and `height` are those of the upright picture.

    preview: the JPEG that the camera made, or None.
    flip: how the camera was held, as LibRaw says it; developing sets its own to 0.
    exif: what the file says of itself as EXIF, empty if it is no kind of TIFF.
    """

    raw: Any
    preview: bytes | None
    width: int
    height: int
    flip: int
    exif: bytes

    def develop(self) -> Image.Image:
        """RGB from the sensor, at half the size, as the sensor lay; MediaError if it is damaged."""
        import rawpy

        try:
            pixels = self.raw.postprocess(half_size=True, use_camera_wb=True, user_flip=0)
        except (rawpy.LibRawIOError, rawpy.LibRawDataError) as error:
            raise MediaError("damaged or truncated RAW") from error
        return Image.fromarray(pixels)

    def orientation(self, size: tuple[int, int], own: int) -> int:
        """The EXIF orientation of a picture.

        size, own: of the preview, or of what was developed, as it is stored, and the orientation
            that it claims. Previews often claim none where the RAW file has one; then they lie
            as the sensor lay, unless their shape shows that they have been turned.
        """
        turned = self.flip in (5, 6) and (size[0] > size[1]) == (self.width > self.height)
        return 1 if turned else own if own != 1 else _EXIF_OF.get(self.flip, 1)


def open_raw(data: bytes, min_side: int | None) -> Shot | None:
    """None if LibRaw knows no such camera or file; MediaError if LibRaw is not there."""
    try:
        import rawpy
    except ImportError:
        raise MissingDecoder("a RAW picture", "raw") from None
    try:
        raw = rawpy.imread(BytesIO(data))
    except rawpy.LibRawFileUnsupportedError:
        return None
    sizes = raw.sizes
    width, height = sizes.width, sizes.height
    if sizes.flip in (5, 6):
        width, height = height, width
    return Shot(raw, _preview(raw, min_side or _LARGE), width, height,
                sizes.flip, _exif(data))


def _preview(raw: Any, min_side: int) -> bytes | None:
    import rawpy

    with suppress(rawpy.LibRawError):  # there is none, or none that can be read
        thumb = raw.extract_thumb()
        if thumb.format == rawpy.ThumbFormat.JPEG:
            data = bytes(thumb.data)
            with suppress(Exception):  # a damaged preview is none
                if min(Image.open(BytesIO(data), formats=["JPEG"]).size) >= min_side:
                    return data
    return None


def _exif(data: bytes) -> bytes:
    head = data[:_TIFF_BYTES]
    if head[:4] in (b"IIRO", b"IIRS", b"IIU\0"):  # a TIFF but for its first bytes
        head = b"II*\0" + head[4:]
    elif head[:4] == b"MMOR":
        head = b"MM\0*" + head[4:]
    return b"Exif\0\0" + head if head[:4] in (b"II*\0", b"MM\0*") else b""
