"""Immutable directories: written whole or not at all, and every flipped byte is found."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import unit_vectors
from hypothesis import given, settings, strategies as st

from mmsearch.errors import CollectionDamaged
from mmsearch.indexes.tune import tune_index
from mmsearch.records import IndexSpec, SegmentInfo, Vectors
from mmsearch.storage.segments import (
    Ann,
    Segment,
    describe,
    retune_ann,
    verify_directory,
    write_ann,
    write_segment,
)


def written(root: Path, ids: np.ndarray, vectors: Vectors, name: str = "s") -> Segment:
    write_segment(root, name, "image", ids, lambda: iter([vectors]))
    return Segment(root / "segments" / name)


def problems_of(info: SegmentInfo, root: Path) -> list[str]:
    return [str(problem) for problem in verify_directory(root / "segments" / info.name, info)]


def test_a_segment_finds_its_rows_by_their_numbers(tmp_path: Path) -> None:
    vectors = unit_vectors(50, 16)
    segment = written(tmp_path, np.arange(50) * 3 + 7, vectors)
    found = segment.search(vectors, 1)
    assert found.ids[:, 0].tolist() == (np.arange(50) * 3 + 7).tolist()
    assert segment.search(vectors[:1], 99).ids.shape == (1, 50)


@settings(max_examples=50, deadline=None)
@given(st.sets(st.integers(0, 200), min_size=1), st.sets(st.integers(0, 200)))
def test_positions_are_those_of_the_numbers_that_live_here(
        here: set[int], asked: set[int]) -> None:
    segment = object.__new__(Segment)
    segment.ids, segment.rows = np.array(sorted(here), np.int64), len(here)
    found = segment.positions(np.array(sorted(asked), np.int64))
    assert segment.ids[found].tolist() == sorted(here & asked)


@pytest.fixture
def small(tmp_path: Path) -> SegmentInfo:
    return write_segment(tmp_path, "s", "image", np.arange(20),
                         lambda: iter([unit_vectors(20, 8)]))


def test_missing_and_cut_files_are_named(tmp_path: Path, small: SegmentInfo) -> None:
    path = tmp_path / "segments" / "s"
    (path / "ids.npy").write_bytes((path / "ids.npy").read_bytes()[:-8])
    assert "ids.npy: 280 bytes, written with 288" in problems_of(small, tmp_path)[0]
    (path / "ids.npy").unlink()
    assert "ids.npy: missing" in problems_of(small, tmp_path)[0]
    shutil.rmtree(path)
    assert "segment.json: missing" in problems_of(small, tmp_path)[0]


def test_ids_that_do_not_fit_the_vectors_are_refused(tmp_path: Path) -> None:
    segment = written(tmp_path, np.arange(20), unit_vectors(20, 8))
    np.save(segment.path / "ids.npy", np.arange(19))
    with pytest.raises(CollectionDamaged, match=f"19 ids for 20 vectors;.* -i {tmp_path}`"):
        Segment(segment.path)


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    def broken() -> Iterator[Vectors]:
        yield unit_vectors(5, 8)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_segment(tmp_path, "s", "image", np.arange(9), broken)
    assert list((tmp_path / "segments").iterdir()) == []


def test_an_approximate_index_rescores_from_its_segment(tmp_path: Path) -> None:
    vectors, ids = unit_vectors(6000, 32), np.arange(6000) * 2 + 7
    segment = written(tmp_path, ids, vectors, "a")
    queries = unit_vectors(300, 32, seed=5)
    info = write_ann(tmp_path, segment, "image", IndexSpec("ivf-rabitq", 32),
                     lambda index: tune_index(index, queries, 0.95, "test queries"))
    path = tmp_path / info.name
    ann = Ann(path, describe(path), segment)
    assert ann.tuned is not None
    assert ann.tuned.recall >= 0.9
    found = ann.search(vectors[::100], 5)
    assert found.ids[:, 0].tolist() == ids[::100].tolist()
    np.testing.assert_allclose(found.scores[:, 0], 1, atol=1e-3)
    truth = np.take_along_axis(vectors[::100] @ vectors.T, (found.ids - 7) // 2, 1)
    np.testing.assert_allclose(found.scores, truth, atol=1e-3)
    # Tuned anew it is a directory of its own over the same file.
    again = retune_ann(tmp_path, ann, "image",
                       lambda index: tune_index(index, queries, 0.5, "fewer"))
    other = Ann(tmp_path / again.name, describe(tmp_path / again.name), segment)
    assert other.tuned is not None
    assert (other.tuned.target, other.tuned.source) == (0.5, "fewer")
    assert verify_directory(path, info) == verify_directory(tmp_path / again.name, again) == []
    assert (path / "index.faiss").samefile(tmp_path / again.name / "index.faiss")
    # A filter: sequence numbers that are not here do no harm, and only allowed ones come back.
    allowed = np.sort(np.concatenate([ids[:3000], [2, 4, 900_000]]))
    assert set(ann.search(queries[:5], 5, allowed).ids.ravel()) <= set(ids[:3000])
