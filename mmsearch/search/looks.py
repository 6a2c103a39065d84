"""Which rows a query looks at: its nearest pictures or texts, and the captions of pictures, deeper
and deeper; many queries look together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mmsearch.indexes import nothing, top_k
from mmsearch.records import Ids, Kind, Neighbors, Vectors
from mmsearch.search.captions import PICTURES, with_captions
from mmsearch.search.query import Asked, Find, Query
from mmsearch.search.relevance import Calibration
from mmsearch.storage import Ann, Catalog, Condition, Opened

KINDS: dict[Find, tuple[Kind, ...]] = {
    "image": PICTURES, "text": ("text",), "any": (*PICTURES, "text")}
EXTRA = 16
"""Candidates asked for beyond those wanted, since some may have been deleted or share a group."""
DEEPER = 4
_FIRST, _FIRST_FUSED = 40, 200


@dataclass(frozen=True)
class Prepared:
    """A query as one collection answers it.

    asked: its vectors; None where words alone are matched.
    condition: its `where`, read.
    pictures: the share of pictures in what is asked for, 0 (words alone) to 1.
    calibration: tells how relevant hits are; None where nothing does.
    first, first_captions: its nearest rows, of as many as the first look takes, where that was made
        for many queries at once; and those of the captions of pictures, where they count.
    """

    query: Query
    asked: Asked | None
    condition: Condition | None
    pictures: float
    calibration: Calibration | None
    first: Neighbors | None = None
    first_captions: Neighbors | None = None


def by_vector(query: Query) -> bool:
    return query.mode == "vector" or (query.mode == "hybrid" and query.text_weight < 1)


def nearest(opened: Opened, queries: Vectors, k: int, kinds: Sequence[Kind],
            allowed: Ids | None = None, exact: bool = False) -> Neighbors:
    """The k nearest rows of each query, as sequence numbers, over all parts of a collection."""
    parts = [part.search(queries, k, allowed)
             for part in opened.parts(kinds, k, exact)]
    return top_k(parts or [nothing(queries)], k)


def look(catalog: Catalog, opened: Opened, prepared: Prepared, depth: int, is_first: bool
         ) -> tuple[Neighbors, bool]:
    """The nearest rows of one query, `depth` at least where there are so many; and whether there
    are more."""
    query, condition, asked = prepared.query, prepared.condition, prepared.asked
    assert asked is not None
    kinds, first = KINDS[query.find], prepared.first if is_first else None
    allowed = catalog.select(condition, kinds) if condition else None
    depth, rows = _deep(opened, depth, kinds), opened.rows(kinds)
    near = first or top_k([
        nearest(opened, vector[None], depth, those, allowed)
        for those, vector in ((KINDS["image"], asked.pictures), (KINDS["text"], asked.texts))
        if set(those) <= set(kinds)], depth)
    more = depth < rows and bool(near.ids[0, -1] >= 0)
    if prepared.calibration is None or not _has_captions(opened, prepared):
        return near, more
    said = (prepared.first_captions if is_first else None) or _captions(
        catalog, opened, asked.texts[None], depth, condition)
    return with_captions(
        catalog, opened, asked, prepared.calibration, near, said, allowed), more


def look_together(catalog: Catalog, opened: Opened, prepared: Sequence[Prepared]
                  ) -> list[Prepared]:
    """Queries with their first looks, made together where they look at the same rows, and for
    pictures or for texts."""
    alike: dict[Any, list[int]] = {}
    for n, one in enumerate(prepared):
        if by_vector(one.query) and one.query.find != "any":
            key = (one.query.find, first_depth(opened, one), one.condition)
            alike.setdefault((*key, _has_captions(opened, one)), []).append(n)
    found = list(prepared)
    for (find, depth, condition, captioned), those in alike.items():
        if len(those) == 1:
            continue
        every = [prepared[n].asked for n in those]
        asked = Asked(*(np.stack([one[part] for one in every if one]) for part in (0, 1)))
        kinds = KINDS[find]
        near = nearest(opened, asked.pictures if find == "image" else asked.texts,
                       _deep(opened, depth, kinds), kinds,
                       catalog.select(condition, kinds) if condition else None)
        said = _captions(catalog, opened, asked.texts, depth, condition) if captioned else None
        for row, n in enumerate(those):
            found[n] = replace(prepared[n], first=_row(near, row),
                               first_captions=said and _row(said, row))
    return found


def first_depth(opened: Opened, prepared: Prepared) -> int:
    """How many neighbours are asked for at first: enough for the page, where that costs nothing."""
    query = prepared.query
    fused = query.mode == "hybrid" or _has_captions(opened, prepared)
    depth = _FIRST_FUSED if fused else _FIRST
    approximate = by_vector(query) and any(
        isinstance(part, Ann) for part in opened.parts(KINDS[query.find], depth))
    end = query.offset + query.k
    wanted = pool_of(end) if query.diverse is not None else end
    while not fused and not approximate and depth < wanted + EXTRA:
        depth *= DEEPER
    return depth


def pool_of(end: int) -> int:
    """From how many candidates `end` diverse hits are chosen: 100, 500, 2,500, ...: the steps
    within which pages fit together."""
    pool = 100
    while pool < 5 * end:
        pool *= 5
    return pool


def _has_captions(opened: Opened, prepared: Prepared) -> bool:
    """Whether words ask for pictures, of which some may have captions."""
    query = prepared.query
    return (query.captions and query.find == "image" and by_vector(query)
            and prepared.pictures == 0 and prepared.calibration is not None
            and opened.rows(KINDS["text"]) > 0)


def _captions(catalog: Catalog, opened: Opened, queries: Vectors, depth: int,
              condition: Condition | None) -> Neighbors:
    """The texts that are nearest to queries, of those that belong to what meets a condition."""
    return nearest(opened, queries, _deep(opened, depth, KINDS["text"]), KINDS["text"],
                   catalog.captions_of(condition) if condition else None)


def _deep(opened: Opened, depth: int, kinds: Sequence[Kind]) -> int:
    return max(min(depth, opened.rows(kinds)), 1)


def _row(found: Neighbors, row: int) -> Neighbors:
    return Neighbors(found.scores[row:row + 1], found.ids[row:row + 1])
