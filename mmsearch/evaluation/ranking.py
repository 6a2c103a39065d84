"""Where every relevant item comes among all, by exact search, in bounded memory.

Only ranks are kept, and the scores of one block at a time: those of 1,000,000 queries with
1,000,000 items would be 4 TB.
"""

from __future__ import annotations

import numpy as np

from mmsearch.metrics import Ranks, Relevant, Whole
from mmsearch.records import Ids, Vectors

ROUNDING = 1e-6
"""Scores of unit vectors that differ by less are a tie: float32 sums, in the order that a BLAS
takes for one block or another, differ by some 1e-7 for the very same vectors."""
_QUERIES, _ITEMS = 1024, 16384
"""The most that are compared at a time: 64 MB of scores."""


def exact_ranks(queries: Vectors, gallery: Vectors, relevant: Relevant) -> Ranks:
    """The ranks of each query's relevant items, by dot product with all of the gallery.

    queries: float32 [nq, dim]; gallery: float32 [n, dim]; both of unit length.
    relevant: for each query the rows of the gallery that answer it, at least one.
    Ties count against the model: see `mmsearch.metrics`.

    ValueError: a query has no relevant item, or one outside the gallery.
    """
    answers = [np.unique(one).astype(np.int64) for one in relevant]
    if len(answers) != len(queries):
        raise ValueError(f"relevant items for {len(answers)} of {len(queries)} queries")
    if not all(one.size for one in answers):
        raise ValueError("a query has no relevant item")
    if not all(0 <= one[0] <= one[-1] < len(gallery) for one in answers):
        raise ValueError(f"a relevant item outside the gallery of {len(gallery)}")
    found: list[Whole] = []
    for start in range(0, len(queries), _QUERIES):
        rows = slice(start, start + _QUERIES)
        found += _ranks(queries[rows], gallery, answers[rows])
    return Ranks.of(found)


def _ranks(queries: Vectors, gallery: Vectors, answers: list[Ids]) -> list[Whole]:
    wanted = [_wanted(query, gallery[columns])
              for query, columns in zip(queries, answers, strict=True)]
    before = [np.zeros(len(columns), np.int64) for columns in answers]
    for start in range(0, len(gallery), _ITEMS):
        scores = queries @ gallery[start : start + _ITEMS].T
        for row, of_query, columns, count in zip(scores, wanted, answers, before, strict=True):
            first, last = np.searchsorted(columns, (start, start + len(row)))
            others = np.delete(row, columns[first:last] - start) if first < last else row
            count += _not_below(others, of_query)
    return [count + np.arange(len(count)) for count in before]


def _wanted(query: Vectors, items: Vectors) -> Vectors:
    """What another item has to reach to come before each of these: float32 [items], falling."""
    scores = items.astype(np.float64) @ query.astype(np.float64)
    scores[np.isnan(scores)] = -np.inf
    reached: Vectors = (np.sort(scores)[::-1] - ROUNDING).astype(np.float32)
    return reached


def _not_below(others: Vectors, wanted: Vectors) -> Whole:
    """How many others are not below each of `wanted`, which falls; not a number is never below."""
    rivals = ~(others < wanted[-1])
    if len(wanted) == 1:
        return np.array([np.count_nonzero(rivals)])
    near = np.sort(others[rivals])  # usually few; numbers before what is none
    return len(near) - np.searchsorted(near, wanted, side="left")
