"""Queries that are names are moved towards what the image tower sees under them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import DEMO
from hypothesis import given, settings, strategies as st

from mmsearch import Collection, load_encoder
from mmsearch.encoders import BUILTIN_DIR, OnnxEncoder, encode_queries
from mmsearch.encoders.names import Names, called
from mmsearch.errors import ModelError
from mmsearch.records import Item

NAMES = Names(BUILTIN_DIR / "names.npy",
              json.loads((BUILTIN_DIR / "model.json").read_text("utf-8"))["names"])
WORDS = [word.decode() for word in NAMES.table["word"]]


def value_of(name: str) -> np.ndarray:
    return NAMES.table["value"][WORDS.index(name)].astype(np.float32)


def test_keys_are_what_the_text_tower_makes_of_the_words() -> None:
    """Another text tower needs another table."""
    features = load_encoder().run_texts(WORDS[::100])[1]
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    alike = (features * NAMES.keys[::100]).sum(1) / NAMES.lengths[::100]
    assert alike.min() > 0.99
    assert np.linalg.norm(NAMES.table["value"].astype(np.float32), axis=1).max() < 1.01


@pytest.mark.parametrize("name", ["koala", "accordion", "goldfinch", "forklift", "espresso"])
@pytest.mark.parametrize("frame", ["{}", "a photo of a {}", "Picture of the {}", "images of {}"])
def test_a_name_is_moved_to_its_value_however_it_is_asked_for(name: str, frame: str) -> None:
    encoder, value = load_encoder(), value_of(name)
    text = frame.format(name)
    assert called(text) == name
    (after,), (before,) = encode_queries(encoder, [text])
    assert after @ value > before @ value + 0.3
    assert np.linalg.norm(after) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("text", "name"), [
    ("a koala in a eucalyptus tree", "koala"), ("two koalas at night", "koala"),
    ("an old man plays the accordion", "accordion"), ("Goldfinches, in the snow", "goldfinch"),
    ("a photo of my forklift on a road", "forklift"),
    ("a sea lion by the harbour", "sea lion")])
def test_a_query_is_moved_to_a_name_among_its_words(text: str, name: str) -> None:
    (after,), (before,) = encode_queries(load_encoder(), [text])
    assert after @ value_of(name) > before @ value_of(name) + 0.1
    assert np.linalg.norm(after) == pytest.approx(1, abs=1e-5)


def test_a_longer_name_keeps_its_words_from_being_names_of_their_own() -> None:
    vector = load_encoder().run_texts(["something in the water"])[0]
    long, short = NAMES.moved_within(np.repeat(vector, 2, 0), ["the sea lions", "the lions"])
    assert long @ value_of("sea lion") > short @ value_of("sea lion") + 0.1
    assert short @ value_of("lion") > long @ value_of("lion") + 0.1


@pytest.mark.parametrize("text", [
    "a man in a red jacket climbs a snowy mountain", "two dogs run through the grass",
    "a child in a pink dress is climbing up a set of stairs"])
def test_a_sentence_of_words_that_captions_have_hardly_moves(text: str) -> None:
    (after,), (before,) = encode_queries(load_encoder(), [text])
    assert after @ before > 0.97


def test_settings_of_an_earlier_version_move_no_query_that_is_no_name() -> None:
    old = Names(BUILTIN_DIR / "names.npy", {k: v for k, v in NAMES.settings.items()
                                            if k not in ("within", "near")})
    vectors = load_encoder().run_texts(["a koala in a tree"])[0]
    np.testing.assert_array_equal(old.moved_within(vectors, ["a koala in a tree"]), vectors)


@pytest.mark.parametrize("text", ["", "invoice from 2019", "DSC_0042.JPG", "\u732b", "...",
                                  "clip art", "a clip-art"])
def test_what_has_no_name_in_it_stays_where_it_is(text: str) -> None:
    encoder = load_encoder()
    np.testing.assert_array_equal(*encode_queries(encoder, [text]))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=30)), max_size=6))
def test_a_query_does_not_depend_on_its_neighbours(texts: list[str]) -> None:
    encoder = load_encoder()
    together, plain = encode_queries(encoder, texts)
    assert together.shape == plain.shape == (len(texts), encoder.dim)
    for n, text in enumerate(texts):
        for vectors, (alone,) in zip((together, plain), encode_queries(encoder, [text]),
                                     strict=True):
            assert vectors[n] @ alone > 0.999


def test_pictures_are_asked_by_name_and_texts_by_words(tmp_path: Path) -> None:
    texts = [Item(f"file:///{n}.txt", "text", text=text)
             for n, text in enumerate(["a goldfish in a bowl", "a red car"])]
    pictures = [Item((DEMO / f"{name}.jpg").as_uri(), "image") for name in ("goldfish", "bus")]
    with Collection.create(tmp_path / "x") as collection:
        collection.add([*texts, *pictures])
        encoder = collection.encoder
        (by_name,), (by_words,) = encode_queries(encoder, ["goldfish"])
        asked = {"image": by_name, "text": by_words}
        hits = collection.search(text="goldfish", find="any", k=4)
        assert len(hits) == 4
        for kind, vector in asked.items():
            stored = collection.vectors(kind)[1]
            scores = [hit.score for hit in hits if hit.item.kind == kind]
            np.testing.assert_allclose(scores, sorted(stored @ vector)[::-1], atol=2e-3)


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: b"nothing",
                                    lambda data: data[:-100], lambda data: data[:256] + bytes(
                                        len(data) - 256)])
def test_a_damaged_table_is_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    shutil.copytree(BUILTIN_DIR, tmp_path / "model")
    names = tmp_path / "model" / "names.npy"
    names.write_bytes(damage(names.read_bytes()))
    with pytest.raises(ModelError, match=r"names\.npy"):
        encode_queries(OnnxEncoder(tmp_path / "model"), ["a koala"])
