"""Encoders: the built-in one through its runtime, open_clip with random weights, plain refusals."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import DEMO, Cli
from hypothesis import given, settings, strategies as st
from random_models import checkpoint, libraries_for, pictures

from mmsearch.encoders import BUILTIN_DIR, Encoder, load_encoder
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.errors import MissingExtra, ModelError


def check(encoder: Encoder) -> None:
    """What `Encoder` promises, whatever is behind it."""
    prepared = [encoder.prepare(picture) for picture in pictures()]
    assert all(p.dtype == np.uint8 and p.shape[2] == 3 for p in prepared)
    images, texts = encoder.encode_images(prepared), encoder.encode_texts(["a dog", "the sea"])
    for vectors, rows in ((images, len(pictures())), (texts, 2), (encoder.encode_images([]), 0),
                          (encoder.encode_texts([]), 0)):
        assert (vectors.shape, vectors.dtype) == ((rows, encoder.dim), np.float32)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(encoder.encode_images(pictures()), images, atol=1e-5)
    one_by_one = np.concatenate([encoder.encode_images([p]) for p in prepared])
    assert (one_by_one * images).sum(axis=1).min() > 0.999  # bfloat16 on a GPU keeps 3 digits


def test_the_builtin_encoder_keeps_its_promises() -> None:
    check(load_encoder())


def test_an_open_clip_encoder_keeps_its_promises() -> None:
    pytest.importorskip("open_clip")
    encoder = load_encoder(f"{checkpoint('ViT-S-32-alt')}@fp32")
    check(encoder)
    assert encoder.name.startswith("ViT-S-32-alt@")


@settings(max_examples=25)
@given(st.lists(st.text(max_size=60), min_size=1, max_size=5))
def test_a_text_has_one_vector_whatever_stands_beside_it(texts: list[str]) -> None:
    encoder = load_encoder()
    together = encoder.encode_texts(texts)
    for text, vector in zip(texts, together, strict=True):
        np.testing.assert_allclose(encoder.encode_texts([text])[0], vector, atol=1e-5)


def test_text_is_seen_up_to_the_towers_full_length_and_no_further() -> None:
    encoder = load_encoder()
    words = ["dog"] * 600
    full = encoder.encode_texts([" ".join(words[:510])])
    changed = encoder.encode_texts([" ".join([*words[:509], "galaxy"])])
    beyond = encoder.encode_texts([" ".join([*words[:510], "galaxy"])])
    assert not np.array_equal(full, changed)
    np.testing.assert_array_equal(full, beyond)


def test_queries_need_no_torch() -> None:
    assert libraries_for("builtin") == "[]"


def test_a_name_without_weights_says_what_there_is() -> None:
    pytest.importorskip("open_clip")
    with pytest.raises(ModelError, match=r"did you mean.*ViT-B-32"):
        load_encoder("ViT-B32/openai")
    for name in ("ViT-B-32/nonsense", "ViT-B-32", "ViT-B-32@int8"):
        with pytest.raises(ModelError, match=r"laion2b_s34b_b79k"):
            load_encoder(name)


@pytest.mark.parametrize(("name", "reason"), [
    ("bultin", "no model called 'bultin'; give small"),
    ("/no/model", "there is no model directory /no/model"),
    (str(DEMO), r"without model\.json"),
    ("./model", "there is no model directory ./model")])
def test_what_is_no_model_is_said_not_taken_for_a_missing_extra(name: str, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        load_encoder(name)


def test_without_a_network_and_weights_it_is_said_in_one_line_and_at_once(
        tmp_path: Path, cli: Cli) -> None:
    pytest.importorskip("open_clip")
    env = {**os.environ, "HF_HOME": str(tmp_path), "HF_ENDPOINT": "https://hub.invalid"}
    for model in ("ViT-B-32/laion2b_s34b_b79k", "hf-hub:nobody/nothing"):
        done = cli("index", DEMO, "-i", "x", "--model", model, env=env)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert f"{model} is not on this machine: hub.invalid cannot be reached" in done.stderr
        assert "run `hf download" in done.stderr


@pytest.mark.parametrize("file", ["model.json", "image.onnx", "text.onnx", "tokens.npy",
                                  "tokenizer.json"])
def test_a_damaged_model_directory_is_named(tmp_path: Path, file: str) -> None:
    model = tmp_path / "model"
    shutil.copytree(BUILTIN_DIR, model)
    (model / file).write_bytes((model / file).read_bytes()[:100])
    with pytest.raises(ModelError, match=file):
        encoder = load_encoder(str(model))
        encoder.encode_images(pictures()[:1])
        encoder.encode_texts(["x"])


def test_a_model_file_cannot_reach_outside_its_directory(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(BUILTIN_DIR, model)
    spec = json.loads((model / "model.json").read_text())
    spec["text"]["tokens"] = "../../secret.npy"
    (model / "model.json").write_text(json.dumps(spec))
    with pytest.raises(ModelError, match="outside"):
        load_encoder(str(model))


@pytest.mark.gpu
def test_open_clip_uses_the_gpu() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    encoder = load_encoder(checkpoint("ViT-S-32-alt"))
    assert encoder.workers == 2 * torch.cuda.device_count()
    check(encoder)


def test_providers_are_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = load_encoder().encode_images(pictures()[:2])
    monkeypatch.setenv("MMSEARCH_PROVIDERS", "CPU")
    np.testing.assert_array_equal(OnnxEncoder(BUILTIN_DIR).encode_images(pictures()[:2]), plain)
    monkeypatch.setenv("MMSEARCH_PROVIDERS", "NoSuch,CPU")
    with pytest.raises(ModelError, match=r"NoSuchExecutionProvider.*it has .*CPUExecution"):
        OnnxEncoder(BUILTIN_DIR).encode_images(pictures()[:2])


@pytest.mark.parametrize("model", ["ViT-B-32/laion2b_s34b_b79k", "hf-hub:org/model"])
def test_missing_weights_are_said_before_a_missing_extra(
        model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from mmsearch.encoders.openclip import OpenClipEncoder

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "open_clip", None)  # as if it were not installed
    with pytest.raises(MissingExtra, match=r"weights are not on this machine.*openclip") as caught:
        OpenClipEncoder(model)
    assert str(caught.value).startswith(f"the model '{model}', whose")
