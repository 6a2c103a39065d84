"""Whether two pictures may be the same picture, by their pixels: resized, recompressed, cropped a
little, brightened, watermarked, mirrored or turned, but not merely alike. This is a first look, of
many pairs; `closeup` then tells the same from the similar.

A perceptual hash says how alike two pictures are as a whole, so a crop of a tenth breaks it, and
two shoes on white have the same. Here one picture is laid upon the other first, and then their
detail is compared piece by piece:

1. Which of the eight ways of turning and mirroring fits best, at 16 x 16 pixels.
2. What part of one shows what part of the other: scale and shift along each axis, by least squares
   with a gain and an offset for brightness and contrast (Lucas and Kanade 1981; the coarse-to-fine
   search and the photometric terms as in Baker and Matthews, "Lucas-Kanade 20 years on", 2004).
3. Of the 8 x 8 pixel blocks (of 128 x 128) that show any detail, the share in which both pictures
   have the same detail, by local correlation, and the same colour. That share is the score,
   less a little where there are few such blocks.

Where there is next to no detail at this scale (a plain colour, a blank page, stars), the blocks
must be equal in brightness and colour as they are, for the closer look to be worthwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from mmsearch.records import Ids

if TYPE_CHECKING:
    from PIL.Image import Image

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
SIDE = 128
"""Pixels on each side of a sketch; the shape of a picture is ignored."""
THUMB = 16
TURNS = ("", "mirrored", "upside down, mirrored", "upside down", "turned, mirrored", "turned",
         "turned", "turned, mirrored")
"""What must be done to one picture to see the other: by the bits of `Likeness.turn`."""
_BLOCK = 8
_CHROMA = SIDE // 4
_BATCH = 64
_MOST_SHIFT, _LEAST_SCALE = 0.3, 0.8
_WORTHWHILE = 0.7
"""Pairs whose correlation is less once aligned at 32 x 32 pixels are not looked at any further."""
_NOISE = 2.0
"""Levels (of 256) of detail that compression may add or take away."""
_SAME_DETAIL = 0.6
_SAME_COLOUR, _COLOUR_SHARE = 8.0, 0.3
"""Levels that the colour of a block may differ by, or the share of its strength if that is more."""
_FEW_BLOCKS = 64
"""A block that differs counts double where only so many have any detail (of 256): outlines on
white agree by themselves."""
_FEWEST_BLOCKS = 12
_PLAIN_LEVELS = 3.0


class Sketch(NamedTuple):
    """What is kept of a picture: 18 kB.

    luma: uint8 [128, 128]; chroma: uint8 [2, 32, 32], Cb and Cr, 128 where there is no colour.
    """

    luma: Bytes
    chroma: Bytes


class Alike(IntEnum):
    """Something differs; nothing does that would be seen; no pixel does."""

    SIMILAR, SAME, EQUAL = range(3)


class Likeness(NamedTuple):
    """score: 0 to 1, roughly the share of the detail that both have; turn: see `TURNS`."""

    score: float
    turn: int
    alike: Alike = Alike.SIMILAR


def sketch(image: Image) -> Sketch:
    """A picture (RGB, of any size; twice SIDE on its shorter side is enough) -> its sketch."""
    from PIL.Image import Resampling

    small = image.resize((SIDE, SIDE), Resampling.BILINEAR, reducing_gap=3.0).convert("YCbCr")
    planes = np.asarray(small, np.uint8).transpose(2, 0, 1)
    chroma = blocks(planes[1:].astype(np.float32), SIDE // _CHROMA)
    return Sketch(planes[0].copy(), np.round(chroma).astype(np.uint8))


def thumb(one: Sketch) -> Bytes:
    """The sketch's luma at 16 x 16 pixels, uint8 [256]: enough to see that two are far apart."""
    small = blocks(one.luma[None].astype(np.float32), SIDE // THUMB)
    return np.round(small).astype(np.uint8).ravel()


def turned_correlations(first: Bytes | Floats, second: Bytes | Floats) -> Floats:
    """Correlation of thumbs ([n, 256] each) for each way to turn the first, [n, 8]."""
    a, b = _standard(first), _standard(second)
    return np.stack([np.einsum("nij,nij->n", _turn(a, turn), b) for turn in range(8)], axis=1)


def compare(first: Sequence[Sketch], second: Sequence[Sketch]) -> list[Likeness]:
    """How much of each of `first` is seen in the one of `second` at the same place."""
    found: list[Likeness] = []
    for at in range(0, len(first), _BATCH):
        part = slice(at, at + _BATCH)
        found += _compare(first[part], second[part])
    return found


def _compare(first: Sequence[Sketch], second: Sequence[Sketch]) -> list[Likeness]:
    a, b = (np.stack([one.luma for one in many]).astype(np.float32) for many in (first, second))
    half_a, half_b = blocks(a, 2), blocks(b, 2)
    best, turns, warps = _aligned_roughly(blocks(a, 4), blocks(b, 4))
    scores = np.zeros(len(a), np.float32)
    go_on = np.flatnonzero(best >= _WORTHWHILE).tolist()
    if go_on:
        chosen = turns[go_on]
        a, b = _turn_each(a[go_on], chosen), b[go_on]
        fine = align(_turn_each(half_a[go_on], chosen), half_b[go_on], warps[go_on], steps=4)
        colours = [np.stack([many[n].chroma for n in go_on]).astype(np.float32) - 128
                   for many in (first, second)]
        scores[go_on] = _agreement(a, b, _turn_each(colours[0], chosen), colours[1], fine)
    return [Likeness(float(score), int(turn)) for score, turn in zip(scores, turns, strict=True)]


# --- alignment -----------------------------------------------------------------------------------


def _aligned_roughly(a: Floats, b: Floats) -> tuple[Floats, Ids, Floats]:
    """32 x 32 pictures -> correlation once aligned, the best turn (of the two most promising
    ones), and its warp."""
    small_a, small_b = blocks(a, 2), blocks(b, 2)
    promising = np.argsort(-turned_correlations(small_a, small_b), axis=1, kind="stable")[:, :2]
    tried = []
    for turns in promising.T:
        warps = np.tile(np.array([1, 0, 1, 0], np.float32), (len(a), 1))
        warps = align(_turn_each(small_a, turns), small_b, warps, steps=8)
        turned = _turn_each(a, turns)
        warps = align(turned, b, warps, steps=6)
        tried.append((_correlation(turned, b, warps), turns, warps))
    (score, turns, warps), (score2, turns2, warps2) = tried
    second = score2 > score
    return (np.where(second, score2, score), np.where(second, turns2, turns),
            np.where(second[:, None], warps2, warps))


def align(a: Floats, b: Floats, warps: Floats, steps: int) -> Floats:
    """Improve `warps` (float32 [n, 4]: scale and shift in x, then in y, the picture being 2 wide)
    so that b(x) = gain * a(scale * x + shift) + offset, by Gauss-Newton steps."""
    side = a.shape[-1]
    across = _centres(side)
    warps = warps.copy()
    for _ in range(steps):
        seen, inside = _warped(a, warps)
        down, right = np.gradient(seen, axis=(1, 2))
        right *= (side / 2 / warps[:, 0])[:, None, None]
        down *= (side / 2 / warps[:, 2])[:, None, None]
        columns = np.stack([right * across, right, down * across[:, None], down, seen,
                            np.ones_like(seen)], axis=1)
        columns *= inside[:, None]
        columns = columns.reshape(len(a), 6, -1)
        normal = (columns @ columns.transpose(0, 2, 1)).astype(np.float64)
        size = np.trace(normal, axis1=1, axis2=2)
        normal += np.eye(6) * (1e-6 * size + 1e-3)[:, None, None]
        right_side = columns @ (b * inside).reshape(len(a), -1, 1)
        solved = np.linalg.solve(normal, right_side.astype(np.float64))[..., 0]
        gain = np.where(np.abs(solved[:, 4]) < 0.05, np.inf, solved[:, 4])
        warps += np.clip(solved[:, :4] / gain[:, None], -0.12, 0.12).astype(np.float32)
        warps[:, ::2] = np.clip(warps[:, ::2], _LEAST_SCALE, 1 / _LEAST_SCALE)
        warps[:, 1::2] = np.clip(warps[:, 1::2], -_MOST_SHIFT, _MOST_SHIFT)
    return warps


def _warped(a: Floats, warps: Floats) -> tuple[Floats, Floats]:
    """The pictures ([n, side, side]) as their warps see them, and 1 where that is inside."""
    side = a.shape[-1]
    left, share_x, inside_x = _places(warps[:, 0], warps[:, 1], side)
    top, share_y, inside_y = _places(warps[:, 2], warps[:, 3], side)
    # Not as products with matrices: those would start threads of their own in each thread.
    rows = _between(a, top[:, :, None], share_y[:, :, None], axis=1)
    seen = _between(rows, left[:, None], share_x[:, None], axis=2)
    return seen, inside_y[:, :, None] * inside_x[:, None, :]


def _places(scale: Floats, shift: Floats, side: int) -> tuple[Ids, Floats, Floats]:
    """Where the pixels of an axis are seen, [n, side]: the pixel before, the share of the next
    one, and 1 where that is inside the picture."""
    at = (scale[:, None] * _centres(side) + shift[:, None] + 1) * np.float32(side / 2) - 0.5
    inside = ((at >= -0.5) & (at <= side - 0.5)).astype(np.float32)
    before = np.clip(np.floor(at), 0, side - 2)
    return before.astype(np.int64), np.clip(at - before, 0, 1), inside


def _between(a: Floats, before: Ids, share: Floats, axis: int) -> Floats:
    """Linear interpolation along one axis."""
    low, high = (np.take_along_axis(a, before + step, axis) for step in (0, 1))
    high -= low
    high *= share
    high += low
    return high


def _centres(side: int) -> Floats:
    return (np.arange(side, dtype=np.float32) + 0.5) * np.float32(2 / side) - 1


def _correlation(a: Floats, b: Floats, warps: Floats) -> Floats:
    seen, inside = _warped(a, warps)
    area = np.maximum(inside.sum((1, 2)), 1)
    seen = (seen - ((seen * inside).sum((1, 2)) / area)[:, None, None]) * inside
    other = (b - ((b * inside).sum((1, 2)) / area)[:, None, None]) * inside
    size = np.sqrt((seen ** 2).sum((1, 2)) * (other ** 2).sum((1, 2)))
    # Plain pictures correlate with nothing, and are told by their levels.
    plain = size / area < _NOISE ** 2
    result: Floats = np.where(plain, 1, (seen * other).sum((1, 2)) / np.maximum(size, 1e-3))
    return result


# --- agreement -----------------------------------------------------------------------------------


def _agreement(a: Floats, b: Floats, colour_a: Floats, colour_b: Floats, warps: Floats) -> Floats:
    """The share of the blocks with detail in which it is the same, less for few blocks, [n].

    a, b: luma [n, 128, 128]; colour_a, colour_b: [n, 2, 32, 32], 0 where there is no colour.
    """
    seen, inside = _warped(a, warps)
    area = blocks(inside, _BLOCK)
    counted = area > 0.5
    area = np.maximum(area, 1e-3)

    def mean(values: Floats) -> Floats:
        return blocks(values * inside, _BLOCK) / area

    level_a, level_b = mean(seen), mean(b)
    detail_a = np.maximum(mean(seen ** 2) - level_a ** 2, 0)
    detail_b = np.maximum(mean(b ** 2) - level_b ** 2, 0)
    common = mean(seen * b) - level_a * level_b
    noise = np.float32(_NOISE ** 2)
    same = common > _SAME_DETAIL * np.sqrt((detail_a + noise) * (detail_b + noise))
    off, strength, raw = _colour_difference(colour_a, colour_b, warps, counted)
    same &= off < np.maximum(_SAME_COLOUR, _COLOUR_SHARE * strength)
    detailed = counted & ((np.maximum(detail_a, detail_b) > 4 * noise) | (off > _SAME_COLOUR))
    number = detailed.sum((1, 2))
    differing = (detailed & ~same).sum((1, 2)) / np.maximum(number, 1)
    share = np.maximum(1 - differing * (1 + _FEW_BLOCKS / np.maximum(number, 1)), 0)
    equal = (np.abs(level_a - level_b) < _PLAIN_LEVELS) & (raw < _PLAIN_LEVELS)
    equal &= same | ~detailed
    plain = (equal | ~counted).all((1, 2))
    result: Floats = np.where(number < _FEWEST_BLOCKS, plain, share).astype(np.float32)
    return result


def _colour_difference(a: Floats, b: Floats, warps: Floats,
                       counted: npt.NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """For each block [n, 16, 16]: how far its colours are apart in levels once the saturation is
    the same in both pictures, how strong they are, and how far apart they are as they are."""
    seen = np.stack([_warped(a[:, plane], warps)[0] for plane in (0, 1)], axis=1)
    per_block = _BLOCK * _CHROMA // SIDE
    seen, other = blocks(seen, per_block), blocks(b, per_block)
    where = counted[:, None]
    ratio = ((seen * other * where).sum((1, 2, 3))
             / np.maximum((seen ** 2 * where).sum((1, 2, 3)), 1))
    scaled = np.clip(ratio, 0.5, 2)[:, None, None, None] * seen
    strength = np.maximum(_length(scaled), _length(other))
    return _length(other - scaled), strength, _length(other - seen)


def _length(vectors: Floats) -> Floats:
    result: Floats = np.sqrt((vectors ** 2).sum(1))
    return result


# --- small things --------------------------------------------------------------------------------


def blocks(planes: Floats, side: int) -> Floats:
    """Means of blocks of side x side pixels, over the last two axes."""
    rows = planes[..., ::side, :].copy()
    for offset in range(1, side):  # much faster than a mean over axes this short
        rows += planes[..., offset::side, :]
    means = rows[..., ::side].copy()
    for offset in range(1, side):
        means += rows[..., offset::side]
    means /= side * side
    return means


def _turn(planes: Floats, turn: int) -> Floats:
    """Turned or mirrored: 1 mirrors left and right, 2 top and bottom, 4 swaps the axes first."""
    if turn & 4:
        planes = planes.swapaxes(-1, -2)
    if turn & 1:
        planes = planes[..., ::-1]
    return planes[..., ::-1, :] if turn & 2 else planes


def _turn_each(planes: Floats, turns: Ids) -> Floats:
    return np.stack([_turn(one, int(turn)) for one, turn in zip(planes, turns, strict=True)])


def _standard(thumbs: Bytes | Floats) -> Floats:
    """Thumbs as [n, 16, 16] of mean 0 and length 1."""
    flat = thumbs.reshape(len(thumbs), THUMB * THUMB).astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-3)
    standard: Floats = flat.reshape(len(thumbs), THUMB, THUMB)
    return standard
