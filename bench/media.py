"""What a file costs on its way into the index, by format: read, decode, prepare, encode.

    pip install '.[cpu,dev]'
    python bench/media.py

Makes a picture of 12 megapixels in every format, and a video of 30 s in 1080p, and takes each
through the four stages by itself. Times are CPU time, so items/s are those of one core. Of the
video, an item is a frame that is kept.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measure import arguments, machine, table, write_json
from PIL import Image

import mmsearch
from mmsearch.encoders import Encoder, load_encoder
from mmsearch.media import frames
from mmsearch.media.decoding import decode
from mmsearch.records import Pixels

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from making import dng, film

DEMO = Path(mmsearch.__file__).parent / "demo"
SIZE = (4000, 3000)
STAGES = ("read", "decode", "prepare", "encode")
HEAD = ("file", "MB", *(f"{stage} ms" for stage in STAGES), "items/s")
SECONDS, RATE, VIDEO = 30, 30, (1920, 1080)
BATCH = 16


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    folder = args.cache / "media"
    folder.mkdir(parents=True, exist_ok=True)
    encoder = load_encoder("builtin")
    rows = [{"file": name, "MB": path.stat().st_size / 1e6,
             **measured(path, encoder, args.repeats)} for name, path in files(folder)]
    print(machine())
    print(table(HEAD, [[row["file"], *(f"{row[key]:.1f}" for key in ("MB", *STAGES, "items/s"))]
                       for row in rows]))
    write_json(args.json, results=rows)


def files(cache: Path) -> Iterator[tuple[str, Path]]:
    """Every file, made if it is not there."""
    for suffix, options in (("jpg", {"quality": 90}), ("png", {}), ("webp", {"quality": 85}),
                            ("heic", {"quality": 70, "enc_params": {"preset": "ultrafast"}}),
                            ("avif", {"quality": 65, "speed": 10})):
        path = cache / f"photo.{suffix}"
        yield f"12 MP {suffix.upper()}", made(path, lambda path, o=options: photo().save(path, **o))
    yield "12 MP JPEG XL", made(cache / "photo.jxl", jpeg_xl)
    yield "12 MP RAW, no preview", made(cache / "photo.dng", lambda path: dng(path, photo()))
    yield "12 MP RAW, preview", made(cache / "preview.dng", lambda path: dng(
        path, photo(), preview=photo().reduce(2)))
    yield "30 s 1080p, GOP 1 s", made(cache / "phone.mp4", lambda path: video(path, gop=RATE))
    yield "30 s 1080p, GOP 10 s", made(cache / "film.mp4", lambda path: video(path, gop=10 * RATE))


def made(path: Path, make: Callable[[Path], Any]) -> Path:
    if not path.exists():
        new = path.with_stem("new")
        make(new)
        new.rename(path)
    return path


def photo() -> Image.Image:
    """A demo picture, enlarged, with the grain that makes a file as large as a camera's."""
    import pillow_heif

    pillow_heif.register_heif_opener()  # so that it can be saved as HEIC
    image = np.asarray(Image.open(DEMO / "skyline.jpg").convert("RGB").resize(SIZE), np.int16)
    grain = np.random.default_rng(0).normal(0, 6, (SIZE[1], SIZE[0], 1))
    return Image.fromarray((image + grain).clip(0, 255).astype(np.uint8))


def jpeg_xl(path: Path) -> None:
    import imagecodecs

    path.write_bytes(imagecodecs.jpegxl_encode(np.asarray(photo()), effort=3, distance=1))


def video(path: Path, gop: int) -> None:
    """Six pans of five seconds over demo pictures."""
    (width, height), names = VIDEO, ("skyline", "lake", "temple", "bus", "cat", "sunset")
    each = SECONDS * RATE // len(names)

    def scenes() -> Iterator[Pixels]:
        for name in names:
            wide = np.asarray(Image.open(DEMO / f"{name}.jpg").convert("RGB").resize(
                (width + 4 * each, height)))
            for n in range(each):
                yield np.ascontiguousarray(wide[:, 4 * n : 4 * n + width])

    film(path, scenes(), seconds=1 / RATE, rate=RATE, size=VIDEO,
         **{"x264-params": f"keyint={gop}"})


def measured(path: Path, encoder: Encoder, repeats: int) -> dict[str, Any]:
    """Milliseconds an item by stage, the best of some."""
    best = {stage: float("inf") for stage in STAGES}
    data = path.read_bytes()

    def decoded() -> list[Image.Image]:
        if frames.holds_several(path):
            return [frame.image for frame in frames.read(path, encoder.min_side, 2000)]
        return [decode(data, min_side=encoder.min_side).image]

    def timed(stage: str, work: Callable[[], Any], items: int) -> Any:
        start = time.process_time()
        found = work()
        best[stage] = min(best[stage], 1000 * (time.process_time() - start) / items)
        return found

    count = len(decoded())
    for _ in range(repeats):
        timed("read", path.read_bytes, count)
        images = timed("decode", decoded, count)
        pixels = timed("prepare", lambda images=images: encoder.prepare(images[0]), 1)
        timed("encode", lambda pixels=pixels: encoder.encode_images([pixels] * BATCH), BATCH)
    return {**best, "items": count, "items/s": 1000 / sum(best.values())}


if __name__ == "__main__":
    main()
