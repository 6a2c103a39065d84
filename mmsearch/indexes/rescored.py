"""An approximate index over a float16 store: candidates from the one, exact scores from the other,
and filters that cost no recall.

A filter makes an approximate index miss more: the best allowed rows lie deeper, and the more so
where it correlates with the query (allowed rows may all be in lists far from it). So:

1. few allowed rows (`few`): those alone are searched, exactly;
2. else the index is searched with a selector and an effort that grows as the filter tightens;
3. and the effort is doubled until the answer stops changing, query by query;
4. where that would cost more than scanning all allowed rows, they are scanned.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mmsearch.indexes._faiss import load_faiss
from mmsearch.indexes.approximate import ApproximateIndex, default_effort
from mmsearch.indexes.exact import GATHER_UP_TO, ExactIndex
from mmsearch.indexes.kinds import KINDS
from mmsearch.records import Effort, Ids, Neighbors, Vectors

Allow = npt.NDArray[np.bool_]
_GATHER_SHARE, _GATHER_MOST = 0.02, 50_000
_MOST_GROWTH = 16.0
_DEEPEST = 32
"""Neighbours beyond ten for which more candidates are rescored, in proportion."""


def few(allowed: int, rows: int) -> bool:
    """Whether so few rows are allowed that scanning them beats any index."""
    return allowed <= GATHER_UP_TO or (
        allowed <= _GATHER_MOST and allowed <= _GATHER_SHARE * rows)


def completed(found: Neighbors, store: ExactIndex, queries: Vectors, k: int,
              allow: Allow | None = None) -> Neighbors:
    """Where the lists or nodes that were visited hold fewer than k rows, all are searched."""
    short = np.flatnonzero((found.ids < 0).any(axis=1))
    if len(short):
        found.scores[short], found.ids[short] = store.search(queries[short], k, allow=allow)
    return found


class RescoredIndex:
    """`base` searched with `effort`; scores are exact cosines of the stored vectors."""

    def __init__(self, base: ApproximateIndex, store: ExactIndex, effort: Effort | None = None,
                 ) -> None:
        self.base, self.store, self.effort = base, store, effort or default_effort(base.spec)
        self.rows, self.spec = store.rows, base.spec
        self._index, self._rescores = base.native, KINDS[base.spec.kind].rescored
        # Making them takes a tenth of the time of a search.
        self._unfiltered = lru_cache(16)(partial(self._parameters, allow=None))
        if self._rescores:
            self._index = load_faiss().IndexRefine(base.native, store.native)

    def search(self, queries: Vectors, k: int, *, allow: Allow | None = None,
               effort: Effort | None = None) -> Neighbors:
        """float32 [nq, dim] -> the k best rows. allow: bool [rows]; others never come back."""
        effort = effort or self.effort
        if allow is None:
            return completed(self._search(queries, k, effort, None), self.store, queries, k)
        allowed = int(np.count_nonzero(allow))
        if few(allowed, self.rows):
            return self.store.search_rows(queries, k, np.flatnonzero(allow))
        return self._filtered(queries, k, effort, allow, allowed)

    def _search(self, queries: Vectors, k: int, effort: Effort, allow: Allow | None) -> Neighbors:
        parameters = self._unfiltered(effort, k) if allow is None else self._parameters(
            effort, k, allow)
        with self.base.threads(len(queries), effort):
            return Neighbors(*self._index.search(queries, k, params=parameters))

    def _parameters(self, effort: Effort, k: int, allow: Allow | None) -> Any:
        parameters = self.base.parameters(effort, allow)
        if not self._rescores:
            return parameters
        depth = max(effort.rescored * k / 10 if k > _DEEPEST else effort.rescored, k)
        return load_faiss().IndexRefineSearchParameters(
            k_factor=depth / k, base_index_params=parameters)

    def _filtered(self, queries: Vectors, k: int, effort: Effort, allow: Allow, allowed: int,
                  ) -> Neighbors:
        share = allowed / self.rows
        effort = self._grown(effort, min(_MOST_GROWTH, share**-0.5))
        scores, ids = self._search(queries, k, effort, allow)
        open_ = np.arange(len(queries))
        while len(open_):
            effort = self._grown(effort, 2)
            if self._too_wide(effort, share):
                scores[open_], ids[open_] = self.store.search(queries[open_], k, allow=allow)
                break
            again = self._search(queries[open_], k, effort, allow)
            settled = _same(ids[open_], again.ids)
            scores[open_], ids[open_] = again
            open_ = open_[~settled]
        return Neighbors(scores, ids)

    def _grown(self, effort: Effort, factor: float) -> Effort:
        return Effort(min(round(effort.width * factor), self.base.widest), effort.rescored)

    def _too_wide(self, effort: Effort, share: float) -> bool:
        """Whether scanning the allowed rows exactly costs less than such a search."""
        if self.spec.nlist:
            return effort.width >= self.spec.nlist // 2
        return effort.width >= share * self.rows / 8


def _same(one: Ids, other: Ids) -> npt.NDArray[np.bool_]:
    """Whether both have the same ids and none is missing, row by row."""
    same: npt.NDArray[np.bool_] = (np.sort(one, axis=1) == np.sort(other, axis=1)).all(axis=1)
    return same & (one >= 0).all(axis=1)
