"""What `--tiles` finds in pictures of many things, and what it costs.

    python bench/tiles.py
    python bench/tiles.py --pairs PAIRS.jsonl --split val --limit 400

Half of the pictures, each with its captions, are pasted into one mosaic each, at a random place
among pictures of the other half, which nobody asks for. (A mosaic of 1x1 is that picture alone,
enlarged: what tiles do to a search for what fills a picture.) The mosaics are indexed without and
with tiles, and each caption asks for its mosaic. Then the halves change places: that is one round.
`where`: of the mosaics that were among the first 10 as a tile, the share whose tile has the middle
of the right picture. `relative cost`: CPU time of indexing, over that without tiles.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measure import machine, table
from PIL import Image

import mmsearch
from mmsearch.collection.collection import Collection
from mmsearch.evaluation.recall import Pair, load_pairs
from mmsearch.fragments import file_uri, part_of
from mmsearch.media.tiles import Grid, parse_grid
from mmsearch.metrics import bootstrap_interval
from mmsearch.records import Hit
from mmsearch.sources.folders import Scan, iter_items

DEMO = Path(mmsearch.__file__).parent / "demo" / "captions.jsonl"
CELL = (560, 420)
"""Pixels of each picture in a mosaic: 2x2 are 0.9 megapixels, as is 1x1; 3x3 are 2.1."""
KS = (1, 5, 10)
HEAD = ("mosaics", "tiles", *(f"recall@{k}" for k in KS), "95 %", "where", "rows a mosaic",
        "relative cost")


@dataclass(frozen=True)
class Asked:
    """A mosaic that is looked for: by which captions, and where (in per cent) the middle of the
    picture is that they are of."""

    path: Path
    captions: tuple[str, ...]
    middle: tuple[float, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=Path, default=DEMO)
    parser.add_argument("--split")
    parser.add_argument("--limit", type=int, help="so many of the pictures, chosen at random")
    parser.add_argument("--mosaics", nargs="+", type=parse_grid,
                        default=[Grid(1, 1), Grid(2, 2), Grid(3, 3)])
    parser.add_argument("--tiles", nargs="+", type=parse_grid,
                        default=[Grid(), Grid(2, 2), Grid(3, 3)])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--cache", type=Path, default=Path("build/bench/tiles"))
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    args.cache = args.cache.absolute()
    pairs = [pair for pair in load_pairs(args.pairs, split=args.split) if pair.captions]
    order = np.random.default_rng(0).permutation(len(pairs))[: args.limit]
    pairs = [pairs[at] for at in order]
    print(f"{machine()}\n{len(pairs)} pictures, {args.rounds} rounds of 2 galleries of "
          f"{len(pairs) // 2} mosaics\n")
    figures = []
    for grid in args.mosaics:
        galleries = [*made(pairs, grid, args.rounds, args.cache)]
        first = 0.0
        for tiles in args.tiles:
            row = measured(galleries, tiles, args.model, args.cache)
            first = first or row["cpu seconds"]
            figures.append({"mosaics": f"{grid.columns}x{grid.rows}", "tiles": str(tiles), **row,
                            "relative cost": row["cpu seconds"] / first})
    print(table(HEAD, [line(row) for row in figures]))
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(), "results": figures}, indent=1))


def line(row: dict[str, Any]) -> list[str]:
    low, high = row["interval"]
    where = row["where"] if row["mosaics"] != "1x1" else None
    return [row["mosaics"], row["tiles"], *(f"{100 * row[f'recall@{k}']:.1f}" for k in KS),
            f"{100 * low:.0f} to {100 * high:.0f}",
            "" if where is None else f"{100 * where:.0f} %",
            f"{row['rows']:.1f}", f"{row['relative cost']:.1f}"]


# -- mosaics -------------------------------------------------------------------------------------


def made(pairs: Sequence[Pair], grid: Grid, rounds: int, cache: Path) -> Iterator[list[Asked]]:
    """Galleries; every picture is asked for in one of each two."""
    random = np.random.default_rng(1)
    for number in range(rounds):
        order = random.permutation(len(pairs))
        halves = order[: len(pairs) // 2], order[len(pairs) // 2 :]
        for half, (wanted, others) in enumerate([halves, halves[::-1]]):
            folder = cache / f"mosaics-{grid.columns}x{grid.rows}-{number}-{half}"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            yield [mosaic(folder / f"{at}.jpg", pairs[at], grid, random,
                          [pairs[n].image for n in random.permutation(others)])
                   for at in wanted]


def mosaic(path: Path, pair: Pair, grid: Grid, random: np.random.Generator,
           others: list[Path]) -> Asked:
    count = grid.columns * grid.rows
    at = int(random.integers(count))
    width, height = CELL if count > 1 else (2 * CELL[0], 2 * CELL[1])
    whole = Image.new("RGB", (grid.columns * width, grid.rows * height))
    for n, name in enumerate([*others[:at], pair.image, *others[at : count - 1]]):
        shown = Image.open(name).convert("RGB").resize((width, height))
        whole.paste(shown, (n % grid.columns * width, n // grid.columns * height))
    whole.save(path, quality=92)
    column, row = at % grid.columns + 0.5, at // grid.columns + 0.5
    return Asked(path, pair.captions, (100 * column / grid.columns, 100 * row / grid.rows))


# -- searching -----------------------------------------------------------------------------------


def measured(galleries: Sequence[list[Asked]], tiles: Grid, model: str, cache: Path
             ) -> dict[str, Any]:
    """Recall over all captions of all galleries, and what indexing took."""
    ranks: list[int] = []
    captions_of: list[str] = []
    right: list[bool] = []
    rows, seconds = 0, 0.0
    for gallery in galleries:
        shutil.rmtree(cache / "index", ignore_errors=True)
        collection = Collection.create(cache / "index", model=model)
        collection.configure(tiles=str(tiles))
        _ = collection.embed(["loaded"], [gallery[0].path])
        scan, start = Scan(), time.process_time()
        rows += collection.add(iter_items([gallery[0].path.parent], scan=scan), scan=scan).added
        seconds += time.process_time() - start
        for asked in gallery:
            for caption in asked.captions:
                hits = collection.search(text=caption, k=max(KS))
                found = next((n for n, hit in enumerate(hits)
                              if file_uri(hit.item) == str(asked.path)), max(KS))
                ranks.append(found)
                captions_of.append(asked.path.stem)
                if found < max(KS) and part_of(hits[found].item):
                    right.append(covers(hits[found], asked.middle))
        collection.close()
    hit_at_1 = np.array(ranks) < 1
    return {**{f"recall@{k}": float((np.array(ranks) < k).mean()) for k in KS},
            "interval": bootstrap_interval(
                hit_at_1, groups=np.unique(captions_of, return_inverse=True)[1]),
            "where": float(np.mean(right)) if right else None, "queries": len(ranks),
            "rows": rows / sum(map(len, galleries)), "cpu seconds": seconds}


def covers(hit: Hit, middle: tuple[float, float]) -> bool:
    part = part_of(hit.item)
    assert part is not None and part.region is not None
    x, y, w, h = part.region
    return x <= middle[0] <= x + w and y <= middle[1] <= y + h


if __name__ == "__main__":
    main()
