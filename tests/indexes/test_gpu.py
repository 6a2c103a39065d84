"""Searching on GPUs: where things would go, what is said when they cannot, and, where there is a
GPU, that every kind finds what it should and no filter leaks."""

from __future__ import annotations

import shutil
import warnings
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from conftest import DEMO, Cli, unit_vectors

from mmsearch.collection.collection import Collection
from mmsearch.errors import UsageError
from mmsearch.indexes import KINDS, ExactIndex, build_index, load_index
from mmsearch.indexes._faiss import load_faiss
from mmsearch.indexes.gpu import (
    SCRATCH,
    GpuIndex,
    GpuUnavailable,
    build_on_gpu,
    on_device,
    place,
)
from mmsearch.indexes.kinds import sized
from mmsearch.metrics import ann_recall
from mmsearch.records import Effort, IndexSpec, Vectors
from mmsearch.sources.vector_sets import find_vectors

EXACT = IndexSpec("exact")
GIB = 1 << 30
has_gpu_build = hasattr(load_faiss(), "StandardGpuResources")


def store_of(vectors: Vectors) -> ExactIndex:
    return build_index(lambda: iter([vectors]), EXACT)


def truth(queries: Vectors, vectors: Vectors, rows: np.ndarray, k: int) -> np.ndarray:
    stored = vectors[rows].astype(np.float16).astype(np.float32)
    return rows[np.argsort(-(queries @ stored.T), axis=1)[:, :k]]


# -- before anything is taken --------------------------------------------------------------------


def test_what_fits_one_gpu_is_copied_to_all_and_what_does_not_is_shared_out() -> None:
    whole = place(10_000_000, 512, EXACT, [24 * GIB, 24 * GIB])
    assert (whole.gpus, whole.shards) == (2, False)
    assert whole.bytes == 10_000_000 * 1024 + SCRATCH
    shared = place(30_000_000, 512, EXACT, [24 * GIB, 24 * GIB])
    assert (shared.gpus, shared.shards) == (2, True)
    assert shared.bytes == 15_000_000 * 1024 + SCRATCH


def test_what_fits_nowhere_is_refused_with_both_figures() -> None:
    with pytest.raises(GpuUnavailable, match=r"need 104\.2 GB on each GPU and 8\.6 GB are free"):
        place(100_000_000, 512, EXACT, [8 * GIB])
    assert place(100_000_000, 512, sized("ivf-pq8", 100_000_000), [16 * GIB]).gpus == 1


def test_a_filter_on_a_gpu_is_applied_after_the_search_and_still_gives_k() -> None:
    """The part above FAISS, over a CPU index that answers the same calls."""
    vectors, queries = unit_vectors(60_000, 16), unit_vectors(5, 16, seed=1)
    store = store_of(vectors)
    index = GpuIndex(store.native, EXACT, store)
    far = np.argsort(vectors @ queries[0])[:30_000]  # none of the nearest is allowed
    for rows in (np.arange(0, 60_000, 2), np.sort(far), np.arange(25_000)):
        allow = np.zeros(60_000, bool)
        allow[rows] = True
        found = index.search(queries, 10, allow=allow)
        assert ann_recall(found.ids, truth(queries, vectors, rows, 10), 10) >= 0.98
        assert allow[found.ids].all()
    assert index.search(queries, 3000).ids.shape == (5, 3000)  # more than a GPU gives


@pytest.mark.skipif(has_gpu_build, reason="this FAISS has GPU support")
def test_without_gpu_support_cuda_is_refused_and_auto_warns_and_goes_on(
        tmp_path: Path, demo_index: Path, cli: Cli) -> None:
    store = store_of(unit_vectors(100, 8))
    with pytest.raises(GpuUnavailable, match=r"no NVIDIA GPU|mmsearch\[gpu\]"):
        on_device(store, store, "cuda")
    with pytest.warns(UserWarning, match="searching on the CPU"):
        assert on_device(store, store, "auto") is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert on_device(store, store, "cpu") is None
    with pytest.raises(UsageError, match="tpu"):
        Collection.open(demo_index, device="tpu")  # type: ignore[arg-type]
    copy = tmp_path / "copy"
    shutil.copytree(demo_index, copy)
    before = Collection.open(copy).info()
    for command in (["query", "a cat"], ["compact"], ["compact", "--kind", "cagra"],
                    ["index", "--kind", "cagra", DEMO]):
        done = cli(*command, "-i", copy, "--device", "cuda")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    done = cli("index", DEMO, "-i", tmp_path / "new", "--device", "cuda")
    assert done.returncode == 1
    assert not (tmp_path / "new").exists()
    assert Collection.open(copy).info() == before
    done = cli("query", "a cat", "-i", copy, "--device", "auto", "-k", 1, check=True)
    assert "cat.jpg" in done.stdout
    assert done.stderr.count("on the CPU") == 1
    done = cli("compact", "-i", copy, "--device", "auto", check=True)
    assert done.stderr.count("on the CPU") == 1


@pytest.mark.skipif(has_gpu_build, reason="this FAISS has GPU support")
def test_auto_goes_on_with_an_approximate_index_too(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", unit_vectors(1200, 16))
    found = find_vectors(tmp_path / "v.npy")
    collection = Collection.for_vectors(tmp_path / "index", found)
    collection.configure(kind="ivf-sq8")
    collection.add_vectors(found)
    assert "image" in collection.info()["approximate"]
    for warned in (False, True):
        with pytest.warns(UserWarning, match="on the CPU") if warned else nullcontext():
            other = Collection.open(tmp_path / "index", device="auto" if warned else "cpu")
        assert len(other.search(vector=np.ones(16), k=5)) == 5


def test_a_kind_that_only_gpus_build_says_so() -> None:
    vectors = unit_vectors(2000, 8)
    with pytest.raises(UsageError, match="cagra is built on a GPU: add --device cuda"):
        build_index(lambda: iter([vectors]), sized("cagra", 2000), rows=2000)


# -- on a GPU ------------------------------------------------------------------------------------


@pytest.fixture
def gpu() -> None:
    if not has_gpu_build or not load_faiss().get_num_gpus():
        pytest.skip("no GPU that FAISS can use")


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("kind", [name for name, traits in KINDS.items() if traits.gpu])
def test_every_gpu_kind_finds_and_filters_and_is_searched_on_a_cpu_too(
        kind: str, tmp_path: Path) -> None:
    vectors, queries = unit_vectors(60_000, 64), unit_vectors(50, 64, seed=1)
    store, spec = store_of(vectors), sized(kind, 60_000)
    if kind == "cagra" and not hasattr(load_faiss(), "GpuIndexCagra"):
        pytest.skip("this FAISS has no cuVS")
    if KINDS[kind].exact:
        index = build_index(lambda: iter([vectors]), spec)
    else:
        build_on_gpu(lambda: iter(np.array_split(vectors, 3)), spec, 60_000).save(tmp_path / "x")
        index = load_index(tmp_path / "x", spec)
    effort = Effort(spec.nlist or 256, 1000)
    moved = on_device(index, store, "cuda", effort)
    everything = np.arange(60_000)
    for searched in (index, moved):
        found = searched.search(queries, 10, effort=effort)
        assert ann_recall(found.ids, truth(queries, vectors, everything, 10), 10) >= 0.9
    for rows in (np.arange(0, 60_000, 2), np.arange(30_000), np.arange(0, 60_000, 7)):
        allow = np.zeros(60_000, bool)
        allow[rows] = True
        found = moved.search(queries, 10, allow=allow, effort=effort)
        assert allow[found.ids].all()
        assert ann_recall(found.ids, truth(queries, vectors, rows, 10), 10) >= 0.9


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
def test_a_collection_is_searched_on_a_gpu(demo_index: Path) -> None:
    on_cpu = Collection.open(demo_index).search(text="a cat", k=5)
    on_gpu = Collection.open(demo_index, device="cuda").search(text="a cat", k=5)
    assert [hit.item.uri for hit in on_gpu] == [hit.item.uri for hit in on_cpu]
