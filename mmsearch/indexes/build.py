"""Vector indexes: one narrow protocol, all through FAISS; `kinds.KINDS` is the table of them.

An index is built once and never changed: adding to a memory-mapped one aborts the process.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from mmsearch.errors import CollectionDamaged, GpuUnavailable, MissingExtra, UsageError
from mmsearch.indexes._faiss import load_faiss
from mmsearch.indexes.approximate import ApproximateIndex
from mmsearch.indexes.exact import ExactIndex
from mmsearch.indexes.kinds import KINDS, Device
from mmsearch.records import Effort, IndexSpec, Neighbors, Vectors

Blocks: TypeAlias = Callable[[], Iterator[Vectors]]


class VectorIndex(Protocol):
    spec: IndexSpec
    rows: int

    def search(self, queries: Vectors, k: int, *, allow: npt.NDArray[np.bool_] | None = None,
               effort: Effort | None = None) -> Neighbors:
        """float32 [nq, dim] -> the k best rows, by number, best first; -1 where there are no more.

        allow: bool [rows]; rows that are False are never returned.
        effort: how hard an approximate kind searches; exact ones do not ask.
        """


def build_index(blocks: Blocks, spec: IndexSpec, *, rows: int = 0,
                device: Device = "cpu") -> ExactIndex | ApproximateIndex:
    """Build an index of `spec` from blocks of unit float32 rows.

    blocks: called for a fresh iterator over the rows, since some kinds go over them twice.
    rows: how many there are; the exact kinds do not need to know.
    device: where kinds that have a GPU form are built; "auto" falls back to the CPU, and says so.

    Raises:
        UsageError: cagra, which only GPUs build, on a CPU.
        GpuUnavailable, MissingExtra: with "cuda", no GPU that can do it.
    """
    if KINDS[spec.kind].exact:
        return ExactIndex.build(blocks(), spec)
    if device != "cpu" and KINDS[spec.kind].gpu:
        from mmsearch.indexes import gpu

        try:
            return gpu.build_on_gpu(blocks, spec, rows)
        except (GpuUnavailable, MissingExtra) as error:
            if device == "cuda" or not KINDS[spec.kind].factory:
                raise
            warnings.warn(f"building on the CPU: {error}", stacklevel=2)
    if not KINDS[spec.kind].factory:
        check_builder("cpu")
    return ApproximateIndex.build(blocks, spec, rows)


def check_builder(device: Device) -> None:
    """Whether what only GPUs build, cagra, can be built.

    Raises:
        UsageError: on a CPU.
        MissingExtra: the FAISS that is installed cannot.
    """
    if device == "cpu":
        raise UsageError("an index of kind cagra is built on a GPU: add --device cuda, or choose "
                         "another (--kind auto)")
    if not hasattr(load_faiss(), "GpuIndexCagra"):
        raise MissingExtra("the kind cagra", "cuvs")


def load_index(path: Path, spec: IndexSpec | None = None) -> ExactIndex | ApproximateIndex:
    """Open an index file, memory-mapped: milliseconds, and pages shared between processes.

    spec: what it was built as; None for an exact one.

    Raises:
        FileNotFoundError: there is none.
        CollectionDamaged: the file is cut short, or of another kind.
    """
    faiss = load_faiss()
    try:
        index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        if not path.exists():
            raise FileNotFoundError(path) from error
        raise CollectionDamaged(f"{path.name} cannot be opened") from error
    if spec is not None and not KINDS[spec.kind].exact:
        return ApproximateIndex(index, spec)
    if isinstance(index, faiss.IndexScalarQuantizer | faiss.IndexFlatIP):
        return ExactIndex(index)
    raise CollectionDamaged(f"{path.name} is an index of unknown kind, {type(index).__name__}")
