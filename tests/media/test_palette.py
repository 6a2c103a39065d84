"""The colours that a picture is found by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import add
from hypothesis import given, strategies as st
from PIL import Image, ImageColor

from mmsearch.collection.collection import Collection
from mmsearch.media.palette import MOST, TERMS, colours, term_of


@pytest.mark.parametrize(("term", "names"), [
    ("black", "black #0a0a0a #1c1c1c"), ("white", "white whitesmoke ivory #f0f0f0"),
    ("grey", "gray dimgray silver lightgray"), ("red", "red firebrick crimson darkred maroon"),
    ("orange", "orange darkorange coral orangered"), ("yellow", "yellow gold khaki"),
    ("green", "lime green darkgreen olive seagreen yellowgreen turquoise"),
    ("blue", "blue navy royalblue skyblue steelblue teal cyan"),
    ("purple", "purple indigo blueviolet plum orchid"),
    ("pink", "pink hotpink deeppink lightpink salmon"),
    ("brown", "saddlebrown sienna tan burlywood #5c4033"),
])
def test_what_people_call_a_colour(term: str, names: str) -> None:
    values = np.array([ImageColor.getrgb(name)[:3] for name in names.split()], np.uint8)
    assert [TERMS[place] for place in term_of(values)] == [term] * len(values)


def striped(*parts: tuple[str, int]) -> Image.Image:
    image = Image.new("RGB", (100, 40))
    at = 0
    for colour, width in parts:
        image.paste(colour, (at, 0, at + width, 40))
        at += width
    return image


def test_the_largest_first_and_nothing_small() -> None:
    assert colours(striped(("blue", 30), ("red", 55), ("yellow", 9), ("lime", 6))) == [
        "red", "blue"]
    assert colours(striped(("white", 100))) == ["white"]


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**32 - 1))
def test_any_picture_has_some_of_the_terms(width: int, height: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    named = colours(Image.fromarray(pixels))
    assert len(named) == len(set(named)) <= MOST
    assert set(named) <= set(TERMS)


def test_pictures_are_found_by_their_colour(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    striped(("red", 60), ("white", 40)).save(photos / "a.png")
    striped(("blue", 100)).save(photos / "b.png")
    collection = Collection.create(tmp_path / "index")
    add(collection, photos)
    for where, expected in (("colour = red", ["a.png"]), ("colour = white", ["a.png"]),
                            ("colour in (blue, black)", ["b.png"]), ("colour != red", ["b.png"]),
                            ("colour ~ E", ["a.png", "b.png"])):
        hits = collection.search(text="stripes", where=[where], k=5)
        assert sorted(Path(hit.item.uri).name for hit in hits) == expected
    assert [Path(hit.item.uri).name for hit in collection.search(text="blue", mode="text")] == [
        "b.png"]
