"""The benchmark of approximate search, and the vectors that it searches."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

BENCH = Path(__file__).parent.parent / "bench"
SIZE = 2000
PEER = [name for name in ("hnswlib", "usearch") if find_spec(name)][:1]
"""One HNSW peer, if any is installed."""


@pytest.fixture(scope="module")
def bench() -> Any:
    """Imports a module of the benchmarks by its name; they are scripts beside the package."""
    sys.path.insert(0, str(BENCH))
    yield importlib.import_module
    sys.path.remove(str(BENCH))


@settings(max_examples=8)
@given(st.integers(0, 9000), st.integers(1, 3000), st.data())
def test_any_block_can_be_made_on_its_own(bench: Any, start: int, length: int, data: Any) -> None:
    made = bench("clipvectors").ClipVectors(seed=3, dim=64)
    cut = data.draw(st.integers(0, length))
    for rows in (made.images, made.texts, made.cluster_of):
        whole = rows(start, start + length)
        parts = [rows(at, to) for at, to in ((start, start + cut), (start + cut, start + length))
                 if to > at]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_cosines_are_those_of_clip(bench: Any) -> None:
    made = bench("clipvectors").ClipVectors()
    images, texts = made.images(0, 5000), made.texts(0, 1000)
    among, across = images[:1500] @ images[1500:3000].T, texts @ images.T
    assert among.mean() == pytest.approx(0.51, abs=0.01)
    assert across.mean() == pytest.approx(0.17, abs=0.01)
    assert 0.28 < np.median(across.max(axis=1)) < 0.40


def test_true_neighbours_are_those_of_a_plain_sort(bench: Any, tmp_path: Path) -> None:
    data = bench("ann").Data(tmp_path, 40_000, dim=32)
    queries = data.made.texts(0, 20)
    scores = queries @ np.concatenate(list(data.blocks())).T
    np.testing.assert_array_equal(data.exact(queries), np.argsort(-scores, axis=1)[:, :10])


def run_ann(folder: Path, *arguments: str) -> tuple[str, dict[str, Any]]:
    command = [sys.executable, str(BENCH / "ann.py"), "--sizes", str(SIZE), "--dim", "64",
               "--cache", str(folder), "--json", str(folder / "figures.json"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((folder / "figures.json").read_text())["sizes"][0]


def test_ann_puts_every_system_beside_the_others(tmp_path: Path) -> None:
    printed, found = run_ann(tmp_path, "--only", ",".join(["mmsearch", "faiss", "numpy", *PEER]))
    assert found.pop("size") == SIZE
    assert {"mmsearch", "faiss", "numpy"} <= found.keys()
    for name, one in found.items():
        assert f"\n{name} " in printed
        assert one["recall_text"] >= 0.93 and one["recall_image"] >= 0.93
        assert one["bytes"] > 2 * 64 and one["ms"] > 0 and one["qps"] > 0
    for which in ("recall_text", "recall_image"):
        assert found["mmsearch"][which] == pytest.approx(found["faiss"][which], abs=1e-3)
        assert found["numpy"][which] == 1
    for name in PEER:  # tuned to a stated recall
        assert found[f"{name}@0.99"]["recall_text"] >= 0.97


def test_ann_measures_filters(tmp_path: Path) -> None:
    printed, found = run_ann(tmp_path, "--only", "mmsearch", "--filters")
    rows = found["mmsearch"]
    assert rows["none"]["allowed"] == 1
    assert rows["random 10.0%"]["allowed"] == pytest.approx(0.1, abs=0.03)
    assert all(one["recall"] > 0.99 for one in rows.values())  # few rows are searched exactly
    assert all(which in printed for which in rows)


def test_a_label_was_read_where_any_text_or_name_has_it(bench: Any, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "pairs.jsonl").write_text(json.dumps({
        "image": "dodo.jpg", "captions": ["A broken, old heart.", "two oden"],
        "attributes": {"kind": "snow globe"}}) + "\n")
    read = bench("unread").Read(tmp_path)
    for label in ("Hearts", "snow globes", "oden", "koala", "broken old heart"):
        assert read.has(label), label  # koala: of the memory of names
    for label in ("dodo", "broken heart", "globe of snow"):
        assert not read.has(label), label
    assert read.has_words("broken heart") and not read.has_words("dodo of the dodos")


@pytest.mark.parametrize(("shape", "label"), [
    ("SAB(rs)bc", "spiral galaxy"), ("Sb", "spiral galaxy"), ("E3", "elliptical galaxy"),
    ("IB(s)m", "irregular galaxy"), ("S0", ""), ("SB(s)0", ""), ("3", "")])
def test_galaxies_have_the_kind_of_their_hubble_type(bench: Any, shape: str, label: str) -> None:
    assert bench("unread").galaxy(shape) == label
