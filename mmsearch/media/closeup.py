"""Whether two pictures that agree as a whole differ anywhere, at a scale at which writing is seen.

Two forms filled in by two people, or two receipts with another number, agree in nearly all of
their detail. So no share tells whether they are the same: the largest local difference does. Both
are seen at one scale (up to 1024 pixels), the one laid upon the other as exactly as can be, and
compared in windows of 8 x 8 pixels. What recompression, resizing and another brightness do to a
window is little beside the detail in it; another letter is not.

Most that differ do so at half that scale already, and only the rest are seen at the whole of it.
Where nearly all is of one level (a word on a blank page), that word alone is compared once more, at
the size that it has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from mmsearch.media.perceptual import Alike, Floats, Likeness, align, blocks

if TYPE_CHECKING:
    from PIL.Image import Image

Flags = npt.NDArray[np.bool_]
Boxes = tuple[tuple[float, float, float, float], tuple[float, float, float, float]]
SIDE = 1464
"""Pixels of the longer side beyond which nothing more is seen."""
_BLANK_SIDE, _BLANK = 3600, 0.98
"""The same for a picture of which this share is of one level."""
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
_MOST_GAIN, _GAIN_OF_NONE = 3.0, 0.1
_READABLE, _GROUND, _LEVELS_OF_GROUND = 256, 0.4, 17
"""Pixels of the longer side below which writing is not seen any more: a thumbnail of a picture that
is this much of one level (paper, a screen) may be one of another."""
_ALIGNED = 0.9
"""Where two agree in this share as they lie, they lie right."""
_MOST_OF_WRITING = 0.1
"""The same as `_MOST_OF_DETAIL`, of writing with next to nothing beside it."""


class Closeup(NamedTuple):
    """What is kept of a picture: its luma, the same at half the scale, and Cb and Cr at that.

    ground: the share of it that is of one level; whole: it was surely decoded at its full size.
    """

    luma: Image
    half: Image
    chroma: tuple[Image, Image]
    ground: float
    whole: bool

    @property
    def size(self) -> tuple[int, int]:
        return self.luma.size

    @property
    def bytes(self) -> int:
        return 2 * self.luma.width * self.luma.height

    @property
    def blank(self) -> bool:
        return self.ground > _BLANK


def closeup(image: Image) -> Closeup:
    """A picture (RGB; SIDE on its shorter side is enough) -> what is compared of it."""
    from PIL.Image import Resampling

    luma, *colours = image.convert("YCbCr").split()
    levels = np.convolve(luma.histogram(), np.ones(_LEVELS_OF_GROUND))
    ground = float(levels.max()) / (image.width * image.height)
    side = _BLANK_SIDE if ground > _BLANK else SIDE
    luma.thumbnail((side, side), Resampling.BILINEAR)
    size = (luma.width + 1) // 2, (luma.height + 1) // 2
    half, *colours = (plane.resize(size, Resampling.BILINEAR, reducing_gap=3.0)
                      for plane in (luma, *colours))
    return Closeup(luma, half, (colours[0], colours[1]), ground, min(image.size) < SIDE)


def look(first: Closeup, second: Closeup, turn: int) -> Likeness:
    """How alike two pictures are: as they lie, or else with the first one turned and moved upon
    the second."""
    whole = _compared(first, second, ((0, 0, *first.size), (0, 0, *second.size)), 0)
    if whole.alike >= Alike.SAME or whole.score >= _ALIGNED:
        return whole
    first = _turned(first, turn)
    moved = _compared(first, second, _overlap(first.half, second.half, first.size, second.size),
                      turn, _SPREAD)
    return max(whole, moved, key=lambda one: (one.alike, one.score))


def may_be_equal(first: Closeup, second: Closeup, likeness: Likeness) -> bool:
    """Whether two of one size may have the same pixels, by the look at them."""
    if first.whole and second.whole:
        return all(a.tobytes() == b.tobytes() for a, b in zip(
            (first.luma, *first.chroma), (second.luma, *second.chroma), strict=True))
    return likeness.alike >= Alike.SAME or likeness.score == 0


def _turned(picture: Closeup, turn: int) -> Closeup:
    """See `perceptual._turn`."""
    from PIL.Image import Transpose

    ways = (Transpose.TRANSPOSE, Transpose.FLIP_LEFT_RIGHT, Transpose.FLIP_TOP_BOTTOM)
    planes = [picture.luma, picture.half, *picture.chroma]
    for bit, way in zip((4, 1, 2), ways, strict=True):
        if turn & bit:
            planes = [plane.transpose(way) for plane in planes]
    return Closeup(planes[0], planes[1], (planes[2], planes[3]), picture.ground, picture.whole)


def _overlap(first: Image, second: Image, *sizes: tuple[int, int]) -> Boxes:
    """What part of the first shows what part of the second: boxes of pixels."""
    planes = [np.asarray(image.resize((256, 256), reducing_gap=3.0), np.float32)[None]
              for image in (first, second)]
    warp = np.array([[1, 0, 1, 0]], np.float32)
    for smaller, steps in ((16, 8), (8, 6), (4, 4), (1, 5)):
        warp = align(blocks(planes[0], smaller), blocks(planes[1], smaller), warp, steps)
    boxes = np.zeros((2, 4))
    for axis in (0, 1):
        scale, shift = (float(value) for value in warp[0, 2 * axis:2 * axis + 2])
        seen = np.clip([(-1 - shift) / scale, (1 - shift) / scale], -1, 1)
        boxes[0, axis::2] = (np.clip(scale * seen + shift, -1, 1) + 1) / 2 * sizes[0][axis]
        boxes[1, axis::2] = (seen + 1) / 2 * sizes[1][axis]
    return tuple(map(tuple, boxes.tolist()))  # type: ignore[return-value]


def _compared(first: Closeup, second: Closeup, boxes: Boxes, turn: int,
              spread: float = 0.0) -> Likeness:
    sides = [min(box[axis + 2] - box[axis] for box in boxes) * _SHARE for axis in (0, 1)]
    fits = min(1.0, SIDE * _SHARE / max(sides))
    width, height = (side * fits for side in sides)
    share, detailed = 1.0, np.zeros((1, 1), bool)
    for scale in (0.5, 1.0)[max(width, height) < 2 * _READABLE:]:
        share, detailed = _agreement(first, second, boxes, (width * scale, height * scale))
        if share < 1 or _extent(detailed) < spread:
            break
    if _extent(detailed) < spread or not detailed.any():
        return Likeness(0.0, turn)
    unsure = share < 1 or (max(width, height) < _READABLE and _lost(first, second))
    if not unsure and (first.blank or second.blank) and _extent(detailed) < _SPREAD:
        unsure = not _same_writing(first, second, boxes, detailed)
    return Likeness(share, turn, Alike.SIMILAR if unsure else Alike.SAME)


def _agreement(first: Closeup, second: Closeup, boxes: Boxes,
               size: tuple[float, float], most: float = _MOST_OF_DETAIL,
               ) -> tuple[float, Flags]:
    """Of the windows with detail, the share that does not differ; and these windows, none if there
    are too few."""
    pair = list(zip((first, second), boxes, strict=True))
    width, height = (max(2, int(side) // _CELL) for side in size)
    a, b = (_seen(one.half if box[2] - box[0] >= 2 * width * _CELL else one.luma, one, box,
                  (width * _CELL, height * _CELL)) for one, box in pair)
    differ, detailed, gain = _differing(a, b, most)
    if differ.any() and abs(gain - 1) > _GAIN_OF_NONE:
        # What became too bright or too dark in one can be told from the other alone.
        other, detail, _ = _differing(b, a, most)
        if other.sum() < differ.sum():
            differ, detailed = other, detail
    colours = [np.stack([_seen(plane, one, box, (width, height)) for plane in one.chroma]) - 128
               for one, box in pair]
    differ |= _other_colour(colours[0], colours[1])
    count = int((detailed | differ).sum())
    if count < _FEWEST:
        return 1.0, np.zeros_like(detailed)
    return 1 - int(differ.sum()) / count, detailed


def _seen(plane: Image, of: Closeup, box: tuple[float, ...], size: tuple[int, int]) -> Floats:
    """The part of a plane that is in a box of pixels of the whole picture."""
    from PIL.Image import Resampling

    across, down = (length / whole for length, whole in zip(plane.size, of.size, strict=True))
    part = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
    return np.asarray(plane.resize(size, Resampling.BILINEAR, part, 3.0), np.float32)


def _same_writing(first: Closeup, second: Closeup, boxes: Boxes, detailed: Flags) -> bool:
    """Whether what is on a blank page is the same at the size that it has in the smaller one."""
    ends = [np.flatnonzero(detailed.any(axis)) for axis in (0, 1)]
    parts = [[(low - 2) / length, (high + 4) / length] for low, high, length in (
        (int(at[0]), int(at[-1]), detailed.shape[1 - axis]) for axis, at in enumerate(ends))]
    boxes = tuple(tuple(  # type: ignore[assignment]
        box[axis] + float(np.clip(parts[axis][end], 0, 1)) * (box[axis + 2] - box[axis])
        for end in (0, 1) for axis in (0, 1)) for box in boxes)
    width, height = (min(box[axis + 2] - box[axis] for box in boxes) for axis in (0, 1))
    share, seen = _agreement(first, second, boxes, (width, height), _MOST_OF_WRITING)
    return share == 1 and bool(seen.any())


def _lost(first: Closeup, second: Closeup) -> bool:
    """Whether the larger one may have writing that cannot be seen in the other."""
    small, large = sorted((first, second), key=lambda picture: max(picture.size))
    return max(large.size) > 2 * max(small.size) and large.ground > _GROUND


def _differing(a: Floats, b: Floats, most: float) -> tuple[Flags, Flags, float]:
    """Windows in which b is not what a should look like there, those that have detail, and how much
    more contrast b has."""
    centred = a - a.mean()
    gain = float((centred * (b - b.mean())).sum() / max(float((centred ** 2).sum()), 1.0))
    expected = np.clip(np.clip(gain, 1 / _MOST_GAIN, _MOST_GAIN) * centred + b.mean(), 0, 255)
    level, unlike = _moments(expected - b)
    detail = np.maximum(_moments(expected)[1], _moments(b)[1])
    noise = np.clip(_TIMES_NOISE * unlike.mean(), _LEAST_NOISE, _MOST_NOISE)
    differ = (unlike > noise + most * detail) | (np.abs(level) > _LEVELS)
    return differ, detail > _DETAIL, gain


def _other_colour(a: Floats, b: Floats) -> Flags:
    """Windows of other colours, once the saturation is the same in both; [2, ...], by cells."""
    first, second = _windows(a), _windows(b)
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
