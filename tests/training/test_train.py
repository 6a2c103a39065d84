"""Training heads on a small real data set: coloured shapes, drawn here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

pytest.importorskip("torch")
pytest.importorskip("onnx")

from mmsearch.encoders import OnnxEncoder, load_encoder
from mmsearch.errors import MissingExtra, MmsearchError, ModelError, UsageError
from mmsearch.evaluation import load_pairs
from mmsearch.training.config import EpochReport, TrainConfig
from mmsearch.training.contrastive import fit, rate
from mmsearch.training.features import Features, encode
from mmsearch.training.heads import Head, Heads, read_heads
from mmsearch.training.trainer import TrainResult, steps, train
from mmsearch.training.validation import recall

# Words that no tower knows, so that there is something to learn however good the model is.
COLOURS = {"dax": (220, 30, 30), "wug": (30, 160, 50), "blick": (40, 80, 210),
           "toma": (245, 215, 40), "fep": (10, 10, 10), "zorp": (245, 140, 190)}
SHAPES = {"gazzer": "circle", "lumo": "square", "pimwit": "triangle", "rokka": "bar"}
QUICK = TrainConfig(epochs=4, batch_size=16, lr=5e-5)


def draw(shape: str, colour: tuple[int, int, int], size: int, ground: str = "white",
         middle: int = 48) -> Image.Image:
    picture = Image.new("RGB", (96, 96), ground)
    pen = ImageDraw.Draw(picture)
    low, high = middle - size, middle + size
    if shape == "circle":
        pen.ellipse((low, low, high, high), fill=colour)
    elif shape == "triangle":
        pen.polygon([(middle, low), (high, high), (low, high)], fill=colour)
    else:
        half = 6 if shape == "bar" else size
        pen.rectangle((low, middle - half, high, middle + half), fill=colour)
    return picture


@pytest.fixture(scope="module", autouse=True)
def _threads() -> None:
    """The same number in every process: sums come out in another order with another number."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """72 pictures of every colour and shape; validation differs in place, size and ground."""
    folder = tmp_path_factory.mktemp("shapes")
    rows = []
    for name, colour in COLOURS.items():
        for word, shape in SHAPES.items():
            for size, split in ((26, "train"), (42, "train"), (16, "val")):
                file = f"{name}-{shape}-{size}.png"
                if split == "val":
                    picture = draw(shape, colour, size, "lightgrey", 30)
                else:
                    picture = draw(shape, colour, size)
                picture.save(folder / file)
                rows.append({"image": file, "split": split,
                             "captions": [f"a {name} {word}", f"{name} {word} on white"]})
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def whole(pairs: Path, tmp_path_factory: pytest.TempPathFactory
          ) -> tuple[TrainResult, list[EpochReport]]:
    """One run that nothing interrupts."""
    reports: list[EpochReport] = []
    out = tmp_path_factory.mktemp("whole") / "model"
    done: list[int] = []
    result = train(pairs, out, QUICK, on_epoch=reports.append, progress=done.append)
    assert sum(done) == steps(pairs, QUICK)
    return result, reports


def heads_of(out: Path) -> bytes:
    return (out / "heads.safetensors").read_bytes()


def losses(reports: list[EpochReport]) -> list[float]:
    """To the last bit; the start has none."""
    return [report.loss for report in reports if report.epoch]


def test_the_closed_form_start_already_finds_what_it_was_taught(
    whole: tuple[TrainResult, list[EpochReport]],
) -> None:
    result, reports = whole
    assert [report.epoch for report in reports] == [0, 1, 2, 3, 4]
    assert result.recall.gallery == 24
    # No two pictures share a caption, so chance is 1 in 24 and 10 in 24.
    assert reports[0].recall.text_to_image[0] > 0.3
    assert result.recall.image_to_text[2] > 0.65
    assert result.recall.total >= reports[0].recall.total


def two_views_of(latent: np.ndarray, random: np.random.Generator) -> Features:
    """What two towers that see the same things differently would say about them."""
    noise = 0.3 * random.standard_normal((2, *latent.shape))
    mixers = np.random.default_rng(5).standard_normal((2, latent.shape[1], 40))
    images, texts = (np.float32((latent + n) @ m) for n, m in zip(noise, mixers, strict=True))
    rows = np.arange(len(latent))
    return Features(images[None], texts, rows, rows, np.zeros_like(rows))


def task() -> tuple[Heads, Features, Features]:
    """A start that knows nothing, what to learn from, and what to judge it by."""
    random = np.random.default_rng(0)
    data = two_views_of(random.standard_normal((400, 12)), random)
    val = two_views_of(random.standard_normal((100, 12)), random)
    return Heads(*(Head(np.float32(random.standard_normal((16, 40))), np.zeros(16, np.float32))
                   for _ in range(2))), data, val


@pytest.mark.parametrize("changed", [
    {}, {"hard_negatives": 0.25}, {"loss": "siglip"}, {"chunk": 30}, {"ema": 0.8},
    {"adversarial": 0.5},
], ids=str)
def test_every_loss_learns_from_a_start_that_knows_nothing(
    changed: dict[str, Any], tmp_path: Path,
) -> None:
    start, data, val = task()
    seen: list[float] = []
    config = TrainConfig(epochs=30, batch_size=100, lr=0.03, dropout=0.0, **changed)
    _, best_epoch, share, best = fit(start, data, val, config, tmp_path,
                                     lambda report: seen.append(report.loss))
    assert recall(start, val).text_to_image[0] < 0.1  # chance is 1 in 100
    assert best.text_to_image[0] > 0.6
    assert best.image_to_text[0] > 0.6
    assert best_epoch > 0
    assert share > 0
    assert seen[-1] < 0.5 * seen[1]


def test_gradient_caching_trains_the_same_heads(tmp_path: Path) -> None:
    """Nothing is dropped here, so that both draw the same; what is left is rounding."""
    start, data, val = task()
    found = []
    for chunk in (0, 30):
        (tmp_path / str(chunk)).mkdir()
        config = TrainConfig(epochs=3, batch_size=100, lr=0.03, dropout=0.0, chunk=chunk)
        reports: list[EpochReport] = []
        fit(start, data, val, config, tmp_path / str(chunk), reports.append)
        found.append(losses(reports))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4)


def test_a_run_ends_when_patience_does_and_stays_ended(tmp_path: Path) -> None:
    start, data, val = task()
    config = TrainConfig(epochs=50, batch_size=100, lr=0.03, dropout=0.0, patience=3)
    reports: list[EpochReport] = []
    best = fit(start, data, val, config, tmp_path, reports.append)
    assert reports[-1].epoch == best.epoch + 3 < 50
    again = fit(start, data, val, config, tmp_path, reports.append)
    assert reports[-1].epoch == best.epoch + 3
    assert again.epoch == best.epoch


def test_the_mean_of_the_weights_is_what_is_kept(tmp_path: Path) -> None:
    """A mean that hardly moves stays near the weights after the first step; its loss does not."""
    start, data, val = task()
    gone = []
    for ema in (0.0, 0.9999):
        (tmp_path / str(ema)).mkdir()
        config = TrainConfig(epochs=5, batch_size=100, lr=0.03, dropout=0.0, ema=ema)
        reports: list[EpochReport] = []
        fit(start, data, val, config, tmp_path / str(ema), reports.append)
        gone.append((reports[-1].loss, reports[-1].recall.total))
    assert gone[0][0] == gone[1][0]
    assert gone[1][1] < gone[0][1] - 0.5


def test_the_rate_rises_in_a_line_and_falls_as_a_cosine() -> None:
    assert [rate(done, 0.0) for done in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])
    assert rate(0, 0.2) == pytest.approx(0.2)
    assert rate(0.1, 0.2) == pytest.approx(0.7 * rate(0.1, 0.0))
    assert rate(0.6, 0.2) == rate(0.6, 0.0)


def test_the_judge_closes_the_gap(tmp_path: Path) -> None:
    """Two towers that look at the world from two places."""
    start, data, val = task()
    start = replace(start, text=replace(start.text, bias=start.text.bias + 1))
    gaps = []
    for weight in (0.0, 30.0):
        (tmp_path / str(weight)).mkdir()
        config = TrainConfig(epochs=30, batch_size=100, lr=0.003, dropout=0.0, adversarial=weight)
        reports: list[EpochReport] = []
        fit(start, data, val, config, tmp_path / str(weight), reports.append)
        gaps.append((reports[0].gap, reports[-1].gap))
    assert gaps[1][1] < 0.6 * gaps[0][1]


def test_the_trained_model_loads_and_finds_pictures(
    whole: tuple[TrainResult, list[EpochReport]],
) -> None:
    result, _ = whole
    assert not (result.out / "training").exists()
    log = [json.loads(line) for line in (result.out / "log.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["loss"]) for line in log[1:]] == [
        (report.epoch, report.loss) for report in whole[1][1:]]
    assert log[4]["text_to_image"] == list(whole[1][4].recall.text_to_image)
    assert (log[0]["loss"], log[4]["lr"] < log[1]["lr"]) == (None, True)
    encoder = load_encoder(str(result.out))
    pictures = [draw("square", colour, 38) for colour in COLOURS.values()]
    images = encoder.encode_images(pictures)
    texts = encoder.encode_texts([f"a {name} lumo" for name in COLOURS])
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, atol=1e-4)
    assert ((texts @ images.T).argmax(1) == np.arange(len(COLOURS))).mean() >= 0.8
    spec = json.loads((result.out / "model.json").read_text())
    assert spec["dim"] == encoder.dim == images.shape[1]
    assert encoder.name != load_encoder().name


def test_the_same_seed_gives_the_same_weights(
    pairs: Path, tmp_path: Path, whole: tuple[TrainResult, list[EpochReport]]
) -> None:
    again: list[EpochReport] = []
    other: list[EpochReport] = []
    result = train(pairs, tmp_path / "again", QUICK, on_epoch=again.append)
    train(pairs, tmp_path / "other", replace(QUICK, seed=1), on_epoch=other.append)
    assert heads_of(result.out) == heads_of(whole[0].out)
    assert losses(again) == losses(whole[1])
    assert losses(other) != losses(whole[1])


def test_a_killed_run_resumes_to_the_same_weights(
    pairs: Path, tmp_path: Path, whole: tuple[TrainResult, list[EpochReport]]
) -> None:
    out = tmp_path / "killed"
    script = f"""
import os, signal, torch
from pathlib import Path
torch.set_num_threads(1)
from mmsearch.training import TrainConfig, train
def stop(report):
    if report.epoch == 3:
        os.kill(os.getpid(), signal.SIGKILL)
train(Path({str(pairs)!r}), Path({str(out)!r}), {QUICK!r}, on_epoch=stop)
"""
    done = subprocess.run([sys.executable, "-c", script], env={**os.environ}, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (out / "training" / "checkpoint.pt").exists()
    assert not (out / "model.json").exists()

    with pytest.raises(UsageError, match="unfinished"):
        train(pairs, out, QUICK)
    with pytest.raises(UsageError, match="another lr"):
        train(pairs, out, replace(QUICK, lr=1e-4, resume=True))
    rest: list[EpochReport] = []
    resumed = train(pairs, out, replace(QUICK, resume=True), on_epoch=rest.append)
    assert [report.epoch for report in rest] == [3, 4]
    assert losses(rest) == losses(whole[1])[2:]
    assert heads_of(resumed.out) == heads_of(whole[0].out)
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["loss"]) for line in log[1:]] == [
        (report.epoch, report.loss) for report in whole[1][1:]]


def test_the_start_keeps_the_text_head_of_the_base(pairs: Path, tmp_path: Path) -> None:
    result = train(pairs, tmp_path / "model", TrainConfig(epochs=0))
    text = ["a photo of a dog"]
    assert result.best_epoch == 0
    one, other = load_encoder(str(result.out)), load_encoder()
    assert isinstance(one, OnnxEncoder)
    assert isinstance(other, OnnxEncoder)
    np.testing.assert_allclose(one.run_texts(text)[0], other.run_texts(text)[0], atol=1e-5)


def test_what_is_learned_wrongly_is_not_where_training_begins(pairs: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in pairs.read_text("utf-8").splitlines()]
    wrong = [row["captions"] for row in rows if row["split"] == "train"][::-1]
    swapped = pairs.with_name("swapped.jsonl")
    swapped.write_text("".join(json.dumps(
        row | {"captions": wrong.pop(0) if row["split"] == "train" else row["captions"]}) + "\n"
        for row in rows))
    result = train(swapped, tmp_path / "model", TrainConfig(epochs=0))
    base = load_encoder()
    assert isinstance(base, OnnxEncoder)
    val = encode(base, load_pairs(swapped, split="val"), tmp_path / "cache", {}, mirrored=False)
    assert result.recall.total >= recall(read_heads(base.directory), val).total


def test_undecodable_pictures_are_skipped_and_named_and_test_rows_ignored(
    pairs: Path, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    for row in rows:
        row["image"] = str(pairs.parent / row["image"])
    for name, split in (("broken.png", "train"), ("secret.png", "test")):
        (tmp_path / name).write_bytes(b"not a picture")
        rows.append({"image": str(tmp_path / name), "captions": ["nothing"], "split": split})
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = train(tmp_path / "pairs.jsonl", tmp_path / "model", replace(QUICK, epochs=1))
    assert list(result.skipped) == [str(tmp_path / "broken.png")]


def few(folder: Path, captions: list[str]) -> Path:
    draw("circle", (0, 0, 0), 20).save(folder / "one.png")
    path = folder / "few.jsonl"
    path.write_text(json.dumps({"image": "one.png", "captions": captions}) + "\n")
    return path


def taken(folder: Path) -> Path:
    (folder / "out").mkdir()
    (folder / "out" / "thesis.txt").write_text("mine")
    return folder / "out"


@pytest.mark.parametrize(
    ("case", "error", "words"),
    [
        (lambda p, t: train(t / "none.jsonl", t / "out", QUICK), MmsearchError, "none.jsonl"),
        (lambda p, t: train(few(t, ["a dot"]), t / "out", QUICK), UsageError, "too few"),
        (lambda p, t: train(few(t, []), t / "out", QUICK), UsageError, "caption"),
        (lambda p, t: train(p, taken(t), QUICK), UsageError, "exists"),
        (lambda p, t: train(p, t / "out", replace(QUICK, lr=0.0)), UsageError, "rate"),
        (lambda p, t: train(p, t / "out", replace(QUICK, batch_size=1)), UsageError, "batch"),
        (lambda p, t: train(p, t / "out", replace(QUICK, loss="clip")), UsageError, "infonce or"),
        (lambda p, t: train(p, t / "out", replace(QUICK, loss="siglip", hard_negatives=1)),
         UsageError, "infonce only"),
        (lambda p, t: train(p, t / "out", replace(QUICK, base=str(t))), ModelError, "model.json"),
    ],
)
def test_bad_input_is_one_clear_error(
    case: Callable[[Path, Path], object], error: type[MmsearchError], words: str,
    pairs: Path, tmp_path: Path,
) -> None:
    with pytest.raises(error, match=words):
        case(pairs, tmp_path)
    assert (tmp_path / "out" / "thesis.txt").exists() or not (tmp_path / "out").exists()


def test_without_torch_the_extra_is_named(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"mmsearch\[train\]"):
        train(pairs, tmp_path / "out", QUICK)
