"""High dynamic range (ITU-R BT.2100, PQ or HLG), stills and frames, to sRGB as screens show it."""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL.Image import Image

_BT2020, _P3, _PQ, _HLG = 9, (11, 12), 16, 18
_WHITE = 203.0
"""cd/m2 that white paper has in HDR (ITU-R BT.2408)."""
_FROM_BT2020 = np.array([[1.6605, -0.1246, -0.0182], [-0.5876, 1.1329, -0.1006],
                         [-0.0728, -0.0083, 1.1187]], np.float32)
_FROM_P3 = np.array([[1.2249, -0.0420, -0.0197], [-0.2247, 1.0419, -0.0786],
                     [0.0, 0.0, 1.0979]], np.float32)
_ROWS = 256
"""Of a still that are turned at once: floats of all of a large one fill the memory."""


class Signal(NamedTuple):
    """Code points of ITU-T H.273."""

    primaries: int
    transfer: int

    @property
    def is_hdr(self) -> bool:
        return self.transfer in (_PQ, _HLG)


def signal_of(info: Mapping[Any, Any]) -> Signal | None:
    """What the `info` of a picture says of its colours, where they are HDR.

    From its nclx or cICP, or from an ICC profile: its tag cicp, or else its name.
    """
    said = info.get("nclx_profile")
    if isinstance(said, Mapping):
        found = Signal(int(said["color_primaries"]), int(said["transfer_characteristics"]))
        if found.is_hdr:
            return found
    profile = info.get("icc_profile")
    return _of_profile(profile) if isinstance(profile, bytes) else None


@functools.lru_cache(maxsize=16)
def _of_profile(profile: bytes) -> Signal | None:
    if len(code := _tag(profile, b"cicp")) >= 10:
        found = Signal(code[8], code[9])
        return found if found.is_hdr else None
    name = _tag(profile, b"desc").replace(b"\0", b"")  # in Latin-1 or UTF-16
    kind = re.search(rb"PQ|HLG|ST ?2084", name)
    if kind is None or not re.search(rb"2100|2020|P3", name):
        return None
    return Signal(_P3[1] if b"P3" in name else _BT2020, _HLG if kind[0] == b"HLG" else _PQ)


def _tag(profile: bytes, name: bytes) -> bytes:
    """The contents of a tag of an ICC profile, empty if there is none."""
    (count,) = struct.unpack(">I", profile[128:132].rjust(4, b"\0"))
    for found, at, size in struct.iter_unpack(">4sII", profile[132 : 132 + 12 * min(count, 100)]
                                              [: (len(profile) - 132) // 12 * 12]):
        if found == name:
            return profile[at : at + size]
    return b""


def shown(image: Image, signal: Signal) -> Image:
    """A picture of any mode that has gray or RGB, its opacity kept."""
    from PIL import Image as Images

    rgb = image.convert("RGB")
    pixels = np.array(rgb)
    for at in range(0, len(pixels), _ROWS):
        pixels[at : at + _ROWS] = tone_mapped(
            pixels[at : at + _ROWS].astype(np.float32) / 255, signal)
    turned = Images.fromarray(pixels)
    if image.mode in ("LA", "RGBA"):
        turned.putalpha(image.getchannel("A"))
    return turned


def tone_mapped(signal: npt.NDArray[Any], of: Signal) -> npt.NDArray[np.uint8]:
    """HDR to sRGB: white paper stays white, what is brighter is pressed in.

    signal: [height, width, 3], 0 to 1.
    """
    if of.transfer == _PQ:  # SMPTE ST 2084, in units of white paper
        power = signal ** (1 / 78.84375)
        light = np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)
        light = light ** (1 / 0.1593017578125) * 10_000 / _WHITE
    else:  # ARIB STD-B67, and the system gamma of a screen of 1000 cd/m2
        scene = np.where(signal <= 0.5, signal**2 / 3,
                         (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12)
        luma = scene @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        light = scene * luma[..., None] ** 0.2 * 1000 / _WHITE
    if of.primaries == _BT2020:
        light = light @ _FROM_BT2020
    elif of.primaries in _P3:
        light = light @ _FROM_P3
    light = np.maximum(light, 0)
    peak = light.max(axis=2, keepdims=True)
    # Reinhard's curve with a white point, on the brightest channel: hues stay.
    light *= (1 + peak / 16) / (1 + peak) * 1.6
    light = np.minimum(light, 1)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(np.round(encoded * 255), np.uint8)
