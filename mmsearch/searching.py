"""One search, step by step, inside one snapshot of a collection: candidates, the live ones among
them, one a group, k of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmsearch.catalog import Catalog
from mmsearch.filters import Condition
from mmsearch.merge import nothing, top_k
from mmsearch.opened import Opened
from mmsearch.records import Find, Hit, Ids, Kind, Neighbors, Vectors

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


def search(catalog: Catalog, opened: Opened, query: Query) -> list[Hit]:
    """The k best hits of a query, best first; fewer if there are no more."""
    kinds, k = KINDS[query.find], query.k
    allowed = catalog.select(query.condition, kinds) if query.condition else None
    rows, wanted = opened.rows(kinds), k + _EXTRA
    while True:
        found = nearest(opened, query.vector[None], min(wanted, max(rows, 1)), kinds, allowed)
        hits = _hits(catalog, found, k, query.collapse)
        if len(hits) == k or wanted >= rows or found.ids[0, -1] < 0:
            return hits  # enough, or there are no more
        wanted *= 4


def nearest(opened: Opened, queries: Vectors, k: int, kinds: Sequence[Kind],
            allowed: Ids | None = None, exact: bool = False) -> Neighbors:
    """The k nearest rows of each query, as sequence numbers, over all parts of a collection."""
    parts = [part.search(queries, k, allowed)
             for part in opened.parts(kinds, k, exact)]
    return top_k(parts or [nothing(queries)], k)


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
