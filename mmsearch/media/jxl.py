"""JPEG XL, through libjxl as imagecodecs has it (BSD; Pillow has none, and its plug-in is GPL and
decodes before anybody can look at the size)."""

from __future__ import annotations

import re
from typing import IO

from PIL import Image

from mmsearch.errors import MediaError, MissingDecoder

_HEAD = 1 << 20
_MOST_PIXELS = 200_000_000
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
    pixels = imagecodecs.jpegxl_decode(data, index=0, numthreads=1)
    if pixels.dtype.itemsize > 1:
        top = 65535 if pixels.dtype.kind == "u" else 1
        pixels = (pixels.clip(0, top) * (255 / top)).round().astype("uint8")
    return Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)


def size(head: bytes) -> tuple[int, int]:
    """Width and height from the header (ISO/IEC 18181-1, SizeHeader); MediaError if there is none.

    In a container (part 2) the codestream is in a box `jxlc`, or begins in the first `jxlp`.
    """
    start = re.match(rb"\xff\x0a|.*?(?:jxlc|jxlp....)\xff\x0a", head, re.DOTALL)
    if start is None:
        raise MediaError("damaged JPEG XL: it has no header")
    bits = _Bits(int.from_bytes(head[start.end() : start.end() + 10], "little"))
    small = bits.take(1)

    def side() -> int:
        return 8 * (bits.take(5) + 1) if small else bits.take((9, 13, 18, 30)[bits.take(2)]) + 1

    height = side()
    ratio = bits.take(3)
    if ratio:
        across, down = _RATIOS[ratio - 1]
        return height * across // down, height
    return side(), height


class _Bits:
    """Read from the lowest on."""

    def __init__(self, value: int) -> None:
        self.value = value

    def take(self, count: int) -> int:
        taken = self.value & ((1 << count) - 1)
        self.value >>= count
        return taken
