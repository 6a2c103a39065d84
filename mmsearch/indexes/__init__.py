"""Vector indexes: one narrow protocol, two kinds for now, all through FAISS.

| kind       | answers                  | bytes a vector  | trains | filters | memory-maps |
| ---------- | ------------------------ | --------------- | ------ | ------- | ----------- |
| exact      | cosines over float16     | 2 dim           | no     | yes     | yes         |
| ivf-rabitq | candidates to rescore    | dim/8 + about 20 | yes   | yes     | yes         |

An index is built once and never changed: adding to a memory-mapped one aborts the process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from mmsearch.errors import CollectionDamaged
from mmsearch.indexes._faiss import load_faiss
from mmsearch.indexes.exact import ExactIndex
from mmsearch.indexes.ivf import IvfIndex
from mmsearch.records import Ids, IndexSpec, Neighbors, Vectors

__all__ = ["ExactIndex", "IvfIndex", "VectorIndex", "build_index", "choose_spec", "load_index"]

EXACT_UP_TO = 100_000
"""More rows than this and one approximate index pays for itself (3 ms a query and core at 512
dimensions below it)."""

Blocks: TypeAlias = Callable[[], Iterator[Vectors]]


class VectorIndex(Protocol):
    spec: IndexSpec
    rows: int

    def search(self, queries: Vectors, k: int, *,
               allow: npt.NDArray[np.bool_] | None = None) -> Neighbors:
        """float32 [nq, dim] -> the k best, ids being positions or what `ids` said at the build.

        allow: bool [max id + 1]; ids that are False are never returned.
        """

    def save(self, path: Path) -> None: ...


def choose_spec(rows: int) -> IndexSpec:
    """Exact while that is fast; else inverted lists, as many as the power of two next to 4 √n."""
    if rows <= EXACT_UP_TO:
        return IndexSpec("exact")
    return IndexSpec("ivf-rabitq", nlist=2 ** round(np.log2(4 * rows**0.5)))


def build_index(blocks: Blocks, spec: IndexSpec, *, ids: Ids | None = None) -> VectorIndex:
    """Build an index of `spec` from blocks of unit float32 rows.

    blocks: called for a fresh iterator over the rows, since some kinds go over them twice.
    ids: int64, one a row (ivf-rabitq only); the exact kind numbers rows from 0.
    """
    if spec.kind == "exact":
        return ExactIndex.build(blocks())
    assert ids is not None
    return IvfIndex.build(blocks, spec, ids)


def load_index(path: Path) -> VectorIndex:
    """Open an index file, memory-mapped: milliseconds, and pages shared between processes.

    Raises:
        CollectionDamaged: the file is missing, cut short, or of no known kind.
    """
    faiss = load_faiss()
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        if not path.exists():
            raise FileNotFoundError(path) from error
        raise CollectionDamaged(f"{path} cannot be opened; run `mmsearch verify`") from error
    if isinstance(index, faiss.IndexScalarQuantizer):
        return ExactIndex(index)
    if isinstance(index, faiss.IndexPreTransform):
        return IvfIndex(index)
    raise CollectionDamaged(f"{path} holds an index of unknown kind {type(index).__name__}")
