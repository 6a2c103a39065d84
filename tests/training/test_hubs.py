"""Trained models keep hubs down where that finds more."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import DEMO
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("onnx")

from mmsearch.encoders import Hubness, OnnxEncoder, load_encoder
from mmsearch.evaluation import evaluate_model, load_pairs
from mmsearch.training.config import TrainConfig
from mmsearch.training.heads import unit
from mmsearch.training.hubs import LEAST, SETTINGS, add_hubs, describe_hubs, write_hubs
from mmsearch.training.trainer import _with_hubs, train
from mmsearch.training.validation import recall_of


def space(hub: float, seed: int, n: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures, a text for each, and whose it is; a tenth of the pictures are near to all texts."""
    random = np.random.default_rng(seed)
    middle = np.random.default_rng(9).normal(size=32)
    images = random.normal(size=(n, 32))
    texts = images + 0.8 * random.normal(size=(n, 32)) + 0.5 * middle
    images[::10] += hub * middle
    return unit(images), unit(texts), np.arange(n)


def directory(path: Path) -> Path:
    path.mkdir()
    (path / "model.json").write_text('{"sha256": {}}')
    return path


def test_where_there_are_hubs_more_is_found_and_the_model_says_so(tmp_path: Path) -> None:
    model, val = directory(tmp_path / "model"), space(2.0, 1)
    found = add_hubs(model, *space(2.0, 0)[:2], val)
    assert found is not None
    assert found.total > recall_of(*val).total
    spec = json.loads((model / "model.json").read_text())
    hubs = Hubness(model / spec["hubness"]["file"], spec["hubness"])
    assert found == recall_of(hubs.pictures(val[0]), hubs.texts(val[1]), val[2])


def test_where_nothing_more_is_found_there_is_no_file(tmp_path: Path) -> None:
    model, (images, texts, owner) = directory(tmp_path / "model"), space(0.0, 1)
    assert add_hubs(model, images, texts, (images, images, owner)) is None  # all is found already
    assert add_hubs(model, images[: LEAST - 1], texts, (images, texts, owner)) is None
    assert [file.name for file in model.iterdir()] == ["model.json"]
    assert "hubness" not in json.loads((model / "model.json").read_text())


def test_hubs_go_where_vectors_differ_least(tmp_path: Path) -> None:
    images, texts, _ = space(1.0, 0)
    write_hubs(tmp_path / "hubness.npz", images, texts)
    with np.load(tmp_path / "hubness.npz") as file:
        axes, usual = file["axes"], file["usual"]
    np.testing.assert_allclose(axes @ axes.T, np.eye(2), atol=1e-6)
    spread = [np.square(axis @ np.concatenate([images, texts]).T).sum() for axis in axes]
    assert max(spread) < 600 / 32  # less than in the mean direction
    near = np.sort(images @ texts.T, axis=0)[-SETTINGS["neighbours"]:].mean()
    assert usual[0] == pytest.approx(near, abs=1e-6)


def test_the_recall_of_a_run_is_that_of_the_model_it_wrote(tmp_path: Path) -> None:
    """Crops of real photos: enough of them for hubs."""
    rows = [json.loads(line) for line in (DEMO / "captions.jsonl").read_text().splitlines()]
    written = []
    for number in range(LEAST + 20):
        row = rows[number % len(rows)]
        with Image.open(DEMO / row["image"]) as photo:
            left, top = 40 * (number // len(rows)), 10 * (number // len(rows))
            photo.convert("RGB").crop((left, top, left + 120, top + 120)).save(
                tmp_path / f"{number}.png")
        written.append({"image": f"{number}.png", "captions": row["captions"],
                        "split": "val" if number >= LEAST else "train"})
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in written))
    result = train(pairs, tmp_path / "model", TrainConfig(epochs=2, batch_size=32))
    report = evaluate_model(load_pairs(pairs, split="val"), model=str(result.out)).report
    ways = report.text_to_image, report.image_to_text
    for way, wanted in zip(ways, (result.recall.text_to_image, result.recall.image_to_text),
                           strict=True):
        assert way is not None
        assert [way.recall[k] for k in (1, 5, 10)] == pytest.approx(wanted, abs=0.021)

    plain = tmp_path / "plain"
    shutil.copytree(result.out, plain)
    describe_hubs(plain, None)
    found = _with_hubs(plain, load_pairs(pairs, split="train"), load_pairs(pairs, split="val"))
    assert ("hubness" in json.loads((plain / "model.json").read_text())) == bool(found)
    assert load_encoder(str(plain)).name == OnnxEncoder(plain).name
