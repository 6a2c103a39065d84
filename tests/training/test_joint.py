"""Two processes train as one does with the joint batch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_tuning import clip, pairs  # noqa: F401

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")

import joint_gradients  # noqa: E402

from mmsearch.training.config import TrainConfig  # noqa: E402
from mmsearch.training.joint import Joint  # noqa: E402
from mmsearch.training.trainer import train  # noqa: E402


def torchrun(*arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         *map(str, arguments)], capture_output=True, text=True, check=check, timeout=300)


def test_loss_and_gradients_are_those_of_one_process(tmp_path: Path) -> None:
    torchrun(joint_gradients.__file__, tmp_path)
    whole = joint_gradients.gradients(Joint())
    assert len(whole) == 10
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name, one in whole.items():
            torch.testing.assert_close(found[name], one, rtol=1e-12, atol=1e-14)


def test_torchrun_trains_as_one_process_does(
    clip: str, pairs: Path, tmp_path: Path,  # noqa: F811
) -> None:
    done = torchrun("-m", "mmsearch", "train", pairs, "-o", tmp_path / "two", "--base", clip,
                    "--tune", "last:2", "--epochs", 3, "--lr", 1e-3, "--batch-size", 7,
                    "--chunk", 2, "--json")
    assert done.stderr.count("epoch 3/3") == 1
    assert json.loads(done.stdout)["out"] == str(tmp_path / "two")
    train(pairs, tmp_path / "one", TrainConfig(base=clip, tune="last:2", epochs=3, lr=1e-3,
                                               batch_size=7, chunk=2))
    one, two = ([json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text()
                 .splitlines()] for name in ("one", "two"))
    np.testing.assert_allclose([line["loss"] for line in two[1:]],
                               [line["loss"] for line in one[1:]], rtol=1e-3)
    assert (tmp_path / "two" / "open_clip_model.safetensors").exists()



def test_more_processes_than_pictures(
    clip: str, pairs: Path, tmp_path: Path,  # noqa: F811
) -> None:
    rows = [json.loads(line) for line in pairs.read_text().splitlines()][:10:2]
    few = pairs.with_name("few.jsonl")
    few.write_text("".join(json.dumps(row | {"split": "val" if n == 4 else "train"}) + "\n"
                           for n, row in enumerate(rows)))
    out = tmp_path / "out"
    done = torchrun("-m", "mmsearch", "train", few, "-o", out, "--base", clip, "--tune", "heads",
                    check=False)
    assert done.returncode != 0
    assert ("2 processes are too many for 4 pictures in batches of 512, and 1 to choose on"
            in " ".join(done.stderr.split()))
    assert not out.exists()


def test_what_stops_the_first_process_stops_all(
    clip: str, pairs: Path, tmp_path: Path,  # noqa: F811
) -> None:
    (tmp_path / "mine").write_text("here already")
    done = torchrun("-m", "mmsearch", "train", pairs, "-o", tmp_path, "--base", clip, "--tune",
                    "heads", check=False)
    assert done.returncode != 0
    assert "exists already; give a new directory" in " ".join(done.stderr.split())
    assert "mmsearch/training" not in done.stderr  # no traceback of ours
