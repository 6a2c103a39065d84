"""Pictures as programs hold them: open files, bytes, PIL pictures, NumPy arrays; as a file of the
same would be decoded."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin

from mmsearch.errors import MediaError, UsageError
from mmsearch.media import colour
from mmsearch.media.decoding import as_rgb, decode, reason_of, upright
from mmsearch.media.tiff import TiffFile, is_read

_TAKEN = ("a picture is a path, a uri, bytes, a file opened for reading bytes, a PIL picture, or a "
          "NumPy array (uint8, uint16 or float; H x W, or H x W x 1, 3 or 4)")


def given(example: Any, min_side: int | None) -> Image.Image:
    """RGB in sRGB. A picture that PIL has opened becomes upright as its file would; one that has
    been worked on since, or is an array, lies as it is.

    min_side: as for `media.decode`.

    Raises:
        UsageError: it is nothing of that kind.
        MediaError: it cannot be decoded.
    """
    if isinstance(example, Image.Image):
        return _of_pil(example, min_side)
    if isinstance(example, np.ndarray):
        return _of_array(example, min_side)
    if callable(getattr(example, "read", None)):
        content = _content(example)
        if isinstance(content, str):
            raise UsageError(f"{_TAKEN}; this file is open for reading text")
        example = content
    if not isinstance(example, bytes | bytearray | memoryview):
        raise UsageError(f"{_TAKEN}; not {type(example).__name__}")
    return decode(bytes(example), min_side=min_side).image


def _content(file: Any) -> Any:
    if getattr(file, "closed", False):
        raise UsageError(f"{_TAKEN}; this file is closed")
    try:
        if getattr(file, "seekable", bool)():  # it may have been written just now
            file.seek(0)
        return file.read()
    except OSError as error:
        raise MediaError(reason_of(error, "file")) from error


def _of_pil(image: Image.Image, min_side: int | None) -> Image.Image:
    if 0 in image.size:
        raise UsageError(f"a picture of {image.width} x {image.height} pixels shows nothing")
    try:
        if isinstance(image, TiffImagePlugin.TiffImageFile) and not is_read(image.tag_v2):
            image = _again(image)
        if isinstance(image, ImageFile.ImageFile):
            return upright(image, min_side)[0]
        return as_rgb(image, min_side)
    except MediaError:
        raise
    except Exception as error:  # a file is only read now
        if "closed" in str(error):
            raise UsageError(f"{_TAKEN}; this picture is closed") from error
        raise MediaError(reason_of(error, image.format or "picture")) from error


def _again(image: TiffImagePlugin.TiffImageFile) -> Image.Image:
    """A TIFF that Pillow has opened and reads wrong."""
    handle: Any = image._fp
    if image.filename:  # which Pillow may have closed
        handle = BytesIO(Path(os.fsdecode(image.filename)).read_bytes())
    handle.seek(0)
    whole = TiffFile(handle, "")
    whole.seek(image.tell())
    return whole


def _of_array(pixels: np.ndarray[Any, Any], min_side: int | None) -> Image.Image:
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    known = pixels.dtype.kind == "f" or pixels.dtype.name in ("uint8", "uint16")
    if pixels.ndim not in (2, 3) or channels not in (1, 3, 4) or not pixels.size or not known:
        raise UsageError(f"{_TAKEN}; not an array of {pixels.dtype}, "
                         f"{' x '.join(map(str, pixels.shape)) or 'a single number'}")
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).any():
        raise UsageError(f"{_TAKEN}; not an array without a finite number")
    return as_rgb(colour.from_levels(pixels), min_side)
