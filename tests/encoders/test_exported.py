"""open_clip models on a CPU: exported to ONNX, the same vectors, without torch ever after."""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from conftest import DEMO, Cli, add
from hypothesis import assume, given, settings, strategies as st
from PIL import Image
from random_models import (
    checkpoint,
    cosines,
    exported_alike,
    folder_of,
    libraries_for,
    pictures,
)

from mmsearch.collection.collection import Collection
from mmsearch.encoders import load_encoder, split_precision
from mmsearch.encoders.exported import Cache
from mmsearch.encoders.int8 import PAIR, largest_pairs
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.errors import ModelError, UsageError
from mmsearch.media.resizing import fit

ftfy = pytest.importorskip("ftfy")
onnx = pytest.importorskip("onnx")
open_clip = pytest.importorskip("open_clip")
torch = pytest.importorskip("torch")

from onnx import numpy_helper  # noqa: E402

from mmsearch.encoders.openclip import OpenClipEncoder  # noqa: E402

TEXTS = ["a dog", "", "Two  CATS &amp; a caf\u00e9\u2019s \u201cmenu\u201d", "x" * 40,
         "word " * 200, "\u732b", "don't 'll 123 4.5"]


@pytest.fixture(scope="module")
def model() -> str:
    return checkpoint("ViT-S-32-alt")


def test_an_export_gives_the_vectors_of_torch(model: str) -> None:
    ours = exported_alike(model, TEXTS)
    assert ours.encode_texts([]).shape == (0, ours.dim)


def test_int8_is_small_near_and_the_same_encoder(model: str) -> None:
    exact, small = load_encoder(f"{model}@fp32"), load_encoder(f"{model}@int8")
    assert small.name == exact.name
    size, least = ((one.directory / "image.onnx").stat().st_size for one in (exact, small))
    assert least < 0.4 * size
    assert cosines(small.encode_images(pictures()), exact.encode_images(pictures())).min() > 0.99
    alone = np.concatenate([small.encode_images([picture]) for picture in pictures()])
    assert cosines(small.encode_images(pictures()), alone).min() > 0.9999
    assert cosines(small.encode_texts(TEXTS), exact.encode_texts(TEXTS)).min() > 0.98


def test_no_weights_in_int8_can_leave_16_bits(model: str) -> None:
    small = load_encoder(f"{model}@int8")
    for name in ("image.onnx", "text.onnx"):
        weights = [numpy_helper.to_array(tensor)
                   for tensor in onnx.load(small.directory / name).graph.initializer
                   if tensor.name.endswith(".int8")]
        assert len(weights) > 40
        assert max(int(largest_pairs(weight).max()) for weight in weights) <= PAIR


def test_int8_of_an_earlier_version_is_made_anew(model: str) -> None:
    load_encoder(f"{model}@int8")
    made = Cache(model).path / "int8" / "model.json"
    now = json.loads(made.read_text())
    made.write_text(json.dumps({key: value for key, value in now.items() if key != "int8"}))
    load_encoder.__wrapped__(f"{model}@int8")
    assert json.loads(made.read_text()) == now


def test_bf16_is_near(model: str) -> None:
    exact, half = load_encoder(f"{model}@fp32"), load_encoder(f"{model}@bf16")
    assert half.name == exact.name
    assert cosines(half.encode_images(pictures()), exact.encode_images(pictures())).min() > 0.99
    for vectors in (half.encode_images(pictures()), half.encode_texts(TEXTS)):
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_calls_are_shared_out_to_devices(model: str) -> None:
    one, two = OpenClipEncoder(model), OpenClipEncoder(model, devices=("cpu", "cpu"))
    assert (one.workers, two.workers) == (1, 2)
    used = []
    keep = two._encode_images

    def noted(module: object, *rest: object) -> object:
        used.append(module)
        together.wait(30)  # both are at work at once, or this fails
        return keep(module, *rest)

    together = Barrier(2)
    two._encode_images = noted  # type: ignore[assignment]
    with ThreadPoolExecutor(2) as pool:
        halves = list(pool.map(two.encode_images, (pictures()[:2], pictures()[2:4])))
    assert used[0] is not used[1]
    np.testing.assert_allclose(np.concatenate(halves), one.encode_images(pictures()[:4]), atol=1e-5)
    np.testing.assert_allclose(two.encode_texts(TEXTS), one.encode_texts(TEXTS), atol=1e-5)


def test_pixels_are_scaled_as_by_the_models_own_transform(model: str) -> None:
    architecture, file = model.split("/", 1)
    encoder = OpenClipEncoder(model)
    transform = open_clip.create_model_from_pretrained(architecture, pretrained=file)[1]
    pixels = torch.from_numpy(np.stack([encoder.prepare(picture) for picture in pictures()]))
    ours = encoder._scaled(pixels)
    assert torch.equal(ours, torch.stack([transform(picture) for picture in pictures()]))


def test_auto_takes_the_fastest_that_costs_no_recall(model: str) -> None:
    load_encoder(model)
    facts = json.loads((Cache(model).path / "auto.json").read_text())
    measured = facts["measured"]
    least = measured["fp32"]["recall"] - 0.005
    assert measured[facts["precision"]]["recall"] >= least
    assert all(one["images_per_second"] <= measured[facts["precision"]]["images_per_second"]
               for one in measured.values() if one["recall"] >= least)


def test_an_exported_model_needs_no_torch(model: str) -> None:
    load_encoder(f"{model}@int8")
    assert libraries_for(f"{model}@int8") == "[]"


def test_a_collection_takes_a_precision_and_can_be_searched_with_another(
        model: str, tmp_path: Path, cli: Cli) -> None:
    index = tmp_path / "index"
    cli("index", DEMO / "cat.jpg", DEMO / "lake.jpg", "-i", index, "--model", model,
        "--precision", "int8", check=True)
    assert Collection.open(index).info()["model"] == f"{model}@int8"
    for precision in ("int8", "fp32", "bf16"):
        hit = Collection.open(index, model=f"{model}@{precision}").search(
            image=Image.open(DEMO / "lake.jpg"), k=1)[0]
        assert hit.item.uri == str(DEMO / "lake.jpg")
        assert hit.score > 0.99
    add(Collection.open(index), DEMO / "dogs.jpg")
    done = cli("index", DEMO / "bus.jpg", "-i", index, "--precision", "fp32", check=True)
    assert "added 1" in done.stdout
    done = cli("index", DEMO, "-i", tmp_path / "other", "--precision", "int8")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "built-in model" in done.stderr


def test_a_killed_export_leaves_nothing_that_looks_whole(model: str) -> None:
    kept = Cache(model).path
    load_encoder(f"{model}@fp32")
    shutil.rmtree(kept / "fp32")
    (kept / f".fp32-{os.getpid() + 1}").mkdir()
    (kept / f".fp32-{os.getpid() + 1}" / "model.json").write_text("{")
    assert isinstance(load_encoder.__wrapped__(f"{model}@fp32"), OnnxEncoder)


def test_what_another_process_has_exported_meanwhile_stays(tmp_path: Path) -> None:
    """It may be in use: a graph is loaded when the first picture or text comes."""
    kept = Cache(f"ViT-S-32-alt/{tmp_path}/none.pt")
    (kept.path / "fp32").mkdir(parents=True)
    (kept.path / "fp32" / "model.json").write_text("theirs")
    assert kept._make("fp32") is None
    assert (kept.path / "fp32" / "model.json").read_text() == "theirs"


def test_a_cache_that_cannot_be_written_says_so(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ModelError, match=r"cannot be written .*MMSEARCH_CACHE"):
        Cache("ViT-S-32-alt/weights.pt").encoder("fp32")


def test_a_changed_checkpoint_is_exported_anew(model: str, tmp_path: Path) -> None:
    architecture, _, file = model.partition("/")
    copy = tmp_path / "copy.pt"
    shutil.copy(file, copy)
    first = load_encoder(f"{architecture}/{copy}@fp32")
    torch.manual_seed(1)
    torch.save(open_clip.create_model(architecture).state_dict(), copy)
    second = load_encoder.__wrapped__(f"{architecture}/{copy}@fp32")
    assert first.name != second.name


@pytest.mark.parametrize("architecture", [
    "RN50", "MobileCLIP-S1", pytest.param("coca_ViT-B-32", marks=pytest.mark.slow),
    pytest.param("EVA02-B-16", marks=pytest.mark.slow)])
def test_other_architectures(architecture: str) -> None:
    """A residual network, towers from timm behind a text tower of another class, and more."""
    exported_alike(checkpoint(architecture), TEXTS)


def folder(path: Path, **preprocessing: object) -> str:
    torch.manual_seed(0)
    return folder_of(path, open_clip.create_model("ViT-S-32-alt"),
                     open_clip.get_model_config("ViT-S-32-alt"), **preprocessing)


def test_a_folder_is_loaded_with_its_own_preprocessing(tmp_path: Path, model: str) -> None:
    ours = exported_alike(folder(tmp_path / "mine"), TEXTS)
    assert ours.name.startswith("mine@")
    # The same weights with the preprocessing of its architecture are another model.
    others = load_encoder(f"{model}@fp32").encode_images(pictures())
    assert cosines(ours.encode_images(pictures()), others).min() < 0.999


def test_what_cannot_be_exported_stays_on_torch(tmp_path: Path) -> None:
    name = folder(tmp_path / "mine", resize_mode="longest", interpolation="bilinear")
    for _ in range(2):
        encoder = load_encoder.__wrapped__(f"{name}@fp32")
        assert isinstance(encoder, OpenClipEncoder)
    assert encoder.encode_images(pictures()[:2]).shape == (2, encoder.dim)
    with pytest.raises(ModelError, match=r"on torch alone .*--precision fp32 or bf16"):
        load_encoder(f"{name}@int8")


@settings(max_examples=300)
@given(st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=80)
       .filter(lambda text: "_of_text>" not in text.lower()))
def test_texts_become_the_tokens_of_open_clip(model: str, text: str) -> None:
    # What ftfy makes of it may be unassigned: the two tokenizers know different Unicode versions.
    assume("Cn" not in map(unicodedata.category, ftfy.fix_text(text)))
    exported = load_encoder(f"{model}@fp32")
    theirs = open_clip.get_tokenizer("ViT-S-32-alt")([text])[0].tolist()
    (ours,) = exported.cut([text])
    assert ours == theirs[: len(ours)]
    assert not any(theirs[len(ours):])


@settings(max_examples=200)
@given(st.integers(1, 700), st.integers(1, 700))
def test_pictures_are_scaled_and_cropped_as_torchvision_does(width: int, height: int) -> None:
    from torchvision.transforms import CenterCrop, InterpolationMode, Resize

    noise = np.random.default_rng([width, height]).integers(0, 255, (height, width, 3), np.uint8)
    picture = Image.fromarray(noise)
    theirs = CenterCrop(224)(Resize(224, InterpolationMode.BICUBIC)(picture))
    ours = fit(picture, 224, resize="shortest", resample=Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(ours, np.asarray(theirs))
    theirs = Resize((224, 224), InterpolationMode.BICUBIC)(picture)
    ours = fit(picture, 224, resize="stretch", resample=Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(ours, np.asarray(theirs))


def test_a_precision_is_part_of_a_name() -> None:
    assert split_precision("ViT-B-32/openai@int8") == ("ViT-B-32/openai", "@int8")
    assert split_precision("hf-hub:a/b@main") == ("hf-hub:a/b@main", "")
    assert split_precision("@int8") == ("@int8", "")
    with pytest.raises(UsageError, match="built-in"):
        load_encoder("builtin@int8")


def test_models_are_listed_with_what_is_known(model: str, cli: Cli, tmp_path: Path) -> None:
    env = {**os.environ, "HF_HOME": str(tmp_path)}
    listed = json.loads(cli("models", "--json", env=env, check=True).stdout)
    assert [one["name"] for one in listed if one["here"]] == ["builtin"]
    for one in listed[1:]:
        architecture, _, tag = one["name"].partition("/")
        assert tag in open_clip.list_pretrained_tags_by_model(architecture)
        assert open_clip.get_model_config(architecture)["embed_dim"] == one["dim"]
        assert (one["flickr"] is None) == (one["coco"] is None) == ("SigLIP2" in one["name"])
        assert all(a < b < 100 for a, b in pairwise(one["flickr"] or ()))
        assert all(a < b < 100 for a, b in pairwise(one["coco"] or ()))
    hub = next(one["hub"] for one in listed if one["name"] == "ViT-B-32/laion2b_s34b_b79k")
    folder = tmp_path / "hub" / f"models--{hub.replace('/', '--')}" / "snapshots" / "x"
    folder.mkdir(parents=True)
    (folder / "open_clip_model.safetensors").write_bytes(b"x")
    table = cli("models", env=env, check=True).stdout
    (line,) = (line for line in table.splitlines() if "ViT-B-32/laion2b_s34b_b79k" in line)
    assert line.split() == ["ViT-B-32/laion2b_s34b_b79k", "512", "151", "39.3", "75.6", "yes"]
