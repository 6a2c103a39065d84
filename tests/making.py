"""Files of several pictures, made from the pictures that ship with the package."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
from conftest import DEMO
from PIL import Image

from mmsearch.records import Pixels

SCENES = ("cat", "bus", "pizza", "sunset")


def picture(name: str, size: tuple[int, int] = (320, 240)) -> Image.Image:
    return Image.open(DEMO / f"{name}.jpg").convert("RGB").resize(size)


def film(path: Path, scenes: Sequence[str | Pixels] = SCENES, *, seconds: float = 2,
         codec: str = "libx264", rotation: int = 0, size: tuple[int, int] = (320, 240),
         rate: int = 10, pixels: str = "yuv420p", **options: str) -> Path:
    """A video that shows each of some pictures for so long."""
    with av.open(str(path), "w", options={"movflags": "faststart"}
                 if path.suffix == ".mp4" else {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.options = {"preset": "ultrafast", "deadline": "realtime", "cpu-used": "8", **options}
        if rotation:
            stream.set_display_rotation(rotation)
        for scene in scenes:
            shown = np.asarray(picture(scene, size)) if isinstance(scene, str) else scene
            frame = av.VideoFrame.from_ndarray(shown, format="rgb24")
            for _ in range(round(seconds * rate)):
                frame.pts = None
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def animation(path: Path, scenes: Sequence[str] = SCENES) -> Path:
    """One that shows each of some pictures for 1.5 seconds."""
    path.write_bytes(_animation(path.suffix, tuple(scenes)))
    return path


@cache
def _animation(suffix: str, scenes: tuple[str, ...]) -> bytes:
    Image.init()
    pictures = [picture(name) for name in scenes]
    data = BytesIO()
    pictures[0].save(data, Image.EXTENSION[suffix], save_all=True, append_images=pictures[1:],
                     loop=0, duration=1500)
    return data.getvalue()


def document(path: Path, pages: Sequence[str], *, extra: str = "", trailer: str = "") -> Path:
    """A PDF of 200 x 300 points; each page has a line of text, or nothing but a grey square."""
    parts = [f"<< /Type /Catalog /Pages 2 0 R >> {extra}",
             f"<< /Type /Pages /Count {len(pages)} /Kids [" + " ".join(
                 f"{4 + 2 * n} 0 R" for n in range(len(pages))) + "] >>",
             "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    for n, text in enumerate(pages):
        stream = f"BT /F 12 Tf 20 250 Td ({text}) Tj ET" if text else "0.5 g 50 100 100 100 re f"
        parts += [f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 300] /Contents {5 + 2 * n} 0 R "
                  "/Resources << /Font << /F 3 0 R >> >> >>",
                  f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream"]
    data, places = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, 1):
        places.append(len(data))
        data += f"{number} 0 obj\n{part}\nendobj\n".encode()
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    count = len(parts) + 1
    data += (f"xref\n0 {count}\n0000000000 65535 f \n{table}trailer\n<< /Size {count} /Root 1 0 R "
             f"{trailer} >>\nstartxref\n{len(data)}\n%%EOF\n").encode()
    path.write_bytes(data)
    return path


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of two pictures of one size, of 255."""
    assert one.size == other.size
    return float(np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).mean())


def seen(frames: Sequence[Any]) -> list[str]:
    """Which of the scenes each frame shows."""
    return [min(SCENES, key=lambda name: difference(frame.image, picture(name, frame.image.size)))
            for frame in frames]
