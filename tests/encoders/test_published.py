"""Exports that others publish, fetched from a hub by its own client and run without torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub_server import COMMIT, Hub, serve
from random_models import cosines

pytest.importorskip("huggingface_hub")
open_clip = pytest.importorskip("open_clip")
pytest.importorskip("transformers")

from exports import OURS, Made, as_immich, as_transformers_js, make  # noqa: E402

from mmsearch.encoders.exported import Cache, _export_of  # noqa: E402

PLAIN = ["a dog on the beach", "two CATS", "", "word " * 200, "x" * 90, "\u732b\u304c\u4e8c\u5339"]
ODD = [" ", "Two  CATS &amp; a caf\u00e9\u2019s \u201cmenu\u201d",
       "don't 'll 123 4.5 #7", "a_b-c (e), f!",
       "<|endoftext|> <eos> </s> <pad>", "\U0001f408\u200d\u2b1b \ufffd", "Stra\u00dfe \u0130s"]
LOADED = """
import json, sys
import numpy as np
for name in ("torch", "open_clip", "transformers", "onnx"):
    sys.modules[name] = None
from random_models import pictures
from mmsearch import load_encoder
names, texts, out = json.loads(sys.argv[1])
found = {}
for name in names:
    encoder = load_encoder(name + "@fp32")
    found |= {name + " images": encoder.encode_images(pictures()),
              name + " texts": encoder.encode_texts(texts),
              name + " alone": encoder.encode_texts(texts[-1:]),
              name + " tokens": np.array(json.dumps(encoder.cut(texts))),
              name + " names": np.array([encoder.name, encoder.pinned])}
np.savez(out, **found)
"""
"""A process without the heavy libraries."""


@pytest.fixture(scope="module", params=list(OURS))
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    """Every model once, and its exports in a folder as a hub has them."""
    path = tmp_path_factory.mktemp("models")
    found = {}
    for model, (immich, transformers_js) in OURS.items():
        found[model] = one = make(model, path / model.replace("/", "__"))
        as_immich(one, path / "hub" / immich)
        as_transformers_js(one, path / "hub" / transformers_js)
    return found


@pytest.fixture(scope="module")
def root(made: dict[str, Made]) -> Path:
    return Path(made["ViT-B-32/openai"].folder).parent / "hub"


@pytest.fixture
def hub(root: Path) -> Iterator[Hub]:
    with serve(root) as hub:
        yield hub


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Caches of one's own."""
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return tmp_path


def load(names: list[str], endpoint: str, home: Path) -> dict[str, Any]:
    env = {**os.environ, "HF_ENDPOINT": endpoint,
           "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])}
    subprocess.run([sys.executable, "-c", LOADED,
                    json.dumps([names, [*PLAIN, *ODD], str(home / "found.npz")])],
                   env=env, check=True)
    with np.load(home / "found.npz") as found:
        return dict(found)


def alike(found: dict[str, Any], name: str, made: Made, texts: list[str]) -> None:
    """They are the vectors of torch, and the tokens of open_clip, of the first texts that were
    encoded."""
    ours = found[f"{name} images"], found[f"{name} texts"][: len(texts)]
    for vectors, wanted in zip(ours, (made.images, made.theirs.encode_texts(texts)), strict=True):
        assert vectors.dtype == np.float32
        assert cosines(vectors, wanted).min() > 0.9999
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found[f"{name} alone"], found[f"{name} texts"][-1:], atol=1e-6)
    tokens = json.loads(str(found[f"{name} tokens"]))[: len(texts)]
    for one, padded in zip(tokens, made.theirs.tokenizer(texts).tolist(), strict=True):
        assert one == padded[: len(one)]
        assert len(set(padded[len(one):])) < 2


def test_both_layouts_give_the_vectors_and_tokens_of_torch(
        model: str, made: dict[str, Made], hub: Hub, home: Path) -> None:
    other = OURS[model][1]
    found = load([model, other], hub.url, home)
    alike(found, model, made[model], [*PLAIN, *ODD])
    # SigLIP 2 in `transformers` keeps punctuation and spaces, which open_clip takes away.
    alike(found, other, made[model], PLAIN if "SigLIP" in model else [*PLAIN, *ODD])
    assert not [file for file in hub.fetched()
                if any(part in file for part in ("armnn", "_fp16", "_int8", "/model_"))]


def test_broken_transfers_are_resumed_and_then_it_works_offline(
        made: dict[str, Made], root: Path, home: Path) -> None:
    model = "ViT-B-32/openai"
    with serve(root) as hub:
        hub.busy = 1
        hub.broken = {"textual/model.onnx"}
        first = load([model], hub.url, home)
        assert hub.busy == 0 and not hub.broken
        (resumed,) = [line for line in hub.log if "bytes=" in line]
        assert int(resumed.split("=")[1].rstrip("-")) > 1e7
        asked = len(hub.log)
        load([model], hub.url, home)
        assert len(hub.log) == asked
    alike(load([model], hub.url, home), model, made[model], PLAIN)  # from our cache
    name, pinned = first[f"{model} names"]
    assert pinned == f"immich-app/ViT-B-32__openai@{COMMIT}"
    assert Cache(model).is_exported() and Cache(pinned).is_exported()
    shutil.rmtree(home / "cache")
    assert Cache(pinned).is_made() is False
    again = load([pinned], hub.url, home)  # from the hub's
    assert again[f"{pinned} names"][0] == name


def test_weights_on_this_machine_are_preferred_to_a_download(
        hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    weights = home / "hf" / "hub" / "models--timm--ViT-B-16-SigLIP2" / "snapshots" / COMMIT
    weights.mkdir(parents=True)
    (weights / "open_clip_model.safetensors").touch()
    assert _export_of("ViT-B-16-SigLIP2/webli") is None
    assert hub.log == []
