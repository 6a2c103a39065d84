"""JPEG files by Pillow, but for those that are made to keep a decoder busy."""

from __future__ import annotations

from typing import IO

from PIL import Image, JpegImagePlugin

from mmsearch.errors import MediaError

_MOST_SCANS = 200
"""Of a progressive JPEG; encoders write some ten. A megabyte of tiny ones takes minutes."""
_START_OF_SCAN = b"\xff\xda"


def jpeg_file(handle: IO[bytes], name: str) -> Image.Image:
    image = JpegImagePlugin.JpegImageFile(handle, name)
    if "progressive" in image.info:
        at = handle.tell()
        handle.seek(0)
        scans = handle.read().count(_START_OF_SCAN)
        handle.seek(at)
        if scans > _MOST_SCANS:
            raise MediaError(f"decompression bomb: a JPEG of {scans:,} scans, limit {_MOST_SCANS}")
    return image
