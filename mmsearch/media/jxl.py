"""JPEG XL, through libjxl as imagecodecs has it (BSD; Pillow has none, and its plug-in is GPL and
decodes before anybody can look at the size)."""

from __future__ import annotations

import re
from typing import IO

from PIL import Image

from mmsearch.errors import MediaError, MissingDecoder
from mmsearch.media.hdr import Signal

_HEAD = 1 << 20
_MOST_PIXELS = 200_000_000
_HEADER = 64
"""Bytes that are enough for the size and colours."""
_UNKNOWN, _CUSTOM = Signal(2, 2), 2
_RATIOS = ((1, 1), (6, 5), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def jxl_file(handle: IO[bytes], name: str) -> Image.Image:
    """The first picture, upright; MediaError if it is too large, or imagecodecs is not there."""
    try:
        import imagecodecs
    except ImportError:
        raise MissingDecoder("JPEG XL", "jxl") from None
    data = handle.read()
    width, height = size(data[:_HEAD])
    if width * height > _MOST_PIXELS:
        raise MediaError(f"decompression bomb: {width}x{height} pixels")
    signal = _signal(data[:_HEAD])
    pixels = imagecodecs.jpegxl_decode(data, index=0, numthreads=1)
    if pixels.dtype.itemsize > 1:
        top = 65535 if pixels.dtype.kind == "u" else 1
        pixels = (pixels.clip(0, top) * (255 / top)).round().astype("uint8")
    image = Image.fromarray(
        pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)
    if signal.is_hdr:
        image.info["nclx_profile"] = {"color_primaries": signal.primaries,
                                      "transfer_characteristics": signal.transfer}
    return image


def size(head: bytes) -> tuple[int, int]:
    """Width and height from the header (ISO/IEC 18181-1, SizeHeader); MediaError if there is none.

    In a container (part 2) the codestream is in a box `jxlc`, or begins in the first `jxlp`.
    """
    return _size(_codestream(head))


def _codestream(head: bytes) -> _Bits:
    start = re.match(rb"\xff\x0a|.*?(?:jxlc|jxlp....)\xff\x0a", head, re.DOTALL)
    if start is None:
        raise MediaError("damaged JPEG XL: it has no header")
    return _Bits(int.from_bytes(head[start.end() : start.end() + _HEADER], "little"))


def _size(bits: _Bits) -> tuple[int, int]:
    small = bits.take(1)

    def side() -> int:
        return 8 * (bits.take(5) + 1) if small else bits.take((9, 13, 18, 30)[bits.take(2)]) + 1

    height = side()
    ratio = bits.take(3)
    if ratio:
        across, down = _RATIOS[ratio - 1]
        return height * across // down, height
    return side(), height


def _signal(head: bytes) -> Signal:
    """The colours, from ImageMetadata; unknown where that takes more than the usual fields."""
    bits = _codestream(head)
    _size(bits)
    if bits.take(1):  # all default
        return _UNKNOWN
    if bits.take(1):
        bits.take(3)  # orientation
        if bits.take(1):
            _size(bits)  # as it should be shown
        if bits.take(2):  # a preview, an animation
            return _UNKNOWN
    is_float = bits.take(1)
    if bits.take(2) == 3:
        bits.take(6)
    bits.take(4 * is_float + 1)
    further = bits.take(2)  # channels: opacity, as it usually is, and others
    if further > 1 or (further and not bits.take(1)):
        return _UNKNOWN
    bits.take(1)  # whether it is stored in other colours than it has
    if bits.take(1) or bits.take(1):  # all default, or an ICC profile
        return _UNKNOWN
    if bits.enumerated() or bits.enumerated() == _CUSTOM:  # no RGB; the white point
        return _UNKNOWN
    primaries = bits.enumerated()
    if primaries == _CUSTOM or bits.take(1):  # a gamma
        return _UNKNOWN
    return Signal(primaries, bits.enumerated())


class _Bits:
    """Read from the lowest on."""

    def __init__(self, value: int) -> None:
        self.value = value

    def take(self, count: int) -> int:
        taken = self.value & ((1 << count) - 1)
        self.value >>= count
        return taken

    def enumerated(self) -> int:
        kind = self.take(2)
        return kind if kind < 2 else self.take(4) + 2 if kind == 2 else self.take(6) + 18
