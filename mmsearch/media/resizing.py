"""Pictures of any shape to the square that a model takes."""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
from PIL import Image

from mmsearch.records import Pixels


def fit(
    image: Image.Image,
    size: int,
    *,
    resize: Literal["squash", "stretch", "crop", "pad", "shortest"],
    resample: Image.Resampling,
) -> Pixels:
    """Scale to a square, uint8 [size, size, 3].

    squash: both sides to `size`, ignoring the shape; stretch: the same, in the very pixels that
    torchvision's Resize makes; crop: the central square;
    pad: the whole picture, centred on black; shortest: the shorter side to `size`, and of that the
    central square, in the whole pixels that torchvision's Resize and CenterCrop take.
    """
    image = image if image.mode == "RGB" else image.convert("RGB")
    width, height = image.size
    if resize == "shortest":
        short = min(width, height)
        inner = int(size * width / short), int(size * height / short)
        x, y = (round((side - size) / 2) for side in inner)
        scaled = image.resize(inner, resample)
        return np.array(scaled.crop((x, y, x + size, y + size)), dtype=np.uint8)
    if resize == "stretch":
        return np.array(image.resize((size, size), resample), dtype=np.uint8)
    # With a gap of 2 a large picture is first averaged down to at least twice the size: much
    # faster, and less visible than the reduced JPEG scales that `decode` uses.
    scale = functools.partial(image.resize, resample=resample, reducing_gap=2.0)
    if resize == "squash":
        return np.array(scale((size, size)), dtype=np.uint8)
    if resize == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return np.array(
            scale((size, size), box=(left, top, left + side, top + side)), dtype=np.uint8
        )
    ratio = size / max(width, height)
    inner = max(1, round(width * ratio)), max(1, round(height * ratio))
    canvas = Image.new("RGB", (size, size))
    canvas.paste(scale(inner), ((size - inner[0]) // 2, (size - inner[1]) // 2))
    return np.array(canvas, dtype=np.uint8)
