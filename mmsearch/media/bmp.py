"""BMP whose rows are packed as runs: Pillow unpacks them pixel by pixel, so that a file of 40 KB
can keep a core busy for half a minute."""

from __future__ import annotations

from typing import Any

from PIL import BmpImagePlugin, Image

from mmsearch.errors import MediaError

_CODEC, _MOST = "mmsearch_bmp_runs", 4_000_000
"""Packed bytes: two or three seconds of work."""


class BmpFile(BmpImagePlugin.BmpImageFile):
    def _open(self) -> None:
        super()._open()
        self.tile = [part._replace(codec_name=_CODEC) if part.codec_name == "bmp_rle" else part
                     for part in self.tile]


class _Runs(BmpImagePlugin.BmpRleDecoder):
    def decode(self, buffer: Any) -> tuple[int, int]:
        assert self.fd is not None
        packed = self.fd.read(_MOST + 1)
        if len(packed) > _MOST:
            raise MediaError(f"decompression bomb: a BMP of more than {_MOST:,} bytes of runs")
        rows = unpacked(packed, self.state.xsize, self.state.ysize, in_nibbles=self.args[1])
        self.set_as_raw(rows, "L" if self.mode in ("1", "L") else "P", (0, self.args[-1]))
        return -1, 0


Image.register_decoder(_CODEC, _Runs)


def unpacked(packed: bytes, width: int, height: int, *, in_nibbles: bool) -> bytes:
    """A byte for each pixel, in the order of the file; what is skipped is 0.

    Raises:
        OSError: it is cut short.
    """
    rows = bytearray(width * height)
    x = y = at = 0
    while y < height:
        if at + 2 > len(packed):
            if y < height - 1 or x < width:
                raise OSError("image file is truncated")
            break
        count, value = packed[at], packed[at + 1]
        at += 2
        if count or value > 2:
            if count:
                levels = bytes((value >> 4, value & 15)) * 128 if in_nibbles else (
                    bytes((value,)) * count)
            else:  # as they are, filled up to an even number of bytes
                count = value
                size = (count + 1) // 2 if in_nibbles else count
                levels = packed[at:at + size]
                if in_nibbles:
                    levels = bytes(half for byte in levels for half in (byte >> 4, byte & 15))
                at += size + size % 2
            levels = levels[:max(min(count, width - x), 0)]
            place = y * width + x
            rows[place:place + len(levels)] = levels
            x += count
        elif value == 0:  # the next row
            x, y = 0, y + 1
        elif value == 1:  # the end
            break
        else:  # further right and up
            right, up = packed[at:at + 2].ljust(2, b"\0")
            x, y, at = x + right, y + up, at + 2
    return bytes(rows)
