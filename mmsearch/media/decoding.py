"""Bytes to RGB: any supported picture becomes an upright sRGB image, or a `MediaError`.

A file's format is told by its first bytes, never by its name, and only the decoders listed in
`_DECODERS` are ever reached: Pillow's own search would also try old formats that nobody indexes
and that read untrusted files with far less scrutiny.
"""

from __future__ import annotations

import logging
import os
import re
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import IO, Any, TypeVar

from PIL import (
    AvifImagePlugin,
    GifImagePlugin,
    Image,
    PngImagePlugin,
    PpmImagePlugin,
    WebPImagePlugin,
)

from mmsearch.errors import MediaError
from mmsearch.formats import is_raw, sniff
from mmsearch.media import colour, damaged, hdr
from mmsearch.media.bmp import BmpFile
from mmsearch.media.jpeg import jpeg_file
from mmsearch.media.jxl import jxl_file
from mmsearch.media.limited import limited, refuse_comments, refuse_profiles
from mmsearch.media.raw import Shot, open_raw
from mmsearch.media.tiff import TiffFile
from mmsearch.metadata import Metadata, clean_captions, embedded, exif
from mmsearch.sources import locate

# Pillow warns about odd metadata in files that decode well; a run over a million files must not
# print that. (`catch_warnings` around each call would do less, but is not safe in threads.)
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())  # unless the program configures logging

R = TypeVar("R", "Picture", Metadata)
MAX_PIXELS = 200_000_000
_HEAD = 4096
"""Bytes in which a file says which colours it has."""
_GIANT_PIXELS = 40_000_000
_one_giant = threading.Lock()  # decoded one at a time: eight threads with 200 MP each need 6 GB

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_REDUCIBLE = {"L", "LA", "RGB", "RGBA", "CMYK", "YCbCr"}


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture.

    image: RGB, upright, in sRGB; smaller than the original where `min_side` allowed it.
    width, height: pixels of the upright original.
    meta: width, height, format ("JPEG"), and what the picture says of itself, by the names of
        `metadata.fields.FIELDS`.
    captions: texts that are embedded in it.
    """

    image: Image.Image
    width: int
    height: int
    meta: dict[str, Any]
    captions: tuple[str, ...] = ()


def decode(
    source: Path | bytes, *, min_side: int | None = None, max_pixels: int = MAX_PIXELS
) -> Picture:
    """Decode a file, or the bytes of one, into an upright RGB picture. Safe to call from threads.

    min_side: the side of the square that the caller will scale the picture to; the result may
        then be reduced, but its shorter side stays at least that. JPEGs come out of the decoder
        at such a scale: four times as fast, and the built-in model's embeddings stay within a
        cosine of 0.995 on average (0.997 at twice the side, which costs twice the time).
    max_pixels: larger pictures are refused from their header, before any memory is taken.
    Raises MediaError, with a one-line reason and nothing else, for every input that is no picture.
    """
    with _recognised(source) as (handle, name):
        if name == "RAW":
            return _develop(handle.read(), min_side, max_pixels)
        return _despite_damage(handle, name, lambda h: _decode(h, name, min_side, max_pixels))


def read_metadata(source: Path | bytes) -> Metadata:
    """The metadata inside of a picture, without its pixels where the format allows that.

    Raises MediaError like `decode`.
    """
    with _recognised(source) as (handle, name):
        if name == "RAW":
            return _read_raw_metadata(handle.read())
        return _despite_damage(handle, name, lambda h: _read_metadata(h, name))


# --- opening ------------------------------------------------------------------------------------


def _heif_file(handle: IO[bytes], name: str) -> Image.Image:
    try:
        from pillow_heif import HeifImageFile  # 30 ms, and most collections have no HEIC
    except ImportError as error:
        raise MediaError(f"HEIC needs the package pillow-heif ({error})") from error
    opener: Callable[[IO[bytes], str], Image.Image] = HeifImageFile
    return opener(handle, name)


def _avif_file(handle: IO[bytes], name: str) -> Image.Image:
    image = AvifImagePlugin.AvifImageFile(handle, name)
    handle.seek(0)
    found = re.search(rb"colrnclx\0(.)\0([\x10\x12])", handle.read(_HEAD), re.DOTALL)
    if found is not None:  # of the picture, or of a gain map beside it: libheif can tell
        handle.seek(0)
        with suppress(Exception):
            image.info["nclx_profile"] = _heif_file(handle, name).info.get("nclx_profile")
    return image


def _ppm_file(handle: IO[bytes], name: str) -> Image.Image:
    refuse_comments(handle)
    return PpmImagePlugin.PpmImageFile(handle, name)


def _png_file(handle: IO[bytes], name: str) -> Image.Image:
    found = re.search(rb"\0\0\0\x04cICP(.)(.)", handle.read(_HEAD), re.DOTALL)
    refuse_profiles(handle)
    handle.seek(0)
    image = PngImagePlugin.PngImageFile(handle, name)
    if found is not None:
        image.info["nclx_profile"] = {"color_primaries": found[1][0],
                                      "transfer_characteristics": found[2][0]}
    return image


# The plugin classes themselves rather than Image.open: no detour through formats that are not
# wanted, and no second size limit with a warning on stderr.
_DECODERS: dict[str, Callable[[IO[bytes], str], Image.Image]] = {
    "JPEG": jpeg_file,
    "PNG": _png_file,
    "WebP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpFile,
    "TIFF": TiffFile,
    "PPM": _ppm_file,
    "AVIF": _avif_file,
    "HEIC": _heif_file,
    "JPEG XL": jxl_file,
}


@contextmanager
def _recognised(source: Path | bytes) -> Iterator[tuple[IO[bytes], str]]:
    """An opened file and its format; all that goes wrong with it is a MediaError."""
    name = "file"
    try:
        with opened(source) as handle:
            found = sniff(handle.read(64))
            if found is None:
                raise MediaError("not an image")
            name = "RAW" if found == "TIFF" and is_raw(handle) else found
            handle.seek(0)
            yield handle, name
    except MediaError:
        raise
    except Exception as error:  # decoders raise anything at all on hostile bytes
        raise MediaError(reason_of(error, name)) from error


@contextmanager
def opened(source: Path | bytes) -> Iterator[IO[bytes]]:
    """The bytes of a regular, non-empty file, or those given; a pipe or a device is refused without
    waiting."""
    if isinstance(source, bytes):
        if not source:
            raise MediaError("zero bytes")
        yield BytesIO(source)
        return
    with locate.open_regular(source) as handle:
        if os.fstat(handle.fileno()).st_size == 0:
            raise MediaError("zero bytes")
        yield handle


def reason_of(error: Exception, name: str) -> str:
    """One line for whatever a decoder raised; `name` is the format, "file" until it is known."""
    if isinstance(error, OSError) and error.errno and error.strerror:
        return f"cannot be read: {error.strerror}"
    if isinstance(error, MemoryError):
        return f"not enough memory to decode this {name}"
    if isinstance(error, Image.DecompressionBombError):
        return f"decompression bomb: {str(error).splitlines()[0]}"
    text = " ".join(str(error).split())[:120]
    cut_short = isinstance(error.__cause__ or error, (EOFError, struct.error, IndexError))
    if cut_short or re.search(r"truncated|unexpected end|not enough|end of file", text, re.I):
        return f"truncated {name}"
    return f"damaged or unsupported {name}: {text or type(error).__name__}"


def _despite_damage(handle: IO[bytes], name: str, read: Callable[[IO[bytes]], R]) -> R:
    """What is read of a file; if that fails, of what is there of it, with its metadata `damaged`.

    What most of is missing, or more than that is wrong with, fails as it did.
    """
    try:
        return read(handle)
    except MediaError:
        raise
    except Exception:
        handle.seek(0)
        mend = damaged.mended(handle.read(), name)
        if mend is None:
            raise
        with suppress(Exception):
            found = read(BytesIO(mend.data))
            said = {"damaged": mend.damage} if mend.damage else {}
            return replace(found, meta={**found.meta, **said})
        raise


# --- decoding -----------------------------------------------------------------------------------


def _decode(handle: IO[bytes], name: str, min_side: int | None, max_pixels: int) -> Picture:
    image = open_image(handle, name, max_pixels)
    width, height = image.size
    if min_side and name == "JPEG":
        image.draft(None, (min_side, min_side))  # the scale that draft takes stays above this size
    rgb, on_its_side = upright(image, min_side)
    if on_its_side:
        width, height = height, width
    found = embedded.metadata_in(image)
    meta = {"width": width, "height": height, "format": name, **found.meta}
    return Picture(rgb, width, height, meta, found.captions)


def _read_metadata(handle: IO[bytes], name: str) -> Metadata:
    image = open_image(handle, name)
    if name == "PNG":  # may keep it last
        image.load()
    return embedded.metadata_in(image)


def _develop(data: bytes, min_side: int | None, max_pixels: int) -> Picture:
    """A RAW picture; LibRaw has the last word on whether it is one, and else it is a TIFF."""
    shot = open_raw(data, min_side)
    if shot is None:
        return _decode(BytesIO(data), "TIFF", min_side, max_pixels)
    if shot.width * shot.height > max_pixels:
        raise MediaError(f"decompression bomb: {shot.width}x{shot.height} pixels")
    image = shot.develop() if shot.preview is None else open_image(
        BytesIO(shot.preview), "JPEG", max_pixels)
    if min_side and shot.preview is not None:
        image.draft(None, (min_side, min_side))
    rgb, own = _load(image, min_side)
    if (orientation := shot.orientation(image.size, own)) in _TRANSPOSE:
        rgb = rgb.transpose(_TRANSPOSE[orientation])
    found = _shot_metadata(shot, image)
    meta = {"width": shot.width, "height": shot.height, "format": "RAW", **found.meta}
    return Picture(rgb, shot.width, shot.height, meta, found.captions)


def _read_raw_metadata(data: bytes) -> Metadata:
    shot = open_raw(data, 1)
    if shot is None:
        return _read_metadata(BytesIO(data), "TIFF")
    preview = Image.new("L", (1, 1)) if shot.preview is None else open_image(
        BytesIO(shot.preview), "JPEG")
    return _shot_metadata(shot, preview)


def _shot_metadata(shot: Shot, image: Image.Image) -> Metadata:
    """The metadata of a RAW picture, and what its preview has beyond that."""
    tagged = Image.new("L", (1, 1))
    tagged.info["exif"] = shot.exif
    whole, preview = embedded.metadata_in(tagged), embedded.metadata_in(image)
    return Metadata(clean_captions([*whole.captions, *preview.captions]),
                    {**preview.meta, **whole.meta})


def open_image(handle: IO[bytes], name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """A picture of the format `name`, its header read and its pixels not; MediaError if it claims
    to have none, or too many."""
    image = _DECODERS[name](limited(handle), "")
    refuse_size(image, name, max_pixels)
    return image


def refuse_size(image: Image.Image, name: str, max_pixels: int = MAX_PIXELS) -> None:
    """Raise MediaError for no pixels, or too many."""
    width, height = image.size
    if width < 1 or height < 1:
        raise MediaError(f"damaged {name}: {width}x{height} pixels")
    if width * height > max_pixels:
        limit = f"{max_pixels / 1e6:g} megapixels"
        raise MediaError(f"decompression bomb: {width}x{height} pixels, limit {limit}")


def upright(image: Image.Image, min_side: int | None) -> tuple[Image.Image, bool]:
    """The pixels of an open picture in RGB, and whether width and height had to change places."""
    if image.width * image.height > _GIANT_PIXELS:
        with _one_giant:
            rgb, orientation = _load(image, min_side)
    else:
        rgb, orientation = _load(image, min_side)
    if orientation in _TRANSPOSE:
        rgb = rgb.transpose(_TRANSPOSE[orientation])
    return rgb, orientation in _TRANSPOSE and orientation >= 5


def _load(image: Image.Image, min_side: int | None) -> tuple[Image.Image, int]:
    """RGB pixels, and the EXIF orientation that they still lack."""
    image.load()
    # Only now: TIFF has turned itself by here, HEIC when opened, and PNG may keep its EXIF last.
    orientation = exif.orientation(image)
    return as_rgb(image, min_side), orientation


def as_rgb(image: Image.Image, min_side: int | None) -> Image.Image:
    """A picture of any mode, its pixels loaded, in sRGB as it lies."""
    plain, profile = _reduced(colour.simple_mode(image), min_side), image.info.get("icc_profile")
    if (signal := hdr.signal_of(image.info)) is not None:
        plain, profile = hdr.shown(plain, signal), None
    return colour.to_rgb(plain, profile)


def _reduced(image: Image.Image, min_side: int | None) -> Image.Image:
    if not min_side or image.mode not in _REDUCIBLE:
        return image
    factor = min(image.size) // (2 * min_side)
    return image.reduce(factor) if factor > 1 else image
