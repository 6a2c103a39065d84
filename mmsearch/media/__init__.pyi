from . import closeup as closeup, frames as frames, perceptual as perceptual
from .crops import Crop as Crop, parse_crops as parse_crops
from .decoding import decode as decode, read_metadata as read_metadata, reason_of as reason_of
from .frames import read_part as read_part
from .palette import colours as colours
from .perceptual import Alike as Alike, Likeness as Likeness
from .pictures import given as given
from .pixels import pixel_hash as pixel_hash
from .resizing import fit as fit
from .tiles import (
    NO_TILES as NO_TILES,
    Grid as Grid,
    as_tile as as_tile,
    decode_side as decode_side,
    like_their_pictures as like_their_pictures,
    parse_grid as parse_grid,
    tile_item as tile_item,
    tiles_of as tiles_of,
    tiles_setting as tiles_setting,
    tiling_of as tiling_of,
)
