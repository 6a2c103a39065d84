"""One search, step by step, inside one snapshot of a collection: candidates, the live ones among
them, one a group, k of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mmsearch.catalog import Catalog
from mmsearch.filters import Condition
from mmsearch.merge import top_k
from mmsearch.opened import Opened
from mmsearch.records import Find, Hit, Ids, Kind, Neighbors, Vectors
from mmsearch.relevance import SAMPLED, Ruler, relevance

KINDS: dict[Find, tuple[Kind, ...]] = {
    "image": ("image", "frame"), "text": ("text",), "any": ("image", "frame", "text")}
_EXTRA = 16
"""Candidates asked for beyond k, since some may have been deleted or share a group."""


@dataclass(frozen=True)
class Query:
    """What is asked: `vector` is float32 [dim], of unit length."""

    vector: Vectors
    find: Find = "image"
    k: int = 10
    condition: Condition | None = None
    collapse: bool = True
    """One hit a group (a photo and its captions), the best."""
    pictures: float = 0.5
    """The share of pictures in what is asked for, 0 (words alone) to 1; a half if not known."""
    min_score: float | None = None
    """Hits of a lower relevance are left out, and those of none."""


def search(catalog: Catalog, opened: Opened, query: Query,
           ruler: Ruler | None = None) -> list[Hit]:
    """The k best hits of a query, best first; fewer if there are no more, or no relevant ones."""
    kinds, k = KINDS[query.find], query.k
    allowed = catalog.select(query.condition, kinds) if query.condition else None
    rows, wanted = opened.rows(kinds), k + _EXTRA
    while True:
        found = nearest(opened, query.vector[None], min(wanted, max(rows, 1)), kinds, allowed)
        hits = _hits(catalog, found, k, query.collapse)
        if len(hits) == k or wanted >= rows or found.ids[0, -1] < 0:
            break  # enough, or there are no more
        wanted *= 4
    if ruler is not None:
        hits = _judged(opened, query, hits, ruler, None if allowed is None else len(allowed))
    least = query.min_score
    return hits if least is None else [hit for hit in hits if (hit.relevance or 0) >= least]


def _judged(opened: Opened, query: Query, hits: list[Hit], ruler: Ruler,
            allowed: int | None) -> list[Hit]:
    """The hits with their relevance; pictures and texts are told apart, for each its own scale."""
    judged: dict[int, Hit] = {}
    for kinds, foreign, like in ((KINDS["image"], ruler.images, query.pictures),
                                 (KINDS["text"], ruler.texts, 1 - query.pictures)):
        those = [hit for hit in hits if hit.item.kind in kinds]
        if those:
            rows = opened.rows(kinds)
            sample = np.concatenate([*opened.sample(kinds, SAMPLED)])
            found = relevance([hit.score for hit in those], query.vector, foreign, sample,
                              rows if allowed is None else min(rows, allowed), like)
            judged |= {hit.id: replace(hit, relevance=float(value))
                       for hit, value in zip(those, found, strict=True)}
    return [judged[hit.id] for hit in hits]


def nearest(opened: Opened, queries: Vectors, k: int, kinds: Sequence[Kind],
            allowed: Ids | None = None, exact: bool = False) -> Neighbors:
    """The k nearest rows of each query, as sequence numbers, over all parts of a collection."""
    parts = [part.search(queries, k, allowed)
             for part in opened.parts(kinds, k, allowed, exact)]
    empty = Neighbors(np.zeros((len(queries), 0), np.float32),
                      np.zeros((len(queries), 0), np.int64))
    return top_k([empty, *parts], k)


def _hits(catalog: Catalog, found: Neighbors, k: int, collapse: bool) -> list[Hit]:
    rows = catalog.fetch(found.ids[0][found.ids[0] >= 0])
    hits: list[Hit] = []
    groups: set[str] = set()
    for score, seq in zip(found.scores[0], found.ids[0], strict=True):
        row = rows.get(int(seq))
        if row is None or (collapse and row.item.group in groups):
            continue
        groups.add(row.item.group)
        hits.append(Hit(row.id, float(score), row.item))
        if len(hits) == k:
            break
    return hits
