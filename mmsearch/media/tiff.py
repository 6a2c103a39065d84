"""TIFF: which of its pictures are pages, and the numbers that Pillow does not read, or reads wrong.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import PIL
from PIL import Image, TiffImagePlugin

from mmsearch.errors import MediaError, MissingDecoder
from mmsearch.media import colour
from mmsearch.media.limited import refuse_strips

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # as of PIL in `media.decoding`

_REDUCED, _MASK, _OLD_REDUCED = 1, 4, 2
"""Bits of NewSubfileType, and a value of SubfileType: not a page, but something of another one."""
_MOST_LOOKED_AT = 20_000
_MOST_BYTES, _MOST_UNPACKED = 1 << 31, 100_000
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_UNSIGNED, _FLOAT, _UNSAID = 1, 3, 4
_RAW, _WITH_PREDICTOR = 1, {5, 8, 32946, 34925, 50000}
"""Compressions: none, and those of which libtiff heeds the predictor (LZW, Deflate, LZMA, ZSTD)."""
_JPEG, _WEBP = 7, 50001
_PREMULTIPLIED, _OPACITY = 1, 2


class TiffFile(TiffImagePlugin.TiffImageFile):
    """At its first page; `seek` counts all directories. Pixels come from tifffile where `is_read`
    says no, or Pillow refuses."""

    def __init__(self, handle: IO[bytes], name: str) -> None:
        _hush_libtiff()
        super().__init__(handle, name)
        self.seek(next(pages_of(self), 0))

    def _setup(self) -> None:
        self.info.pop("icc_profile", None)
        refuse_strips(self.tag_v2)
        self.is_odd = not is_read(self.tag_v2)
        try:
            super()._setup()
        except Exception:
            self.is_odd = True
        if not self.is_odd:
            return
        self._size = self._tile_size = int(self.tag_v2.get(256, 0)), int(self.tag_v2.get(257, 0))
        self._mode, self.tile, self._im, self.readonly = "RGB", [], None, 0
        if isinstance(profile := self.tag_v2.get(34675), bytes):
            self.info["icc_profile"] = profile

    def load(self) -> Any:
        if self.is_odd and self._im is None:
            image = _by_tifffile(self._fp, self.tell())  # type: ignore[arg-type]
            self.im, self._mode = image.im, image.mode
            self.load_end()
        return super().load()


@functools.cache
def _hush_libtiff() -> None:
    """Stop libtiff from writing to stderr what Pillow raises anyway; it has no switch for that."""
    import ctypes

    package = Path(PIL.__path__[0])
    for folder in (package.parent / "pillow.libs", package / ".dylibs"):  # Linux and macOS wheels
        for library in folder.glob("libtiff*"):
            with suppress(OSError, AttributeError):
                ctypes.CDLL(str(library)).TIFFSetErrorHandler(None)


# -- pages ---------------------------------------------------------------------------------------


def pages_of(image: TiffImagePlugin.TiffImageFile) -> Iterator[int]:
    """The directories that are pages: no thumbnails, no masks."""
    for number in range(_MOST_LOOKED_AT):
        try:
            image.seek(number)
        except EOFError:
            return
        kind = image.tag_v2.get(254, 0)
        if not (isinstance(kind, int) and kind & (_REDUCED | _MASK)) and (
                image.tag_v2.get(255) != _OLD_REDUCED):
            yield number


# -- pixels --------------------------------------------------------------------------------------


def is_read(tags: Any) -> bool:
    """Whether what Pillow makes of a directory, if it makes anything, is right."""
    bits, kinds, packing = tags.get(258, (1,)), set(tags.get(339, (_UNSIGNED,))), tags.get(259, 1)
    is_predicted, is_planar = tags.get(317, 1) != 1 and packing != _RAW, tags.get(284, 1) == 2
    if packing == _WEBP or (is_predicted and packing not in _WITH_PREDICTOR):
        return False
    if kinds == {_FLOAT}:
        return packing == _RAW or (not is_predicted and tags.prefix == b"II")
    if not kinds <= {_UNSIGNED, _UNSAID} or max(bits) > 16:
        return False
    if is_planar and (len(bits) == 2 or packing == _RAW):
        return False
    return not (tags.get(262) == _YCBCR and packing == _RAW and tags.get(530, (2, 2)) != (1, 1))


def _by_tifffile(handle: IO[bytes], directory: int) -> Image.Image:
    """A page as it lies, in eight bits."""
    import tifffile

    handle.seek(0)
    with tifffile.TiffFile(handle, name="TIFF") as file:  # a file that has been opened has none
        found = file.pages[directory]
        page = found.aspage() if isinstance(found, tifffile.TiffFrame) else found
        if page.nbytes > _MOST_BYTES or page.imagedepth != 1:
            raise MediaError(f"unsupported TIFF: {page.nbytes} bytes of {page.imagedepth} layers")
        # Before memory is taken: a bit becomes a byte, and what is blank packs well.
        held = min(sum(page.databytecounts), file.filehandle.size)
        if page.nbytes > held * (8 if page.compression == _RAW else _MOST_UNPACKED):
            raise MediaError("truncated TIFF")
        is_decoded = page.photometric == _YCBCR and page.compression == _JPEG  # to RGB
        if not is_decoded and page.photometric not in (
                _WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK):
            raise MediaError(f"unsupported TIFF: its colours are {page.photometric!s}")
        try:
            levels = page.asarray(maxworkers=1)
        except Exception as error:
            if "imagecodecs" in str(error):
                raise MissingDecoder("a TIFF compressed like this", "tiff") from None
            raise
        return _image(page, levels)


def _image(page: Any, levels: colour.Levels) -> Image.Image:
    levels = levels.reshape(page.shape)
    if page.samplesperpixel == 1:
        levels = levels.reshape(*levels.shape[:2], 1)
    elif page.planarconfig == 2:
        levels = np.moveaxis(levels, 0, -1)
    if page.photometric == _PALETTE:
        return colour.from_levels(np.moveaxis(page.colormap[:, levels[..., 0]], 0, -1))
    if 8 < page.bitspersample < 16:
        levels = levels << (16 - page.bitspersample)
    elif page.bitspersample < 8:
        levels = np.round(levels * (255 / (2**page.bitspersample - 1))).astype(np.uint8)
    if page.photometric == _CMYK:
        inks = colour.eight_bits(levels[..., :4])
        return Image.frombytes("CMYK", (inks.shape[1], inks.shape[0]), inks.tobytes())
    own = 3 if page.photometric in (_RGB, _YCBCR) else 1
    opacity = page.extrasamples[0] if page.extrasamples else None
    image = colour.from_levels(levels[..., : own + (opacity in (_PREMULTIPLIED, _OPACITY))])
    if page.photometric == _WHITE_IS_ZERO:
        image = image.point(lambda level: 255 - level)
    if opacity == _PREMULTIPLIED:
        of = {"LA": "La", "RGBA": "RGBa"}[image.mode]
        image = Image.frombytes(of, image.size, image.tobytes()).convert(image.mode)
    return image
