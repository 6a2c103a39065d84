"""The evaluation against figures worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from mmsearch.errors import UsageError
from mmsearch.evaluation import ranking, recall
from mmsearch.evaluation.truth import Truth


def measure(images, texts, owners, **more):
    return recall.measure(images, texts, Truth.owned(np.asarray(owners), len(images)), **more)


def test_figures_worked_out_by_hand():
    # Captions 0 and 1 are of picture 0, caption 2 of picture 1; picture 2 is a distractor.
    images = np.eye(3, dtype=np.float32)
    texts = np.array([[3, 1, 2], [1, 2, 3], [1, 2, 0]], dtype=np.float32)
    report = measure(images, texts, [0, 0, 1], ks=(1, 2)).to_json()

    # Ranks from 1 are 1, 3, 1.
    text_to_image = report["text_to_image"]
    assert text_to_image["queries"] == 3
    assert text_to_image["gallery"] == 3
    assert text_to_image["recall@1"] == pytest.approx(2 / 3)
    assert text_to_image["recall@2"] == pytest.approx(2 / 3)
    assert text_to_image["mrr"] == pytest.approx((1 + 1 / 3 + 1) / 3)
    assert text_to_image["median_rank"] == 1

    # Picture 0 scores 3, 1, 1: its own captions are 1st and 3rd, the tie going to the wrong one.
    # Picture 1 scores 1, 2, 2: its caption is 2nd, for the same reason. Picture 2 has none.
    image_to_text = report["image_to_text"]
    assert image_to_text["queries"] == 2
    assert image_to_text["gallery"] == 3
    assert image_to_text["recall@1"] == 0.5
    assert image_to_text["recall@2"] == 1.0
    assert image_to_text["median_rank"] == 1
    assert image_to_text["map"] == pytest.approx(((1 + 2 / 3) / 2 + 1 / 2) / 2)
    # Of the first two of picture 0 one is right, and the first; of the first one of picture 1 none.
    assert image_to_text["r_precision"] == pytest.approx((1 / 2 + 0) / 2)
    assert image_to_text["map@r"] == pytest.approx((1 / 2 + 0) / 2)
    low, high = image_to_text["recall@1_ci95"]
    assert 0.0 <= low <= 0.5 <= high <= 1.0
    json.dumps(report, allow_nan=False)


def test_the_keys_that_scripts_rely_on():
    vectors = np.eye(2, dtype=np.float32)
    report = measure(vectors, vectors, [0, 1]).to_json()
    common = ["queries", "gallery"]
    for k in (1, 5, 10):
        common += [f"recall@{k}", f"recall@{k}_ci95"]
    common += ["mrr", "map@r", "r_precision", "map", "ndcg@10", "median_rank"]
    assert list(report) == ["text_to_image", "image_to_text"]
    assert list(report["text_to_image"]) == common
    assert list(report["image_to_text"]) == common


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 12), st.integers(1, 40))
def test_blocks_do_not_change_the_figures(seed, images, texts, block):
    generator = np.random.default_rng(seed)
    image_vectors = generator.integers(-2, 3, (images, 3)).astype(np.float32)
    text_vectors = generator.integers(-2, 3, (texts, 3)).astype(np.float32)
    caption_image = generator.integers(0, images, texts)
    whole = measure(image_vectors, text_vectors, caption_image)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_QUERIES", block)
        patch.setattr(ranking, "_ITEMS", block + 1)
        assert measure(image_vectors, text_vectors, caption_image) == whole


def test_the_order_of_the_captions_does_not_matter():
    generator = np.random.default_rng(0)
    images = generator.standard_normal((30, 8)).astype(np.float32)
    owner = np.repeat(np.arange(30), 5)
    texts = images[owner] + generator.standard_normal((150, 8)).astype(np.float32)
    shuffled = generator.permutation(150)
    one = measure(images, texts, owner)
    other = measure(images, texts[shuffled], owner[shuffled])
    assert other.image_to_text == one.image_to_text
    assert other.text_to_image.recall == one.text_to_image.recall
    assert 0.1 < one.text_to_image.recall[1] < 0.9


def test_without_queries_there_is_nothing_to_measure():
    nothing = Truth([np.array([], int)], [np.array([], int)] * 2, np.array([0]))
    with pytest.raises(UsageError, match="no caption has a picture"):
        recall.measure(np.eye(2), np.eye(2)[:1], nothing)
