"""Ground truth from files, and the evaluation against figures worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from mmsearch.errors import UsageError
from mmsearch.evaluation import recall
from mmsearch.evaluation.recall import Pair


@pytest.fixture
def folder(tmp_path):
    """A folder with pictures, as far as ground truth looks at them: files that exist."""
    for name in ("a.jpg", "b.jpg", "images/c.jpg", "val2014/d.jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_jsonl_with_one_or_several_captions(folder):
    rows = [{"image": "a.jpg", "captions": ["one", "two"]}, {"image": "b.jpg", "caption": "three"}]
    assert recall.load_pairs(write(folder / "pairs.jsonl", lines(*rows))) == [
        Pair(folder / "a.jpg", ("one", "two")),
        Pair(folder / "b.jpg", ("three",)),
    ]


@pytest.mark.parametrize(("suffix", "separator"), [("csv", ","), ("tsv", "\t")])
def test_rows_of_one_image_become_one_pair(folder, suffix, separator):
    rows = [("image", "caption"), ("a.jpg", "one"), ("b.jpg", "two"), ("./a.jpg", "one")]
    text = "\n".join(separator.join(row) for row in rows)
    assert recall.load_pairs(write(folder / f"pairs.{suffix}", text)) == [
        Pair(folder / "a.jpg", ("one", "one")),
        Pair(folder / "b.jpg", ("two",)),
    ]


def karpathy(name, split, *captions, **more):
    return {"filename": name, "split": split, "sentences": [{"raw": c} for c in captions], **more}


def test_karpathy_json(folder):
    images = [
        karpathy("c.jpg", "train", "one", imgid=0, sentids=[0]),
        karpathy("d.jpg", "test", "two", "three", filepath="val2014"),
    ]
    path = write(folder / "dataset_coco.json", json.dumps({"images": images, "dataset": "coco"}))
    train = Pair(folder / "images/c.jpg", ("one",), "train")
    test = Pair(folder / "val2014/d.jpg", ("two", "three"), "test")
    assert recall.load_pairs(path) == [train, test]
    assert recall.load_pairs(path, split="test") == [test]


def test_images_of_other_splits_need_not_be_there(folder):
    rows = [
        {"image": "gone.jpg", "caption": "x", "split": "train"},
        {"image": "a.jpg", "caption": "y", "split": "val"},
    ]
    pairs = recall.load_pairs(write(folder / "p.jsonl", lines(*rows)), split="val")
    assert pairs == [Pair(folder / "a.jpg", ("y",), "val")]


def test_flatten_keeps_who_belongs_to_whom(folder):
    pairs = [Pair(folder, ("a", "b")), Pair(folder, ()), Pair(folder, ("b",))]
    captions, caption_image = recall.flatten(pairs)
    assert captions == ["a", "b", "b"]
    assert caption_image.tolist() == [0, 0, 2]
    assert caption_image.dtype == np.int64


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.jsonl", '{"image": "a.jpg", "caption": "x"}\n\n[1]', ":3: not a JSON object"),
        ("p.jsonl", '{"caption": "x"}', ":1: a caption without an image"),
        ("p.jsonl", '{"image": "a.jpg", "label": "x"}', "no captions"),
        ("p.jsonl", "", "no captions"),
        ("p.csv", "image,caption\na.jpg,x\ngone.jpg,y", ":3: image not found: gone.jpg"),
        ("p.json", '{"annotations": []}', ":1: neither a list of rows"),
        ("p.xlsx", "", "expected a file of images and captions"),
    ],
)
def test_a_bad_file_is_named_with_its_line(folder, name, text, message):
    path = write(folder / name, text)
    with pytest.raises(UsageError) as caught:
        recall.load_pairs(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_missing_split_are_usage_errors(folder):
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        recall.load_pairs(folder / "none.jsonl")
    rows = [{"image": "a.jpg", "caption": "x", "split": split} for split in ("val", "train")]
    path = write(folder / "p.jsonl", lines(*rows))
    with pytest.raises(UsageError, match="no rows of split 'test'; the file has train, val"):
        recall.load_pairs(path, split="test")


def test_figures_worked_out_by_hand():
    # Captions 0 and 1 are of picture 0, caption 2 of picture 1; picture 2 is a distractor.
    images = np.eye(3, dtype=np.float32)
    texts = np.array([[3, 1, 2], [1, 2, 3], [1, 2, 0]], dtype=np.float32)
    report = recall.measure(images, texts, np.array([0, 0, 1]), ks=(1, 2)).to_json()

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
    low, high = image_to_text["recall@1_ci95"]
    assert 0.0 <= low <= 0.5 <= high <= 1.0
    json.dumps(report, allow_nan=False)


def test_the_keys_that_scripts_rely_on():
    vectors = np.eye(2, dtype=np.float32)
    report = recall.measure(vectors, vectors, np.array([0, 1])).to_json()
    common = ["queries", "gallery"]
    for k in (1, 5, 10):
        common += [f"recall@{k}", f"recall@{k}_ci95"]
    common += ["mrr", "median_rank"]
    assert list(report) == ["text_to_image", "image_to_text"]
    assert list(report["text_to_image"]) == common
    assert list(report["image_to_text"]) == [*common, "map", "ndcg@10"]


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 12), st.integers(1, 40))
def test_blocks_do_not_change_the_figures(seed, images, texts, block):
    generator = np.random.default_rng(seed)
    image_vectors = generator.integers(-2, 3, (images, 3)).astype(np.float32)
    text_vectors = generator.integers(-2, 3, (texts, 3)).astype(np.float32)
    caption_image = generator.integers(0, images, texts)
    whole = recall.measure(image_vectors, text_vectors, caption_image)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recall, "_BLOCK_SCORES", block)
        assert recall.measure(image_vectors, text_vectors, caption_image) == whole


def test_the_order_of_the_captions_does_not_matter():
    generator = np.random.default_rng(0)
    images = generator.standard_normal((30, 8)).astype(np.float32)
    owner = np.repeat(np.arange(30), 5)
    texts = images[owner] + generator.standard_normal((150, 8)).astype(np.float32)
    shuffled = generator.permutation(150)
    one = recall.measure(images, texts, owner)
    other = recall.measure(images, texts[shuffled], owner[shuffled])
    assert other.image_to_text == one.image_to_text
    assert other.text_to_image.recall == one.text_to_image.recall
    assert 0.1 < one.text_to_image.recall[1] < 0.9


def test_a_cut_off_below_one_is_refused():
    with pytest.raises(UsageError, match="at least 1"):
        recall.measure(np.eye(2), np.eye(2), np.arange(2), ks=(0,))
