"""How long it takes to find out recall, once pictures and captions are encoded, and its memory.

    python bench/evaluate.py --sizes 1000x5000 100000x100000

Vectors are random unit vectors of 384 numbers; each caption's is near its picture's. All measures
of both directions are computed, with their intervals. For sizes that take hours, --share 0.001
asks 0.1 % of the queries.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from measure import arguments, machine, measure, table, write_json

from mmsearch.evaluation import recall
from mmsearch.evaluation.truth import Truth
from mmsearch.records import Vectors

DIM = 384


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--sizes", nargs="+", default=["1000x5000", "20000x100000"])
    parser.add_argument("--share", type=float, default=1)
    parser.add_argument("--one", help="measure this size here: how the others are started")
    args = parser.parse_args()
    if args.one:
        print(*once(args.one, args.share))
        return
    rows = []
    for size in args.sizes:
        done = measure([sys.executable, __file__, "--one", size, "--share", str(args.share)])
        rows.append((size, args.share, *map(float, done.output.split()), done.peak_mb))
    print(machine())
    print(table(("pictures x captions", "queries asked", "seconds", "CPU seconds", "peak MB"),
                [(size, f"{share:.1%}", f"{seconds:.2f}", f"{cpu:.2f}", f"{peak:,.0f}")
                 for size, share, seconds, cpu, peak in rows]))
    write_json(args.json, rows=rows)


def once(size: str, share: float) -> tuple[float, float]:
    """-> seconds of wall and of CPU time."""
    images, captions = map(int, size.split("x"))
    generator = np.random.default_rng(0)
    owners = np.arange(captions, dtype=np.int64) * images // captions
    pictures = unit(generator.standard_normal((images, DIM), np.float32))
    texts = unit(generator.standard_normal((captions, DIM), np.float32) / 16 + pictures[owners])
    truth = Truth.owned(owners, images)
    if share < 1:
        empty = np.empty(0, np.int64)
        truth = Truth([one if n < share * captions else empty
                       for n, one in enumerate(truth.images_of)],
                      [one if n < share * images else empty
                       for n, one in enumerate(truth.captions_of)], truth.groups)
    start, cpu = time.perf_counter(), time.process_time()
    recall.measure(pictures, texts, truth)
    return time.perf_counter() - start, time.process_time() - cpu


def unit(rows: Vectors) -> Vectors:
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


if __name__ == "__main__":
    main()
