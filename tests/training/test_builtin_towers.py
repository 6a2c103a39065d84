"""The towers of the built-in model in floats: the same vectors, tuned, written, loaded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import DEMO
from PIL import Image

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

from mmsearch.encoders import OnnxEncoder, load_encoder, reranker_of  # noqa: E402
from mmsearch.training.builtin_towers import BuiltinTowers  # noqa: E402
from mmsearch.training.config import EpochReport, TrainConfig  # noqa: E402
from mmsearch.training.towers import choose, merge  # noqa: E402
from mmsearch.training.trainer import train  # noqa: E402

TEXTS = ["a dog on the beach", "two men play guitar in a dark room", "waves"]
PICTURES = 4


@pytest.fixture(scope="module", autouse=True)
def _threads() -> None:
    """One: with more, they wait for each other where other tests run beside these."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    rows = [json.loads(line) for line in (DEMO / "captions.jsonl").read_text().splitlines()]
    path.write_text("".join(json.dumps({
        "image": str(DEMO / row["image"]), "captions": row["captions"][:2],
        "split": "train" if n < PICTURES else "val"}) + "\n"
        for n, row in enumerate(rows[: 2 * PICTURES])))
    return path


def pictures() -> list[Image.Image]:
    return [Image.open(path).convert("RGB") for path in sorted(DEMO.glob("*.jpg"))[:PICTURES]]


def of_builtin() -> BuiltinTowers:
    encoder = load_encoder()
    assert isinstance(encoder, OnnxEncoder)
    return BuiltinTowers(encoder)


def test_floats_give_the_vectors_of_int8() -> None:
    towers, encoder = of_builtin(), load_encoder()
    assert isinstance(encoder, OnnxEncoder)
    towers.module.eval()
    with torch.no_grad():
        images = towers.see(torch.stack([towers.transform(False)(one) for one in pictures()]))
        texts = towers.read(towers.tokens(TEXTS))
    for ours, theirs in ((images, encoder.run_images(pictures())[0]),
                         (texts, encoder.run_texts(TEXTS)[0])):
        assert (ours.numpy() * theirs).sum(1).min() > 0.997
    counts = [max(getattr(towers.module, side).blocks().values()) + 1 for side in ("image", "text")]
    assert counts == [21, 6]  # EfficientNet-Lite2's inverted bottlenecks, MiniLM's layers


def test_all_of_it_is_tuned_written_and_loaded(pairs: Path, tmp_path: Path) -> None:
    reports: list[EpochReport] = []
    config = TrainConfig(tune="full", epochs=1, batch_size=2, blend=False)
    result = train(pairs, tmp_path / "out", config, on_epoch=reports.append)
    assert 0 < reports[1].loss < 2
    encoder = load_encoder(str(result.out))
    assert encoder.name.startswith("out-towers@")
    assert reranker_of(encoder) is None  # that of the shipped model is of another space
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    val = [row for row in rows if row["split"] == "val"]
    images = encoder.encode_images([Image.open(row["image"]).convert("RGB") for row in val])
    texts = encoder.encode_texts([caption for row in val for caption in row["captions"]])
    first = (texts @ images.T).argmax(1) == np.repeat(np.arange(PICTURES), 2)
    assert first.mean() == pytest.approx(result.recall.text_to_image[0], abs=0.13)
    # Its heads can be trained on.
    assert train(pairs, tmp_path / "on", TrainConfig(base=str(result.out), epochs=0)).out.exists()


def test_the_last_blocks_are_the_last() -> None:
    towers = of_builtin()
    choose(towers, TrainConfig(tune="last:2"))
    moving = [name for name, one in towers.module.named_parameters() if one.requires_grad]
    assert {name.split("/")[2] for name in moving if "encoder/layer" in name} == {"4", "5"}
    convolutions = [name for name in moving if "conv" in name and name.endswith("weight")]
    assert len(convolutions) == 2 * 3 + 1  # and the one behind the last block
    assert {name for name in moving if name.split("/")[-2].endswith(("image", "text"))} == {
        "image.layers.image/weight.weight", "image.loose.image/bias",
        "text.layers.text/weight.weight", "text.loose.text/bias"}


def test_what_lora_adds_is_in_the_files(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    towers = of_builtin()
    choose(towers, TrainConfig(tune="lora", rank=2))
    with torch.no_grad():
        for name, one in towers.module.named_parameters():
            if ".lora_B." in name:
                one.normal_(std=0.01)
        images = towers.see(torch.stack([towers.transform(False)(one) for one in pictures()]))
        texts = towers.read(towers.tokens(TEXTS))
    merge(towers)
    towers.write(tmp_path / "out", 0.05, "a test")
    encoder = load_encoder(str(tmp_path / "out"))
    assert (images.numpy() * load_encoder().encode_images(pictures())).sum(1).max() < 0.99
    assert (texts.numpy() * load_encoder().encode_texts(TEXTS)).sum(1).max() < 0.99
    np.testing.assert_allclose(encoder.encode_images(pictures()), images.numpy(), atol=1e-3)
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), texts.numpy(), atol=1e-3)
