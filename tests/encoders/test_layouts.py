"""What folders of exports may hold: graphs of other kinds, data in files beside them, and less than
all; over graphs made by hand, whose vectors are known."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DEMO, Cli
from hub_server import COMMIT, serve
from random_models import cosines, pictures

from mmsearch.collection.collection import Collection
from mmsearch.encoders import load_encoder
from mmsearch.encoders.hub import kept_in
from mmsearch.encoders.published import layout, repositories
from mmsearch.errors import ModelError, UsageError
from mmsearch.media.resizing import fit

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

SIDE, LENGTH = 16, 6
WORDS = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4, "dog": 5, "cat": 6}
TABLE = np.random.default_rng(0).standard_normal((len(WORDS), 3)).astype(np.float32)


def graph(path: Path, takes: dict[str, Any], gives: str, nodes: list[Any], kind: int,
          **constants: np.ndarray) -> None:  # type: ignore[type-arg]
    path.parent.mkdir(parents=True, exist_ok=True)
    inputs = [helper.make_tensor_value_info(name, *shape) for name, shape in takes.items()]
    outputs = [helper.make_tensor_value_info(gives, kind, [None, 3])]
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    made = helper.make_model(helper.make_graph(nodes, "made", inputs, outputs, weights),
                             opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, path, save_as_external_data=True, location=f"{path.name}.data",
              size_threshold=64)


def image_graph(path: Path, takes: str, gives: str, kind: int, channels: int = 1) -> None:
    """The mean colour."""
    shape = [1, SIDE, SIDE]
    shape.insert(channels, 3)
    axes = [n for n in (1, 2, 3) if n != channels]
    nodes = [helper.make_node("Cast", [takes], ["f"], to=TensorProto.FLOAT),
             helper.make_node("ReduceMean", ["f"], ["m"], axes=axes, keepdims=0),
             helper.make_node("Cast", ["m"], [gives], to=kind)]
    graph(path, {takes: (kind, shape)} if kind != TensorProto.FLOAT16 else
          {takes: (kind, [None, *shape[1:]])}, gives, nodes, kind)


def text_graph(path: Path, gives: str, kind: int = TensorProto.INT32,
               length: int | None = LENGTH) -> None:
    """The mean of the rows of all tokens that are not masked."""
    steps = ["input_ids", "attention_mask"]
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
             helper.make_node("Cast", ["attention_mask"], ["w"], to=TensorProto.FLOAT),
             helper.make_node("Unsqueeze", ["w", "last"], ["w3"]),
             helper.make_node("Mul", ["rows", "w3"], ["kept"]),
             helper.make_node("ReduceMean", ["kept"], [gives], axes=[1], keepdims=0)]
    graph(path, {step: (kind, [1, length]) for step in steps}, gives, nodes, TensorProto.FLOAT,
          table=TABLE, last=np.array([2]))


def tokenizer(path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    made = Tokenizer(models.WordLevel(WORDS, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    made.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps({"pad_token": {"content": "<pad>"}}))


def immich(path: Path, kind: int = TensorProto.FLOAT, channels: int = 1) -> Path:
    """As M-CLIP is there: a mask, and texts of one length."""
    image_graph(path / "visual" / "model.onnx", "image", "embedding", kind, channels)
    text_graph(path / "textual" / "model.onnx", "embedding")
    tokenizer(path / "textual")
    (path / "config.json").write_text(json.dumps({"embed_dim": 3, "text_cfg": {
        "context_length": LENGTH}}))
    (path / "visual" / "preprocess_cfg.json").write_text(json.dumps(
        {"size": [SIDE, SIDE], "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}))
    return path


def transformers_js(path: Path, precision: str = "", kind: int = TensorProto.FLOAT) -> Path:
    image_graph(path / "onnx" / f"vision_model{precision}.onnx", "pixel_values", "image_embeds",
                kind)
    text_graph(path / "onnx" / f"text_model{precision}.onnx", "text_embeds", TensorProto.INT64,
               None)
    for file in (path / "onnx").glob("*.data"):  # as it is called there
        renamed = file.with_name(file.name.replace(".data", "_data"))
        onnx_file = file.with_suffix("")
        model = onnx.load(onnx_file)
        file.unlink()
        onnx.save(model, onnx_file, save_as_external_data=True, location=renamed.name,
                  size_threshold=64)
    tokenizer(path)
    (path / "config.json").write_text(json.dumps(
        {"model_type": "clip", "text_config": {"max_position_embeddings": LENGTH}}))
    (path / "preprocessor_config.json").write_text(json.dumps(
        {"size": {"shortest_edge": SIDE}, "crop_size": SIDE, "do_center_crop": True,
         "do_normalize": False, "resample": 2}))
    return path


def means(how: str, resample: Any) -> np.ndarray:  # type: ignore[type-arg]
    pixels = np.stack([fit(picture, SIDE, resize=how, resample=resample)  # type: ignore[arg-type]
                       for picture in pictures()])
    return pixels.mean((1, 2), dtype=np.float64)


def contents(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def check_texts(encoder: Any) -> None:
    texts = ["a dog", "cat", "a cat a dog a cat a dog"]
    ids = [[0, 4, 5, 2], [0, 6, 2], [0, 4, 6, 4, 5, 2]]
    assert encoder.cut(texts) == ids
    wanted = unit(np.stack([TABLE[one].mean(0) for one in ids]))
    assert cosines(encoder.encode_texts(texts), wanted).min() > 0.9999
    np.testing.assert_array_equal(encoder.encode_texts(texts[:1]), encoder.encode_texts(texts)[:1])


@pytest.mark.parametrize(("kind", "channels"), [(TensorProto.FLOAT, 1), (TensorProto.UINT8, 1),
                                                (TensorProto.UINT8, 3)])
def test_immichs_layout_with_data_beside_it_and_a_mask(
        tmp_path: Path, kind: int, channels: int) -> None:
    from PIL.Image import Resampling

    folder = immich(tmp_path / "mine", kind, channels)
    (folder / "textual" / "model.armnn").write_text("")
    before = contents(folder)
    encoder = load_encoder(f"{folder}@fp32")
    wanted = means("shortest", Resampling.BICUBIC)
    if kind == TensorProto.FLOAT:
        wanted = (wanted / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4]
    ours = encoder.encode_images(pictures())
    assert ours.dtype == np.float32
    assert cosines(ours, unit(np.floor(wanted) if kind == TensorProto.UINT8 else wanted)
                   ).min() > 0.999
    check_texts(encoder)
    less = load_encoder(f"{folder}@int8")
    assert less.name == encoder.name
    check_texts(less)
    assert not list(less.directory.glob("**/*.data"))
    assert contents(folder) == before


def test_transformers_js_layout_in_the_only_precision_there_is(tmp_path: Path) -> None:
    from PIL.Image import Resampling

    folder = transformers_js(tmp_path / "js", "_fp16", TensorProto.FLOAT16)
    before = contents(folder)
    encoder = load_encoder(f"{folder}@fp32")
    assert contents(folder) == before
    ours = encoder.encode_images(pictures())
    assert ours.dtype == np.float32
    assert cosines(ours, unit(means("shortest", Resampling.BILINEAR))).min() > 0.999
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)
    check_texts(encoder)


def test_the_same_files_elsewhere_are_the_same_encoder(tmp_path: Path) -> None:
    one = load_encoder(f"{immich(tmp_path / 'a' / 'mine')}@fp32")
    other = load_encoder(f"{immich(tmp_path / 'b' / 'mine')}@fp32")
    assert one.name == other.name
    assert one.directory != other.directory
    graph = one.directory / "textual" / "model.onnx"
    assert graph.samefile(tmp_path / "a" / "mine" / "textual" / "model.onnx")


def test_damage_is_said_in_one_line(tmp_path: Path) -> None:
    folder = immich(tmp_path / "mine")
    with pytest.raises(ModelError, match="fp32 or int8"):
        load_encoder(f"{folder}@bf16")
    for file, contents in (("textual/model.onnx", "no graph"), ("config.json", "[]"),
                           ("visual/preprocess_cfg.json", '{"size": [9, 8]}'),
                           ("textual/tokenizer.json", "{}")):
        folder = immich(tmp_path / file.replace("/", "-") / "mine")
        (folder / file).write_text(contents)
        with pytest.raises(ModelError) as caught:
            load_encoder(f"{folder}@fp32")
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match=r"visual/model\.onnx"):
        load_encoder(str(tmp_path))


def test_only_what_is_needed_of_one_precision() -> None:
    files = ["README.md", "config.json", "preprocessor_config.json", "tokenizer.json",
             "onnx/model.onnx", "onnx/vision_model.onnx", "onnx/vision_model.onnx_data",
             "onnx/vision_model.onnx_data_1", "onnx/vision_model_fp16.onnx",
             "onnx/vision_model_fp16.onnx_data", "onnx/text_model.onnx", "pytorch_model.bin"]
    found = layout(files)
    assert found is not None
    assert set(found.files) == {*files[1:4], *files[5:8], "onnx/text_model.onnx"}
    assert found.files[-2:] == ("onnx/vision_model.onnx", "onnx/text_model.onnx")
    files = ["config.json", "visual/model.onnx", "visual/preprocess_cfg.json", "visual/fp16.armnn",
             "visual/rknpu/rk3588/model.rknn", "textual/model.onnx", "textual/tokenizer.json",
             "textual/tokenizer_config.json", "textual/onnx__MatMul_12", "textual/text.wte.weight",
             "textual/vocab.json", "textual/evil.pkl"]
    found = layout(files)
    assert found is not None
    assert set(files) - set(found.files) == {"visual/fp16.armnn", "visual/rknpu/rk3588/model.rknn",
                                             "textual/vocab.json", "textual/evil.pkl"}
    assert layout(["config.json", "visual/model.onnx"]) is None


@pytest.mark.parametrize(("model", "first", "among"), [
    ("ViT-B-32/openai", "immich-app/ViT-B-32__openai", None),
    ("ViT-B-32/laion2b_s34b_b79k", "immich-app/ViT-B-32__laion2b-s34b-b79k", None),
    ("Xenova/clip-vit-base-patch32", "Xenova/clip-vit-base-patch32", None),
    ("xlm-roberta-base-ViT-B-32/laion5b_s13b_b90k",
     "immich-app/XLM-Roberta-Base-ViT-B-32__laion5b_s13b_b90k", None),
    ("MobileCLIP-S1/datacompdr", "Xenova/mobileclip_s1", None),
    ("hf-hub:timm/ViT-SO400M-14-SigLIP-384", "timm/ViT-SO400M-14-SigLIP-384",
     "immich-app/ViT-SO400M-14-SigLIP-384__webli"),
    ("immich-app/ViT-B-32__openai", "immich-app/ViT-B-32__openai", None)])
def test_where_an_export_may_be(model: str, first: str, among: str | None) -> None:
    found = list(repositories(model))
    assert found[0] == first
    assert among is None or among in found


# -- the command line ------------------------------------------------------------------------------


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "MMSEARCH_CACHE": str(tmp_path / "cache"),
            "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": ""}


def test_a_collection_keeps_to_its_commit(tmp_path: Path, cli: Cli, env: dict[str, str]) -> None:
    immich(tmp_path / "hub" / "immich-app" / "ViT-B-32__openai")
    with serve(tmp_path / "hub") as hub:
        env["HF_ENDPOINT"] = hub.url
        done = cli("index", DEMO / "cat.jpg", DEMO / "lake.jpg", "-i", "x", "--model",
                   "ViT-B-32/openai", "--precision", "fp32", env=env)
        assert done.returncode == 0, done.stderr
        size = sum(file.stat().st_size for file in (tmp_path / "hf").rglob("blobs/*"))
        assert done.stderr.splitlines()[0] == (
            "mmsearch: downloading immich-app/ViT-B-32__openai from "
            f"{hub.url.removeprefix('http://')}, {size / 1e6:.0f} MB")
    pinned = f"immich-app/ViT-B-32__openai@{COMMIT}@fp32"
    assert Collection.open(tmp_path / "work" / "x").info()["model"] == pinned
    for model in ("ViT-B-32/openai", pinned):
        done = cli("query", "a dog", "-i", "x", "--model", model, env=env, check=True)
        assert done.stderr == ""
        done = cli("index", DEMO / "bus.jpg", "-i", "x", "--model", model, env=env, check=True)


def test_what_the_hub_has_not_is_said_in_one_line(
        tmp_path: Path, cli: Cli, env: dict[str, str]) -> None:
    (tmp_path / "hub" / "owner" / "other").mkdir(parents=True)
    (tmp_path / "hub" / "owner" / "other" / "pytorch_model.bin").write_text("")
    with serve(tmp_path / "hub") as hub:
        for name in ("nobody/nothing", "owner/other"):
            done = cli("index", DEMO, "-i", "x", "--model", name,
                       env={**env, "HF_ENDPOINT": hub.url})
            assert done.returncode == 1
            assert done.stderr == f"mmsearch: the hub has no export {name} that mmsearch knows\n"
        assert not hub.fetched()


def test_without_a_network_it_is_said_what_to_fetch_and_where_to_put_it(
        tmp_path: Path, cli: Cli, env: dict[str, str]) -> None:
    env |= {"HF_ENDPOINT": "https://hub.invalid"}
    pinned = f"Xenova/clip-vit-base-patch32@{COMMIT}"
    done = cli("index", DEMO, "-i", "x", "--model", pinned, env=env)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "hf download Xenova/clip-vit-base-patch32" in done.stderr
    assert str(tmp_path / "hf" / "hub") in done.stderr
    copied = tmp_path / "hf" / "hub" / "models--Xenova--clip-vit-base-patch32"
    transformers_js(copied / "snapshots" / COMMIT)
    (copied / "refs").mkdir()
    (copied / "refs" / "main").write_text(COMMIT)
    cli("index", DEMO / "cat.jpg", "-i", "x", "--model", "Xenova/clip-vit-base-patch32",
        "--precision", "fp32", env=env, check=True)


def test_a_terminal_is_asked_first(tmp_path: Path, env: dict[str, str]) -> None:
    immich(tmp_path / "hub" / "immich-app" / "ViT-B-32__openai")
    with serve(tmp_path / "hub") as hub:
        for options, answer, code in ((["--yes"], "", 0), ([], "y\n", 0), ([], "n\n", 1)):
            env |= {"HF_ENDPOINT": hub.url, "MMSEARCH_CACHE": str(tmp_path / f"c{answer}"),
                    "HF_HOME": str(tmp_path / f"h{options}{answer}")}
            ours, theirs = pty.openpty()
            os.write(ours, answer.encode())
            before = len(hub.log)
            done = subprocess.run(
                [sys.executable, "-m", "mmsearch", "index", DEMO / "cat.jpg", "-i",
                 tmp_path / f"i{options}{answer}", "--model", "ViT-B-32/openai", "--precision",
                 "fp32", *options], env=env, stdin=theirs, capture_output=True, text=True,
                timeout=120)
            os.close(ours)
            os.close(theirs)
            assert done.returncode == code, done.stderr
            assert ("Download immich-app/ViT-B-32__openai" in done.stderr) == (not options)
            assert any("resolve" in line for line in hub.log[before:]) == (code == 0)


def test_a_precision_of_what_has_but_one() -> None:
    with pytest.raises(UsageError, match="--precision"):
        load_encoder("builtin@fp32")


def test_the_hubs_cache_is_where_its_client_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    for name in ("HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    if not {"HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"} & set(os.environ):
        assert str(kept_in()) == constants.HF_HUB_CACHE
