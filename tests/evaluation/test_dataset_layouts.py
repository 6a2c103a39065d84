"""Pairs as CLIP_benchmark has them, and results as it writes them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from conftest import DEMO, Cli

from mmsearch.errors import UsageError
from mmsearch.evaluation.clip_benchmark import as_clip_benchmark
from mmsearch.evaluation.pairs import Pair, load_pairs, pairs_in
from mmsearch.evaluation.retrieval import Evaluation, How, evaluate_model

NAMES = ["cat", "bus", "pizza", "dogs", "guitar"]


@pytest.fixture
def shards(folder: Path) -> Path:
    """As `clip_benchmark_export_wds` lays them out: SPLIT/0.tar, SPLIT/1.tar, SPLIT/nshards.txt."""
    captions = {Path(row["image"]).stem: row["captions"] for row in map(
        json.loads, (DEMO / "captions.jsonl").read_text("utf-8").splitlines())}
    (folder / "test").mkdir()
    (folder / "dataset_type.txt").write_text("retrieval\n")
    (folder / "test/nshards.txt").write_text("2\n")
    for shard, names in enumerate((NAMES[:3], NAMES[3:])):
        with tarfile.open(folder / f"test/{shard}.tar", "w") as tar:
            for n, name in enumerate(names):
                data = (DEMO / f"{name}.jpg").read_bytes()
                text = "\n".join(captions[name]).encode()
                for suffix, content in (("jpg", data), ("txt", text)):
                    member = tarfile.TarInfo(f"s{shard}{n:06}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return folder


def test_shards_are_pairs_that_can_be_measured(shards: Path) -> None:
    pairs = pairs_in(shards, split="test")
    assert [len(pair.captions) for pair in pairs] == [2] * 5
    assert pairs[0].captions[0] == "A cat with orange stripes looks into the camera."
    assert pairs_in(shards / "test/1.tar") == [
        Pair(pair.image, pair.captions, address=pair.address) for pair in pairs[3:]]
    plain = [pair for name in NAMES for pair in load_pairs(DEMO / "captions.jsonl")
             if pair.image.stem == name]
    there, here = (evaluate_model(one, How(ks=(1,))).report for one in (pairs, plain))
    assert there.text_to_image.ranks.flat.tolist() == here.text_to_image.ranks.flat.tolist()
    assert there.image_to_text == here.image_to_text


def test_folders_without_pairs_are_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder 'val'; it has test"):
        pairs_in(shards, split="val")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/a.jpg").write_bytes((DEMO / "cat.jpg").read_bytes())
    with pytest.raises(UsageError, match="no captions; expected tars"):
        pairs_in(tmp_path / "pictures")
    (shards / "test/2.tar").write_bytes(b"x" * 2000)
    with pytest.raises(UsageError, match=r"2\.tar: "):
        pairs_in(shards, split="test")


def test_several_positives_of_karpathys_files(cli: Cli, folder: Path) -> None:
    """As ECCV Caption has them for dataset_coco.json: both kinds of ids may be equal numbers."""
    images = []
    for n, name in enumerate(NAMES):
        (folder / f"{name}.jpg").write_bytes((DEMO / f"{name}.jpg").read_bytes())
        sentences = [{"raw": f"a {name}", "sentid": n}, {"raw": "a thing", "sentid": n + 9}]
        images.append({"filename": f"{name}.jpg", "split": "test", "cocoid": n,
                       "sentids": [n, n + 9], "sentences": sentences})
    (folder / "dataset_coco.json").write_text(json.dumps({"images": images, "dataset": "coco"}))
    (folder / "caption_to_image.json").write_text(json.dumps({"0": [0], "10": [1, 2, 4]}))
    (folder / "image_to_caption.json").write_text(json.dumps({"3": [3, 12, 9]}))
    asked = ("eval", folder / "dataset_coco.json", "--split", "test", "--json")
    found = json.loads(cli(*asked, "--positives", folder / "caption_to_image.json", "--positives",
                           folder / "image_to_caption.json", check=True).stdout)
    assert (found["text_to_image"]["queries"], found["text_to_image"]["gallery"]) == (2, 5)
    assert (found["image_to_text"]["queries"], found["image_to_text"]["gallery"]) == (1, 10)
    merged = json.loads(cli(*asked, "--merge", check=True).stdout)
    assert (merged["text_to_image"]["queries"], merged["image_to_text"]["gallery"]) == (6, 6)


def test_results_are_what_clip_benchmark_writes(cli: Cli, tmp_path: Path) -> None:
    written = tmp_path / "r.json"
    shown = json.loads(cli("eval", DEMO / "captions.jsonl", "-k", 5, "--json", "--clip-benchmark",
                           written, check=True).stdout)
    found = json.loads(written.read_text())
    assert list(found) == ["dataset", "model", "pretrained", "task", "metrics", "language"]
    assert (found["dataset"], found["model"], found["task"], found["language"]) == (
        "captions", "builtin", "zeroshot_retrieval", "en")
    assert found["metrics"] == {
        "image_retrieval_recall@5": shown["text_to_image"]["recall@5"],
        "text_retrieval_recall@5": shown["image_to_text"]["recall@5"]}


def test_an_open_clip_model_is_named_as_there(folder: Path) -> None:
    pairs = [Pair(DEMO / "cat.jpg", ("eine Katze",), languages=("de",))]
    report = evaluate_model(pairs, How(ks=(1,), multilingual=False)).report
    found = as_clip_benchmark(folder / "wds_flickr8k", pairs, Evaluation(
        report, "ViT-B-32/laion2b_s34b_b79k", "x@1", False, []))
    assert (found["model"], found["pretrained"]) == ("ViT-B-32", "laion2b_s34b_b79k")
    assert (found["dataset"], found["language"]) == ("wds_flickr8k", "de")
