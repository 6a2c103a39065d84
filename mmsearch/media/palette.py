"""The colours that people would name in a picture: the eleven basic terms of Berlin & Kay (1969).

Each colour belongs to one term, told in OKLCh (B. Ottosson, "A perceptual color space for image
processing", 2020): gray, black and white by lightness where there is little chroma, the others by
hue, and light reds are pink, dark or dull oranges brown. The borders were placed by hand and then
moved by random search so that product photos were found by the base colour in their shop's data.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.records import Pixels

if TYPE_CHECKING:
    from PIL.Image import Image

TERMS = ("black", "white", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink",
         "brown")
SIDE = 64
LEAST, MOST = 0.1, 4
"""A colour is named from this part of the picture on; so many at most."""
_BITS = 5
_HUES = (32, 78, 113, 192, 294, 340)
"""Degrees at which red ends, then orange, yellow, green, blue, purple; pink from there to 360."""


def colours(image: Image) -> list[str]:
    """The terms that cover a tenth or more of an RGB picture, the largest first (70 microseconds).

    4,096 pixels on a grid stand for all.
    """
    from PIL.Image import Resampling

    sample = np.asarray(image.resize((SIDE, SIDE), Resampling.NEAREST).convert("RGB"))
    red, green, blue = (sample >> (8 - _BITS)).astype(np.intp).reshape(-1, 3).T
    terms = _table()[(red << 2 * _BITS) | (green << _BITS) | blue]
    counts = np.bincount(terms, minlength=len(TERMS))
    order = np.argsort(-counts, kind="stable")[:MOST]
    return [TERMS[term] for term in order if counts[term] >= LEAST * len(terms)]


def term_of(rgb: Pixels) -> Pixels:
    """uint8 [n, 3] in sRGB -> uint8 [n], places in TERMS."""
    light, chroma, hue = _oklch(rgb)
    found = (TERMS.index("red") + np.searchsorted(_HUES, hue)).astype(np.uint8)
    red, orange, yellow = (found == TERMS.index(term) for term in ("red", "orange", "yellow"))
    found[red & (light > 0.68)] = TERMS.index("pink")
    found[yellow & (hue > 100) & (light < 0.7)] = TERMS.index("green")  # olive
    dull = (light < 0.6) | (chroma < 0.09)
    dull_red = red & (hue > 16) & (light < 0.45) & (chroma < 0.11)
    found[dull_red | (orange & dull) | (yellow & (hue < 100) & (light < 0.57))] = (
        TERMS.index("brown"))
    gray = chroma < 0.018 + 0.02 * np.abs(light - 0.6)
    found[gray] = TERMS.index("grey")
    found[(gray & (light < 0.36)) | (light < 0.27)] = TERMS.index("black")
    found[(gray & (light > 0.87)) | (light > 0.97) & (chroma < 0.05)] = TERMS.index("white")
    return found


def _oklch(rgb: Pixels) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lightness 0 to 1, chroma 0 to about 0.32, hue in degrees."""
    level = rgb / 255.0
    linear = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    cones = np.cbrt(linear @ np.array([
        [0.4122214708, 0.2119034982, 0.0883024619], [0.5363325363, 0.6806995451, 0.2817188376],
        [0.0514459929, 0.1073969566, 0.6299787005]]))
    light, a, b = (cones @ np.array([
        [0.2104542553, 1.9779984951, 0.0259040371], [0.7936177850, -2.4285922050, 0.7827717662],
        [-0.0040720468, 0.4505937099, -0.8086757660]])).T
    return light, np.hypot(a, b), np.degrees(np.arctan2(b, a)) % 360


@functools.cache
def _table() -> Pixels:
    """The term of each of 32 x 32 x 32 colours (built in 10 ms)."""
    steps = (np.arange(1 << _BITS) << (8 - _BITS)) + (1 << (7 - _BITS))
    return term_of(np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1)
                   .reshape(-1, 3).astype(np.uint8))
