"""Retrieval metrics from scores and ranks; numpy only.

Ties. Whatever ties with a relevant item and is not relevant itself counts as ranked before it, so a
scorer that gives everything the same score gets the worst rank, not the best. A score that is not a
number counts against the query too: as the lowest for a relevant item, as the highest for another.

Ranks are 0-based everywhere except in `median_rank`, which the field reports from 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Scores: TypeAlias = npt.NDArray[np.floating[Any]]
"""[nq, n]: one row a query, one column a gallery item, higher is better."""
Relevant: TypeAlias = Sequence[npt.NDArray[np.integer[Any]]]
"""For each query the columns that answer it: at least one, in any order, repeats count once."""
Floats: TypeAlias = npt.NDArray[np.float64]
Whole: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Ranks:
    """Where every relevant item of some queries was found: all that the metrics need to know.

    flat: int64 [all relevant items], ascending within a query, one query after the other;
    starts: int64 [nq], where each query begins in it.
    """

    flat: Whole
    starts: Whole

    @classmethod
    def of(cls, rows: Sequence[npt.NDArray[np.integer[Any]]]) -> Ranks:
        """rows: the ranks of one query each. ValueError: a query without any, or no queries."""
        sizes = np.array([len(row) for row in rows], np.int64)
        if not _some(sizes).all():
            raise ValueError(f"query {int(np.argmin(sizes))} has no relevant item")
        return cls(np.concatenate([np.sort(row) for row in rows]).astype(np.int64),
                   np.cumsum(sizes) - sizes)

    @property
    def sizes(self) -> Whole:
        """How many relevant items each query has: R of R-Precision and mAP@R."""
        return np.diff(np.append(self.starts, len(self.flat)))

    @property
    def best(self) -> Whole:
        """The rank of each query's best relevant item."""
        return self.flat[self.starts]

    @property
    def places(self) -> Whole:
        """How many relevant items of its query are before each, int64 [all relevant items]."""
        return np.arange(len(self.flat)) - np.repeat(self.starts, self.sizes)

    def sums(self, values: npt.NDArray[Any]) -> Floats:
        """Of one value for each relevant item, by query."""
        found: Floats = np.add.reduceat(values.astype(np.float64), self.starts)
        return found


def best_ranks(scores: Scores, relevant: Relevant) -> Whole:
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


def reciprocal_ranks(ranks: npt.NDArray[np.integer[Any]]) -> Floats:
    """1 / (1-based rank of the first answer) of each query; their mean is MRR (Voorhees 1999)."""
    found: Floats = 1.0 / (_some(ranks) + 1.0)
    return found


def median_rank(ranks: npt.NDArray[np.integer[Any]]) -> int:
    """Med r: the median of the ranks counted from 1, halves rounded down as VSE++ does.

    (Faghri et al. 2018: ``floor(median(ranks)) + 1``.) ValueError: no queries.
    """
    return int(np.floor(np.median(_some(ranks)))) + 1


def average_precisions(ranks: Ranks) -> Floats:
    """Average precision of each query, float64 [nq]; their mean is mAP.

    AP is the mean, over the relevant items, of the precision at the rank of each (Manning et al.
    2008, chapter 8.4).
    """
    return ranks.sums((ranks.places + 1) / (ranks.flat + 1)) / ranks.sizes


def average_precisions_at_r(ranks: Ranks) -> Floats:
    """Average precision at R of each query, float64 [nq]; their mean is mAP@R.

    As average precision, but what comes after the first R results counts nothing, R being the
    number of relevant items (Musgrave et al. 2020; ECCV Caption, Chun et al. 2022).
    """
    within = ranks.flat < np.repeat(ranks.sizes, ranks.sizes)
    return ranks.sums(within * (ranks.places + 1) / (ranks.flat + 1)) / ranks.sizes


def r_precisions(ranks: Ranks) -> Floats:
    """R-Precision of each query, float64 [nq]: the share of relevant ones among the first R."""
    return ranks.sums(ranks.flat < np.repeat(ranks.sizes, ranks.sizes)) / ranks.sizes


def ndcg_at(ranks: Ranks, k: int) -> Floats:
    """nDCG@k of each query, float64 [nq], with gain 1 for a relevant item and 0 for another.

    DCG is the sum of 1 / log2(1-based rank + 1) over the relevant items among the first k, divided
    by the best that is possible (Järvelin and Kekäläinen 2002). ValueError: k below 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    gains = ranks.sums((ranks.flat < k) / np.log2(ranks.flat + 2.0))
    return gains / ranks.sums((ranks.places < k) / np.log2(ranks.places + 2.0))


def bootstrap_means(values: npt.NDArray[Any], *, groups: npt.NDArray[np.integer[Any]] | None = None,
                    seed: int = 0, samples: int = 1000) -> Floats:
    """Means of queries drawn with replacement, float64 [samples, measures].

    values: [nq, measures], one row a query; all measures see the same draws.
    groups: int [nq]; queries of one group are drawn together (cluster bootstrap, Field and Welsh
    2007). The five captions of one photo succeed or fail together: drawing them one by one would
    make an interval too narrow. The same seed gives the same draws.

    ValueError: no queries, more or fewer groups than values.
    """
    values = _some(np.asarray(values, dtype=np.float64))
    sums, sizes = values, np.ones(len(values))
    if groups is not None:
        if len(groups) != len(values):
            raise ValueError(f"{len(groups)} groups for {len(values)} values")
        _, member = np.unique(groups, return_inverse=True)
        sizes = np.bincount(member).astype(np.float64)
        sums = np.stack([np.bincount(member, weights=one) for one in values.T], axis=1)
    generator = np.random.default_rng(seed)
    means = np.empty((samples, values.shape[1]))
    for sample in means:
        drawn = np.bincount(generator.integers(len(sums), size=len(sums)), minlength=len(sums))
        sample[:] = drawn @ sums / (drawn @ sizes)
    return means


def bootstrap_interval(
    per_query_values: npt.NDArray[Any],
    *,
    groups: npt.NDArray[np.integer[Any]] | None = None,
    seed: int = 0,
    samples: int = 1000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of one value a query (Efron and Tibshirani 1993).

    groups, seed: as in `bootstrap_means`. ValueError: as there, or a level outside 0 to 1.
    """
    values = np.asarray(per_query_values, dtype=np.float64)[:, np.newaxis]
    means = bootstrap_means(values, groups=groups, seed=seed, samples=samples)
    return interval(means[:, 0], level)


def paired_bootstrap(differences: npt.NDArray[Any], *,
                     groups: npt.NDArray[np.integer[Any]] | None = None, seed: int = 0,
                     samples: int = 5000) -> list[tuple[float, float, float]]:
    """How sure it is that two systems differ, from what they differ by for each query.

    differences: [nq, measures]. groups, seed: as in `bootstrap_means`.
    -> for each measure low and high of the 95 % interval of the mean difference, and p: how often
    the mean would be as far from zero by the luck of the queries alone, if there were no
    difference; two-sided, of the bootstrap distribution moved to zero (Efron and Tibshirani 1993,
    chapter 16.4; Koehn 2004 for systems that answer the same queries). It is never below 2 / 2^n,
    n being how many groups differ at all: the least that exchanging both systems could show.
    """
    each = np.asarray(differences, np.float64)
    mean = each.mean(axis=0)
    drawn = bootstrap_means(each, groups=groups, seed=seed, samples=samples)
    as_far = np.abs(drawn - mean) >= np.abs(mean) - 1e-12
    p = (as_far.sum(axis=0) + 1) / (samples + 1)
    # Few groups that all differ alike do not vary, however often they are drawn.
    _, member = np.unique(np.arange(len(each)) if groups is None else groups, return_inverse=True)
    differ = [len(np.unique(member[one != 0])) for one in each.T]
    p = np.maximum(p, np.minimum(1.0, 2.0 ** (1.0 - np.array(differ))))
    return [(*interval(means), float(value)) for means, value in zip(drawn.T, p, strict=True)]


def interval(drawn: Floats, level: float = 0.95) -> tuple[float, float]:
    """What holds `level` of the means that were drawn, with as many below as above."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(drawn, [tail, 1.0 - tail])
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


def _some(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if len(values) == 0:
        raise ValueError("there are no queries to average over")
    return values
