from . import frames as frames
from .crops import Crop as Crop, parse_crops as parse_crops
from .decoding import decode as decode, fit as fit, reason_of as reason_of, said_in as said_in
from .frames import picture as picture
from .palette import colours as colours
from .perceptual import (
    SIDE as SIDE,
    THUMB as THUMB,
    TURNS as TURNS,
    Likeness as Likeness,
    Sketch as Sketch,
    compare as compare,
    sketch as sketch,
    thumb as thumb,
    turned_correlations as turned_correlations,
)
from .tiles import (
    NO_TILES as NO_TILES,
    Grid as Grid,
    as_tile as as_tile,
    chosen as chosen,
    decode_side as decode_side,
    like_their_pictures as like_their_pictures,
    parse_grid as parse_grid,
    tile_item as tile_item,
    tiles_of as tiles_of,
    tiling_of as tiling_of,
)
