"""Make photos to measure with: JPEGs of 1 to 4 megapixels, the same ones on every machine.

    python bench/photos.py build/bench/photos --count 600

Each is a random piece of a demo picture, scaled up, tinted, and given texture and grain, so that
contents differ and files are as large as a camera's (0.3 to 1.5 MB). A quarter of them are stored
turned, with the EXIF orientation that says so. Existing files are kept.
"""

from __future__ import annotations

import argparse
import random
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

import mmsearch

DEMO = Path(mmsearch.__file__).parent / "demo"
MEGAPIXELS = (1.0, 4.0)
ASPECTS = (4 / 3, 3 / 2, 16 / 9, 3 / 4, 2 / 3)
ORIENTATION, CAMERA, TAKEN, EXIF_IFD = 0x0112, 0x0110, 0x9003, 0x8769
TURNED_LEFT = 6
GRAIN_SIDE = 3000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=600)
    args = parser.parse_args()
    files = make_photos(args.folder, args.count)
    sizes = [file.stat().st_size / 1e6 for file in files]
    print(f"{len(files)} photos in {args.folder}: {min(sizes):.2f} to {max(sizes):.2f} MB each, "
          f"{sum(sizes):.0f} MB in all")


def make_photos(folder: Path, count: int) -> list[Path]:
    """Make the photos 0 … count-1 below `folder`, in subfolders of 100; the missing ones only."""
    files = [folder / f"{n // 100:02d}" / f"photo-{n:05d}.jpg" for n in range(count)]
    missing = [(n, file) for n, file in enumerate(files) if not file.exists()]
    if missing:
        for parent in {file.parent for _, file in missing}:
            parent.mkdir(parents=True, exist_ok=True)
        make = partial(make_photo, demo_pictures(), grain())
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda numbered: make(*numbered), missing))
    return files


def demo_pictures() -> list[Image.Image]:
    """The demo pictures that are photos; clip art has no texture to scale up."""
    pictures = []
    for file in sorted(DEMO.glob("*.jpg")):
        with Image.open(file) as picture:
            corner = picture.getpixel((0, 0))
            if corner != (255, 255, 255):
                pictures.append(picture.convert("RGB"))
    return pictures


def grain() -> np.ndarray[tuple[int, int], np.dtype[np.int16]]:
    """A square of sensor-like noise: fine grain over coarser texture."""
    random_numbers = np.random.default_rng(0)
    texture = random_numbers.normal(0, 6, (GRAIN_SIDE, GRAIN_SIDE)).astype(np.float32)
    for scale, strength in ((4, 4), (16, 4)):
        coarse = random_numbers.normal(0, strength, (GRAIN_SIDE // scale,) * 2)
        enlarged = Image.fromarray(coarse.astype(np.float32)).resize((GRAIN_SIDE, GRAIN_SIDE))
        texture += np.asarray(enlarged)
    return texture.astype(np.int16)


def make_photo(
    pictures: list[Image.Image],
    texture: np.ndarray[tuple[int, int], np.dtype[np.int16]],
    number: int,
    file: Path,
) -> None:
    choose = random.Random(number)
    width, height = photo_size(choose)
    image = piece(choose, choose.choice(pictures), width, height)
    for enhance in (ImageEnhance.Color, ImageEnhance.Brightness, ImageEnhance.Contrast):
        image = enhance(image).enhance(choose.uniform(0.8, 1.25))
    left, top = (choose.randrange(GRAIN_SIDE - side) for side in (width, height))
    noise = texture[top : top + height, left : left + width, None]
    image = Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))
    partial_file = file.with_suffix(".partial")
    exif = camera_data(choose)
    if choose.random() < 0.25:
        exif[ORIENTATION] = TURNED_LEFT
        image = image.transpose(Image.Transpose.ROTATE_90)
    image.save(partial_file, "JPEG", quality=choose.randint(84, 90), exif=exif)
    partial_file.rename(file)


def photo_size(choose: random.Random) -> tuple[int, int]:
    pixels, aspect = choose.uniform(*MEGAPIXELS) * 1e6, choose.choice(ASPECTS)
    width = round((pixels * aspect) ** 0.5)
    return width, round(pixels / width)


def piece(choose: random.Random, picture: Image.Image, width: int, height: int) -> Image.Image:
    """A random part of a picture, at least half as wide, in the wanted size."""
    share = choose.uniform(0.5, 1.0)
    wide, high = round(picture.width * share), round(picture.height * share)
    left, top = choose.randint(0, picture.width - wide), choose.randint(0, picture.height - high)
    part = picture.crop((left, top, left + wide, top + high))
    if choose.random() < 0.5:
        part = ImageOps.mirror(part)
    return ImageOps.fit(part, (width, height), Image.Resampling.BICUBIC)


def camera_data(choose: random.Random) -> Image.Exif:
    exif = Image.Exif()
    exif[CAMERA] = choose.choice(["Bench One", "Bench Two", "Bench Phone"])
    date = f"{choose.randint(2015, 2025)}:{choose.randint(1, 12):02d}:{choose.randint(1, 28):02d}"
    exif.get_ifd(EXIF_IFD)[TAKEN] = f"{date} 12:00:00"
    return exif


if __name__ == "__main__":
    main()
