"""Approximate search on a CPU: graphs and inverted lists, whatever `kinds.KINDS` describes.

    HNSW      Malkov & Yashunin 2016, arXiv 1603.09320
    IVF, PQ   Jegou, Douze & Schmid 2011; fast scan: Andre, Kermarrec & Le Scouarnec 2015
    RaBitQ    Gao & Long 2024, arXiv 2405.12497
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmsearch.indexes import kinds
from mmsearch.indexes._faiss import load_faiss, threads, write_index
from mmsearch.indexes.lists import TWO_LEVELS_FROM, train_lists
from mmsearch.records import Effort, IndexSpec, Neighbors, Vectors

START = {"hnsw": 128, "cagra": 128}
"""Nodes in view where nothing has been tuned; of lists, one in `START_SHARE` is visited."""
START_SHARE, START_RESCORED = 16, 400


class ApproximateIndex:
    """Candidates for `RescoredIndex`; ids are row numbers, in the order of the build."""

    def __init__(self, index: Any, spec: IndexSpec) -> None:
        self._index = index
        self.spec = spec
        self.rows = int(index.ntotal)
        self.dim = int(index.d)

    @classmethod
    def build(cls, blocks: Callable[[], Iterator[Vectors]], spec: IndexSpec,
              rows: int) -> ApproximateIndex:
        """Train on an even sample of the rows where the kind trains, then add them all."""
        faiss = load_faiss()
        dim = next(iter(blocks())).shape[1]
        index = faiss.index_factory(dim, _factory(dim, spec), faiss.METRIC_INNER_PRODUCT)
        with threads(rows * max(spec.nlist, 100)):
            if kinds.KINDS[spec.kind].trains:
                train_lists(index, blocks, rows)
            else:
                index.hnsw.efConstruction = spec.ef_construction
            for block in blocks():
                index.add(block)
        return cls(index, spec)

    @property
    def native(self) -> Any:
        """The FAISS index, for those that build on it."""
        return self._index

    @property
    def widest(self) -> int:
        """The largest useful `Effort.width`: every list, or every node."""
        return self.spec.nlist or self.rows

    def save(self, path: Path) -> None:
        write_index(self._index, path)

    def search(self, queries: Vectors, k: int, *, allow: npt.NDArray[np.bool_] | None = None,
               effort: Effort | None = None) -> Neighbors:
        effort = effort or default_effort(self.spec)
        with self.threads(len(queries), effort):
            return Neighbors(*self._index.search(
                queries, k, params=self.parameters(effort, allow)))

    def threads(self, queries: int, effort: Effort) -> AbstractContextManager[None]:
        visited = self.rows * effort.width // self.spec.nlist if self.spec.nlist else effort.width
        return threads(queries * (visited // 8 + effort.rescored))

    def parameters(self, effort: Effort, allow: npt.NDArray[np.bool_] | None) -> Any:
        """FAISS's search parameters for an effort and a filter (bool [rows])."""
        faiss = load_faiss()
        selector = None
        if allow is not None:
            selector = faiss.IDSelectorBitmap(np.packbits(allow, bitorder="little"))
        if not self.spec.nlist:
            return faiss.SearchParametersHNSW(efSearch=effort.width, sel=selector)
        coarse = None
        if self.spec.nlist >= TWO_LEVELS_FROM:
            coarse = faiss.SearchParametersHNSW(efSearch=max(64, 2 * effort.width))
        lists = faiss.SearchParametersIVF(nprobe=min(effort.width, self.spec.nlist), sel=selector,
                                          quantizer_params=coarse)
        if isinstance(self._index, faiss.IndexPreTransform):
            return faiss.SearchParametersPreTransform(index_params=lists)
        return lists


def default_effort(spec: IndexSpec) -> Effort:
    """An effort for an index that has not been tuned."""
    rescored = START_RESCORED if kinds.KINDS[spec.kind].rescored else 0
    return Effort(START.get(spec.kind, max(1, spec.nlist // START_SHARE)), rescored)


def _factory(dim: int, spec: IndexSpec) -> str:
    text = kinds.factory(dim, spec)
    # So many lists are found through a graph: comparing a query with each takes milliseconds.
    return text.replace(f"IVF{spec.nlist}", f"IVF{spec.nlist}_HNSW32") \
        if spec.nlist >= TWO_LEVELS_FROM else text
