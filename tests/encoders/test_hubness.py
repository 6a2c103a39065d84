"""Pictures that are near to everything no longer come up for everything."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DEMO, unit_vectors
from hypothesis import given, settings, strategies as st

from mmsearch import load_encoder
from mmsearch.encoders import BUILTIN_DIR, OnnxEncoder, encode_queries
from mmsearch.encoders.hubness import Hubness
from mmsearch.errors import ModelError
from mmsearch.media import decode
from mmsearch.metrics import best_ranks, recall_at
from mmsearch.records import Pixels, Vectors

FILE = BUILTIN_DIR / "hubness.npz"
SETTINGS = json.loads((BUILTIN_DIR / "model.json").read_text("utf-8"))["hubness"]
HUBNESS = Hubness(FILE, SETTINGS)


def near(vectors: Vectors, what: str, usual: int) -> Vectors:
    with np.load(FILE) as file:
        others = file[what].astype(np.float64)
        others /= np.linalg.norm(others, axis=1, keepdims=True)
        found: Vectors = np.sort(vectors @ others.T)[:, -SETTINGS["neighbours"]:].mean(1) \
            - file["usual"][usual]
    return found


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 5))
def test_a_score_is_a_cosine_less_how_near_both_are_to_all(seed: int, n: int, m: int) -> None:
    with np.load(FILE) as file:
        axes = file["axes"].astype(np.float64)
    random = np.random.default_rng(seed).normal(size=(n + m, axes.shape[1]))
    random -= random @ axes.T @ axes
    random = (random / np.linalg.norm(random, axis=1, keepdims=True)).astype(np.float32)
    texts, pictures = random[:n], random[n:]
    of_text, of_picture = near(texts, "pictures", 0), near(pictures, "texts", 1)
    a, c = SETTINGS["weight"], SETTINGS["scale"]
    lengths = np.sqrt(np.outer(1 + (a / c) ** 2 + (c * of_text) ** 2,
                               1 + (a / c) ** 2 + (c * of_picture) ** 2))
    wanted = texts @ pictures.T - a * of_text[:, None] - a * of_picture
    found = HUBNESS.texts(texts) @ HUBNESS.pictures(pictures).T
    np.testing.assert_allclose(found, wanted / lengths, atol=1e-5)


def test_what_was_indexed_without_is_found_as_before() -> None:
    encoder, captions = load_encoder(), demo_captions()
    assert isinstance(encoder, OnnxEncoder)
    before = encoder.run_images(demo_pictures())[0] @ encoder.run_texts(captions)[0].T
    after = encoder.run_images(demo_pictures())[0] @ HUBNESS.queries(
        encoder.run_texts(captions)[0]).T
    scale = float((before * after).sum() / (before * before).sum())
    np.testing.assert_allclose(after, scale * before, atol=0.01)


def test_more_is_found_both_ways() -> None:
    encoder, captions = load_encoder(), demo_captions()
    assert isinstance(encoder, OnnxEncoder)
    before = encoder.run_images(demo_pictures())[0], encoder.run_texts(captions)[0]
    after = encoder.encode_images(demo_pictures()), encoder.encode_texts(captions)
    assert recall(after[1] @ after[0].T) > recall(before[1] @ before[0].T) + 0.01
    assert np.allclose(np.linalg.norm(np.concatenate(after), axis=1), 1, atol=1e-5)


def demo_captions() -> list[str]:
    return [text for row in demo_rows() for text in row["captions"][:2]]


def demo_pictures() -> list[Pixels]:
    encoder = load_encoder()
    return [encoder.prepare(decode(DEMO / row["image"]).image) for row in demo_rows()]


def demo_rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DEMO / "captions.jsonl").read_text().splitlines()]


def recall(scores: Vectors) -> float:
    """Mean of recall@1/5/10, both ways; two captions a picture."""
    owner = np.arange(len(scores)) // 2
    ranks = [best_ranks(scores, list(owner[:, None])),
             best_ranks(scores.T, list(np.arange(len(scores)).reshape(-1, 2)))]
    return float(np.mean([recall_at(one, k) for one in ranks for k in (1, 5, 10)]))


def test_a_vector_does_not_depend_on_its_neighbours() -> None:
    vectors = unit_vectors(1500, HUBNESS._axes.shape[1], seed=1)
    for place in (HUBNESS.pictures, HUBNESS.texts, HUBNESS.queries):
        together = place(vectors)
        np.testing.assert_allclose(together[-3:], place(vectors[-3:]), atol=1e-6)
        assert place(vectors[:0]).shape == (0, vectors.shape[1])


def test_an_empty_query_has_a_direction() -> None:
    pictures, texts = encode_queries(load_encoder(), ["", "koala"])
    assert np.isfinite(pictures).all() and np.isfinite(texts).all()
    assert np.linalg.norm(pictures, axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", None, "a byte of the texts"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes | str | None) -> None:
    model = Path(shutil.copytree(BUILTIN_DIR, tmp_path / "model"))
    file = model / "hubness.npz"
    if content is None:
        np.savez(file, axes=np.zeros((2, 4)))
    elif isinstance(content, bytes):
        file.write_bytes(content)
    else:
        data = bytearray(file.read_bytes())
        for at in (len(data) // 4, 3 * len(data) // 4):
            data[at] ^= 1
        file.write_bytes(data)
    with pytest.raises(ModelError, match="hubness"):
        OnnxEncoder(model).encode_texts(["a dog"])
