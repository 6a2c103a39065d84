"""How well `mmsearch dups` tells copies of a picture from pictures that are merely alike.

    python bench/dups.py FOLDER --count 400 --others MORE_PHOTOS

Takes photos from FOLDER, makes changed copies of each (`--copies`, of different kinds), indexes all
together with every picture of `--others` and what else FOLDER has, and counts, for each kind of
change, the copies that are found with their original, as the same and as similar; and of all pairs
that are called so, those that are not copies of one photo. Beside it: the embedding alone, at
several cosines, and a perceptual hash alone (pHash, 64 bits), at several Hamming distances, both on
all pairs.

The same with pictures made here that look alike (`--made`; see `lookalikes.py`). Of these, all
pairs of one kind are compared, not only the nearest: 33 of each make 10,000 pairs.

A folder of real photos has some photos twice, which count as wrong here.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any

import lookalikes
import numpy as np
from measure import machine, table
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from mmsearch.collection.collection import Collection
from mmsearch.media.decoding import decode
from mmsearch.search import duplicate_pairs
from mmsearch.search.duplicates import Duplicates
from mmsearch.sources.folders import Scan, iter_items
from mmsearch.uris import uri_to_path

COSINES = (0.8, 0.9, 0.95, 0.98)
DISTANCES = (2, 6, 10, 14)
Change = Callable[[Image.Image, random.Random], bytes]
Pairs = set[tuple[str, str]]


# --- changes -------------------------------------------------------------------------------------


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    return encoded(image, "JPEG", quality=quality)


def encoded(image: Image.Image, name: str, **options: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, name, **options)
    return stream.getvalue()


def resized(image: Image.Image, factor: float) -> Image.Image:
    size = (max(1, round(side * factor)) for side in image.size)
    return image.resize(tuple(size), Image.Resampling.LANCZOS)  # type: ignore[arg-type]


def cropped(image: Image.Image, share: float, choose: random.Random) -> Image.Image:
    """Without `share` of its width and of its height, cut off on whatever sides."""
    width, height = (round(side * (1 - share)) for side in image.size)
    left = choose.randint(0, image.width - width)
    top = choose.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


def watermarked(image: Image.Image, choose: random.Random) -> Image.Image:
    layer = Image.new("RGBA", image.size)
    ink = choose.choice([(255, 255, 255), (0, 0, 0), (200, 30, 30)])
    x, y = choose.choice([(0.05, 0.8), (0.45, 0.05), (0.1, 0.42)])
    ImageDraw.Draw(layer).text(
        (image.width * x, image.height * y), "© sample",
        fill=(*ink, choose.choice([110, 160, 220])),
        font=ImageFont.load_default(max(8, image.width // 9)))
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


CHANGES: dict[str, Change] = {
    "JPEG quality 30": lambda im, _: jpeg(im, 30),
    "JPEG quality 60": lambda im, _: jpeg(im, 60),
    "JPEG quality 90": lambda im, _: jpeg(im, 90),
    "resized to 75 %": lambda im, _: jpeg(resized(im, 0.75)),
    "resized to 50 %": lambda im, _: jpeg(resized(im, 0.5)),
    "resized to 25 %": lambda im, _: jpeg(resized(im, 0.25)),
    "cropped by 2 %": lambda im, choose: jpeg(cropped(im, 0.02, choose)),
    "cropped by 5 %": lambda im, choose: jpeg(cropped(im, 0.05, choose)),
    "cropped by 10 %": lambda im, choose: jpeg(cropped(im, 0.10, choose)),
    "brightness ±35 %": lambda im, choose: jpeg(
        ImageEnhance.Brightness(im).enhance(choose.choice([0.65, 1.35]))),
    "contrast ±35 %": lambda im, choose: jpeg(
        ImageEnhance.Contrast(im).enhance(choose.choice([0.65, 1.35]))),
    "watermark": lambda im, choose: jpeg(watermarked(im, choose)),
    "PNG": lambda im, _: encoded(im, "PNG"),
    "WebP quality 80": lambda im, _: encoded(im, "WEBP", quality=80),
    "mirrored": lambda im, _: jpeg(im.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
    "crop 4 %, 60 %, JPEG 55": lambda im, choose: jpeg(
        resized(cropped(im, 0.04, choose), 0.6), 55),
    "turned by 90°": lambda im, _: jpeg(im.transpose(Image.Transpose.ROTATE_90)),
    "black and white": lambda im, _: jpeg(im.convert("L").convert("RGB")),
}


def make_copies(files: list[Path], into: Path, copies: int) -> dict[str, tuple[str, str]]:
    """Changed copies of each file; -> {path: (original, kind of change)}."""
    into.mkdir(parents=True)
    kinds = list(CHANGES)
    made: dict[str, tuple[str, str]] = {}

    def make(numbered: tuple[int, Path]) -> None:
        number, file = numbered
        choose = random.Random(number)
        image = decode(file).image
        for nth in range(copies):
            kind = kinds[(number + nth * (len(kinds) // copies)) % len(kinds)]
            path = into / f"{number:05d}-{nth}.jpg"
            path.write_bytes(CHANGES[kind](image, choose))
            made[str(path)] = (str(file), kind)

    with ThreadPoolExecutor() as threads:
        list(threads.map(make, enumerate(files)))
    return made


# --- counting ------------------------------------------------------------------------------------


class Truth:
    """Which pictures are the same: copies of one original."""

    def __init__(self, made: dict[str, tuple[str, str]]) -> None:
        self.made = made

    def original(self, path: str) -> str:
        return self.made[path][0] if path in self.made else path

    def score(self, pairs: Pairs) -> dict[str, Any]:
        """Recall for each kind of change (a copy with its original), and the wrong pairs."""
        found: Counter[str] = Counter()
        of = Counter(kind for _, kind in self.made.values())
        for path, (original, kind) in self.made.items():
            found[kind] += (min(path, original), max(path, original)) in pairs
        wrong = sum(self.original(one) != self.original(other) for one, other in pairs)
        return {"recall": {kind: found[kind] / of[kind] for kind in CHANGES if of[kind]},
                "pairs": len(pairs), "wrong": wrong,
                "precision": 1 - wrong / len(pairs) if pairs else 1.0}


def grouped_pairs(found: Duplicates, similar: bool) -> Pairs:
    """Pairs of the pictures of a group; if not `similar`, of those that are called the same."""
    return {tuple(sorted(pair)) for group in found.groups  # type: ignore[misc]
            for pair in combinations((one.item.uri for one in group.members
                                      if similar or not one.how.startswith("similar")), 2)}


def pairs_where(paths: list[str], close: Callable[[slice], np.ndarray[Any, Any]]) -> Pairs:
    """Pairs of paths for which `close` (a block of rows against all, bool) says yes."""
    pairs: Pairs = set()
    for at in range(0, len(paths), 512):
        rows, columns = np.nonzero(close(slice(at, at + 512)))
        for row, column in zip(rows + at, columns, strict=True):
            if row < column:
                pairs.add((min(paths[row], paths[column]), max(paths[row], paths[column])))
    return pairs


def phash(path: str) -> np.ndarray[Any, Any]:
    """The common 64-bit pHash: 32 x 32 luma, DCT-II, its 8 x 8 lowest terms against their median
    (Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010)."""
    small = decode(uri_to_path(path), min_side=64).image.convert("L").resize(
        (32, 32), Image.Resampling.LANCZOS)
    n = np.arange(32)
    dct = np.cos(np.pi / 32 * np.outer(np.arange(8), n + 0.5))
    low = dct @ np.asarray(small, np.float64) @ dct.T
    return (low > np.median(low)).ravel()


# --- the run -------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=400, help="photos copied (default 400)")
    parser.add_argument("--copies", type=int, default=2, help="of each photo (default 2)")
    parser.add_argument("--others", type=Path, nargs="*", default=[], help="more look-alikes")
    parser.add_argument("--made", type=int, default=33,
                        help="made pictures of each kind (default 33)")
    parser.add_argument("--threshold", type=float, nargs="*", default=[0.8])
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    args = parser.parse_args()
    files = sorted(path for path in args.folder.rglob("*") if path.is_file())
    photos = [path.resolve() for path in files if is_photo(path)]
    with tempfile.TemporaryDirectory() as work:
        made = make_lookalikes(Path(work) / "lookalikes", args.made)
        results = {"lookalikes": {} if not made else false_pairs(made, Path(work) / "index", args)}
        for name, pictures, others in (("photos", photos, args.others), ("made", made, [])):
            if pictures:
                results[name] = measured(pictures, others, Path(work) / name, args)
    print(machine())
    if made:
        print(report_false_pairs(results["lookalikes"]))
    for name in ("photos", "made"):
        if name in results:
            print(f"\n{name}: {report(results[name])}")
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(), **results}, indent=1))


def make_lookalikes(folder: Path, count: int) -> list[Path]:
    """Pictures of each kind, `count` of each; none twice."""
    folder.mkdir()
    paths: list[Path] = []
    for family in lookalikes.FAMILIES:
        seen: set[bytes] = set()
        number = 0
        while len(seen) < count:
            image = lookalikes.made(family, number)
            number += 1
            if image.tobytes() not in seen:
                seen.add(image.tobytes())
                paths.append(folder / f"{family}-{number:04}.png")
                image.save(paths[-1], compress_level=1)
    return paths


def false_pairs(made: list[Path], index: Path, args: argparse.Namespace) -> dict[str, Any]:
    """For each kind, how many of all pairs are called the same, and the same or similar."""
    collection = Collection.create(index, model=args.model)
    scan = Scan()
    collection.add(iter_items([made[0].parent], scan=scan), scan=scan)
    duplicate_pairs.NEIGHBOURS, usual = args.made, duplicate_pairs.NEIGHBOURS
    duplicate_pairs.NEAREST_COSINE, usual_cosine = -1, duplicate_pairs.NEAREST_COSINE
    counts: dict[str, Any] = {}
    for family in lookalikes.FAMILIES:
        found = collection.duplicates(threshold=args.threshold[0], where=f"path ~ /{family}-")
        assert found.pictures == args.made
        counts[family] = {"pairs": args.made * (args.made - 1) // 2,
                          "same": len(grouped_pairs(found, similar=False)),
                          "listed": len(grouped_pairs(found, similar=True))}
    duplicate_pairs.NEIGHBOURS, duplicate_pairs.NEAREST_COSINE = usual, usual_cosine
    return counts


def measured(pictures: list[Path], others: list[Path], work: Path,
             args: argparse.Namespace) -> dict[str, Any]:
    chosen = random.Random(0).sample(pictures, min(args.count, len(pictures)))
    work.mkdir()
    copies = make_copies(chosen, work / "copies", args.copies)
    collection = Collection.create(work / "index", model=args.model)
    scan = Scan()
    collection.add(iter_items([*pictures, work / "copies", *others], scan=scan), scan=scan)
    return run(collection, Truth(copies), args)


def is_photo(path: Path) -> bool:
    try:
        decode(path, min_side=64)
    except Exception:
        return False
    return True


def run(collection: Collection, truth: Truth, args: argparse.Namespace) -> dict[str, Any]:
    scores: dict[str, Any] = {}
    costs: dict[str, Any] = {}
    for threshold in args.threshold:
        start, cpu = time.perf_counter(), time.process_time()
        found = collection.duplicates(threshold=threshold)
        costs[f"dups {threshold:g}"] = {
            "pictures": found.pictures, "candidates": found.candidates,
            "confirmed": found.confirmed, "seconds": time.perf_counter() - start,
            "cpu_seconds": time.process_time() - cpu}
        for name, similar in (("same", False), ("listed", True)):
            scores[f"dups {threshold:g}: {name}"] = truth.score(grouped_pairs(found, similar))
    rows, vectors = collection.vectors("image")
    paths = [row.item.uri for row in rows]
    for cosine in COSINES:
        pairs = pairs_where(paths, lambda part, c=cosine: vectors[part] @ vectors.T >= c)
        scores[f"cosine {cosine:g}"] = truth.score(pairs)
    with ThreadPoolExecutor() as threads:
        bits = np.stack(list(threads.map(phash, paths))).astype(np.float32)
    signs = 2 * bits - 1
    for distance in DISTANCES:
        pairs = pairs_where(
            paths, lambda part, d=distance: signs[part] @ signs.T >= 64 - 2 * d - 0.5)
        scores[f"pHash {distance}"] = truth.score(pairs)
    return {"scores": scores, "costs": costs, "copies": len(truth.made), "pictures": len(paths)}


def report_false_pairs(counts: dict[str, Any]) -> str:
    total = {key: sum(one[key] for one in counts.values()) for key in ("pairs", "same", "listed")}
    lines = [[name, *(f"{one[key]:,}" for key in ("pairs", "same", "listed"))]
             for name, one in [*counts.items(), ("all", total)]]
    title = "pairs of different pictures: called the same; listed as the same or similar"
    return f"{title}\n{table(['', 'pairs', 'same', 'listed'], lines)}"


def report(result: dict[str, Any]) -> str:
    scores = result["scores"]
    kinds = next(iter(scores.values()))["recall"]
    lines: list[list[str]] = [[kind, *(f"{100 * score['recall'][kind]:.0f}"
                                       for score in scores.values())] for kind in kinds]
    common = [kind for kind in kinds if kind not in ("turned by 90°", "black and white")]
    lines.append(["all but the last two, %", *(
        f"{100 * float(np.mean([score['recall'][kind] for kind in common])):.1f}"
        for score in scores.values())])
    lines.append(["pairs called the same", *(f"{score['pairs']:,}" for score in scores.values())])
    lines.append(["of these wrong", *(f"{score['wrong']:,}" for score in scores.values())])
    lines.append(["precision, %", *(f"{100 * score['precision']:.1f}"
                                    for score in scores.values())])
    text = [f"{result['copies']} changed copies among {result['pictures']} pictures; recall in % "
            "by kind of change", table(["", *scores], lines)]
    for name, cost in result["costs"].items():
        text.append(
            f"{name}: {cost['seconds']:.1f} s ({cost['cpu_seconds']:.1f} s of CPU) for "
            f"{cost['candidates']:,} candidates: {cost['candidates'] / cost['seconds']:.0f}/s, "
            f"{1000 * cost['cpu_seconds'] / max(cost['confirmed'], 1):.1f} ms of CPU for each of "
            f"{cost['confirmed']:,} confirmed pairs")
    return "\n".join(text)


if __name__ == "__main__":
    main()
