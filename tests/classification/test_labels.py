"""What a collection keeps of a classification: fields that can be asked for, and taken back."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from conftest import DEMO, add, numbers
from PIL import Image

from mmsearch import Collection
from mmsearch.errors import FilterError, UsageError
from mmsearch.storage import Labelled


def label(collection: Collection, name: str, **labels: str | None) -> int:
    """Give pictures, by the stem of their file, a label in a set."""
    rows, _ = collection.vectors("image")
    return collection.put_labels(name, [
        Labelled(row.id, row.seq, row.item.uri, labels[stem], 0.875) for row in rows
        if (stem := Path(row.item.uri).stem) in labels])


def found(collection: Collection, where: str) -> set[str]:
    hits = collection.search(text="a picture", where=where, k=100)
    return {Path(hit.item.uri).stem for hit in hits}


@pytest.fixture
def labelled(collection: Collection, photos: Path) -> Collection:
    add(collection, photos)
    assert label(collection, "kind", apple="fruit", bus="thing", cat="animal") == 3
    return collection


def test_labels_are_conditions(labelled: Collection) -> None:
    assert found(labelled, "label:kind = fruit") == {"apple"}
    assert found(labelled, "label:kind in (fruit, animal)") == {"apple", "cat"}
    assert found(labelled, "label:kind exists and confidence:kind > 0.8") == {"apple", "bus", "cat"}
    assert found(labelled, "confidence:kind > 0.9") == set()
    assert len(found(labelled, "label:kind is missing")) == 9
    (hit,) = labelled.search(text="x", where="label:kind = animal")
    assert (hit.item.meta["label:kind"], hit.item.meta["confidence:kind"]) == ("animal", 0.875)
    with pytest.raises(FilterError):
        found(labelled, ":kind = fruit")


def test_what_was_computed_is_not_found_as_if_somebody_had_said_it(labelled: Collection) -> None:
    label(labelled, "odd", apple="zymurgy")
    assert labelled.search(text="zymurgy", mode="text") == []
    assert labelled.verify() == []


def test_a_set_is_replaced_item_by_item_and_others_stay(labelled: Collection) -> None:
    assert label(labelled, "other", apple="red") == 1
    assert label(labelled, "kind", apple="food", bus=None) == 1
    assert found(labelled, "label:kind exists") == {"apple", "cat"}
    assert found(labelled, "label:kind = food and label:other = red") == {"apple"}
    assert found(labelled, "confidence:kind exists") == {"apple", "cat"}


def test_undo_takes_one_set_away_whole(labelled: Collection) -> None:
    labelled.drop_labels("kind")
    before, _ = labelled.vectors("image")
    label(labelled, "kind", apple="fruit", bus="thing", cat="animal")
    label(labelled, "other", apple="red")
    assert labelled.drop_labels("kind") == 3
    assert labelled.drop_labels("kind") == 0
    assert "label:kind" not in labelled.columns()
    assert labelled.drop_labels("other") == 1
    assert labelled.vectors("image")[0] == before


def test_indexing_again_keeps_the_labels_of_what_is_the_same(
        labelled: Collection, photos: Path) -> None:
    assert numbers(add(labelled, photos)) == {"unchanged": 12}
    os.utime(photos / "cat.jpg", (1, 1))
    (photos / "apple.jpg").rename(photos / "moved.jpg")
    (photos / "bus.jpg.txt").write_text("a bus with a caption")  # described anew
    add(labelled, photos)
    assert found(labelled, "label:kind exists") == {"cat", "moved", "bus"}


def test_a_picture_that_became_another_loses_its_label(labelled: Collection, photos: Path) -> None:
    shutil.copy(DEMO / "dogs.jpg", photos / "cat.jpg")
    add(labelled, photos)
    assert found(labelled, "label:kind exists") == {"apple", "bus"}


def test_labels_of_what_was_replaced_meanwhile_are_not_written(
        labelled: Collection, photos: Path) -> None:
    rows, _ = labelled.vectors("image", where="path = */cat.jpg")
    shutil.copy(DEMO / "dogs.jpg", photos / "cat.jpg")
    add(labelled, photos)
    assert labelled.put_labels("late", [
        Labelled(row.id, row.seq, row.item.uri, "cat", 1.0) for row in rows]) == 0
    assert found(labelled, "label:late exists") == set()


def test_a_tile_says_what_its_picture_says(collection: Collection, folder: Path) -> None:
    Image.effect_noise((900, 900), 80).convert("RGB").save(folder / "large.png")
    collection.configure(tiles="2x2")
    add(collection, folder)
    label(collection, "kind", large="noise")
    tiles, _ = collection.vectors("frame")
    assert [row.item.meta["label:kind"] for row in tiles] == ["noise"] * len(tiles) != []
    assert collection.drop_labels("kind") == 1 + len(tiles)


@pytest.mark.parametrize("name", ["", "a b", "a:b", 'x"', "a/b", "n" * 65])
def test_a_name_that_no_condition_could_name_is_refused(collection: Collection, name: str) -> None:
    with pytest.raises(UsageError, match="name of a set of labels"):
        collection.put_labels(name, [])
