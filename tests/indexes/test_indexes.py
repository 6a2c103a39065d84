"""Index kinds against numpy: what is found, what a filter forbids, what a file holds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import unit_vectors
from hypothesis import given, settings, strategies as st

from mmsearch.errors import CollectionDamaged, UsageError
from mmsearch.indexes import (
    KINDS,
    RescoredIndex,
    build_index,
    choose_spec,
    load_index,
)
from mmsearch.indexes.fusion import top_k
from mmsearch.indexes.kinds import sized
from mmsearch.indexes.lists import _shares, sample
from mmsearch.indexes.tune import tune_index
from mmsearch.metrics import ann_recall
from mmsearch.records import Effort, IndexSpec, Neighbors, Vectors


def clustered(rows: int, dim: int, seed: int) -> Vectors:
    """Vectors in clumps, as real embeddings are."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((50, dim))
    vectors = centres[rng.integers(50, size=rows)] + 0.6 * rng.standard_normal((rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def exact_ids(queries: Vectors, vectors: Vectors, k: int) -> np.ndarray:
    return np.argsort(-(queries @ vectors.astype(np.float16).astype(np.float32).T), axis=1)[:, :k]


@pytest.mark.parametrize("kind", ["exact", "exact-f32"])
@pytest.mark.parametrize("many", [3, 20])
@pytest.mark.parametrize("rows", [1, 7, 1000, 17_000])
def test_exact_index_finds_what_numpy_finds(
        rows: int, many: int, kind: str, tmp_path: Path) -> None:
    vectors, queries = unit_vectors(rows, 48), unit_vectors(many, 48, seed=1)
    vectors = vectors.astype(np.float16).astype(np.float32)
    build_index(lambda: iter([vectors[:3], vectors[3:]][: 2 if rows > 3 else 1]),
                IndexSpec(kind)).save(tmp_path / "x")
    index = load_index(tmp_path / "x")
    assert index.spec.kind == kind
    found = index.search(queries, min(rows, 10))
    assert found.ids.tolist() == exact_ids(queries, vectors, min(rows, 10)).tolist()
    np.testing.assert_allclose(
        found.scores, np.take_along_axis(queries @ vectors.T, found.ids, 1), atol=1e-3)


def test_stored_vectors_are_the_ones_given_to_float16(tmp_path: Path) -> None:
    vectors = unit_vectors(500, 32)
    build_index(lambda: iter([vectors]), IndexSpec("exact")).save(tmp_path / "x")
    index = load_index(tmp_path / "x")
    np.testing.assert_allclose(index.vectors, vectors, rtol=2**-10, atol=1e-7)
    # A merge writes stored vectors once more: that must not change them any further.
    again = build_index(lambda: iter([index.vectors.astype(np.float32)]), IndexSpec("exact"))
    assert np.array_equal(index.vectors, again.vectors)
    with pytest.raises(ValueError, match="read-only"):
        index.vectors[0, 0] = 1


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.integers(1, 30), st.sampled_from([1, 3, 20]))
def test_a_filter_is_exact_and_never_lets_a_forbidden_row_through(
        seed: int, share: float, k: int, many: int) -> None:
    vectors, queries = unit_vectors(300, 16, seed), unit_vectors(many, 16, seed + 1)
    allow = np.random.default_rng(seed).random(300) < share
    index = build_index(lambda: iter([vectors]), IndexSpec("exact"))
    found = index.search(queries, k, allow=allow)
    allowed = np.flatnonzero(allow)
    for query, ids in zip(queries, found.ids, strict=True):
        best = allowed[exact_ids(query[None], vectors[allowed], k)[0]] if len(allowed) else []
        assert ids[ids >= 0].tolist() == list(best)


ROWS, DIM = 3_000, 48
APPROXIMATE = [name for name, traits in KINDS.items() if not traits.exact and traits.factory]


@pytest.fixture(scope="module", params=[*APPROXIMATE, "ivf-rabitq of two levels"])
def approximate(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory,
                ) -> Iterator[tuple[Vectors, RescoredIndex]]:
    """Every approximate kind, written, opened again memory-mapped, over a float16 store."""
    vectors, folder = clustered(ROWS, DIM, seed=3), tmp_path_factory.mktemp("kind")
    with pytest.MonkeyPatch.context() as patch:
        if "two levels" in request.param:
            for module in ("lists", "approximate"):
                patch.setattr(f"mmsearch.indexes.{module}.TWO_LEVELS_FROM", 64)
        # So few rows would all be searched exactly, whatever the kind.
        for name in ("GATHER_UP_TO", "_GATHER_MOST"):
            patch.setattr(f"mmsearch.indexes.rescored.{name}", 5)
        spec = sized(request.param.split()[0], ROWS)
        build_index(lambda: iter(np.array_split(vectors, 4)), spec, rows=ROWS).save(folder / "x")
        build_index(lambda: iter([vectors]), IndexSpec("exact")).save(folder / "store")
        base, store = load_index(folder / "x", spec), load_index(folder / "store")
        yield vectors, RescoredIndex(base, store)


def test_every_approximate_kind_finds_the_true_neighbours(
        approximate: tuple[Vectors, RescoredIndex]) -> None:
    vectors, index = approximate
    queries = clustered(ROWS + 100, DIM, seed=3)[-100:]
    found = index.search(queries, 10, effort=Effort(index.base.widest // 4, 400))
    truth = exact_ids(queries, vectors, 10)
    assert ann_recall(found.ids, truth, 10) >= 0.97
    # Scores are those of the stored vectors, best first.
    stored = vectors.astype(np.float16).astype(np.float32)
    for query, scores, ids in zip(queries, found.scores, found.ids, strict=True):
        np.testing.assert_allclose(scores, stored[ids] @ query, atol=5e-3)
        assert (np.diff(scores) <= 1e-6).all()


def test_there_are_k_results_where_there_are_k_rows(
        approximate: tuple[Vectors, RescoredIndex]) -> None:
    vectors, index = approximate
    found = index.search(vectors[:5], 900, effort=Effort(1, 100))  # one list has fewer rows
    assert (found.ids >= 0).all()
    assert all(len(set(ids)) == 900 for ids in found.ids.tolist())


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
@pytest.mark.parametrize("correlated", ["random", "near", "far"])
def test_a_filter_costs_no_recall_and_never_lets_a_forbidden_row_through(
        approximate: tuple[Vectors, RescoredIndex], share: float, correlated: str) -> None:
    vectors, index = approximate
    queries = clustered(ROWS + 8, DIM, seed=3)[-8:]
    recalls = []
    for query in queries:
        allow = np.random.default_rng(0).random(ROWS) < share
        if correlated != "random":  # the rows nearest to the query, or farthest from it
            order = np.argsort((vectors @ query) * (-1 if correlated == "near" else 1))
            allow = np.zeros(ROWS, bool)
            allow[order[: int(share * ROWS)]] = True
        found = index.search(query[None], 10, allow=allow)
        assert (found.ids >= 0).all()  # k results, since there are k
        assert allow[found.ids].all()
        allowed = np.flatnonzero(allow)
        truth = allowed[exact_ids(query[None], vectors[allowed], 10)]
        recalls.append(ann_recall(found.ids, truth, 10))
    assert np.mean(recalls) >= 0.9
    many = index.search(queries, 10, allow=allow)
    assert allow[many.ids].all()


def test_tuning_reaches_what_is_asked_for_and_says_what_it_reached(
        approximate: tuple[Vectors, RescoredIndex]) -> None:
    vectors, index = approximate
    queries = clustered(ROWS + 400, DIM, seed=3)[-400:]
    modest, high = (tune_index(index, queries, target, "test queries") for target in (0.8, 0.99))
    truth = exact_ids(queries, vectors, 10)
    for tuning in (modest, high):
        found = index.search(queries[1::2], 10, effort=tuning.effort)
        assert tuning.recall == pytest.approx(ann_recall(found.ids, truth[1::2], 10), abs=0.02)
        assert (tuning.queries, tuning.source) == (200, "test queries")
    assert modest.recall >= 0.78
    assert high.recall >= 0.97
    assert modest.effort.width <= high.effort.width
    # It says what it is, not what was asked for.
    hopeless = tune_index(index, queries, 1.1, "test queries")
    assert hopeless.recall <= 1


@pytest.mark.parametrize("kind", [name for name, traits in KINDS.items() if traits.factory])
def test_the_table_says_what_a_vector_weighs(kind: str, tmp_path: Path) -> None:
    vectors, dim = clustered(6000, 32, seed=1), 32
    spec = IndexSpec(kind, nlist=4 if KINDS[kind].trains else 0)
    sizes = []
    for rows in (2000, 6000):
        build_index(lambda: iter([vectors[:rows]]), spec, rows=rows).save(tmp_path / "x")  # noqa: B023
        sizes.append((tmp_path / "x").stat().st_size)
    # Fast-scan codes are padded to blocks of 32 in every list, and a graph has upper layers.
    assert (sizes[1] - sizes[0]) / 4000 == pytest.approx(KINDS[kind].bytes(dim, spec), rel=0.1)


def test_a_limit_on_threads_is_kept(tmp_path: Path) -> None:
    """FAISS 1.15.1 waits for ever in a fast-scan search with more threads than the limit allows."""
    code = """
from mmsearch.indexes import build_index, RescoredIndex
from mmsearch.records import IndexSpec
import numpy as np
v = np.random.default_rng(0).standard_normal((30_000, 32), dtype=np.float32)
blocks = lambda: iter([v])
base = build_index(blocks, IndexSpec("ivf-rabitq", nlist=8), rows=len(v))
print(RescoredIndex(base, build_index(blocks, IndexSpec("exact"))).search(v[:64], 5).ids.shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "OMP_THREAD_LIMIT": "1"})
    assert done.stdout == "(64, 5)\n", done.stderr


def test_a_cut_or_foreign_file_is_named(tmp_path: Path) -> None:
    build_index(lambda: iter([unit_vectors(100, 8)]), IndexSpec("exact")).save(tmp_path / "x")
    data = (tmp_path / "x").read_bytes()
    for bad in (b"", b"hello, this is no index", data[:50], data[: len(data) // 2]):
        (tmp_path / "y").write_bytes(bad)
        with pytest.raises(CollectionDamaged, match="y"):
            load_index(tmp_path / "y")
    with pytest.raises(FileNotFoundError):
        load_index(tmp_path / "nothing")


def test_the_table_in_the_docs_is_the_table_in_the_code() -> None:
    text = (Path(__file__).parents[2] / "docs" / "search.md").read_text("utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines()
            if re.match(r"\| `[\w-]+` \|", line)]
    said = {row[0].strip("`"): row[1:] for row in rows}
    assert said.keys() == KINDS.keys()
    for kind, traits in KINDS.items():
        spec = sized(kind, 1_000_000)
        scores = "exact" if traits.exact else "rescored" if traits.rescored else "exact, may miss"
        flags = (traits.trains, traits.gpu)
        assert said[kind] == [f"{traits.bytes(512, spec):,.0f}", scores,
                              *("yes" if flag else "no" for flag in flags)]


def test_the_choice_of_an_index() -> None:
    assert choose_spec(100_000).kind == "exact"
    assert choose_spec(1_000_000) == IndexSpec("ivf-pq", nlist=4096)
    assert choose_spec(10_000_000).nlist in (8192, 16384)
    assert choose_spec(200_000, recall=0.99).kind == "exact"
    assert choose_spec(10_000_000, recall=1).kind == "exact"
    assert choose_spec(5_000, kind="hnsw").kind == "hnsw"
    assert choose_spec(500, kind="hnsw").kind == "exact"
    with pytest.raises(UsageError, match="no kind of index called 'lsh'"):
        choose_spec(10, kind="lsh")


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20).filter(sum), st.integers(1, 99))
def test_a_sample_is_even_and_keeps_no_block_in_memory(sizes: list[int], wanted: int) -> None:
    rows = np.arange(sum(sizes) * 2, dtype=np.float32).reshape(-1, 2)
    alive: list[weakref.ref[np.ndarray]] = []  # type: ignore[type-arg]

    def blocks() -> Iterator[np.ndarray]:  # type: ignore[type-arg]
        for block in np.split(rows, np.cumsum(sizes)[:-1]):
            one = block.copy()
            alive.append(weakref.ref(one))
            yield one
            del one
            assert sum(ref() is not None for ref in alive) <= 1  # what the caller holds

    found = sample(blocks(), len(rows), wanted)
    np.testing.assert_array_equal(found, rows[:: max(1, len(rows) // wanted)])


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20), st.data())
def test_shares_are_proportional_whole_and_never_more_than_there_is(
        sizes: list[int], data: st.DataObject) -> None:
    if not sum(sizes):
        return
    total = data.draw(st.integers(0, sum(sizes)))
    parts = _shares(sizes, total)
    assert sum(parts) == total
    assert all(0 <= part <= size for part, size in zip(parts, sizes, strict=True))


@given(st.lists(st.lists(st.tuples(st.integers(-1, 50), st.integers(-3, 3)), min_size=2,
                         max_size=6), min_size=1, max_size=4), st.integers(1, 12))
def test_merging_parts_equals_sorting_all(parts: list[list[tuple[int, int]]], k: int) -> None:
    neighbors = [Neighbors(np.array([[s for _, s in part]], np.float32),
                           np.array([[i for i, _ in part]], np.int64)) for part in parts]
    found = top_k(neighbors, k)
    flat = sorted(((-s, i) for part in parts for i, s in part if i >= 0))[:k]
    assert [(-s, i) for s, i in zip(found.scores[0], found.ids[0], strict=True) if i >= 0] == flat
    assert found.ids.shape == (1, k)
