"""How hard to search an approximate index so that it reaches a stated recall.

Recall is measured against exact search, on text queries: text vectors lie off the image manifold,
so that the same effort finds less for them than for image queries.
The effort is chosen on one half of the queries, and what it reaches is measured on the other.
"""

from __future__ import annotations

import time
from statistics import median

import numpy as np

from mmsearch.indexes.approximate import default_effort
from mmsearch.indexes.kinds import KINDS
from mmsearch.indexes.rescored import RescoredIndex
from mmsearch.metrics import ann_recall
from mmsearch.records import Effort, Ids, Tuning, Vectors

K = 10
RESCORED = (100, 200, 400, 800, 1600)
WIDTHS = tuple(2**n for n in range(3, 13))
_TIMED = 50


def tune_index(index: RescoredIndex, queries: Vectors, target: float, source: str) -> Tuning:
    """The cheapest effort that reaches recall@10 `target` (0 to 1) on `queries`, and what it gives;
    where none does, the one that comes nearest.

    queries: float32 [nq, dim], unit rows; source: what they are, in words.
    """
    truth = index.store.search(queries, K).ids
    chosen = slice(0, None, 2) if len(queries) > 1 else slice(0, 1)
    held_out = slice(1, None, 2) if len(queries) > 1 else slice(0, 1)
    options = _options(index, queries[chosen], truth[chosen], target)
    effort = min(options, key=lambda option: _milliseconds(index, queries[chosen], option))
    found = index.search(queries[held_out], K, effort=effort).ids
    return Tuning(effort, target, ann_recall(found, truth[held_out], K), len(truth[held_out]),
                  source, _milliseconds(index, queries[held_out], effort))


def _options(index: RescoredIndex, queries: Vectors, truth: Ids, target: float) -> list[Effort]:
    """For each depth of rescoring, the narrowest search that reaches the target; else the best.

    Scores after rescoring are exact: a neighbour is found if it is among the candidates, so that
    one search for the most candidates tells the recall at every depth.
    """
    depths = RESCORED if KINDS[index.spec.kind].rescored else (0,)
    options: dict[int, Effort] = {}
    best, nearest = -1.0, default_effort(index.spec)
    before = np.zeros(len(depths))
    for width in (min(width, index.base.widest) for width in WIDTHS):
        found = index.base.search(queries, max(*depths, K), effort=Effort(width)).ids
        recalls = np.zeros(len(depths))
        for n, depth in enumerate(depths):
            shares = _found(found[:, : depth or K], truth)
            # One standard error of safety: the choice must hold for other queries too.
            recalls[n] = shares.mean() - shares.std() / len(shares) ** 0.5
            if recalls[n] > best:
                best, nearest = float(recalls[n]), Effort(width, depth)
            if recalls[n] >= target:
                options.setdefault(depth, Effort(width, depth))
        if width == index.base.widest or len(options) == len(depths):
            break
        if (recalls - before < 5e-4).all() and width >= 512:
            break  # wider finds nothing more
        before = recalls
    return list(options.values()) or [nearest]


def _found(candidates: Ids, truth: Ids) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """float64 [nq]: the share of each query's true neighbours that are among its candidates."""
    return np.array([np.isin(true, row).mean() for row, true in
                     zip(candidates, truth, strict=True)])


def _milliseconds(index: RescoredIndex, queries: Vectors, effort: Effort) -> float:
    """Median time of one query."""
    times = []
    for at in range(min(len(queries), _TIMED)):
        start = time.perf_counter()
        index.search(queries[at : at + 1], K, effort=effort)
        times.append(time.perf_counter() - start)
    return 1000 * median(times)
