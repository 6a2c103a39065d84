"""The built-in model: its files are what they claim, and it sees what it should."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mmsearch.encoders import BUILTIN_DIR, load_encoder

MEGABYTE = 1_000_000
COLOURS = {"red": (220, 30, 30), "green": (30, 160, 50), "blue": (30, 70, 210),
           "yellow": (245, 220, 40), "black": (5, 5, 5), "white": (252, 252, 252),
           "purple": (125, 45, 160), "orange": (245, 135, 25)}


def test_every_file_has_the_checksum_in_model_json() -> None:
    spec = json.loads((BUILTIN_DIR / "model.json").read_text())
    assert {"image.onnx", "text.onnx", "tokens.npy", "tokenizer.json"} <= set(spec["sha256"])
    for name, digest in spec["sha256"].items():
        assert hashlib.sha256((BUILTIN_DIR / name).read_bytes()).hexdigest() == digest, name


def test_the_model_is_small_and_has_a_card() -> None:
    assert sum(f.stat().st_size for f in BUILTIN_DIR.iterdir() if f.is_file()) < 60 * MEGABYTE
    card = (BUILTIN_DIR / "MODEL_CARD.md").read_text()
    for word in ("research", "Flickr8k", "recall", "English"):
        assert word in card


def test_vectors_are_float32_unit_rows() -> None:
    encoder = load_encoder()
    images = encoder.encode_images([Image.new("RGB", (300, 120), c) for c in COLOURS.values()])
    texts = encoder.encode_texts(["a dog", "", "x" * 40_000, "word " * 2_000])
    for rows, count in ((images, len(COLOURS)), (texts, 4)):
        assert rows.shape == (count, encoder.dim)
        assert rows.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-4)


def test_nothing_given_gives_nothing() -> None:
    encoder = load_encoder()
    assert encoder.encode_texts([]).shape == (0, encoder.dim)


def test_embeddings_are_the_recorded_ones() -> None:
    """Another runtime or processor may round differently, not compute something else."""
    golden = json.loads((BUILTIN_DIR / "golden.json").read_text())
    encoder = load_encoder()
    texts = encoder.encode_texts(list(golden["texts"]))
    recorded = np.array(list(golden["texts"].values()), np.float32)
    assert (texts * recorded).sum(1).min() > 0.995
    ramp = np.zeros((encoder.min_side, encoder.min_side, 3), np.uint8)
    ramp[..., 0] = np.linspace(0, 255, encoder.min_side, dtype=np.uint8)
    image = encoder.encode_images([ramp])[0]
    assert float(image @ np.array(golden["red ramp"], np.float32)) > 0.995


def test_it_has_the_name_of_the_first_release_whose_vectors_it_makes() -> None:
    """Collections, the calibration set and the multilingual map were made with that."""
    assert load_encoder().name == "mmsearch-builtin@1407e8ca3c72"


def test_case_does_not_matter() -> None:
    lower, upper = load_encoder().encode_texts(["a dog on the beach", "A DOG ON THE BEACH"])
    assert float(lower @ upper) > 0.999


def test_a_text_means_the_same_alone_and_among_others() -> None:
    encoder = load_encoder()
    alone = encoder.encode_texts(["a dog on the beach"])[0]
    among = encoder.encode_texts(["a dog on the beach", "x", "children play football in the rain"])
    assert float(alone @ among[0]) > 0.9999


def test_plain_colours_are_found_by_name_and_named() -> None:
    encoder = load_encoder()
    images = encoder.encode_images([Image.new("RGB", (240, 240), c) for c in COLOURS.values()])
    texts = encoder.encode_texts([f"a {name} image" for name in COLOURS])
    assert ((texts @ images.T).argmax(1) == np.arange(len(COLOURS))).all()
    assert ((images @ texts.T).argmax(1) == np.arange(len(COLOURS))).all()


@pytest.mark.parametrize("colour", ["red", "green", "blue", "yellow"])
def test_a_coloured_square_is_found_among_other_shapes_and_colours(colour: str) -> None:
    encoder = load_encoder()
    names, pictures = [], []
    for name in ("red", "green", "blue", "yellow"):
        for shape in ("square", "circle"):
            picture = Image.new("RGB", (240, 240), "white")
            pen = ImageDraw.Draw(picture)
            draw = pen.rectangle if shape == "square" else pen.ellipse
            draw((60, 60, 180, 180), fill=COLOURS[name])
            names.append(f"{name} {shape}")
            pictures.append(picture)
    scores = encoder.encode_images(pictures) @ encoder.encode_texts([f"a {colour} square"])[0]
    assert names[int(scores.argmax())] == f"{colour} square"
