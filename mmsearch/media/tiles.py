"""Tiles: a large picture cut into parts, which are found beside the whole.

A model sees a picture reduced to its own small side (260 pixels, say), in which what is small is
lost. A tile is reduced less. A grid of 2x2 gives four of them,

    photo.jpg#xywh=percent:0,0,55,55        photo.jpg#xywh=percent:45,0,55,55
    photo.jpg#xywh=percent:0,45,55,55       photo.jpg#xywh=percent:45,45,55,55

each a tenth wider and higher than its even share, so that what lies on a border is whole in one of
two. Numbers are whole per cents: the grammar of W3C Media Fragments knows no others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from mmsearch.errors import UsageError
from mmsearch.fragments import Region, in_region, is_tile
from mmsearch.media.crops import Crop
from mmsearch.records import Item

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")
MOST = 8
"""Columns, and rows, at most."""
_LARGER = 1.1
"""Of a tile's side, than its even share."""
_GRID = re.compile(r"([1-9])\s*[xX×]\s*([1-9])")


class Grid(NamedTuple):
    """How a picture is cut; one column and one row are no tiles at all."""

    columns: int = 1
    rows: int = 1

    def __str__(self) -> str:
        return f"{self.columns}x{self.rows}" if self.tiles else "none"

    @property
    def tiles(self) -> int:
        return self.columns * self.rows if self.columns * self.rows > 1 else 0

    def regions(self) -> list[Region]:
        """Those of all tiles, row by row; all are of one size."""
        return [(x, y, w, h) for y, h in _spans(self.rows) for x, w in _spans(self.columns)
                if self.tiles]


NO_TILES = Grid()


def _spans(parts: int) -> list[tuple[int, int]]:
    """Start and length of each of some overlapping parts of 100."""
    if parts == 1:
        return [(0, 100)]
    length = round(100 * _LARGER / parts)
    return [(round(n * (100 - length) / (parts - 1)), length) for n in range(parts)]


def parse_grid(text: str) -> Grid:
    """What --tiles says: "2x2", columns and rows; "1x1" or "none" for no tiles.

    Raises:
        UsageError: neither, or more than MOST columns or rows.
    """
    if text.strip().lower() == "none":
        return NO_TILES
    match = _GRID.fullmatch(text.strip())
    grid = Grid(int(match[1]), int(match[2])) if match else Grid(0, 0)
    if not 1 <= max(grid) <= MOST:
        raise UsageError(f"--tiles takes columns x rows, such as 2x2 or 3x2 and at most "
                         f"{MOST}x{MOST}, or none, not {text!r}")
    return grid


class Tiling(NamedTuple):
    """The setting of a collection: pictures whose sequence numbers are below `since` were encoded
    before the grid was chosen, and have tiles of another or none."""

    grid: Grid = NO_TILES
    since: int = 0

    def is_behind(self, item: Item, seq: int) -> bool:
        """Whether an item is a picture that is still to be cut by this grid."""
        return self.grid.tiles > 0 and item.kind == "image" and seq < self.since


def tiling_of(setting: object) -> Tiling:
    """What a collection's setting `tiles` says, which `tiles_setting` made; None is no tiles."""
    if not isinstance(setting, list):
        return Tiling()
    return Tiling(parse_grid(setting[0]), int(setting[1]))


def tiles_setting(grid: Grid, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The setting for another grid, for pictures that are encoded from now on."""
    return {"tiles": [str(grid), int(settings["next_seq"])]}


# -- cutting -----------------------------------------------------------------------------------


def decode_side(min_side: int, region: Region | None) -> int:
    """The shorter side to which a picture may be reduced, so that a region of it keeps `min_side`
    on its own shorter side, where it had that."""
    return min_side if region is None else -(-100 * min_side // min(region[2:]))


def cut(picture: Image, region: Region) -> Image:
    """A region of a picture."""
    return Crop("", in_region(region)).cut(picture)


def tiles_of(picture: Image, grid: Grid, size: tuple[int, int], min_side: int
             ) -> Iterator[tuple[str, Image]]:
    """The fragments and the pixels of the tiles; of a picture too small for them, none.

    picture: decoded to a shorter side of `decode_side` or more. size: width and height of the
    original; each tile has `min_side` pixels of it or more, both ways, or it would show the model
    nothing that the whole does not.
    """
    for region in grid.regions():
        if min(region[2] * size[0], region[3] * size[1]) >= 100 * min_side:
            yield in_region(region), cut(picture, region)


# -- items -------------------------------------------------------------------------------------


def tile_item(picture: Item, fragment: str, colour: Sequence[str]) -> Item:
    """A tile says what its picture says, but for its colours."""
    return Item(f"{picture.uri}#{fragment}", "frame", "", picture.uri,
                {**picture.meta, "colour": colour}, picture.fingerprint)


def as_tile(tile: Item, picture: Item) -> Item:
    """A tile of a picture that has moved, or is described anew."""
    return tile_item(picture, tile.uri.rpartition("#")[2], tile.meta.get("colour", []))


def like_their_pictures(rows: list[tuple[Item, T]]) -> list[tuple[Item, T]]:
    """Items of which tiles are described as the pictures before them, if these are there."""
    pictures: dict[str, Item] = {}
    found = []
    for item, rest in rows:
        if item.kind == "image":
            pictures[item.uri] = item
        elif is_tile(item) and item.group in pictures:
            item = as_tile(item, pictures[item.group])
        found.append((item, rest))
    return found
