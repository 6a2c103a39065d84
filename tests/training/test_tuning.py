"""Tuning of towers: small open_clip models with random weights, and pictures of the demo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DEMO
from PIL import Image

open_clip = pytest.importorskip("open_clip")
torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from safetensors.torch import load_file, save_file  # noqa: E402

from mmsearch.encoders import load_encoder  # noqa: E402
from mmsearch.errors import MissingExtra, ModelError, UsageError  # noqa: E402
from mmsearch.training.config import EpochReport, TrainConfig  # noqa: E402
from mmsearch.training.trainer import TrainResult, steps, train  # noqa: E402

PICTURES = 16
CLIP = {"embed_dim": 32,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2,
                     "layers": 2}}
RESNET = CLIP | {"vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16,
                                "patch_size": None}}
QUICK = TrainConfig(tune="full", epochs=10, batch_size=8, lr=2e-3)


def folder_of(path: Path, config: dict[str, Any]) -> str:
    torch.manual_seed(0)
    path.mkdir()
    model = (open_clip.CLIP)(**config)
    save_file(model.state_dict(), path / "open_clip_model.safetensors")
    (path / "open_clip_config.json").write_text(json.dumps({
        "model_cfg": config, "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4],
                                                "resize_mode": "squash"}}))
    return str(path)


@pytest.fixture(scope="module", autouse=True)
def _threads() -> None:
    """One: so small a model takes longer with more, which wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return folder_of(tmp_path_factory.mktemp("models") / "clip", CLIP)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pictures, small, to learn from and to judge by: can it learn at all?"""
    folder = tmp_path_factory.mktemp("pairs")
    rows = [json.loads(line) for line in (DEMO / "captions.jsonl").read_text().splitlines()]
    for row in rows[:PICTURES]:
        Image.open(DEMO / row["image"]).convert("RGB").resize((48, 40)).save(folder / row["image"])
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps({"image": row["image"], "split": split,
                                        "captions": row["captions"][:2]}) + "\n"
                            for row in rows[:PICTURES] for split in ("train", "val")))
    return path


@pytest.fixture(scope="module")
def whole(clip: str, pairs: Path, tmp_path_factory: pytest.TempPathFactory
          ) -> tuple[TrainResult, list[EpochReport]]:
    """One run that nothing interrupts."""
    reports: list[EpochReport] = []
    out, config = tmp_path_factory.mktemp("whole") / "model", replace(QUICK, base=clip)
    done: list[int] = []
    result = train(pairs, out, config, on_epoch=reports.append, progress=done.append)
    assert sum(done) == steps(pairs, config)
    return result, reports


def weights_of(model: str | Path) -> dict[str, Any]:
    return dict(load_file(Path(model) / "open_clip_model.safetensors"))


def changed(model: str | Path, other: str | Path) -> set[str]:
    return {name for name, one in weights_of(model).items()
            if not torch.equal(one, weights_of(other)[name])}


def losses(reports: list[EpochReport]) -> list[float]:
    return [report.loss for report in reports if report.epoch]


def test_it_learns_and_writes_a_model_that_loads(
    clip: str, pairs: Path, whole: tuple[TrainResult, list[EpochReport]]
) -> None:
    result, reports = whole
    assert [report.epoch for report in reports] == list(range(11))
    assert reports[0].recall.text_to_image[1] < 0.45  # chance is 5 in 16
    assert result.recall.text_to_image[1] > 0.6
    assert losses(reports)[-1] < 0.7 * losses(reports)[0]
    assert len(changed(result.out, clip)) == len(weights_of(clip))
    encoder = load_encoder(f"{result.out}@fp32")
    rows = [json.loads(line) for line in (DEMO / "captions.jsonl").read_text().splitlines()]
    images = encoder.encode_images([Image.open(pairs.parent / row["image"])
                                    for row in rows[:PICTURES]])
    texts = encoder.encode_texts([row["captions"][n] for row in rows[:PICTURES] for n in (0, 1)])
    found = (texts @ images.T).argmax(1) == np.repeat(np.arange(PICTURES), 2)
    assert found.mean() == pytest.approx(result.recall.text_to_image[0], abs=0.05)
    log = [json.loads(line) for line in (result.out / "log.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in log[1:]] == losses(reports)
    assert not (result.out / "training").exists()


@pytest.mark.parametrize(("tune", "moved"), [
    ("heads", {"visual.proj", "text_projection"}),
    ("last:1", {"visual.transformer.resblocks.1", "visual.ln_post", "transformer.resblocks.1",
                "ln_final", "visual.proj", "text_projection"}),
    ("lora", {"visual.transformer.resblocks", "transformer.resblocks", "visual.proj",
              "text_projection", "visual.conv1"}),
])
def test_what_is_not_tuned_stays(tune: str, moved: set[str], clip: str, pairs: Path,
                                 tmp_path: Path) -> None:
    result = train(pairs, tmp_path / "out", replace(QUICK, base=clip, tune=tune, epochs=4,
                                                    blend=False))
    assert result.best_epoch > 0
    names = changed(result.out, clip) - {"logit_scale"}
    assert names
    assert {next((one for one in moved if name.startswith(one)), name) for name in names} == moved
    assert set(weights_of(result.out)) == set(weights_of(clip))
    if tune == "lora":
        assert not any(".ln_" in name or name.endswith("bias") for name in names)


def test_a_blend_of_lora_lies_on_the_line_between_start_and_end() -> None:
    from mmsearch.training.tuning import blended

    start = {"a.lora_A.x": torch.rand(2, 5), "a.lora_B.x": torch.zeros(5, 2), "w": torch.rand(3)}
    end = {name: torch.rand_like(one) for name, one in start.items()}
    half = blended(start, end, 0.25)
    torch.testing.assert_close(half["a.lora_B.x"] @ half["a.lora_A.x"],
                               0.25 * end["a.lora_B.x"] @ end["a.lora_A.x"])
    torch.testing.assert_close(half["w"], 0.75 * start["w"] + 0.25 * end["w"])


@pytest.mark.parametrize("other", [
    {"loss": "siglip"}, {"captions": 2, "hard_negatives": 0.25}, {"ema": 0.9},
    {"adversarial": 0.5}, {"accumulate": 2}, {"precision": "bf16"},
], ids=str)
def test_every_option_learns(other: dict[str, Any], clip: str, pairs: Path, tmp_path: Path) -> None:
    reports: list[EpochReport] = []
    train(pairs, tmp_path / "out", replace(QUICK, base=clip, tune="last:2", epochs=4, **other),
          on_epoch=reports.append)
    assert losses(reports)[-1] < 0.95 * losses(reports)[0]


def test_chunks_train_as_the_whole_batch_does(
    clip: str, pairs: Path, tmp_path: Path, whole: tuple[TrainResult, list[EpochReport]]
) -> None:
    reports: list[EpochReport] = []
    train(pairs, tmp_path / "out", replace(QUICK, base=clip, chunk=3, epochs=10, patience=2),
          on_epoch=reports.append)
    np.testing.assert_allclose(losses(reports)[:3], losses(whole[1])[:3], rtol=1e-3)


def test_a_killed_run_resumes_to_the_same_weights(
    clip: str, pairs: Path, tmp_path: Path, whole: tuple[TrainResult, list[EpochReport]]
) -> None:
    out, config = tmp_path / "killed", replace(QUICK, base=clip)
    script = f"""
import os, signal, torch
from pathlib import Path
torch.set_num_threads(1)
from mmsearch.training import TrainConfig, train
def stop(report):
    if report.epoch == 3:
        os.kill(os.getpid(), signal.SIGKILL)
train(Path({str(pairs)!r}), Path({str(out)!r}), {config!r}, on_epoch=stop)
"""
    killed = subprocess.run([sys.executable, "-c", script], env={**os.environ}, check=False)
    assert killed.returncode == -signal.SIGKILL
    rest: list[EpochReport] = []
    done: list[int] = []
    result = train(pairs, out, replace(config, resume=True), on_epoch=rest.append,
                   progress=done.append)
    assert sum(done) == steps(pairs, config)
    assert losses(rest) == losses(whole[1])[2:]
    assert changed(result.out, whole[0].out) == set()


def test_batch_norms_stay_as_they_are(pairs: Path, tmp_path: Path) -> None:
    model = folder_of(tmp_path / "resnet", RESNET)
    result = train(pairs, tmp_path / "out", replace(QUICK, base=model, epochs=2, blend=False,
                                                    lr=1e-3))
    assert not any("running" in name for name in changed(result.out, model))
    with pytest.raises(UsageError, match="lora or full"):
        train(pairs, tmp_path / "part", replace(QUICK, base=model, tune="last:1"))


@pytest.mark.parametrize(("config", "error", "words"), [
    ({"tune": "all"}, UsageError, "last:N"),
    ({"tune": "last:0"}, UsageError, "last:N"),
    ({"base": "ViT-B-32/none-such"}, ModelError, "names no weights"),
])
def test_bad_input_is_one_clear_error(config: dict[str, Any], error: type[Exception], words: str,
                                      clip: str, pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(error, match=words):
        train(pairs, tmp_path / "out", TrainConfig(**({"base": clip, "tune": "full"} | config)))
    assert not (tmp_path / "out").exists()


def test_without_peft_the_extra_is_named(
    clip: str, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtra, match=r"mmsearch\[train\]"):
        train(pairs, tmp_path / "out", replace(QUICK, base=clip, tune="lora"))
