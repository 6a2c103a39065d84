"""Searching and building on NVIDIA GPUs, through FAISS's GPU builds (extra `gpu` or `cuvs`).

Files stay CPU files: what a GPU builds is copied back before it is saved, and a collection is
copied to the GPUs when it is opened with ``device="cuda"``. One GPU that holds it all is joined by
the others as replicas, for throughput; where one is too small, each holds a share.

Selectors are never used on a GPU: several kinds ignore them silently. A filter takes more
candidates than asked for, drops the forbidden ones, and leaves what falls short to the CPU.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, cast, get_args

import numpy as np
import numpy.typing as npt

from mmsearch.errors import GpuUnavailable, MissingExtra, UsageError
from mmsearch.indexes import kinds
from mmsearch.indexes._faiss import load_faiss
from mmsearch.indexes.approximate import ApproximateIndex, default_effort
from mmsearch.indexes.exact import ExactIndex
from mmsearch.indexes.fusion import top_k
from mmsearch.indexes.lists import sample
from mmsearch.indexes.rescored import completed, few
from mmsearch.records import Effort, IndexSpec, Neighbors, Vectors

SCRATCH = 1_800_000_000
"""Bytes that FAISS takes on a GPU beside the vectors: 1.5 GB of temporary and 256 MB of pinned
memory (StandardGpuResources)."""
_ONE_AT_A_TIME = Lock()
"""Indexes on a GPU share its scratch memory, and are not for several threads."""
MOST_K = 2048
"""Neighbours that one GPU search can return."""


@dataclass(frozen=True)
class Placement:
    """How an index lies on GPUs: whole on each of them, or a share on each."""

    gpus: int
    shards: bool
    bytes: int
    """On one GPU."""


def usable(device: str) -> kinds.Device:
    """The device that there is for the one asked for: "auto" becomes "cpu" after a warning where
    no GPU can be used.

    Raises:
        UsageError: no such device.
        GpuUnavailable, MissingExtra: with "cuda", in the same case.
    """
    if device not in get_args(kinds.Device):
        raise UsageError(f"device must be one of {', '.join(get_args(kinds.Device))}, not "
                         f"{device!r}")
    if device != "cpu":
        try:
            free_memory(gpu_count())
        except (GpuUnavailable, MissingExtra) as error:
            if device == "cuda":
                raise
            warnings.warn(f"everything is done on the CPU: {error}", stacklevel=2)
            return "cpu"
    return cast(kinds.Device, device)


def gpu_count() -> int:
    """GPUs that the installed FAISS can use, one at least.

    Raises:
        GpuUnavailable: there is none, or FAISS was built without GPU support.
    """
    faiss = load_faiss()
    if not hasattr(faiss, "StandardGpuResources") and _has_driver():
        raise GpuUnavailable("the FAISS that is installed is for CPUs; run: pip uninstall -y "
                             "faiss-cpu && pip install 'mmsearch[gpu]'")
    gpus = int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0
    if not gpus:
        raise GpuUnavailable("no NVIDIA GPU was found (is its driver installed?); use --device cpu")
    return gpus


def _has_driver() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def free_memory(gpus: int) -> list[int]:
    """Free bytes on each GPU.

    Raises:
        MissingExtra: torch, which knows, is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtra("--device cuda", "gpu") from error
    return [int(torch.cuda.mem_get_info(n)[0]) for n in range(gpus)]


def place(rows: int, dim: int, spec: IndexSpec, free: Sequence[int]) -> Placement:
    """Where so many vectors go, given the free bytes of each GPU; nothing is taken yet.

    Raises:
        GpuUnavailable: all of them together are too small.
    """
    lists = spec.nlist * dim * 4
    whole = round(rows * kinds.KINDS[spec.kind].bytes(dim, spec)) + lists
    if whole + SCRATCH <= min(free):
        return Placement(len(free), False, whole + SCRATCH)
    share = whole // len(free) + lists
    if len(free) > 1 and share + SCRATCH <= min(free):
        return Placement(len(free), True, share + SCRATCH)
    raise GpuUnavailable(
        f"{rows:,} vectors of {dim} dimensions as {spec.kind} need {_gb(share + SCRATCH)} on each "
        f"GPU and {_gb(min(free))} are free; use a smaller kind (--kind ivf-pq8), more GPUs, or "
        "--device cpu")


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def on_device(index: ExactIndex | ApproximateIndex, store: ExactIndex, device: str,
              effort: Effort | None = None) -> GpuIndex | None:
    """A copy of `index` on the GPUs, or None where it is to be searched on the CPU: with "cpu",
    and with "auto" after a warning where there is no GPU that can hold it.

    Raises:
        GpuUnavailable, MissingExtra: with "cuda", in the same case.
    """
    if device == "cpu":
        return None
    try:
        if not kinds.KINDS[index.spec.kind].gpu:
            fit = [name for name, traits in kinds.KINDS.items() if traits.gpu]
            raise GpuUnavailable(f"an index of kind {index.spec.kind} cannot be searched on a GPU; "
                                 f"build another (mmsearch compact --kind {' or '.join(fit)}), or "
                                 "use --device cpu")
        placement = place(index.rows, index.dim, index.spec, free_memory(gpu_count()))
        return GpuIndex(to_gpus(index.native, placement), index.spec, store, effort)
    except (GpuUnavailable, MissingExtra) as error:
        if device == "cuda":
            raise
        warnings.warn(f"searching on the CPU: {error}", stacklevel=2)
        return None


def to_gpus(index: Any, placement: Placement) -> Any:
    """Copy a FAISS CPU index, float16 where it is flat."""
    faiss = load_faiss()
    options = faiss.GpuMultipleClonerOptions()
    options.useFloat16 = True
    options.shard = placement.shards
    options.common_ivf_quantizer = placement.shards
    gpus = list(range(placement.gpus))
    return faiss.index_cpu_to_gpu_multiple_py(
        [_resources(gpu) for gpu in gpus], index, options, gpus)


@lru_cache
def _resources(gpu: int) -> Any:
    """One set of scratch memory a GPU, whatever the number of indexes on it."""
    return load_faiss().StandardGpuResources()


class GpuIndex:
    """A VectorIndex on GPUs; `store` has the same rows on the CPU, for rescoring and filters."""

    def __init__(self, native: Any, spec: IndexSpec, store: ExactIndex,
                 effort: Effort | None = None) -> None:
        self._native, self.spec, self.store, self.rows = native, spec, store, store.rows
        self._rescores = kinds.KINDS[spec.kind].rescored
        self.effort = effort or default_effort(spec)

    def search(self, queries: Vectors, k: int, *, allow: npt.NDArray[np.bool_] | None = None,
               effort: Effort | None = None) -> Neighbors:
        if k > MOST_K:
            return self.store.search(queries, k, allow=allow)
        if allow is None:
            found = self._search(queries, k, effort or self.effort)
            return completed(found, self.store, queries, k)
        allowed = int(np.count_nonzero(allow))
        if few(allowed, self.rows):
            return self.store.search_rows(queries, k, np.flatnonzero(allow))
        return self._filtered(queries, k, effort or self.effort, allow, allowed / self.rows)

    def _search(self, queries: Vectors, k: int, effort: Effort) -> Neighbors:
        faiss = load_faiss()
        depth = min(max(k, effort.rescored), MOST_K, self.rows)
        options = {}
        if self.spec.nlist:
            options["params"] = faiss.SearchParametersIVF(nprobe=min(effort.width, MOST_K))
        with _ONE_AT_A_TIME:
            found = Neighbors(*self._native.search(np.ascontiguousarray(queries), depth, **options))
        return self._rescored(queries, found, k) if self._rescores else Neighbors(
            found.scores[:, :k], found.ids[:, :k])

    def _rescored(self, queries: Vectors, found: Neighbors, k: int) -> Neighbors:
        rows = [self.store.search_rows(query[None], k, ids[ids >= 0])
                for query, ids in zip(queries, np.sort(found.ids, axis=1), strict=True)]
        return Neighbors(np.concatenate([row.scores for row in rows]),
                         np.concatenate([row.ids for row in rows]))

    def _filtered(self, queries: Vectors, k: int, effort: Effort, allow: npt.NDArray[np.bool_],
                  share: float) -> Neighbors:
        """Candidates enough for a filter that has nothing to do with the query; where one has, and
        fewer than k are allowed, all allowed rows are scanned on the CPU."""
        depth = min(MOST_K, self.rows, round(1.5 * k / share) + 32)
        wide = Effort(min(round(effort.width * min(16.0, share**-0.5)), self.spec.nlist or 1),
                      max(effort.rescored, depth) if self._rescores else 0)
        found = self._search(queries, depth, wide)
        forbidden = (found.ids < 0) | ~allow[found.ids]
        best = top_k([Neighbors(found.scores, np.where(forbidden, -1, found.ids))], k)
        return completed(best, self.store, queries, k, allow)


def build_on_gpu(blocks: Callable[[], Iterator[Vectors]], spec: IndexSpec,
                 rows: int) -> ApproximateIndex:
    """Train and fill an index on a GPU, and bring it back as the CPU form that is saved.

    Raises:
        GpuUnavailable, MissingExtra: no GPU, too small a one, or a FAISS without the kind.
    """
    dim = next(iter(blocks())).shape[1]
    placement = place(rows, dim, spec, free_memory(gpu_count()))
    if spec.kind == "cagra":
        return ApproximateIndex(_cagra(blocks, spec, dim), spec)
    faiss = load_faiss()
    empty = faiss.index_factory(dim, kinds.factory(dim, spec), faiss.METRIC_INNER_PRODUCT)
    empty.cp.spherical, empty.cp.niter = True, 10
    index = to_gpus(empty, placement)
    index.train(sample(blocks(), rows, spec.nlist * 256))
    for block in blocks():
        index.add(block)
    return ApproximateIndex(faiss.index_gpu_to_cpu(index), spec)


def _cagra(blocks: Callable[[], Iterator[Vectors]], spec: IndexSpec, dim: int) -> Any:
    """A CAGRA graph (Ootomo et al. 2023, arXiv 2308.15136), as the HNSW graph that CPUs search."""
    faiss = load_faiss()
    config = faiss.GpuIndexCagraConfig()
    config.graph_degree, config.intermediate_graph_degree = 2 * spec.m, 4 * spec.m
    graph = faiss.GpuIndexCagra(_resources(0), dim, faiss.METRIC_INNER_PRODUCT,
                                config)
    graph.train(np.concatenate(list(blocks())))
    index = faiss.IndexHNSWCagra(dim, spec.m, faiss.METRIC_INNER_PRODUCT)
    graph.copyTo(index)
    return index
