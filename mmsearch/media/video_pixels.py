"""A decoded frame of a video as people should see it: upright, its pixels square, HDR as sRGB."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.media.hdr import Signal, tone_mapped

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.stream import VideoStream
    from PIL.Image import Image


def _shape(frame: VideoFrame, stream: VideoStream) -> tuple[int, int]:
    """Width and height as shown, before any rotation: pixels need not be square."""
    ratio = stream.sample_aspect_ratio or Fraction(1)
    if not Fraction(1, 4) <= ratio <= 4:
        return frame.width, frame.height
    return max(1, round(frame.width * ratio)), frame.height


def upright_size(frame: VideoFrame, stream: VideoStream) -> dict[str, int]:
    width, height = _shape(frame, stream)
    if frame.rotation % 180:
        width, height = height, width
    return {"width": width, "height": height}


def upright_picture(frame: VideoFrame, stream: VideoStream, min_side: int | None) -> Image:
    """RGB, upright, its shorter side twice `min_side` where it was more."""
    from PIL import Image

    width, height = _shape(frame, stream)
    scale = min(1.0, 2 * min_side / min(width, height)) if min_side else 1.0
    size = max(1, round(width * scale)), max(1, round(height * scale))
    signal = Signal(frame.color_primaries, frame.color_trc)
    # Where a file does not say, HDTV is BT.709 and what is smaller BT.601; FFmpeg takes the latter.
    unsaid = frame.colorspace not in (1, 4, 5, 6, 7, 9) and frame.height >= 720
    small = frame.reformat(*size, format="rgb48le" if signal.is_hdr else "rgb24",
                           src_colorspace="ITU709" if unsaid else None, interpolation="AREA")
    pixels = small.to_ndarray()
    if signal.is_hdr:
        pixels = tone_mapped(pixels.astype(np.float32) / 65535, signal)
    image = Image.fromarray(pixels)
    turns = round(frame.rotation / 90) % 4
    return image.rotate(90 * turns, expand=True) if turns else image

