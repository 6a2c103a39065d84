"""Whether two pictures that agree as a whole differ anywhere, at a scale at which writing is seen.

Two forms filled in by two people, or two receipts with another number, agree in nearly all of
their detail. So no share tells whether they are the same: the largest local difference does. Both
are seen at one scale (up to 1024 pixels), the one laid upon the other as exactly as can be, and
compared in windows of 8 x 8 pixels. What recompression, resizing and another brightness do to a
window is little beside the detail in it; another letter is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mmsearch.media.perceptual import Alike, Floats, Likeness, align, blocks

if TYPE_CHECKING:
    from PIL.Image import Image

Flags = npt.NDArray[np.bool_]
Boxes = tuple[tuple[float, float, float, float], tuple[float, float, float, float]]
SIDE = 1464
"""Pixels of the longer side beyond which nothing more is seen."""
_SHARE = 0.7
"""Of the size of the smaller one: there both are equally sharp, however they were resized."""
_CELL = 4
_MOST_OF_DETAIL, _LEAST_NOISE, _MOST_NOISE, _TIMES_NOISE = 0.15, 20.0, 100.0, 10.0
"""A window differs if the difference has more than this share of the variance of its detail, and
noise: so many times the mean difference (JPEG changes all windows), between two limits."""
_LEVELS = 40.0
_COLOUR, _COLOUR_SHARE = 14.0, 0.5
_DETAIL = 144.0
"""Variance from which a window has detail: with less, different ones would pass for the same."""
_FEWEST = 12
"""Windows with detail below which nothing is said."""
_SPREAD = 0.4
"""Of width and height that detail must take up for one picture to be laid upon the other by it: a
dot elsewhere is another picture, not the same one moved."""
_MOST_GAIN = 3.0
_READABLE, _GROUND, _LEVELS_OF_GROUND = 256, 0.4, 17
"""Pixels of the longer side below which writing is not seen any more: a thumbnail of a picture that
is this much of one level (paper, a screen) may be one of another."""


def look(first: Image, second: Image, turn: int) -> Likeness:
    """How alike two pictures (RGB, see `SIDE`) are: as they lie, or else with the first one turned
    and moved upon the second."""
    whole = _compared(first, second, ((0, 0, *first.size), (0, 0, *second.size)), 0)
    if whole.alike >= Alike.SAME:
        return whole
    first = _turned(first, turn)
    moved = _compared(first, second, _overlap(first, second), turn, spread=_SPREAD)
    return max(whole, moved, key=lambda one: (one.alike, one.score))


def _turned(image: Image, turn: int) -> Image:
    """See `perceptual._turn`."""
    from PIL.Image import Transpose

    ways = (Transpose.FLIP_LEFT_RIGHT, Transpose.FLIP_TOP_BOTTOM)
    if turn & 4:
        image = image.transpose(Transpose.TRANSPOSE)
    for bit, way in enumerate(ways):
        if turn & 1 << bit:
            image = image.transpose(way)
    return image


def _overlap(first: Image, second: Image) -> Boxes:
    """What part of the first shows what part of the second: boxes of pixels."""
    planes = [np.asarray(image.resize((256, 256), reducing_gap=3.0).convert("L"), np.float32)[None]
              for image in (first, second)]
    warp = np.array([[1, 0, 1, 0]], np.float32)
    for smaller, steps in ((16, 8), (8, 6), (4, 4), (1, 5)):
        warp = align(blocks(planes[0], smaller), blocks(planes[1], smaller), warp, steps)
    boxes = np.zeros((2, 4))
    for axis in (0, 1):
        scale, shift = (float(value) for value in warp[0, 2 * axis:2 * axis + 2])
        seen = np.clip([(-1 - shift) / scale, (1 - shift) / scale], -1, 1)
        boxes[0, axis::2] = (np.clip(scale * seen + shift, -1, 1) + 1) / 2 * first.size[axis]
        boxes[1, axis::2] = (seen + 1) / 2 * second.size[axis]
    return tuple(map(tuple, boxes.tolist()))  # type: ignore[return-value]


def _compared(first: Image, second: Image, boxes: Boxes, turn: int,
              spread: float = 0.0) -> Likeness:
    from PIL.Image import Resampling

    sides = [min(box[axis + 2] - box[axis] for box in boxes) * _SHARE for axis in (0, 1)]
    fits = min(1.0, SIDE * _SHARE / max(sides))
    width, height = (max(2, int(side * fits) // _CELL) * _CELL for side in sides)
    a, b = (np.asarray(image.resize((width, height), Resampling.BILINEAR, box, 3.0)
                       .convert("YCbCr"), np.float32)
            for image, box in zip((first, second), boxes, strict=True))
    # What became too bright or too dark in one can be told from the other alone.
    differ, detailed = min((_differing(a[..., 0], b[..., 0]), _differing(b[..., 0], a[..., 0])),
                           key=lambda found: int(found[0].sum()))
    differ |= _other_colour(a[..., 1:] - 128, b[..., 1:] - 128)
    count = int((detailed | differ).sum())
    if count < _FEWEST or _extent(detailed) < spread:
        return Likeness(0.0, turn)
    unsure = differ.any() or (max(width, height) < _READABLE and _lost(first, second))
    share = 1 - int(differ.sum()) / count
    return Likeness(share, turn, Alike.SIMILAR if unsure else Alike.SAME)


def _lost(first: Image, second: Image) -> bool:
    """Whether the larger one may have writing that cannot be seen in the other."""
    small, large = sorted((first, second), key=lambda image: max(image.size))
    if max(large.size) <= 2 * max(small.size):
        return False
    levels = np.convolve(large.convert("L").histogram(), np.ones(_LEVELS_OF_GROUND))
    return bool(levels.max() > _GROUND * large.width * large.height)


def _differing(a: Floats, b: Floats) -> tuple[Flags, Flags]:
    """Windows in which b is not what a should look like there, and those that have detail."""
    centred = a - a.mean()
    gain = float((centred * (b - b.mean())).sum() / max(float((centred ** 2).sum()), 1.0))
    expected = np.clip(np.clip(gain, 1 / _MOST_GAIN, _MOST_GAIN) * centred + b.mean(), 0, 255)
    level, unlike = _moments(expected - b)
    detail = np.maximum(_moments(expected)[1], _moments(b)[1])
    noise = np.clip(_TIMES_NOISE * unlike.mean(), _LEAST_NOISE, _MOST_NOISE)
    differ = (unlike > noise + _MOST_OF_DETAIL * detail) | (np.abs(level) > _LEVELS)
    return differ, detail > _DETAIL


def _other_colour(a: Floats, b: Floats) -> Flags:
    """Windows of other colours, once the saturation is the same in both."""
    first, second = (_windows(blocks(one.transpose(2, 0, 1), _CELL)) for one in (a, b))
    ratio = (first * second).sum() / max(float((first ** 2).sum()), 1.0)
    scaled = first * np.float32(np.clip(ratio, 0.5, 2))
    strength = np.maximum(np.hypot(*scaled), np.hypot(*second))
    other: Flags = np.hypot(*(scaled - second)) > _COLOUR + _COLOUR_SHARE * strength
    return other


def _moments(plane: Floats) -> tuple[Floats, Floats]:
    """Mean and variance in windows of two by two cells, which overlap by half."""
    mean, square = (_windows(blocks(values, _CELL)) for values in (plane, plane ** 2))
    return mean, np.maximum(square - mean ** 2, 0)


def _windows(cells: Floats) -> Floats:
    rows = cells[..., :-1, :] + cells[..., 1:, :]
    result: Floats = (rows[..., :-1] + rows[..., 1:]) * np.float32(0.25)
    return result


def _extent(windows: Flags) -> float:
    """The share of the width, or of the height if that is less, from the first to the last."""
    ends = [np.flatnonzero(windows.any(axis)) for axis in (0, 1)]
    return min((float(np.ptp(at)) + 1) / windows.shape[1 - axis] if at.size else 0.0
               for axis, at in enumerate(ends))
