"""One search, step by step, inside one snapshot of a collection: candidates, the live ones among
them, one a group, made diverse, the page that was asked for.

There is one ranking, whatever part of it is asked for: it is made in steps of growing depth, and
a step only adds to what the steps before it found. So pages put one after the other are the one
big search, without repeats and gaps. (An approximate index that, asked for more, finds a neighbour
which it had missed adds it late, out of the order of scores, rather than twice or never. A cursor
is a place in the order of scores: what comes late from before it is passed over.)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import accumulate, islice
from typing import NamedTuple

import numpy as np

from mmsearch.errors import MmsearchError, UsageError
from mmsearch.records import Hit, Item, Matches, Neighbors, Vectors
from mmsearch.search.diversity import spread
from mmsearch.search.hybrid import LEAST, fused
from mmsearch.search.looks import (
    DEEPER,
    EXTRA,
    KINDS,
    Prepared,
    by_vector,
    first_depth,
    look,
    look_together,
    pool_of,
)
from mmsearch.search.moments import Moments
from mmsearch.search.query import several
from mmsearch.search.relevance import SAMPLED, relevance_of
from mmsearch.storage import Catalog, Opened, Row

_JUDGED = 100


class Found(NamedTuple):
    score: float
    row: Row
    cosine: float | None
    bm25: float | None


def search_many(catalog: Catalog, opened: Opened, prepared: Sequence[Prepared]
                ) -> list[list[Hit] | MmsearchError]:
    """As `search`, for each query; what is wrong with one is in its place. Queries that look at the
    same rows look at them together."""
    found: list[list[Hit] | MmsearchError] = []
    for one in look_together(catalog, opened, prepared) if len(prepared) > 1 else prepared:
        try:
            found.append(search(catalog, opened, one))
        except MmsearchError as error:
            found.append(error)
    return found


def search(catalog: Catalog, opened: Opened, prepared: Prepared) -> list[Hit]:
    """Hits `offset` to `offset + k` of a query, best first; fewer if there are no more, or no
    relevant ones."""
    query = prepared.query
    if query.min_score is not None and prepared.calibration is None:
        raise UsageError(f"{opened.root} has no calibration set, which --min-score needs; "
                         f"run `mmsearch index PATH -i {opened.root}` once")
    end = query.offset + query.k
    pool = pool_of(end) if query.diverse is not None else end
    ranked = _one_each(_ranked(catalog, opened, prepared), query.collapse)
    if query.min_score is not None:
        ranked = _relevant(catalog, opened, prepared, ranked)
    if query.diverse is not None:
        ranked = _spread(opened, list(islice(ranked, pool)), query.diverse, end)
    if query.after:
        place = _place_after(query.after)
        # The same search, made beside others, may give a score another last digit.
        ranked = (found for found in ranked
                  if _place(found) > place and found.row.seq != place[1])
    shown = list(islice(ranked, end))
    page = shown[query.offset:]
    judged = _relevance(catalog, opened, prepared, page)
    has_cursor = query.mode == "vector" and query.diverse is None
    cursors = [f"{-score!r}:{seq}" if has_cursor else ""
               for score, seq in accumulate(map(_place, shown), max)][query.offset:]
    return [Hit(row.id, score, row.item, cosine, bm25, cursor, relevance)
            for (score, row, cosine, bm25), cursor, relevance in zip(
                page, cursors, judged, strict=True)]


def _relevant(catalog: Catalog, opened: Opened, prepared: Prepared,
              ranked: Iterator[Found]) -> Iterator[Found]:
    """Those of `min_score` or more, and in hybrid those that the words name; where `_JUDGED` in a
    row fall short, the rest do too."""
    least = prepared.query.min_score or 0
    while block := list(islice(ranked, _JUDGED)):
        judged = _relevance(catalog, opened, prepared, block)
        good = [found for found, value in zip(block, judged, strict=True)
                if found.bm25 is not None or (value or 0) >= least]
        yield from good
        if not good:
            return


def _relevance(catalog: Catalog, opened: Opened, prepared: Prepared,
               page: Sequence[Found]) -> list[float | None]:
    """How relevant hits are; pictures and texts are told apart, for each its own scale."""
    judged: list[float | None] = [None] * len(page)
    asked, calibration, pictures = prepared.asked, prepared.calibration, prepared.pictures
    if asked is None or calibration is None:
        return judged
    for kinds, vector, foreign, like in (
            (KINDS["image"], asked.pictures, calibration.images, pictures),
            (KINDS["text"], asked.texts, calibration.texts, 1 - pictures)):
        those = [n for n, found in enumerate(page) if found.row.item.kind in kinds]
        if those:
            cosines = [float(_vectors(opened, [page[n]])[0] @ vector)
                       if (known := page[n].cosine) is None else known for n in those]
            rows = opened.rows(kinds)
            if prepared.condition:
                rows = len(catalog.select(prepared.condition, kinds))
            sample = opened.sample(kinds, SAMPLED)
            found = relevance_of(cosines, vector, foreign, sample, rows, like)
            for n, value in zip(those, found.tolist(), strict=True):
                judged[n] = value
    return judged


def _ranked(catalog: Catalog, opened: Opened, prepared: Prepared) -> Iterator[Found]:
    """Live items, best first, each once."""
    query = prepared.query
    kinds, without = KINDS[query.find], several(query.without)
    start = depth = first_depth(opened, prepared)
    seen: set[int] = set()
    while True:
        near, more, match = _NONE, False, Matches(*_NONE)
        if by_vector(query):
            near, more = look(catalog, opened, prepared, depth, depth == start)
        if query.mode == "text" or (query.mode == "hybrid" and query.text_weight > 0):
            match = catalog.match(query.words, depth, prepared.condition, kinds, without,
                                  least=LEAST if query.mode == "hybrid" else 0.0)
        for found in _step(catalog, opened, prepared, near, match):
            if found.row.seq not in seen:
                seen.add(found.row.seq)
                yield found
        if not more and match.ids.shape[1] < depth:
            return
        depth *= DEEPER


_NONE = Neighbors(np.zeros((1, 0), np.float32), np.zeros((1, 0), np.int64))


def _step(catalog: Catalog, opened: Opened, prepared: Prepared, near: Neighbors, match: Matches
          ) -> Iterator[Found]:
    """What the vectors and the words found, as one ranking of what is live; where only one of them
    looked, no more rows are fetched at a time than the page will need."""
    query = prepared.query
    if query.mode != "hybrid":
        is_near = bool(near.ids.size)
        found = near if is_near else Neighbors(match.scores, match.ids)
        size = query.offset + query.k + EXTRA // 2
        for at in range(0, found.ids.shape[1], size):
            part = Neighbors(found.scores[:, at:at + size], found.ids[:, at:at + size])
            rows = catalog.fetch(part.ids[0][part.ids[0] >= 0].tolist())
            for seq, score in _live(part, rows).items():
                yield Found(score, rows[seq], *((score, None) if is_near else (None, score)))
        return
    rows = catalog.fetch([*near.ids[0][near.ids[0] >= 0].tolist(), *match.ids[0].tolist()])
    cosines, bm25s = _live(near, rows), _live(match, rows)
    both = fused(opened, prepared, cosines, bm25s, match.whole)
    for seq, score in _live(both, rows).items():
        yield Found(score, rows[seq], cosines.get(seq), bm25s.get(seq))


def _live(found: Neighbors | Matches, rows: dict[int, Row]) -> dict[int, float]:
    pairs = zip(found.ids[0].tolist(), found.scores[0].tolist(), strict=True)
    return {seq: score for seq, score in pairs if seq in rows}


def _one_each(ranked: Iterator[Found], collapse: bool | str) -> Iterator[Found]:
    """The first of each group, folder, or value of a column; by groups, also one of a photo and its
    movie."""
    if not collapse:
        yield from ranked
        return
    key, moments = _key(collapse), Moments()
    seen: set[Hashable] = set()
    by_group = isinstance(collapse, bool) or collapse == "group"
    for found in ranked:
        if (value := key(found.row.item)) not in seen:
            seen.add(value)
            if not (by_group and moments.is_shown(found.row.item)):
                yield found


def _key(collapse: bool | str) -> Callable[[Item], Hashable]:
    """What makes items one; an item without a value of its own stands for its group."""
    if isinstance(collapse, bool) or collapse == "group":
        return lambda item: item.group
    if collapse == "folder":
        return lambda item: item.uri.rpartition("/")[0]
    return lambda item: (_value(item, collapse),) if has_value(item, collapse) else item.group


def has_value(item: Item, collapse: str) -> bool:
    """Whether an item can be collapsed by the column `collapse` (or "folder", "group")."""
    return collapse in ("folder", "group") or _value(item, collapse) is not None


def _value(item: Item, column: str) -> str | None:
    value = item.meta.get(column, item.meta.get(column.removeprefix("meta.")))
    return None if value is None else str(value)


def _spread(opened: Opened, pool: list[Found], trade: float, count: int) -> Iterator[Found]:
    order = spread([found.score for found in pool], _vectors(opened, pool), trade, count)
    return (pool[at] for at in order)


def _vectors(opened: Opened, pool: Sequence[Found]) -> Vectors:
    """The stored vectors of what was found, float32 [n, dim]."""
    dim = next((s.index.dim for s in opened.of_kinds(KINDS["any"])), 0)
    out = np.zeros((len(pool), dim), np.float32)
    for kind in KINDS["any"]:
        at = sorted((found.row.seq, n) for n, found in enumerate(pool)
                    if found.row.item.kind == kind)
        if at:
            seqs = np.array([seq for seq, _ in at], np.int64)
            out[[n for _, n in at]] = opened.gather(seqs, kind, dim)
    return out


def _place(found: Found) -> tuple[float, int]:
    """What sorts as the ranking does; rows of one score by age."""
    return -found.score, found.row.seq


def _place_after(after: str) -> tuple[float, int]:
    score, _, seq = after.partition(":")
    try:
        return -float(score), int(seq)
    except ValueError:
        raise UsageError(
            f"{after!r} is not the cursor of a hit; pass the cursor of the last hit") from None
