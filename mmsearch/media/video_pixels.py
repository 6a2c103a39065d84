"""A decoded frame of a video as people should see it: upright, its pixels square, HDR as sRGB."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.stream import VideoStream
    from PIL.Image import Image

_BT2020, _PQ, _HLG = 9, 16, 18
_WHITE = 203.0
"""cd/m2 that white paper has in HDR (ITU-R BT.2408)."""


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
    hdr = frame.color_trc in (_PQ, _HLG)
    # Where a file does not say, HDTV is BT.709 and what is smaller BT.601; FFmpeg takes the latter.
    unsaid = frame.colorspace not in (1, 4, 5, 6, 7, 9) and frame.height >= 720
    small = frame.reformat(*size, format="rgb48le" if hdr else "rgb24",
                           src_colorspace="ITU709" if unsaid else None, interpolation="AREA")
    pixels = small.to_ndarray()
    image = Image.fromarray(_tone_mapped(pixels, frame) if hdr else pixels)
    turns = round(frame.rotation / 90) % 4
    return image.rotate(90 * turns, expand=True) if turns else image


def _tone_mapped(pixels: npt.NDArray[Any], frame: VideoFrame) -> npt.NDArray[np.uint8]:
    """HDR (BT.2100, PQ or HLG) to sRGB: white paper stays white, what is brighter is pressed in.

    pixels: uint16 [height, width, 3]; so is what is returned, in uint8.
    """
    signal = pixels.astype(np.float32) / 65535
    if frame.color_trc == _PQ:  # SMPTE ST 2084, in units of white paper
        power = signal ** (1 / 78.84375)
        light = np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)
        light = light ** (1 / 0.1593017578125) * 10_000 / _WHITE
    else:  # ARIB STD-B67, and the system gamma of a screen of 1000 cd/m2
        scene = np.where(signal <= 0.5, signal**2 / 3,
                         (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12)
        luma = scene @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        light = scene * luma[..., None] ** 0.2 * 1000 / _WHITE
    if frame.color_primaries == _BT2020:
        light = light @ np.array([[1.6605, -0.1246, -0.0182], [-0.5876, 1.1329, -0.1006],
                                  [-0.0728, -0.0083, 1.1187]], np.float32)
    light = np.maximum(light, 0)
    peak = light.max(axis=2, keepdims=True)
    # Reinhard's curve with a white point, on the brightest channel: hues stay.
    light *= (1 + peak / 16) / (1 + peak) * 1.6
    light = np.minimum(light, 1)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(np.round(encoded * 255), np.uint8)
