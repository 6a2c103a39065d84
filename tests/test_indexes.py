"""Index kinds against numpy: what is found, what a filter forbids, what a file holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import unit_vectors
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.errors import CollectionDamaged
from mmsearch.indexes import ExactIndex, build_index, choose_spec, load_index
from mmsearch.merge import top_k
from mmsearch.records import IndexSpec, Neighbors, Vectors


def clustered(rows: int, dim: int, seed: int) -> Vectors:
    """Vectors in clumps, as real embeddings are."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((50, dim))
    vectors = centres[rng.integers(50, size=rows)] + 0.6 * rng.standard_normal((rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def exact_ids(queries: Vectors, vectors: Vectors, k: int) -> np.ndarray:
    return np.argsort(-(queries @ vectors.astype(np.float16).astype(np.float32).T), axis=1)[:, :k]


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_exact_index_finds_what_numpy_finds(rows: int, tmp_path: Path) -> None:
    vectors, queries = unit_vectors(rows, 48), unit_vectors(20, 48, seed=1)
    build_index(lambda: iter([vectors[:3], vectors[3:]][: 2 if rows > 3 else 1]),
                IndexSpec("exact")).save(tmp_path / "x")
    found = load_index(tmp_path / "x").search(queries, min(rows, 10))
    assert found.ids.tolist() == exact_ids(queries, vectors, min(rows, 10)).tolist()
    np.testing.assert_allclose(
        found.scores, np.take_along_axis(queries @ vectors.T, found.ids, 1), atol=1e-3)


def test_stored_vectors_are_the_ones_given_to_float16(tmp_path: Path) -> None:
    vectors = unit_vectors(500, 32)
    build_index(lambda: iter([vectors]), IndexSpec("exact")).save(tmp_path / "x")
    index = load_index(tmp_path / "x")
    assert isinstance(index, ExactIndex)
    np.testing.assert_allclose(index.vectors, vectors, rtol=2**-10, atol=1e-7)
    # A merge writes stored vectors once more: that must not change them any further.
    again = build_index(lambda: iter([index.vectors.astype(np.float32)]), IndexSpec("exact"))
    assert isinstance(again, ExactIndex)
    assert np.array_equal(index.vectors, again.vectors)
    with pytest.raises(ValueError, match="read-only"):
        index.vectors[0, 0] = 1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.integers(1, 30))
def test_a_filter_is_exact_and_never_lets_a_forbidden_row_through(
        seed: int, share: float, k: int) -> None:
    vectors, queries = unit_vectors(300, 16, seed), unit_vectors(3, 16, seed + 1)
    allow = np.random.default_rng(seed).random(300) < share
    index = build_index(lambda: iter([vectors]), IndexSpec("exact"))
    found = index.search(queries, k, allow=allow)
    allowed = np.flatnonzero(allow)
    for query, ids in zip(queries, found.ids, strict=True):
        best = allowed[exact_ids(query[None], vectors[allowed], k)[0]] if len(allowed) else []
        assert ids[ids >= 0].tolist() == list(best)


@pytest.fixture(scope="module")
def ivf(tmp_path_factory: pytest.TempPathFactory) -> tuple[Vectors, Path]:
    vectors, path = clustered(30_200, 128, seed=3)[200:], tmp_path_factory.mktemp("ivf") / "x"
    ids = np.arange(30_000, dtype=np.int64) * 2 + 5
    build_index(lambda: iter(np.array_split(vectors, 4)), IndexSpec("ivf-rabitq", 256),
                ids=ids).save(path)
    return vectors, path


def test_ivf_candidates_hold_the_true_neighbours(ivf: tuple[Vectors, Path]) -> None:
    vectors, path = ivf
    queries = clustered(30_200, 128, seed=3)[:200]
    found = load_index(path).search(queries, 200)
    rows = np.where(found.ids < 0, -1, (found.ids - 5) // 2)
    truth = exact_ids(queries, vectors, 10)
    in_candidates = [len(set(t) & set(r)) / 10 for t, r in zip(truth, rows, strict=True)]
    assert np.mean(in_candidates) >= 0.95


def test_ivf_filter_never_lets_a_forbidden_id_through(ivf: tuple[Vectors, Path]) -> None:
    vectors, path = ivf
    for share in (0.5, 0.01):
        allow = np.random.default_rng(0).random(60_010) < share
        found = load_index(path).search(vectors[:50], 100, allow=allow)
        ids = found.ids[found.ids >= 0]
        assert len(ids) > 0
        assert allow[ids].all()


def test_a_cut_or_foreign_file_is_named(tmp_path: Path) -> None:
    build_index(lambda: iter([unit_vectors(100, 8)]), IndexSpec("exact")).save(tmp_path / "x")
    data = (tmp_path / "x").read_bytes()
    for bad in (b"", b"hello, this is no index", data[:50], data[: len(data) // 2]):
        (tmp_path / "y").write_bytes(bad)
        with pytest.raises(CollectionDamaged, match="y"):
            load_index(tmp_path / "y")
    with pytest.raises(FileNotFoundError):
        load_index(tmp_path / "nothing")


def test_small_collections_are_exact_and_large_ones_are_not() -> None:
    assert choose_spec(100_000) == IndexSpec("exact")
    assert choose_spec(1_000_000) == IndexSpec("ivf-rabitq", nlist=4096)
    assert choose_spec(10_000_000).nlist == 8192 or choose_spec(10_000_000).nlist == 16384


@settings(deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(-1, 50), st.integers(-3, 3)), min_size=2,
                         max_size=6), min_size=1, max_size=4), st.integers(1, 12))
def test_merging_parts_equals_sorting_all(parts: list[list[tuple[int, int]]], k: int) -> None:
    neighbors = [Neighbors(np.array([[s for _, s in part]], np.float32),
                           np.array([[i for i, _ in part]], np.int64)) for part in parts]
    found = top_k(neighbors, k)
    flat = sorted(((-s, i) for part in parts for i, s in part if i >= 0))[:k]
    assert [(-s, i) for s, i in zip(found.scores[0], found.ids[0], strict=True) if i >= 0] == flat
    assert found.ids.shape == (1, k)
