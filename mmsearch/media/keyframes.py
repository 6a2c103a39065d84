"""Which frames of a moving picture are worth keeping.

A frame is kept when the scene has changed since the last one kept, and otherwise every INTERVAL
seconds; but never one like those just kept, nor one that shows nothing. What differs is told from
32x32 grey pixels: cheap, and blind to noise and compression.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL.Image import Image

INTERVAL = 5.0
"""Seconds: scene splitters take 5 to 20 for a clip's length, samplers 0.5 to 2 a frame; with
scene changes seen to apart, the longest of those loses nothing."""
SPACING = 1.0
"""Seconds between two frames that are kept, at least: a cut that follows sooner is seen then."""
SCENE = 16.0
"""Of 255, mean difference in grey: two scenes differ by 30 to 80, a second of a moving camera by
5 to 20. (PySceneDetect's 27 is a mean over hue, saturation and value of neighbouring frames.)"""
LIKE = 3.0
"""Below this, two frames are the same picture: a still camera, a slide, a pause."""
BLANK = 4.0
"""Standard deviation in grey: less, and a frame is a black or white one between two scenes."""
_RECENT = 16
_SIDE = 32


class Frame(NamedTuple):
    """A picture in a file, RGB, upright, reduced; or the text of a page, without one.

    fragment: what its uri adds to that of the file, after the "#".
    meta: of the whole file.
    """

    fragment: str
    image: Image | None
    meta: Mapping[str, Any]
    text: str = ""


def choose(frames: Iterable[tuple[float, Image]], spacing: float = SPACING
           ) -> Iterator[tuple[float, Image]]:
    """Those of (seconds, picture) that are worth keeping, in order; of any at all, one."""
    recent: deque[npt.NDArray[np.int16]] = deque(maxlen=_RECENT)
    kept_at = -np.inf
    spare: tuple[float, Image] | None = None
    for time, image in frames:
        if time - kept_at < spacing:
            continue
        grey = np.asarray(image.convert("L").resize((_SIDE, _SIDE), reducing_gap=2.0), np.int16)
        if grey.std() < BLANK:
            spare = spare or (time, image)
            continue
        differences = [float(np.abs(grey - other).mean()) for other in recent]
        if recent:
            changed = differences[-1] >= SCENE or time - kept_at >= INTERVAL
            if not changed or min(differences) < LIKE:
                continue
        recent.append(grey)
        kept_at = time
        yield time, image
    if not recent and spare is not None:
        yield spare
