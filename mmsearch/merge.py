"""Results of several parts of a collection become one ranking."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmsearch.records import Neighbors, Vectors


def top_k(parts: Sequence[Neighbors], k: int) -> Neighbors:
    """The k best of all parts, best first; equal scores go to the smaller id, so that the same
    data gives the same ranking however it is cut into segments. Padded with id -1 to k columns."""
    scores = np.concatenate([part.scores for part in parts], axis=1)
    ids = np.concatenate([part.ids for part in parts], axis=1)
    scores = np.where(ids < 0, -np.inf, scores).astype(np.float32)
    if scores.shape[1] < k:
        missing = ((0, 0), (0, k - scores.shape[1]))
        scores = np.pad(scores, missing, constant_values=-np.inf)
        ids = np.pad(ids, missing, constant_values=-1)
    order = np.lexsort((ids, -scores), axis=1)[:, :k]
    return Neighbors(np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1))


def nothing(queries: Vectors) -> Neighbors:
    """No results, for as many queries."""
    return Neighbors(np.zeros((len(queries), 0), np.float32),
                     np.zeros((len(queries), 0), np.int64))
