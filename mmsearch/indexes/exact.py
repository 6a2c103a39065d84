"""Exact search; the float16 file doubles as the store of all vectors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmsearch.indexes import kinds
from mmsearch.indexes._faiss import load_faiss, threads, write_index
from mmsearch.indexes.fusion import nothing, top_k
from mmsearch.records import Effort, Ids, IndexSpec, Neighbors, Vectors

GATHER_UP_TO = 20_000
"""A filter that allows no more rows than this is answered from those rows alone."""
MANY = 16
"""Queries from which decoding rows once and multiplying matrices beats scanning rows for each."""
_SCANNED, _DECODED = 4096, 16_384
"""Rows scanned, or decoded, at a time: what stays in the caches."""


class ExactIndex:
    """Inner product over float16 or float32 rows (FAISS SQfp16 or Flat); ids are row numbers."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self.rows = int(index.ntotal)
        self.dim = int(index.d)
        self.spec = IndexSpec("exact" if hasattr(index, "sq") else "exact-f32")

    @classmethod
    def build(cls, blocks: Iterator[Vectors], spec: IndexSpec) -> ExactIndex:
        faiss = load_faiss()
        index = None
        for block in blocks:
            if index is None:
                index = faiss.index_factory(block.shape[1], kinds.factory(block.shape[1], spec),
                                            faiss.METRIC_INNER_PRODUCT)
            index.add(block)
        if index is None:
            raise ValueError("an index needs at least one block of vectors")
        return cls(index)

    @property
    def native(self) -> Any:
        """The FAISS index, for those that build on it."""
        return self._index

    def save(self, path: Path) -> None:
        write_index(self._index, path)

    @property
    def vectors(self) -> npt.NDArray[np.floating[Any]]:
        """[rows, dim], a view of the (memory-mapped) file; nothing is copied."""
        dtype = np.float16 if self.spec.kind == "exact" else np.float32
        view: npt.NDArray[np.floating[Any]] = self._codes.view(dtype)
        view.flags.writeable = False
        return view

    def search(self, queries: Vectors, k: int, *, allow: npt.NDArray[np.bool_] | None = None,
               effort: Effort | None = None) -> Neighbors:
        with threads(len(queries) * self.rows):
            return self._search(queries, k, allow)

    def _search(self, queries: Vectors, k: int, allow: npt.NDArray[np.bool_] | None) -> Neighbors:
        many = len(queries) >= MANY
        if allow is None:
            return self.search_rows(queries, k) if len(queries) > 1 else Neighbors(
                *self._index.search(queries, k))
        allowed = np.flatnonzero(allow[: self.rows])
        if many or len(allowed) <= GATHER_UP_TO:
            return self.search_rows(queries, k, allowed)
        faiss = load_faiss()
        selector = faiss.IDSelectorBitmap(np.packbits(allow, bitorder="little"))
        return Neighbors(*self._index.search(
            queries, k, params=faiss.SearchParameters(sel=selector)))

    def search_rows(self, queries: Vectors, k: int, rows: Ids | None = None) -> Neighbors:
        """The k best among `rows` (int64 row numbers), or of all, exactly; padded with id -1 to k
        columns.

        A block that stays in the caches is read once for all queries. For many, it is decoded to
        float32 and scored by matrix products, which is several times faster than scans.
        """
        faiss = load_faiss()
        many = len(queries) >= MANY
        size = _DECODED if many else _SCANNED
        block = faiss.index_factory(self.dim, kinds.factory(self.dim, self.spec),
                                    faiss.METRIC_INNER_PRODUCT)
        best = nothing(queries)
        for at in range(0, self.rows if rows is None else len(rows), size):
            codes = self._codes[at:at + size] if rows is None else np.take(
                self._codes, rows[at:at + size], axis=0)
            if many:
                scores, ids = _knn(queries, self._index.sa_decode(codes), k)
            else:
                block.reset()
                block.add_sa_codes(codes)
                scores, ids = block.search(queries, min(k, len(codes)))
            found = ids + at if rows is None else rows[ids + at]
            best = top_k([best, Neighbors(scores, found)], k)
        return top_k([best], k)

    @property
    def _codes(self) -> npt.NDArray[np.uint8]:
        size = self._index.code_size
        raw: npt.NDArray[np.uint8] = load_faiss().rev_swig_ptr(
            self._index.codes.data(), self.rows * size)
        return raw.reshape(self.rows, size)


def _knn(queries: Vectors, rows: Vectors, k: int) -> tuple[Vectors, Ids]:
    faiss = load_faiss()
    scores, ids = faiss.knn(queries, rows, min(k, len(rows)), metric=faiss.METRIC_INNER_PRODUCT)
    return scores, ids
