"""One measurement of `ann.py`, in a process of its own: reads a task as JSON, prints figures.

    python bench/ann_worker.py '{"do": "search", …}'
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ann_data import Data, Mask, recall
from ann_systems import Mmsearch, System, files_of, system

from mmsearch.records import Ids, Vectors

TARGETS = (0.95, 0.99)
SECONDS = 10.0
"""Spent on timing, at most, a figure: slow systems are asked fewer queries."""
FEWEST = 20
FILTERED = 200
"""Queries a filter is measured with."""
SHARES, CORRELATED = (0.5, 0.1, 0.01, 0.001), (0.1, 0.01)


def main() -> None:
    task = json.loads(sys.argv[1])
    if task.get("threads") == 1:  # as on a machine with one core: what -X cpu_count=1 does in 3.13
        os.cpu_count = lambda: 1
    data = Data(Path(task["cache"]), task["size"], task["dim"], task["seed"])
    do: dict[str, Callable[..., dict[str, Any]]] = {
        "truth": truth, "build": build, "tune": tune, "search": search, "memory": memory,
        "filters": filters}
    print(json.dumps(do[task["do"]](data, task)))


def truth(data: Data, task: dict[str, Any]) -> dict[str, Any]:
    """Makes the queries and their true neighbours, once a size."""
    for which in ("text", "tuning", "image"):
        data.truth(which)
    data.queries("items")
    return {}


def build(data: Data, task: dict[str, Any]) -> dict[str, Any]:
    """Wall and CPU seconds of a build from vectors to files; making the vectors is taken off."""
    path = data.path / task["name"]
    path.mkdir(parents=True)
    made = Clock()

    def blocks() -> Iterator[Vectors]:
        rows = data.blocks()
        while True:
            with made:
                block = next(rows, None)
            if block is None:
                return
            yield block

    whole = Clock()
    with whole:
        system(task["name"], path).build(data.size, blocks, data.queries("items"))
    return {"seconds": whole.wall - made.wall, "cpu_seconds": whole.cpu - made.cpu,
            "bytes": sum(file.stat().st_size for file in path.rglob("*") if file.is_file())}


def tune(data: Data, task: dict[str, Any]) -> dict[str, Any]:
    """The least effort that reaches each target on the tuning queries, and its recall there;
    None where none of those tried does."""
    one, found = opened(data, task), {}
    queries, wanted = data.queries("tuning"), data.truth("tuning")
    targets = list(TARGETS)
    for effort in one.efforts:
        one.turn(effort)
        reached = recall(one.search(queries), wanted)
        while targets and reached >= targets[0]:
            found[str(targets.pop(0))] = {"effort": effort, "recall": reached}
        if not targets:
            break
    return found


def search(data: Data, task: dict[str, Any]) -> dict[str, Any]:
    """Recall for both kinds of queries, and queries a second in batches; with one thread also
    the latency of single calls, in milliseconds."""
    one = opened(data, task)
    figures: dict[str, Any] = {}
    queries = {which: data.queries(which) for which in ("text", "image")}
    one.search(queries["text"])  # fills the page cache
    if task["threads"] == 1:
        for which, asked in queries.items():
            figures[f"recall_{which}"] = recall(one.search(asked), data.truth(which))
            times = timed_calls(one, asked)
            figures[f"ms_{which}"] = float(np.median(times))
            figures[f"ms_{which}_p95"] = float(np.percentile(times, 95))
    figures["batch_qps"] = batch_speed(one, queries["text"])
    return {**figures, "facts": one.facts()}


def memory(data: Data, task: dict[str, Any]) -> dict[str, Any]:
    """What a process that answers single text queries holds: MB of its own, and of mapped files."""
    one = opened(data, task)
    for query in data.queries("text")[:100]:
        one.search(query[None])
    status = Path("/proc/self/status")
    if not status.exists():
        unit = 1 if sys.platform == "darwin" else 1024
        return {"rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6}
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    own, mapped = (int(lines[key].split()[0]) * 1024 / 1e6 for key in ("RssAnon", "RssFile"))
    return {"rss_mb": own + mapped, "own_mb": own, "mapped_mb": mapped}


def filters(data: Data, task: dict[str, Any]) -> dict[str, Any]:
    """Recall and milliseconds of a collection's text queries under filters of growing tightness.

    Random rows (the same for every query); and rows that have to do with the query: of those
    clusters alone that are nearest to it, or farthest from it.
    """
    one = opened(data, task)
    assert isinstance(one, Mmsearch)
    queries = data.queries("text")[:FILTERED]
    found = {"none": filtered(data, one, queries, Filter.everything(data.size))}
    for share in SHARES:
        random = np.random.default_rng([data.seed, data.size])
        passes = (random.random(data.size) < share).astype(np.int64)
        found[f"random {share:.1%}"] = filtered(
            data, one, queries, Filter(passes, np.array([[False, True]])))
    clusters = data.made.cluster_of(0, data.size)
    for share in CORRELATED:
        for name, sign in (("nearest", -1), ("farthest", 1)):
            chosen = chosen_clusters(sign * data.made.affinity(queries), clusters, share)
            found[f"{name} clusters {share:.0%}"] = filtered(
                data, one, queries, Filter(clusters, chosen))
    return found


class Filter(NamedTuple):
    """Rows by their label: int64 [rows]; a query allows some labels: bool [queries, labels], or
    [1, labels] where all queries allow the same."""

    labels: Ids
    chosen: Mask

    @classmethod
    def everything(cls, rows: int) -> Filter:
        return cls(np.zeros(rows, np.int64), np.array([[True]]))

    def block(self, start: int, stop: int) -> Mask:
        """bool [queries or 1, stop - start]"""
        allowed: Mask = self.chosen[:, self.labels[start:stop]]
        return allowed

    def rows(self, query: int) -> Ids | None:
        """The rows that a query allows, ascending; None if all."""
        chosen = self.chosen[query % len(self.chosen)]
        return None if chosen.all() else np.flatnonzero(chosen[self.labels])


def filtered(data: Data, one: Mmsearch, queries: Vectors, allow: Filter) -> dict[str, Any]:
    wanted = data.exact(queries, None if allow.chosen.all() else allow.block)
    found, times, shares = [], [], []
    for n, query in enumerate(queries):
        rows = allow.rows(n)
        start = time.perf_counter()
        found.append(one.search(query[None], rows))
        times.append(1000 * (time.perf_counter() - start))
        shares.append(1.0 if rows is None else len(rows) / data.size)
    return {"allowed": float(np.mean(shares)), "recall": recall(np.vstack(found), wanted),
            "ms": float(np.median(times)), "ms_p95": float(np.percentile(times, 95))}


def chosen_clusters(order: Vectors, clusters: Ids, share: float) -> Mask:
    """Clusters in ascending `order` (float32 [queries, clusters]) until they hold `share` of the
    rows; -> bool [queries, clusters]."""
    sizes = np.bincount(clusters, minlength=order.shape[1]) / len(clusters)
    ranked = np.argsort(order, axis=1)
    before = np.cumsum(sizes[ranked], axis=1) - sizes[ranked]
    chosen = np.zeros(order.shape, bool)
    np.put_along_axis(chosen, ranked, before < share, axis=1)
    return chosen


# -- inside --------------------------------------------------------------------------------------

class Clock:
    """Adds up wall time and this process's CPU time over the blocks it is entered for."""

    wall = cpu = 0.0

    def __enter__(self) -> None:
        self._start = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter() - self._start[0]
        self.cpu += time.process_time() - self._start[1]


def opened(data: Data, task: dict[str, Any]) -> System:
    one = system(task["name"], data.path / files_of(task["name"]))
    one.open(task.get("threads") or os.cpu_count() or 1)
    if task.get("effort"):
        one.turn(task["effort"])
    return one


def timed_calls(one: System, queries: Vectors) -> list[float]:
    """Milliseconds of single calls, one query each."""
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    for query in queries:
        start = time.perf_counter()
        one.search(query[None])
        times.append(1000 * (time.perf_counter() - start))
        if start > end and len(times) >= FEWEST:
            break
    return times


def batch_speed(one: System, queries: Vectors) -> float:
    """Queries a second in a batch of all of them: the best of three, one if it is slow."""
    best, end = 0.0, time.perf_counter() + SECONDS / 2
    for _ in range(3):
        start = time.perf_counter()
        one.search(queries)
        now = time.perf_counter()
        best = max(best, len(queries) / (now - start))
        if now > end:
            break
    return best


if __name__ == "__main__":
    main()
