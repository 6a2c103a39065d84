"""Exact search; the float16 file doubles as the store of all vectors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmsearch.indexes import kinds
from mmsearch.indexes._faiss import load_faiss, set_threads, write_index
from mmsearch.records import Effort, Ids, IndexSpec, Neighbors, Vectors

GATHER_UP_TO = 20_000
"""A filter that allows no more rows than this is answered from those rows alone."""


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
        faiss = load_faiss()
        dtype = np.float16 if self.spec.kind == "exact" else np.float32
        raw = faiss.rev_swig_ptr(self._index.codes.data(), self.rows * self._index.code_size)
        view: npt.NDArray[np.floating[Any]] = raw.view(dtype).reshape(self.rows, self.dim)
        view.flags.writeable = False
        return view

    def search(self, queries: Vectors, k: int, *, allow: npt.NDArray[np.bool_] | None = None,
               effort: Effort | None = None) -> Neighbors:
        faiss = load_faiss()
        set_threads(len(queries) * self.rows)
        if allow is None:
            return Neighbors(*self._index.search(queries, k))
        allowed = np.flatnonzero(allow[: self.rows])
        if len(allowed) <= GATHER_UP_TO:
            return self.search_rows(queries, k, allowed)
        selector = faiss.IDSelectorBitmap(np.packbits(allow, bitorder="little"))
        parameters = faiss.SearchParameters(sel=selector)
        return Neighbors(*self._index.search(queries, k, params=parameters))

    def search_rows(self, queries: Vectors, k: int, rows: Ids) -> Neighbors:
        """The k best among `rows` (int64 row numbers), exactly; padded with id -1 to k columns."""
        scores = queries @ self.vectors[rows].astype(np.float32).T
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        out_scores = np.full((len(queries), k), -np.inf, np.float32)
        out_ids = np.full((len(queries), k), -1, np.int64)
        out_scores[:, : best.shape[1]] = np.take_along_axis(scores, best, axis=1)
        out_ids[:, : best.shape[1]] = rows[best] if len(rows) else -1
        return Neighbors(out_scores, out_ids)
