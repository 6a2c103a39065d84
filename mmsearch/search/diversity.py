"""Results that differ from each other: maximal marginal relevance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmsearch.records import Vectors


def spread(scores: Sequence[float], vectors: Vectors, trade: float, count: int) -> list[int]:
    """Which `count` of the candidates to show, in order: each time the one with the greatest

        trade * relevance - (1 - trade) * (greatest cosine with any that is shown already)

    (Carbonell & Goldstein 1998), equal ones in the order given. Relevance is the score, scaled to
    0 (the worst) to 1 (the best), so that `trade` means the same whatever the scores are.

    scores: best first; vectors: float32 [n, dim], of unit length; trade: 1 leaves the order as it
    is, 0 only spreads.
    """
    relevance = np.asarray(scores, np.float64)
    low, high = relevance.min(initial=np.inf), relevance.max(initial=-np.inf)
    relevance = (relevance - low) / (high - low) if high > low else np.ones_like(relevance)
    alike = np.zeros(len(relevance))  # no one is shown yet
    order: list[int] = []
    for _ in range(min(count, len(scores))):
        value = trade * relevance - (1 - trade) * alike
        value[order] = -np.inf
        best = int(value.argmax())
        cosines = (vectors @ vectors[best]).astype(np.float64)
        alike = np.maximum(alike, cosines) if order else cosines
        order.append(best)
    return order
