"""Retrieval metrics from scores and ranks; numpy only.

Ties. Whatever ties with a relevant item and is not relevant itself counts as ranked before it, so a
scorer that gives everything the same score gets the worst rank, not the best. A score that is not a
number counts against the query too: as the lowest for a relevant item, as the highest for another.

Ranks are 0-based everywhere except in `median_rank`, which the field reports from 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Scores: TypeAlias = npt.NDArray[np.floating[Any]]
"""[nq, n]: one row a query, one column a gallery item, higher is better."""
Relevant: TypeAlias = Sequence[npt.NDArray[np.integer[Any]]]
"""For each query the columns that answer it: at least one, in any order, repeats count once."""
Floats: TypeAlias = npt.NDArray[np.float64]


def best_ranks(scores: Scores, relevant: Relevant) -> npt.NDArray[np.int64]:
    """The 0-based rank of each query's best relevant item: int64 [nq].

    It is the number of irrelevant items that score as high or higher. One row is worked on at a
    time, so nothing the size of `scores` is allocated. Counting by the best of several relevant
    items is what cross-modal retrieval does (Hodosh et al. 2013; Karpathy and Fei-Fei 2015).

    ValueError: a query has no relevant item, or one outside the gallery.
    """
    ranks = np.empty(len(scores), dtype=np.int64)
    for query, (wanted, others) in enumerate(_split_rows(scores, relevant)):
        ranks[query] = np.count_nonzero(others >= wanted.max())
    return ranks


def recall_at(ranks: npt.NDArray[np.integer[Any]], k: int) -> float:
    """R@k: the share of queries with a relevant item among the first k, 0 to 1.

    This is the recall of image-caption retrieval, "any of them in the top k" (Karpathy and Fei-Fei
    2015), not the share of relevant items found. ValueError: no queries, or k below 1.
    """
    return float(hits_at(ranks, k).mean())


def hits_at(ranks: npt.NDArray[np.integer[Any]], k: int) -> Floats:
    """1.0 for each query answered within the first k, else 0.0: what `recall_at` averages."""
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    return (_some(ranks) < k).astype(np.float64)


def mrr(ranks: npt.NDArray[np.integer[Any]]) -> float:
    """Mean reciprocal rank: the mean of 1 / (1-based rank of the first answer); Voorhees 1999.

    ValueError: no queries.
    """
    return float((1.0 / (_some(ranks) + 1.0)).mean())


def median_rank(ranks: npt.NDArray[np.integer[Any]]) -> int:
    """Med r: the median of the ranks counted from 1, halves rounded down as VSE++ does.

    (Faghri et al. 2018: ``floor(median(ranks)) + 1``.) ValueError: no queries.
    """
    return int(np.floor(np.median(_some(ranks)))) + 1


def average_precisions(scores: Scores, relevant: Relevant) -> Floats:
    """Average precision of each query, float64 [nq]; their mean is mAP.

    AP is the mean, over the relevant items, of the precision at the rank of each (Manning et al.
    2008, chapter 8.4). Errors as in `best_ranks`.
    """
    values = np.empty(len(scores))
    for query, (wanted, others) in enumerate(_split_rows(scores, relevant)):
        ranks = _ranks_of_all(wanted, others)
        values[query] = np.mean(np.arange(1, len(ranks) + 1) / (ranks + 1))
    return values


def ndcg_at(scores: Scores, relevant: Relevant, k: int) -> Floats:
    """nDCG@k of each query, float64 [nq], with gain 1 for a relevant item and 0 for another.

    DCG is the sum of 1 / log2(1-based rank + 1) over the relevant items among the first k, divided
    by the best that is possible (Järvelin and Kekäläinen 2002). Errors as in `best_ranks`, and
    ValueError for k below 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    values = np.empty(len(scores))
    for query, (wanted, others) in enumerate(_split_rows(scores, relevant)):
        ranks = _ranks_of_all(wanted, others)
        best = np.arange(min(k, len(ranks)))
        values[query] = _discounts(ranks[ranks < k]).sum() / _discounts(best).sum()
    return values


def bootstrap_interval(
    per_query_values: npt.NDArray[Any],
    *,
    groups: npt.NDArray[np.integer[Any]] | None = None,
    seed: int = 0,
    samples: int = 1000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of one value a query (Efron and Tibshirani 1993).

    groups: int [nq]; queries of one group are drawn together (cluster bootstrap, Field and Welsh
    2007). The five captions of one photo succeed or fail together: drawing them one by one would
    make the interval too narrow. The same seed gives the same interval.

    ValueError: no queries, more or fewer groups than values, or a level outside 0 to 1.
    """
    values = _some(np.asarray(per_query_values, dtype=np.float64))
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    if groups is None:
        sums, sizes = values, np.ones(len(values))
    else:
        if len(groups) != len(values):
            raise ValueError(f"{len(groups)} groups for {len(values)} values")
        _, member = np.unique(groups, return_inverse=True)
        sums, sizes = np.bincount(member, weights=values), np.bincount(member).astype(np.float64)
    generator = np.random.default_rng(seed)
    means = np.empty(samples)
    for sample in range(samples):
        drawn = generator.integers(len(sums), size=len(sums))
        means[sample] = sums[drawn].sum() / sizes[drawn].sum()
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return float(low), float(high)


def ann_recall(
    found_ids: npt.NDArray[np.integer[Any]], exact_ids: npt.NDArray[np.integer[Any]], k: int
) -> float:
    """k-NN recall: the share of the true k nearest that were found among k, 0 to 1.

    Both are int [nq, >= 1], best first, -1 where there is no match. The mean over the queries of
    |found & exact| / |exact|, as ann-benchmarks counts by identity (Aumüller et al. 2020); a query
    without any exact answer counts as 1. ValueError: no queries, other numbers of them, k below 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    if len(found_ids) != len(exact_ids):
        raise ValueError(f"{len(found_ids)} found rows for {len(exact_ids)} exact rows")
    shares = np.ones(len(exact_ids))
    for query, (found, exact) in enumerate(zip(found_ids, exact_ids, strict=True)):
        truth = np.unique(exact[:k][exact[:k] >= 0])
        if truth.size:
            shares[query] = np.isin(truth, found[:k]).mean()
    return float(_some(shares).mean())


def _split_rows(scores: Scores, relevant: Relevant) -> Iterator[tuple[Scores, Scores]]:
    """Yields (scores of the relevant items, scores of all others), one query after the other."""
    if scores.ndim != 2 or len(relevant) != len(scores):
        raise ValueError(f"scores are {scores.shape}, relevant items for {len(relevant)} queries")
    gallery = scores.shape[1]
    for query, columns in enumerate(relevant):
        if len(columns) == 0:
            raise ValueError(f"query {query} has no relevant item")
        if np.min(columns) < 0 or np.max(columns) >= gallery:
            raise ValueError(f"query {query} has a relevant item outside the gallery of {gallery}")
        is_relevant = np.zeros(gallery, dtype=bool)
        is_relevant[columns] = True
        wanted, others = scores[query][is_relevant], scores[query][~is_relevant]
        # Not a number must never help: see the top of the file.
        wanted[np.isnan(wanted)] = -np.inf
        others[np.isnan(others)] = np.inf
        yield wanted, others


def _ranks_of_all(wanted: Scores, others: Scores) -> npt.NDArray[np.int64]:
    """0-based ranks of every relevant item of one query, ascending."""
    best_first = np.sort(wanted)[::-1]
    rivals = np.sort(others[others >= best_first[-1]])  # usually few, and only these matter
    before = len(rivals) - np.searchsorted(rivals, best_first, side="left")
    return before + np.arange(len(wanted))


def _discounts(ranks: npt.NDArray[np.int64]) -> Floats:
    discounts: Floats = 1.0 / np.log2(ranks + 2.0)
    return discounts


def _some(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if len(values) == 0:
        raise ValueError("there are no queries to average over")
    return values
