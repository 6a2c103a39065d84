"""How long a cold `mmsearch query "text"` takes, beside rclip's, and how much memory.

    python bench/query.py --setup-rclip python3.12 --sizes 1000 10000 100000 1000000

Both get collections of the same number of random unit vectors; then their commands run in turn,
each a fresh process with its files in the page cache. Printed are medians.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from measure import MMSEARCH, Measured, machine, measure, medians, table
from rclip_peer import Rclip, add_arguments, from_arguments

from mmsearch.collection.collection import Collection
from mmsearch.encoders import load_encoder
from mmsearch.ingest.shards import Built, Shard
from mmsearch.records import Item, Vectors
from mmsearch.storage.segments import write_segment

HEAD = ("vectors", "mmsearch s", "MB", "rclip s", "MB", "mmsearch/rclip time", "memory")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--runs", type=int, default=9, help="runs of each (default 9)")
    parser.add_argument("--query", default="a dog on the beach")
    parser.add_argument("--model", default="builtin", help="mmsearch's model")
    parser.add_argument("--cache", type=Path, default=Path("build/bench"))
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    add_arguments(parser)
    args = parser.parse_args()
    peer = from_arguments(args, args.cache)
    print(machine())
    print("cold process, warm page cache; median of", args.runs)
    if peer:
        print("rclip's models have random weights: its speed counts, its results mean nothing")
    results = [compare(size, args, peer) for size in args.sizes]
    print(table(HEAD, [row(result) for result in results]))
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(), "results": results}, indent=1))


def compare(size: int, args: argparse.Namespace, peer: Rclip | None) -> dict[str, Any]:
    """Fill both with `size` vectors, run both in turn; -> figures by name."""
    commands = {"mmsearch": mmsearch_query(args.cache, size, args.model, args.query)}
    if peer:
        commands["rclip"] = rclip_query(args.cache, size, peer, args.query)
    runs: dict[str, list[Measured]] = {name: [] for name in commands}
    for command in commands.values():
        command()  # fills the page cache
    for _ in range(args.runs):
        for name, command in commands.items():
            runs[name].append(command())
    return {"vectors": size, **{name: figures(measured) for name, measured in runs.items()}}


def figures(runs: list[Measured]) -> dict[str, Any]:
    middle = medians(runs)
    return {
        "seconds": round(middle.seconds, 3),
        "cpu_seconds": round(middle.cpu_seconds, 3),
        "peak_mb": round(middle.peak_mb),
        "all_seconds": [round(run.seconds, 3) for run in runs],
    }


def row(result: dict[str, Any]) -> list[object]:
    own, peer = result["mmsearch"], result.get("rclip")
    cells: list[object] = [f"{result['vectors']:,}", f"{own['seconds']:.2f}", own["peak_mb"]]
    if peer is None:
        return [*cells, "-", "-", "-", "-"]
    return [
        *cells,
        f"{peer['seconds']:.2f}",
        peer["peak_mb"],
        f"{own['seconds'] / peer['seconds']:.2f}",
        f"{own['peak_mb'] / peer['peak_mb']:.2f}",
    ]


def mmsearch_query(cache: Path, size: int, model: str, query: str) -> Callable[[], Measured]:
    encoder = load_encoder(model).name.replace("/", "-")
    path = (cache / f"mmsearch-{encoder}-{size}").absolute()
    fill_mmsearch(path, size, model)
    return lambda: measure([*MMSEARCH, "query", query, "-i", str(path)])


def rclip_query(cache: Path, size: int, peer: Rclip, query: str) -> Callable[[], Measured]:
    folder = cache / "rclip-photos"
    folder.mkdir(parents=True, exist_ok=True)
    datadir = peer.datadir(cache / f"rclip-{size}")
    peer.fill(datadir, folder, size)
    return lambda: peer.run(datadir, folder, "--no-indexing", query)


def fill_mmsearch(path: Path, size: int, model: str) -> None:
    """A collection of `size` random unit vectors at `path`; one that is full already is kept."""
    if path.exists():
        collection = Collection.open(path)
        full = collection.info()["items"] == size
        collection.close()
        if full:
            return
        shutil.rmtree(path)
    print(f"filling a collection with {size:,} vectors", file=sys.stderr)
    collection = Collection.create(path, model=model)
    dim = collection.encoder.dim
    items = (
        Item(f"/photos/photo-{n:07d}.jpg", "image", fingerprint=f"{n}:0") for n in range(size)
    )
    collection.add(items, run=lambda _, shards: random_shards(shards, dim))
    collection.close()


def random_shards(shards: Iterable[Shard], dim: int) -> Iterator[Built]:
    """Stands in for the encoder: segments as `build_shard` writes them, of random directions."""
    for shard in shards:
        ids = np.arange(shard.first_seq, shard.first_seq + len(shard.items), dtype=np.int64)
        blocks = partial(random_blocks, shard.first_seq, len(ids), dim)
        segment = write_segment(shard.root, shard.name, shard.kind, ids, blocks)
        rows = [(int(n), item, f"{n:032x}") for n, item in zip(ids, shard.items, strict=True)]
        yield Built(segments=[segment], rows=rows)


def random_blocks(seed: int, rows: int, dim: int) -> Iterator[Vectors]:
    vectors: Vectors = np.random.default_rng(seed).standard_normal((rows, dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    yield vectors


if __name__ == "__main__":
    main()
