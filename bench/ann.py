"""Approximate search side by side: mmsearch, plain FAISS, hnswlib, usearch, numpy.

    python bench/ann.py --sizes 10000 100000 1000000
    python bench/ann.py --only mmsearch,mmsearch:hnsw@0.99,hnswlib
    python bench/ann.py --only mmsearch --sizes 1000000 --filters

All of them search the same CLIP-like vectors (`clipvectors.py`) for the same queries, one after the
other, each in a process of its own. bench/README.md says how to read the tables.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ann_systems import K, Mmsearch, System, best, system
from clipvectors import ClipVectors
from measure import CommandFailed, arguments, machine, measure, table, write_json

from mmsearch.metrics import ann_recall
from mmsearch.records import Ids, Vectors

SYSTEMS = ("mmsearch", "mmsearch@0.99", "faiss", "faiss@0.99", "hnswlib", "usearch", "usearch-f16",
           "numpy")
HEAD = ("", "build s", "B/vector", "MB own", "mapped", "recall text", "image", "1 query ms", "p95",
        "q/s", "how")
FILTER_HEAD = ("rows allowed", "share", "recall", "1 query ms", "p95")
# Not OMP_THREAD_LIMIT: FAISS 1.15 waits for ever where it gets fewer threads than it was told.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
BLOCK, QUERIES = 16_384, 1000
TARGETS = (0.95, 0.99)
SECONDS, FEWEST = 10.0, 20
"""Spent on timing, at most, a figure: slow systems are asked fewer queries."""
FILTERED, SHARES, CORRELATED = 200, (0.5, 0.1, 0.01, 0.001), (0.1, 0.01)
"""Queries a filter is measured with; shares of rows that filters allow."""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--only", default=",".join(SYSTEMS), help="systems, with commas between")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--filters", action="store_true",
                        help="measure mmsearch with filters instead")
    parser.add_argument("--do", nargs=3, help=argparse.SUPPRESS)  # in a process of its own
    args = parser.parse_args()
    if args.do:
        do, name, size = args.do
        data = Data(args.cache, int(size), args.dim, args.seed)
        print(json.dumps({"build": build, "search": search, "filters": filters}[do](data, name)))
        return
    names = args.only.split(",")
    for name in names:
        system(name, args.cache)  # stops here if it is none, or not installed
    print(machine())
    write_json(args.json, sizes=[one_size(size, names, args) for size in args.sizes])


def one_size(size: int, names: Sequence[str], args: argparse.Namespace) -> dict[str, Any]:
    """Build what is not in the cache, measure every system, print the table; -> its figures."""
    print(f"\n{size:,} vectors of {args.dim} dimensions", flush=True)
    found: dict[str, Any] = {"size": size}
    for name in names:
        try:
            built = process("build", name, size, args)
            if args.filters:
                found[name] = process("filters", name, size, args, ONE_THREAD)
            else:
                found |= {label: {**built, **one} for label, one in process(
                    "search", name, size, args, ONE_THREAD).items()}
        except CommandFailed as error:
            print(f"{name} is left out: {str(error).splitlines()[-1]}", file=sys.stderr)
    shown = {name: one for name, one in found.items() if name != "size"}
    if args.filters:
        for name, rows in shown.items():
            print(name, table(FILTER_HEAD, [
                [which, f"{one['allowed']:.2%}", f"{one['recall']:.3f}", f"{one['ms']:.2f}",
                 f"{one['ms_p95']:.2f}"] for which, one in rows.items()]), sep="\n", flush=True)
    else:
        print(table(HEAD, [row(name, one) for name, one in shown.items()]), flush=True)
    return found


def process(do: str, name: str, size: int, args: argparse.Namespace,
            env: dict[str, str] | None = None) -> dict[str, Any]:
    command = [sys.executable, __file__, "--cache", str(args.cache), "--dim", str(args.dim),
               "--seed", str(args.seed), "--do", do, name, str(size)]
    figures: dict[str, Any] = json.loads(measure(command, env=env).output.splitlines()[-1])
    return figures


def row(name: str, one: dict[str, Any]) -> list[object]:
    return [name, f"{one['seconds']:,.1f}", f"{one['bytes']:,.0f}", f"{one['own_mb']:,.0f}",
            f"{one['mapped_mb']:,.0f}", f"{one['recall_text']:.3f}", f"{one['recall_image']:.3f}",
            f"{one['ms']:.2f}", f"{one['ms_p95']:.2f}", f"{one['qps']:,.0f}", one["facts"]]


# -- vectors, queries, and the true neighbours of each query ---------------------------------------


class Data:
    """The first `size` vectors of the generator with `seed`; what costs time is kept in `cache`."""

    def __init__(self, cache: Path, size: int, dim: int = 512, seed: int = 0) -> None:
        self.size, self.seed = size, seed
        self.path = cache / "ann" / f"{ClipVectors.key(seed, dim)}-{size}"
        self._made = seed, dim

    @cached_property
    def made(self) -> ClipVectors:
        return ClipVectors(*self._made)

    def blocks(self) -> Iterator[Vectors]:
        """The vectors, float32 [BLOCK, dim] at a time."""
        for start in range(0, self.size, BLOCK):
            yield self.made.images(start, min(start + BLOCK, self.size))

    @cached_property
    def asked(self) -> dict[str, Vectors]:
        """Queries and the true neighbours of each: of `text`, which is scored, `image`, held-out
        images, and `tuning`, other texts; `items` are texts that a collection holds besides, for
        the engine to tune itself on."""
        file = self.path / "queries.npz"
        if not file.exists():
            made = self.made
            asked = {"text": made.texts(0, QUERIES), "tuning": made.texts(QUERIES, 2 * QUERIES),
                     "image": made.held_out(0, QUERIES)}
            truth = self.exact(np.concatenate(list(asked.values())))
            truths = {f"{name}_truth": truth[QUERIES * n : QUERIES * (n + 1)]
                      for n, name in enumerate(asked)}
            self.path.mkdir(parents=True, exist_ok=True)
            np.savez(file, **asked, **truths, items=made.texts(2 * QUERIES, 4 * QUERIES))
        with np.load(file) as stored:
            return dict(stored)

    def exact(self, queries: Vectors) -> Ids:
        """int64 [n, K]: the nearest vectors of each query, by exact float32 search."""
        scores, ids, start = np.empty((len(queries), 0), np.float32), None, 0
        for block in self.blocks():
            near = queries @ block.T
            columns = best(near)
            scores = np.hstack([scores, np.take_along_axis(near, columns, axis=1)])
            ids = columns if ids is None else np.hstack([ids, columns + start])
            order = best(scores)
            scores, ids = (np.take_along_axis(found, order, axis=1) for found in (scores, ids))
            start += len(block)
        return ids


# -- what a process of its own does ----------------------------------------------------------------


def build(data: Data, name: str) -> dict[str, Any]:
    """Seconds of a build from vectors to files, without making the vectors; kept in the cache."""
    one = system(name, data.path)
    done = one.path.with_name(f"{one.name}.json")
    if not done.exists():
        print(f"building {one.name}, {data.size:,} vectors", file=sys.stderr)
        texts, making = data.asked["items"], 0.0

        def blocks() -> Iterator[Vectors]:
            nonlocal making
            began = time.perf_counter()
            for block in data.blocks():
                making += time.perf_counter() - began
                yield block
                began = time.perf_counter()

        shutil.rmtree(one.path, ignore_errors=True)
        one.path.mkdir(parents=True)
        start = time.perf_counter()
        one.build(data.size, blocks, texts)
        files = [file for file in one.path.rglob("*") if file.is_file()]
        done.write_text(json.dumps({
            "seconds": time.perf_counter() - start - making,
            "bytes": sum(file.stat().st_size for file in files) / data.size}))
    figures: dict[str, Any] = json.loads(done.read_text())
    return figures


def search(data: Data, name: str) -> dict[str, Any]:
    """Recall and speed on one core, by name; an HNSW peer has one for each recall that it was tuned
    to: the least effort that reaches it on queries that are not used again."""
    one, asked = opened(data, name), data.asked
    for query in asked["text"][:100]:
        one.search(query[None])
    held = memory()
    if not one.efforts:
        return {name: {**measured(one, asked), **held}}
    found, targets = {}, list(TARGETS)
    for effort in one.efforts:
        one.effort = effort
        reached = ann_recall(one.search(asked["tuning"]), asked["tuning_truth"], K)
        while targets and reached >= targets[0]:
            found[f"{name}@{targets.pop(0)}"] = {**measured(one, asked), **held}
    return found


def opened(data: Data, name: str) -> System:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    one = system(name, data.path)
    one.open()
    return one


def measured(one: System, asked: dict[str, Any]) -> dict[str, Any]:
    texts = asked["text"]
    recall = {f"recall_{which}": ann_recall(one.search(asked[which]), asked[f"{which}_truth"], K)
              for which in ("text", "image")}
    batch, = timed([lambda: one.search(texts)])
    return {**recall, **spread(timed([lambda q=q: one.search(q[None]) for q in texts])),
            "qps": 1000 * len(texts) / batch, "facts": one.facts()}


def timed(calls: Sequence[Callable[[], Any]]) -> list[float]:
    """Milliseconds of each; of slow ones, not all are made."""
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    for call in calls:
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
        if start > end and len(times) >= FEWEST:
            break
    return times


def spread(times: list[float]) -> dict[str, float]:
    return {"ms": float(np.median(times)), "ms_p95": float(np.percentile(times, 95))}


def memory() -> dict[str, float]:
    """MB of this process: its own, and of mapped files; not a number where there is no /proc."""
    status = Path("/proc/self/status")
    if not status.exists():
        return dict.fromkeys(("own_mb", "mapped_mb"), float("nan"))
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    own, mapped = (int(lines[key].split()[0]) * 1024 / 1e6 for key in ("RssAnon", "RssFile"))
    return {"own_mb": own, "mapped_mb": mapped}


def filters(data: Data, name: str) -> dict[str, Any]:
    """Recall and milliseconds of a collection's text queries under filters of growing tightness.

    Random rows (the same for every query); and rows that have to do with the query: of those
    clusters alone that are nearest to it, or farthest from it.
    """
    one = opened(data, name)
    assert isinstance(one, Mmsearch), "filters are measured of mmsearch alone"
    queries = data.asked["text"][:FILTERED]
    scores = np.hstack([queries @ block.T for block in data.blocks()])
    clusters = data.made.cluster_of(0, data.size)
    random = np.random.default_rng([data.seed, data.size]).random(data.size)
    allowed: dict[str, Callable[[int], np.ndarray]] = {"none": lambda _: np.ones(data.size, bool)}
    for share in SHARES:
        allowed[f"random {share:.1%}"] = lambda _, share=share: random < share
    for share in CORRELATED:
        for which, sign in (("nearest", -1), ("farthest", 1)):
            chosen = chosen_clusters(sign * data.made.affinity(queries), clusters, share)
            allowed[f"{which} clusters {share:.0%}"] = lambda n, chosen=chosen: chosen[n][clusters]
    return {which: filtered(one, queries, scores, rows) for which, rows in allowed.items()}


def filtered(one: Mmsearch, queries: Vectors, scores: Vectors,
             allowed: Callable[[int], np.ndarray]) -> dict[str, Any]:
    """allowed: the number of a query -> the rows that it may find, bool [rows]."""
    found, truth, times, shares = [], [], [], []
    for n, query in enumerate(queries):
        may = allowed(n)
        rows = None if may.all() else np.flatnonzero(may)
        start = time.perf_counter()
        found.append(one.search(query[None], rows)[0])
        times.append(1000 * (time.perf_counter() - start))
        nearest = best(np.where(may, scores[n], -np.inf)[None])[0]
        truth.append(np.where(may[nearest], nearest, -1))
        shares.append(may.mean())
    return {"allowed": float(np.mean(shares)), **spread(times),
            "recall": ann_recall(np.array(found), np.array(truth), K)}


def chosen_clusters(order: Vectors, clusters: Ids, share: float) -> np.ndarray:
    """Clusters in ascending `order` (float32 [queries, clusters]) until they hold `share` of the
    rows; -> bool [queries, clusters]."""
    sizes = np.bincount(clusters, minlength=order.shape[1]) / len(clusters)
    ranked = np.argsort(order, axis=1)
    before = np.cumsum(sizes[ranked], axis=1) - sizes[ranked]
    chosen = np.zeros(order.shape, bool)
    np.put_along_axis(chosen, ranked, before < share, axis=1)
    return chosen


if __name__ == "__main__":
    main()
