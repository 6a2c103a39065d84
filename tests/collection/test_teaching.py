"""Names that a person gives to pictures: found by name at once, kept, and taken away again."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from conftest import DEMO, add
from PIL import Image

from mmsearch import Collection
from mmsearch.collection.reader import Reader
from mmsearch.errors import MediaError, UsageError
from mmsearch.media import Crop
from mmsearch.storage.salvage import salvage_catalog


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("wren", "nuthatch", "osprey", "cat", "dogs", "bus", "pizza", "stream", "goldfish"):
        shutil.copy(DEMO / f"{name}.jpg", folder)
    return folder


@pytest.fixture(scope="module")
def made(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("index") / "x"
    with Collection.create(path) as collection:
        add(collection, pictures)
    return path


@pytest.fixture
def collection(made: Path, tmp_path: Path) -> Iterator[Collection]:
    with Collection.open(shutil.copytree(made, tmp_path / "x")) as opened:
        yield opened


def first(collection: Reader, text: str) -> str:
    return Path(collection.search(text=text, k=1)[0].item.uri).name


@pytest.mark.parametrize(("name", "asked"), [
    ("Istanbul", "İstanbul"), ("İzmir", "izmir in the rain"), ("Kim", "a photo of \u212aim"),
    ("Weiß", "WEISS"), ("C++", "c++"), ("小花", "小花")])
def test_letters_that_are_the_same_name(
        collection: Collection, pictures: Path, name: str, asked: str) -> None:
    before = collection.embed(texts=[asked])
    collection.teach(name, [pictures / "goldfish.jpg"])
    assert not np.allclose(collection.embed(texts=[asked]), before)


def vector(collection: Reader, text: str) -> np.ndarray:
    return collection.embed(texts=[text])


@pytest.mark.parametrize("text", [
    "Zorblax", "zorblax", "ZORBLAX", "a photo of my Zorblax", "two zorblaxes", "the Zorblax's bowl",
    "Zorblax in a garden"])
def test_a_name_finds_what_was_taught(collection: Collection, pictures: Path, text: str) -> None:
    taught = pictures / "goldfish.jpg"
    value = collection.embed(images=[taught])
    before = vector(collection, text)
    assert collection.teach("Zorblax", [taught]) == 1
    assert first(collection, text) == "goldfish.jpg"
    assert vector(collection, text) @ value > before @ value + 0.2


@pytest.mark.parametrize("text", ["a dog on the beach", "zorblaxian", "a zor blax", "x-zorblaxy"])
def test_what_does_not_name_it_stays_as_it_is(collection: Collection, pictures: Path, text: str
                                              ) -> None:
    before = vector(collection, text)
    collection.teach("Zorblax", [pictures / "goldfish.jpg"], is_a="fish")
    np.testing.assert_array_equal(vector(collection, text), before)


def test_a_query_for_texts_stays_as_it_is(collection: Collection, pictures: Path) -> None:
    query = {"text": "Zorblax in a garden", "find": "text", "k": 3}
    before = collection.search(**query)
    collection.teach("Zorblax", [pictures / "goldfish.jpg"])
    assert collection.search(**query) == before


def test_the_name_alone_asks_for_its_pictures_and_other_words_count(
        collection: Collection, pictures: Path) -> None:
    collection.teach("Zorblax", [pictures / "cat.jpg"])
    alone = vector(collection, "Zorblax")
    np.testing.assert_allclose(vector(collection, "a picture of the Zorblax"), alone, atol=1e-5)
    water = vector(collection, "running water in a forest")
    assert vector(collection, "Zorblax beside running water") @ water > alone @ water + 0.1


def test_saying_what_it_is_brings_in_what_the_model_knows(collection: Collection, pictures: Path
                                                          ) -> None:
    collection.teach("Zorblax", [pictures / "wren.jpg"])
    bird = vector(collection, "a bird")
    before = vector(collection, "Zorblax") @ bird
    collection.teach("Zorblax", [pictures / "nuthatch.jpg"], is_a="bird")
    assert vector(collection, "Zorblax") @ bird > before + 0.1
    collection.teach("Zorblax", [pictures / "osprey.jpg"])  # what it is, is remembered
    (name,) = collection.taught()
    assert (name.name, name.is_a, len(name.pictures)) == ("Zorblax", "bird", 3)


def test_two_names_in_one_sentence(collection: Collection, pictures: Path) -> None:
    collection.teach("Zorblax", [pictures / "cat.jpg"])
    collection.teach("Zorblax Minor", [pictures / "bus.jpg"])
    assert first(collection, "zorblax  minor") == "bus.jpg"  # the longer name is the one meant
    assert first(collection, "Zorblax") == "cat.jpg"
    hits = collection.search(text="Zorblax and Zorblax Minor", k=2)
    assert {Path(hit.item.uri).name for hit in hits} == {"cat.jpg", "bus.jpg"}


def test_names_have_accents_in_either_form_and_signs(collection: Collection, pictures: Path
                                                     ) -> None:
    collection.teach("Zoë", [pictures / "cat.jpg"])  # composed
    assert first(collection, "zoe\u0308") == "cat.jpg"  # decomposed
    collection.teach("Weiß", [pictures / "bus.jpg"])
    assert first(collection, "weiß") == first(collection, "WEISS") == "bus.jpg"
    collection.teach("B.4+ (x)", [pictures / "cat.jpg"])
    assert first(collection, "b.4+ (x)") == "cat.jpg"
    assert collection.forget("ZOË") == 1


def test_a_name_is_kept_away_from_by_not(collection: Collection, pictures: Path) -> None:
    collection.teach("Zorblax", [pictures / "wren.jpg"])
    hits = collection.search(text="a bird", without="Zorblax", k=9)
    assert Path(hits[0].item.uri).name != "wren.jpg"
    assert Path(hits[-1].item.uri).name == "wren.jpg"


def test_readers_see_it_at_once_and_forget_it(collection: Collection, pictures: Path) -> None:
    with Reader.open(collection.path) as reader:
        before = vector(reader, "Zorblax")
        collection.teach("Zorblax", [pictures / "bus.jpg"])
        assert first(reader, "Zorblax") == "bus.jpg"
        assert reader.info()["names"] == {"Zorblax": 1}
        assert collection.forget("zorblax") == 1
        np.testing.assert_array_equal(vector(reader, "Zorblax"), before)
    assert collection.forget("Zorblax") == 0
    assert collection.taught() == []


def test_a_picture_from_anywhere_and_a_part_of_one(collection: Collection, tmp_path: Path) -> None:
    away = Path(shutil.copy(DEMO / "moose.jpg", tmp_path))
    with Image.open(away) as picture:
        picture.load()
    count = collection.teach("Zorblax", [away, away, Crop(away, "0,0,50%,50%"), picture])
    assert count == 3  # the same picture twice is one
    away.unlink()
    assert sum("#xywh=0,0,50%,50%" in uri for uri in collection.taught()[0].pictures) == 1
    assert first(collection, "Zorblax") != ""


@pytest.mark.parametrize(("name", "images", "error"), [
    ("", ["cat.jpg"], UsageError), (" !", ["cat.jpg"], UsageError), ("Zorblax", [], UsageError),
    ("Zorblax", ["cat.jpg", "nothing.jpg"], UsageError), ("Zorblax", ["note.jpg"], MediaError)])
def test_nothing_is_taught_by_half(collection: Collection, pictures: Path, name: str,
                                   images: list[str], error: type[Exception]) -> None:
    (pictures / "note.jpg").write_text("no picture")
    with pytest.raises(error):
        collection.teach(name, [pictures / image for image in images])
    assert collection.taught() == []


def test_a_collection_of_an_earlier_version_learns_names(collection: Collection, pictures: Path
                                                         ) -> None:
    with closing(sqlite3.connect(collection.path / "catalog.db")) as db:
        db.execute("DROP TABLE taught")
        db.execute("DELETE FROM _sqlite_migrations WHERE name = 'names'")
        db.commit()
    with Reader.open(collection.path) as reader:
        assert reader.taught() == [] and reader.info()["names"] == {}
        collection.teach("Zorblax", [pictures / "bus.jpg"])
        assert first(reader, "Zorblax") == "bus.jpg"


def test_a_repaired_catalog_has_its_names(collection: Collection, pictures: Path) -> None:
    collection.teach("Zorblax", [pictures / "bus.jpg"], is_a="bus")
    before = collection.taught()
    collection.close()
    salvage_catalog(collection.path / "catalog.db")
    with Collection.open(collection.path) as again:
        assert again.taught() == before
        assert first(again, "Zorblax") == "bus.jpg"


def test_names_are_not_taken_for_misspelt(collection: Collection, pictures: Path) -> None:
    from mmsearch import Query

    query = Query(text="koalla beside snowbaord")
    assert collection.corrected(query) == {"koalla beside snowbaord": "koala beside snowboard"}
    collection.teach("Koalla", [pictures / "bus.jpg"])
    assert collection.corrected(query) == {"koalla beside snowbaord": "koalla beside snowboard"}


def test_a_name_that_is_not_utf8_is_taken_as_it_can_be_written(collection: Collection,
                                                               pictures: Path) -> None:
    assert collection.teach("Re\udcff", pictures / "bus.jpg") == 1
    assert [name.name for name in collection.taught()] == ["Re?"]
    assert collection.forget("Re\udcff") == 1
