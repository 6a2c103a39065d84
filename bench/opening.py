"""How long it takes to open a collection of a million items, and to search it first.

    python bench/opening.py

Builds the collection once (random vectors of 64 dimensions, to save disk), then measures, each in
fresh processes: importing, opening, the first search by a vector, the second, a search with a
filter, `info`, and an index run that finds nothing to do. Medians; nothing else should be running.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
from measure import machine, table

from mmsearch.collection.collection import Collection
from mmsearch.ingest import upkeep
from mmsearch.records import Item
from mmsearch.storage.catalog import CATALOG, Catalog, Change
from mmsearch.storage.segments import segment_name, write_segment

STEP = 50_000
PROBE = """
import json, sys, time
from pathlib import Path
times = {}
def clock(name, start):
    times[name] = 1000 * (time.perf_counter() - start)
start = time.perf_counter()
import numpy as np
from mmsearch.collection import Collection
clock("import", start)
start = time.perf_counter()
collection = Collection.open(sys.argv[1])
clock("open", start)
query = np.random.default_rng(1).standard_normal(int(sys.argv[2])).astype(np.float32)
for name, options in (("first search", {}), ("second search", {}),
                      ("filtered search", {"where": "size = 777"})):
    start = time.perf_counter()
    assert collection.search(vector=query, k=10, **options)
    clock(name, start)
start = time.perf_counter()
assert collection.info()["items"]
clock("info", start)
_ = collection.encoder
start = time.perf_counter()
collection.add([])
clock("a run with nothing to do", start)
print(json.dumps(times))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=Path("build/bench"))
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    args = parser.parse_args()
    print(machine())
    path = args.cache / f"opening-{args.items}-{args.dim}"
    if not (path / "done").exists():
        build(path, args.items, args.dim)
    runs = [json.loads(subprocess.run(
        [sys.executable, "-c", PROBE, path, str(args.dim)],
        capture_output=True, text=True, check=True).stdout) for _ in range(args.runs + 1)][1:]
    figures = {name: round(median(run[name] for run in runs), 1) for name in runs[0]}
    size = (path / CATALOG).stat().st_size / 1e6
    print(f"{args.items:,} items, a catalog of {size:.0f} MB")
    print(table(("", "ms"), [[name, f"{value:.1f}"] for name, value in figures.items()]))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))


def build(path: Path, items: int, dim: int) -> None:
    Collection.create(path).close()
    catalog = Catalog(path / CATALOG, write=True)
    catalog.put_settings({"dim": dim})
    for first in range(1, items + 1, STEP):
        ids = np.arange(first, min(first + STEP, items + 1))
        catalog.commit(Change(put=[
            (int(n), Item(f"/photos/{n // 1000}/{n}.jpg", "image", group=f"/photos/{n}.jpg",
                          meta={"size": int(n) % 9973, "width": 640, "height": 480, "note": "x"},
                          fingerprint=f"{n % 9973}:{n}"), f"{n:032x}") for n in ids]))
    everything = np.arange(1, items + 1)

    def blocks() -> Iterator[np.ndarray]:
        rng = np.random.default_rng(0)
        for first in range(0, items, STEP):
            rows = rng.standard_normal((min(STEP, items - first), dim)).astype(np.float32)
            yield rows / np.linalg.norm(rows, axis=1, keepdims=True)

    info = write_segment(path, segment_name("image", 1, items), "image", everything, blocks)
    catalog.commit(Change(add_segments=[info]))
    upkeep.tidy(path, catalog)
    catalog.close()
    (path / "done").touch()


if __name__ == "__main__":
    main()
