"""Files of several pictures, made from the pictures that ship with the package."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
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


def film(path: Path, scenes: Iterable[str | Pixels] = SCENES, *, seconds: float = 2,
         codec: str = "libx264", rotation: int = 0, size: tuple[int, int] = (320, 240),
         rate: int = 10, pixels: str = "yuv420p", sound: float = 0,
         tags: Mapping[str, str] | None = None, **options: str) -> Path:
    """A video that shows each of some pictures for so long, with so many seconds of silence."""
    options_of = {"fflags": "bitexact"}
    if path.suffix == ".mp4":
        options_of["movflags"] = "faststart+use_metadata_tags" if tags else "faststart"
    with av.open(str(path), "w", options=options_of) as container:
        container.metadata.update(tags or {})
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.options = {"preset": "ultrafast", "deadline": "realtime", "cpu-used": "8", **options}
        if sound:
            track = container.add_stream("aac", rate=8000, layout="mono")
        if rotation:
            stream.set_display_rotation(rotation)
        for scene in scenes:
            shown = np.asarray(picture(scene, size)) if isinstance(scene, str) else scene
            frame = av.VideoFrame.from_ndarray(shown, format="rgb24")
            for _ in range(round(seconds * rate)):
                frame.pts = None
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound:
            for _ in range(round(sound * 10)):
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.float32), "fltp", "mono")
                silence.sample_rate = 8000
                container.mux(track.encode(silence))
            container.mux(track.encode())
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


def document(path: Path, pages: Sequence[str], *, extra: str = "", trailer: str = "",
             more: Sequence[str] = (), on_page: str = "") -> Path:
    """A PDF of 200 x 300 points; each page has a line of text, or nothing but a grey square.

    extra, on_page, trailer: put into the catalog, each page, the trailer. more: further objects,
        which take the numbers behind those of the pages, 4 + 2 * len(pages) and so on.
    """
    parts = [f"<< /Type /Catalog /Pages 2 0 R {extra} >>",
             f"<< /Type /Pages /Count {len(pages)} /Kids [" + " ".join(
                 f"{4 + 2 * n} 0 R" for n in range(len(pages))) + "] >>",
             "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    for n, text in enumerate(pages):
        stream = f"BT /F 12 Tf 20 250 Td ({text}) Tj ET" if text else "0.5 g 50 100 100 100 re f"
        parts += [f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 300] /Contents {5 + 2 * n} 0 R "
                  f"/Resources << /Font << /F 3 0 R >> >> {on_page} >>",
                  f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream"]
    data, places = b"%PDF-1.4\n", []
    parts += more
    for number, part in enumerate(parts, 1):
        places.append(len(data))
        data += f"{number} 0 obj\n{part}\nendobj\n".encode()
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    count = len(parts) + 1
    data += (f"xref\n0 {count}\n0000000000 65535 f \n{table}trailer\n<< /Size {count} /Root 1 0 R "
             f"{trailer} >>\nstartxref\n{len(data)}\n%%EOF\n").encode()
    path.write_bytes(data)
    return path


def dng(path: Path, image: Image.Image, *, orientation: int = 1,
        preview: Image.Image | None = None) -> Path:
    """The smallest DNG that holds a picture (of even sides) as a sensor sees it: 16 bits of red,
    green or blue a pixel, linear; `preview` is the JPEG that a camera puts first."""
    linear = (np.asarray(image, np.float64) / 255) ** 2.2 * 60_000
    mosaic = linear[:, :, 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = linear[::2, ::2, 0], linear[1::2, 1::2, 2]
    sensor = mosaic.astype("<u2").tobytes()
    # sRGB's primaries: XYZ to camera.
    matrix = [3.2406, -1.5372, -0.4986, -0.9689, 1.8758, 0.0415, 0.0557, -0.2040, 1.0570]
    common: list[Tag] = [
        (271, 2, b"Acme\0"), (272, 2, b"Acme One\0"), (274, 3, [orientation]),
        (34665, 4, [("ifd", [(36867, 2, b"2021:05:03 14:22:10\0")])]),
        (50706, 1, bytes([1, 4, 0, 0])), (50708, 2, b"Acme One\0"),
        (50721, 10, [part for value in matrix for part in (round(value * 10_000), 10_000)]),
        (50728, 5, [1, 1, 1, 1, 1, 1]), (50778, 3, [21])]
    raw: list[Tag] = [
        (254, 4, [0]), (256, 4, [image.width]), (257, 4, [image.height]), (258, 3, [16]),
        (259, 3, [1]), (262, 3, [32803]), (273, 4, [("data", sensor)]), (277, 3, [1]),
        (278, 4, [image.height]), (279, 4, [len(sensor)]), (284, 3, [1]), (33421, 3, [2, 2]),
        (33422, 1, bytes([0, 1, 1, 2])), (50714, 3, [0]), (50717, 4, [60_000])]
    if preview is None:
        path.write_bytes(tiff([*common, *raw]))
        return path
    jpeg = BytesIO()
    preview.save(jpeg, "JPEG", quality=92)
    path.write_bytes(tiff([
        *common, (254, 4, [1]), (256, 4, [preview.width]), (257, 4, [preview.height]),
        (258, 3, [8, 8, 8]), (259, 3, [7]), (262, 3, [6]), (277, 3, [3]),
        (278, 4, [preview.height]), (273, 4, [("data", jpeg.getvalue())]),
        (279, 4, [len(jpeg.getvalue())]), (284, 3, [1]), (330, 4, [("ifd", raw)])]))
    return path


Tag = tuple[int, int, Any]


def tiff(tags: Sequence[Tag]) -> bytes:
    """A little-endian TIFF. A value is bytes, numbers, or another directory or data, elsewhere."""
    data = bytearray(b"II*\0\0\0\0\0")

    def put(block: bytes) -> int:
        data.extend(bytes(len(data) % 2))
        data.extend(block)
        return len(data) - len(block)

    def directory(tags: Sequence[Tag]) -> int:
        entries = b""
        for tag, kind, value in sorted(tags):
            code, width = {1: ("B", 1), 2: ("s", 1), 3: ("H", 2), 4: ("I", 4), 5: ("I", 8),
                           10: ("i", 8)}[kind]
            if isinstance(value, list):
                value = [one if isinstance(one, int) else
                         directory(one[1]) if one[0] == "ifd" else put(one[1]) for one in value]
                value = struct.pack(f"<{len(value)}{code}", *value)
            field = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", put(value))
            entries += struct.pack("<HHI", tag, kind, len(value) // width) + field
        return put(struct.pack("<H", len(tags)) + entries + bytes(4))

    data[4:8] = struct.pack("<I", directory(tags))
    return bytes(data)


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of two pictures of one size, of 255."""
    assert one.size == other.size
    return float(np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).mean())


def seen(frames: Sequence[Any]) -> list[str]:
    """Which of the scenes each frame shows."""
    return [min(SCENES, key=lambda name: difference(frame.image, picture(name, frame.image.size)))
            for frame in frames]
