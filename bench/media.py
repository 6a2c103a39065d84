"""What a file costs on its way into the index, by format: read, decode, prepare, encode.

    pip install '.[cpu,dev]'
    python bench/media.py

Makes a picture of 12 megapixels in every format, and a video of 30 s in 1080p, and takes each
through the four stages by itself. Times are CPU time, so items/s are those of one core. Of the
video, an item is a frame that is kept.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
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
SECONDS, RATE, VIDEO = 30, 30, (1920, 1080)
BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path("build/bench/media"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    encoder = load_encoder("builtin")
    print(f"{'file':22} {'MB':>6} " + " ".join(f"{stage + ' ms':>11}" for stage in STAGES)
          + "   items/s   bound by")
    rows = []
    for name, path in files(args.cache):
        row = {"file": name, "MB": path.stat().st_size / 1e6,
               **measured(path, encoder, args.repeats)}
        rows.append(row)
        print(f"{row['file']:22} {row['MB']:6.1f} "
              + " ".join(f"{row[stage]:11.1f}" for stage in STAGES)
              + f" {row['items/s']:9.1f}   {row['bound by']}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


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
    for _ in range(repeats):
        data, best["read"] = timed(path.read_bytes, best["read"])
        if frames.holds_several(path):
            kept, seconds = timed(lambda: list(frames.read(path, encoder.min_side, 2000)))
            images = [frame.image for frame in kept]
            best["decode"] = min(best["decode"], seconds / len(images))
        else:
            picture, best["decode"] = timed(
                lambda data=data: decode(data, min_side=encoder.min_side), best["decode"])
            images = [picture.image]
        pixels, best["prepare"] = timed(lambda images=images: encoder.prepare(images[0]),
                                        best["prepare"])
        _, seconds = timed(lambda pixels=pixels: encoder.encode_images([pixels] * BATCH))
        best["encode"] = min(best["encode"], seconds / BATCH)
    count = len(images)
    best["read"] /= count
    return {**{stage: 1000 * seconds for stage, seconds in best.items()},
            "items": count, "items/s": 1 / sum(best.values()),
            "bound by": max(best, key=lambda stage: best[stage])}


def timed(work: Callable[[], Any], best: float = float("inf")) -> tuple[Any, float]:
    """What it returns, and the CPU seconds that it took, if that is less than the best."""
    start = time.process_time()
    found = work()
    return found, min(best, time.process_time() - start)


if __name__ == "__main__":
    main()
