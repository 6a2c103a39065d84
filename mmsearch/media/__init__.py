"""Bytes to upright RGB, and the pictures inside files: frames, pages, tiles.

May import sources, metadata and the ground floor.
"""

from mmsearch.media import frames
from mmsearch.media.crops import Crop, parse_crops
from mmsearch.media.decoding import decode, fit, reason_of, said_in
from mmsearch.media.frames import picture
from mmsearch.media.palette import colours
from mmsearch.media.perceptual import (
    SIDE,
    THUMB,
    TURNS,
    Likeness,
    Sketch,
    compare,
    sketch,
    thumb,
    turned_correlations,
)
from mmsearch.media.tiles import (
    NO_TILES,
    Grid,
    as_tile,
    chosen,
    decode_side,
    like_their_pictures,
    parse_grid,
    tile_item,
    tiles_of,
    tiling_of,
)

__all__ = [
    "NO_TILES", "SIDE", "THUMB", "TURNS", "Crop", "Grid", "Likeness", "Sketch", "as_tile",
    "chosen", "colours", "compare", "decode", "decode_side", "fit", "frames",
    "like_their_pictures", "parse_crops", "parse_grid", "picture", "reason_of", "said_in",
    "sketch", "thumb", "tile_item", "tiles_of", "tiling_of", "turned_correlations",
]
