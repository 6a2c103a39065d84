"""The pages of a TIFF, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import IO

from PIL import Image

from mmsearch.errors import MediaError
from mmsearch.formats import is_raw, sniff
from mmsearch.fragments import on_page
from mmsearch.media.decoding import refuse_size, upright
from mmsearch.media.keyframes import Frame
from mmsearch.media.limited import limited
from mmsearch.media.tiff import TiffFile, pages_of


def has_pages(data: bytes) -> bool:
    """Whether a picture is a TIFF of two pages or more; one that is damaged is not."""
    if sniff(data[:64]) != "TIFF" or is_raw(BytesIO(data)):
        return False
    try:
        found = pages_of(TiffFile(limited(BytesIO(data)), ""))
        return next(found, None) is not None and next(found, None) is not None
    except Exception:
        return False


def pages(handle: IO[bytes], name: str, min_side: int, most: int) -> Iterator[Frame]:
    """See `media.frames.read`."""
    image = TiffFile(limited(handle), "")
    found = list(pages_of(image))
    bad = 0
    for number, directory in enumerate(found[:most], 1):
        try:
            size, shown = _shown(image, directory, min_side)
        except Exception:
            bad += 1
            continue
        yield Frame(on_page(number), shown, {"width": size[0], "height": size[1], "format": "TIFF",
                                             "pages": len(found)})
    if bad:
        raise MediaError(f"damaged TIFF: {bad} of {len(found)} pages cannot be read")
    if len(found) > most:
        raise MediaError(f"has {len(found)} pages: the first {most} are indexed")


def page(handle: IO[bytes], number: int, min_side: int | None) -> Image.Image:
    """The picture of a page, from 1."""
    image = TiffFile(limited(handle), "")
    found = list(pages_of(image))
    if not 1 <= number <= len(found):
        raise MediaError(f"has no page {number}")
    return _shown(image, found[number - 1], min_side)[1]


def _shown(image: TiffFile, directory: int, min_side: int | None
           ) -> tuple[tuple[int, int], Image.Image]:
    image.seek(directory)
    refuse_size(image, "TIFF")
    shown, _ = upright(image, min_side)
    return image.size, shown
