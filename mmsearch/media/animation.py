"""Animated GIF, PNG, WebP and AVIF, through Pillow."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from typing import IO, TYPE_CHECKING

from mmsearch.errors import MediaError
from mmsearch.formats import sniff
from mmsearch.fragments import at_time
from mmsearch.media.decoding import open_image, upright
from mmsearch.media.keyframes import Frame, choose

if TYPE_CHECKING:
    from PIL.Image import Image

_DEFAULT_MS = 100
"""What browsers take a frame to last that says 0 or nothing."""
_MOST_LOOKED_AT = 20_000


def count(data: bytes) -> int:
    """1, or 2 for more than one frame; 1 where not even the first can be read, of which `decode`
    then makes what it can."""
    try:
        image, _ = _open(BytesIO(data))
        if not getattr(image, "is_animated", False):
            return 1
        image.load()
        return 2
    except Exception:
        return 1


def frames(handle: IO[bytes], name: str, min_side: int, most: int) -> Iterator[Frame]:
    """See `media.frames.read`."""
    image, name = _open(handle)
    meta = {"width": image.width, "height": image.height, "format": name}
    begun = ((begin, frame) for begin, _, frame in _timed(image, min_side))
    for time, frame in islice(choose(begun), most):
        yield Frame(at_time(time), frame, meta)


def frame_at(handle: IO[bytes], name: str, time: float, min_side: int | None) -> Image:
    """The frame shown at a time, in seconds; at the very end, the last one."""
    image, _ = _open(handle)
    if not getattr(image, "is_animated", False):
        raise MediaError("has no moments: it does not move")
    for _, end, frame in _timed(image, min_side):
        if end > time + 0.0005:
            return frame
    if end > time - 0.0005:
        return frame
    raise MediaError(f"ends at {end:g} s, before {time:g} s")


def _open(handle: IO[bytes]) -> tuple[Image, str]:
    name = sniff(handle.read(64))
    handle.seek(0)
    if name is None:
        raise MediaError("not an image")
    return open_image(handle, name), name


def _timed(image: Image, min_side: int | None) -> Iterator[tuple[float, float, Image]]:
    """The seconds at which each frame begins and ends, and the frame; at least one.

    MediaError, after the frames that could be read.
    """
    elapsed = 0
    for number in range(_MOST_LOOKED_AT):
        try:
            image.seek(number)
            frame, _ = upright(image, min_side)
        except EOFError:
            return
        except Exception as error:
            if number == 0:
                raise
            raise MediaError(f"damaged after {elapsed / 1000:g} s; the frames before are indexed"
                             ) from error
        begin = elapsed / 1000
        elapsed += int(image.info.get("duration") or 0) or _DEFAULT_MS
        yield begin, elapsed / 1000, frame
