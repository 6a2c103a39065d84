"""A part of a picture, to search by.

    collection.search(image=Crop("street.jpg", "10%,20%,50%,50%"))

Areas are written ``x,y,w,h``: the left and upper edge, width and height, each in pixels of the
upright picture or in per cent of its width or height; also as W3C Media Fragments
(https://www.w3.org/TR/media-frags/, 4.2.2) write them, ``xywh=percent:10,20,50,50``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsearch.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

_NUMBER = r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(%?)\s*"
_AREA = re.compile(rf"(?:xywh=)?(percent:|pixel:)?{','.join([_NUMBER] * 4)}")


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of an image: whatever a search takes as one.

    Raises:
        UsageError: `area` cannot be read, or is empty.
    """

    image: Any
    area: str

    def __post_init__(self) -> None:
        if 0 in (values := [number for number, _ in _parsed(self.area)])[2:]:
            raise UsageError(f"the crop {self.area} is empty: its width is {values[2]:g}, its "
                             f"height {values[3]:g}")

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, upper, right and lower edge in pixels, in a picture of this size; one pixel wide
        and high at least.

        Raises:
            UsageError: the area reaches beyond the picture.
        """
        sizes = (width, height, width, height)
        x, y, w, h = (number * size / 100 if percent else number
                      for (number, percent), size in zip(_parsed(self.area), sizes, strict=True))
        # A thousandth of a pixel: 33.3 % and 66.7 % are not beyond it.
        if x + w > width + 1e-3 or y + h > height + 1e-3:
            raise UsageError(f"the crop {self.area} reaches beyond the picture{self._named()}, "
                             f"which is {width} x {height} pixels")
        left, upper = min(round(x), width - 1), min(round(y), height - 1)
        return left, upper, max(round(x + w), left + 1), max(round(y + h), upper + 1)

    def cut(self, picture: Image) -> Image:
        return picture.crop(self.box(*picture.size))

    def _named(self) -> str:
        return f" {self.image}" if isinstance(self.image, str | Path) else ""


def parse_crops(images: list[str], areas: list[str]) -> list[Any]:
    """`images`, cut to `areas`: one for each of them, or one for all.

    Raises:
        UsageError: another number of areas, or one that cannot be read.
    """
    if not areas:
        return list(images)
    if len(areas) not in (1, len(images)) or not images:
        raise UsageError(f"{len(areas)} crops for {len(images)} images; give one for each --image, "
                         "or one for all")
    return [Crop(image, area) for image, area in
            zip(images, areas * (len(images) if len(areas) == 1 else 1), strict=True)]


def _parsed(area: str) -> list[tuple[float, bool]]:
    """The four numbers, each with whether it is in per cent."""
    match = _AREA.fullmatch(area.strip())
    if match is None or (match[1] and "%" in area):
        raise UsageError(f"a crop is x,y,w,h in pixels or per cent, such as 0,0,50%,50%, not "
                         f"{area!r}")
    unit, *values = match.groups()
    return [(float(number), unit == "percent:" or sign == "%")
            for number, sign in zip(values[::2], values[1::2], strict=True)]
