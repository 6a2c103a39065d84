"""Results of several parts of a collection become one ranking."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import fsum

import numpy as np

from mmsearch.records import Neighbors, Vectors

_RRF_K = 60


def top_k(parts: Sequence[Neighbors], k: int) -> Neighbors:
    """The k best of all parts, best first; equal scores go to the smaller id, so that the same
    data gives the same ranking however it is cut into segments. Padded with id -1 to k columns."""
    if len(parts) == 1 and parts[0].ids.shape[1] == k and _is_ranked(parts[0]):
        return parts[0]
    scores = np.concatenate([part.scores for part in parts], axis=1)
    ids = np.concatenate([part.ids for part in parts], axis=1)
    scores = np.where(ids < 0, -np.inf, scores).astype(np.float32)
    if scores.shape[1] < k:
        missing = ((0, 0), (0, k - scores.shape[1]))
        scores = np.pad(scores, missing, constant_values=-np.inf)
        ids = np.pad(ids, missing, constant_values=-1)
    order = np.lexsort((ids, -scores), axis=1)[:, :k]
    return Neighbors(np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1))


def _is_ranked(part: Neighbors) -> bool:
    """Whether results are full, in order, and without equal scores."""
    in_order = part.scores[:, 1:] < part.scores[:, :-1]
    return bool(in_order.all()) and bool((part.ids[:, -1:] >= 0).all())


def nothing(queries: Vectors) -> Neighbors:
    """No results, for as many queries."""
    return Neighbors(np.zeros((len(queries), 0), np.float32),
                     np.zeros((len(queries), 0), np.int64))


def reciprocal_rank(parts: Sequence[Neighbors], weights: Sequence[float]) -> Neighbors:
    """Several rankings of one query ([1, n] each) become one, by the ranks in them alone.

    Reciprocal rank fusion (Cormack, Clarke & Buettcher 2009, k = 60): the sum of w / (60 + rank),
    here times 61, so that what is first in every ranking scores 1 when the weights sum to 1.
    """
    return _fused([
        [(id, weight * (_RRF_K + 1) / (_RRF_K + rank)) for rank, (id, _) in enumerate(part, 1)]
        for part, weight in _weighing(parts, weights)])


def weighted_scores(parts: Sequence[Neighbors], weights: Sequence[float],
                    missing: Sequence[float]) -> Neighbors:
    """Several rankings of one query ([1, n] each), their scores on one scale, become one: the sum
    of weight times score. What a ranking has not found scores there what `missing` says."""
    rankings = [dict(part) for part, _ in _weighing(parts, weights)]
    ids = set[int]().union(*rankings)
    return _fused([[(id, weight * ranking.get(id, score)) for id in ids]
                   for ranking, weight, score in zip(rankings, weights, missing, strict=True)
                   if weight > 0])


def _weighing(parts: Sequence[Neighbors], weights: Sequence[float]
              ) -> Iterator[tuple[list[tuple[int, float]], float]]:
    """The rankings as (id, score), best first, without padding; empty if they weigh nothing."""
    for part, weight in zip(parts, weights, strict=True):
        pairs = zip(part.ids[0].tolist(), part.scores[0].tolist(), strict=True)
        yield [(id, score) for id, score in pairs if id >= 0 and weight > 0], weight


def _fused(rankings: Sequence[Sequence[tuple[int, float]]]) -> Neighbors:
    """The sums of scores, best first; equal ones go to the smaller id."""
    shares: dict[int, list[float]] = {}
    for ranking in rankings:
        for id, share in ranking:
            shares.setdefault(id, []).append(share)
    # fsum: the sum does not depend on the order of the rankings.
    order = sorted((-fsum(share), id) for id, share in shares.items())
    return Neighbors(np.array([[-score for score, _ in order]], np.float32),
                     np.array([[id for _, id in order]], np.int64))
