"""Pictures and captions from files."""

from __future__ import annotations

import json

import pytest

from mmsearch.errors import UsageError
from mmsearch.evaluation.pairs import Pair, load_pairs


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
    assert load_pairs(write(folder / "pairs.jsonl", lines(*rows))) == [
        Pair(folder / "a.jpg", ("one", "two")),
        Pair(folder / "b.jpg", ("three",)),
    ]


@pytest.mark.parametrize(("suffix", "separator"), [("csv", ","), ("tsv", "\t")])
def test_rows_of_one_image_become_one_pair(folder, suffix, separator):
    rows = [("image", "caption"), ("a.jpg", "one"), ("b.jpg", "two"), ("./a.jpg", "one")]
    text = "\n".join(separator.join(row) for row in rows)
    assert load_pairs(write(folder / f"pairs.{suffix}", text)) == [
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
    train = Pair(folder / "images/c.jpg", ("one",), "train", caption_ids=("0",))
    test = Pair(folder / "val2014/d.jpg", ("two", "three"), "test")
    assert load_pairs(path) == [train, test]
    assert load_pairs(path, split="test") == [test]


def test_images_of_other_splits_need_not_be_there(folder):
    rows = [
        {"image": "gone.jpg", "caption": "x", "split": "train"},
        {"image": "a.jpg", "caption": "y", "split": "val"},
    ]
    pairs = load_pairs(write(folder / "p.jsonl", lines(*rows)), split="val")
    assert pairs == [Pair(folder / "a.jpg", ("y",), "val")]


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
        load_pairs(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_missing_split_are_usage_errors(folder):
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        load_pairs(folder / "none.jsonl")
    rows = [{"image": "a.jpg", "caption": "x", "split": split} for split in ("val", "train")]
    path = write(folder / "p.jsonl", lines(*rows))
    with pytest.raises(UsageError, match="no rows of split 'test'; the file has train, val"):
        load_pairs(path, split="test")
