"""How long a cold `mmsearch query "text"` takes, beside rclip's, and how much memory.

    python bench/query.py --setup-rclip python3.12 --sizes 1000 10000 100000 1000000

Both get collections of the same number of random unit vectors; then their commands run in turn,
each a fresh process with its files in the page cache. Printed are medians.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import (
    MMSEARCH,
    Measured,
    arguments,
    machine,
    measure,
    medians,
    random_shards,
    table,
    write_json,
)
from rclip_peer import Rclip, add_arguments, from_arguments

from mmsearch.collection.collection import Collection
from mmsearch.encoders import load_encoder
from mmsearch.records import Item

HEAD = ("vectors", "mmsearch s", "MB", "rclip s", "MB", "mmsearch/rclip time", "memory")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--runs", type=int, default=9, help="runs of each (default 9)")
    parser.add_argument("--query", default="a dog on the beach")
    parser.add_argument("--model", default="builtin", help="mmsearch's model")
    add_arguments(parser)
    args = parser.parse_args()
    peer = from_arguments(args, args.cache)
    print(machine())
    print("cold process, warm page cache; median of", args.runs)
    if peer:
        print("rclip's models have random weights: its speed counts, its results mean nothing")
    results = [compare(size, args, peer) for size in args.sizes]
    print(table(HEAD, [row(result) for result in results]))
    write_json(args.json, results=results)


def compare(size: int, args: argparse.Namespace, peer: Rclip | None) -> dict[str, Any]:
    """Fill both with `size` vectors, run both in turn; -> figures by name."""
    index = filled(args.cache, size, args.model)
    commands = {"mmsearch": lambda: measure([*MMSEARCH, "query", args.query, "-i", str(index)])}
    if peer:
        commands["rclip"] = rclip_query(args.cache, size, peer, args.query)
    runs: dict[str, list[Measured]] = {name: [] for name in commands}
    for command in commands.values():
        command()  # fills the page cache
    for _ in range(args.runs):
        for name, command in commands.items():
            runs[name].append(command())
    return {"vectors": size, **{name: medians(measured) for name, measured in runs.items()}}


def row(result: dict[str, Any]) -> list[object]:
    own, peer = result["mmsearch"], result.get("rclip")
    cells: list[object] = [f"{result['vectors']:,}", f"{own['seconds']:.2f}", own["peak_mb"]]
    if peer is None:
        return [*cells, "-", "-", "-", "-"]
    return [*cells, f"{peer['seconds']:.2f}", peer["peak_mb"],
            f"{own['seconds'] / peer['seconds']:.2f}", f"{own['peak_mb'] / peer['peak_mb']:.2f}"]


def rclip_query(cache: Path, size: int, peer: Rclip, query: str) -> Callable[[], Measured]:
    folder = cache / "rclip-photos"
    folder.mkdir(parents=True, exist_ok=True)
    datadir = peer.datadir(cache / f"rclip-{size}")
    peer.fill(datadir, folder, size)
    return lambda: peer.run(datadir, folder, "--no-indexing", query)


def filled(cache: Path, size: int, model: str) -> Path:
    """A collection of `size` random unit vectors; one that is in the cache is kept."""
    encoder = load_encoder(model)
    path = (cache / f"mmsearch-{encoder.name.replace('/', '-')}-{size}").absolute()
    if not path.exists():
        print(f"filling a collection with {size:,} vectors", file=sys.stderr)
        partial = path.with_name("partial")
        shutil.rmtree(partial, ignore_errors=True)
        collection = Collection.create(partial, model=model)
        items = (Item(f"/photos/photo-{n:07d}.jpg", "image", fingerprint=f"{n}:0")
                 for n in range(size))
        collection.add(items, run=lambda _, shards: random_shards(shards, encoder.dim))
        collection.close()
        partial.rename(path)
    return path


if __name__ == "__main__":
    main()
