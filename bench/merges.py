"""What merging costs: bytes written for each byte added, and how many segments are open.

    python bench/merges.py

Adds small batches of random vectors (by default 1,000 batches of 1 to 16), replaces a fifth of
what is there on the way, and tidies after each batch, as `mmsearch index` does. A table says, as
the collection grows, how many bytes of segments were written for each byte added, by adding itself
and by merging.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measure import machine, table

from mmsearch.collection.collection import Collection
from mmsearch.ingest import upkeep
from mmsearch.records import Item, SegmentInfo
from mmsearch.storage.catalog import CATALOG, Catalog, Change
from mmsearch.storage.segments import segment_name, write_segment

LINES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--adds", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=16, help="rows a batch, at most")
    parser.add_argument("--replace", type=float, default=0.2, help="share that replaces")
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path("build/bench"))
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    args = parser.parse_args()
    print(machine())
    rows = list(measured(args))
    print(table(tuple(rows[0]), [[str(value) for value in row.values()] for row in rows]))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


def measured(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    path = args.cache / "merges"
    shutil.rmtree(path, ignore_errors=True)
    Collection.create(path).close()
    merged: list[SegmentInfo] = []
    upkeep.write_segment = recorded(merged)  # type: ignore[assignment]
    rng, vectors = random.Random(args.seed), np.random.default_rng(args.seed)
    catalog = Catalog(path / CATALOG, write=True)
    catalog.put_settings({"dim": args.dim})
    seq, names, added, slowest = 1, 0, 0, 0.0
    for n in range(1, args.adds + 1):
        count = rng.randint(1, args.batch)
        items = []
        for _ in range(count):
            old = names and rng.random() < args.replace
            names += not old
            items.append(Item(f"/v/{rng.randint(1, names) if old else names}", "image"))
        items = list({item.uri: item for item in items}.values())
        rows = vectors.standard_normal((len(items), args.dim)).astype(np.float32)
        ids = np.arange(seq, seq + len(items))
        seq += len(items)
        info = write_segment(path, segment_name("image", int(ids[0]), int(ids[-1])), "image", ids,
                             lambda rows=rows: iter([rows]))
        catalog.commit(Change(add_segments=[info], put=[
            (int(i), item, "") for i, item in zip(ids, items, strict=True)]))
        added += info.bytes
        start = time.perf_counter()
        upkeep.tidy(path, catalog)
        slowest = max(slowest, time.perf_counter() - start)
        if n % (args.adds // LINES) == 0:
            figures = upkeep.info(path, catalog)
            yield {
                "adds": n, "items": figures["items"], "segments": figures["segments"],
                "dead": f"{1 - figures['items'] / figures['rows']:.0%}",
                "written/added": round(1 + sum(i.bytes for i in merged) / added, 2),
                "merges": len(merged), "slowest tidy, ms": round(1000 * slowest)}
    catalog.close()


def recorded(into: list[SegmentInfo]) -> Any:
    def write(*args: Any) -> SegmentInfo:
        into.append(write_segment(*args))
        return into[-1]

    return write


if __name__ == "__main__":
    main()
