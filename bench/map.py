"""How long `mmsearch map` takes for 50,000 pictures, and what its groups are worth.

    python bench/map.py --sizes 50000
    python bench/map.py --pairs products.jsonl --column articleType --split val

The first: seconds for groups, names and places, of vectors shaped like CLIP's (clipvectors.py), by
wall clock and of CPU time; thumbnails, which take a millisecond or ten each, are not among them.
The second: how well groups agree with labels, by k-means on the vectors, which `mmsearch map`
takes, and by HDBSCAN on the map.
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from classify import encoded
from clipvectors import ClipVectors
from measure import arguments, machine, table, write_json

from mmsearch.classification import Things, cluster, common_words, named, places_of
from mmsearch.encoders import load_encoder


def timed(work: Callable[[], Any]) -> tuple[Any, str]:
    start, cpu = time.perf_counter(), time.process_time()
    found = work()
    return found, f"{time.perf_counter() - start:.1f} ({time.process_time() - cpu:.1f})"


def sizes(args: Namespace) -> list[list[Any]]:
    encoder, rows = load_encoder("builtin"), []
    for size in args.sizes:
        vectors = ClipVectors(seed=args.seed, dim=encoder.dim).images(0, size)
        things = Things([None] * size, vectors, np.zeros_like(vectors))  # type: ignore[list-item]
        (of, centres), grouped = timed(lambda v=vectors: cluster(v))
        groups, naming = timed(lambda t=things, o=of, c=centres: named(
            t, o, c, common_words(), encoder))
        _, placing = timed(lambda v=vectors: places_of(v))
        rows.append([f"{size:,}", len(groups), grouped, naming, placing])
    return rows


def agreement(args: Namespace) -> list[list[Any]]:
    from sklearn.cluster import HDBSCAN
    from sklearn.metrics import normalized_mutual_info_score

    rows, found = encoded(args.pairs, load_encoder("builtin"), args.cache)
    at = [n for n, row in enumerate(rows) if row.meta.get("split") == args.split]
    vectors = found["images"][at]
    label = np.array([str(rows[n].meta.get(args.column, "")) for n in at])
    ways = {f"k-means, {count or 'default'}": cluster(vectors, count)[0]
            for count in (None, 10, 20, 30)}
    places = places_of(vectors)
    ways |= {f"HDBSCAN, {least} or more":
             HDBSCAN(min_cluster_size=least, copy=True).fit_predict(places) for least in (5, 10)}
    return [[name, len({*of} - {-1}), f"{(of < 0).mean():.2f}",
             f"{sum(Counter(label[of == n]).most_common(1)[0][1] for n in set(of)) / len(of):.3f}",
             f"{normalized_mutual_info_score(label, of):.3f}"] for name, of in ways.items()]


def main(args: Namespace) -> None:
    print(machine())
    if args.pairs:
        found = agreement(args)
        print(table(["groups by", "groups", "in none", "purity", "NMI"], found))
    else:
        found = sizes(args)
        print(table(["pictures", "groups", "grouping s (CPU)", "naming", "placing"], found))
    write_json(args.json, results=found)


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50_000])
    parser.add_argument("--pairs", type=Path, help="pictures with labels and splits")
    parser.add_argument("--column", default="label")
    parser.add_argument("--split", default="val")
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args())
