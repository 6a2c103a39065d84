"""Pictures are found by their captions too, where words ask for them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import DEMO, add
from PIL import Image

from mmsearch.collection import Collection
from mmsearch.encoders import encode_queries
from mmsearch.records import Hit
from mmsearch.search import Query, calibration_of
from mmsearch.search.captions import OFFSET, SLOPE, joint
from mmsearch.search.relevance import SAMPLED, scale_of

TEXTS = ("two dogs", "people at night", "a red vehicle", "water", "something to eat", "snow")


def names(hits: list[Hit]) -> list[str]:
    return [Path(hit.item.uri).name for hit in hits]


@pytest.fixture(scope="module")
def demo(demo_index: Path) -> Collection:
    return Collection.open(demo_index)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Pictures of the demo, some with captions, and a grey one that only its caption tells of."""
    folder = tmp_path_factory.mktemp("mixed")
    for name in ("bus.jpg", "cat.jpg", "dogs.jpg", "horse.jpg", "goldfish.jpg", "pizza.jpg"):
        shutil.copy(DEMO / name, folder)
    Image.new("RGB", (300, 300), (128, 128, 128)).save(folder / "grey.png")
    (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (
        {"image": "grey.png", "captions": ["a submarine below the ice"], "year": 1958},
        {"image": "bus.jpg", "captions": ["a red bus", "a double-decker in London"], "year": 2001},
        {"image": "cat.jpg", "captions": ["a cat"], "year": 2002})))
    collection = Collection.create(folder / "index")
    add(collection, folder, folder / "captions.jsonl")
    return collection


def test_a_picture_is_found_by_what_its_caption_says(mixed: Collection) -> None:
    assert names(mixed.search(text="a submarine", k=1)) == ["grey.png"]
    assert names(mixed.search(text="a submarine", k=1, captions=False)) != ["grey.png"]
    # Those without captions keep their scores, and their place among the others.
    (pizza, *_) = mixed.search(text="a pizza")
    (bare, *_) = mixed.search(text="a pizza", captions=False)
    assert Path(pizza.item.uri).name == "pizza.jpg" and pizza.score == bare.score


@pytest.mark.parametrize("parts", [
    {"image": DEMO / "horse.jpg"}, {"image": DEMO / "bus.jpg", "text": "red"}, {"find": "text"},
    {"mode": "text"}, {"find": "any"}])
def test_they_count_only_where_words_ask_for_pictures(mixed: Collection, parts: dict[str, object]
                                                      ) -> None:
    asked = {"text": "a bus", "k": 20, **parts}
    if "image" in parts:
        asked["text"] = parts.get("text", ())
    assert mixed.search(**asked) == mixed.search(**asked, captions=False)


def test_conditions_hold_for_what_captions_find(mixed: Collection) -> None:
    assert names(mixed.search(text="a submarine", where="year=1958")) == ["grey.png"]
    assert "grey.png" not in names(mixed.search(text="a submarine", where="year>2000", k=20))


def test_the_ranking_is_that_of_all_pictures_by_both(demo: Collection) -> None:
    """Counted anew from the stored vectors, one picture after the other."""
    pictures, seen = demo.vectors("image")
    captions, said = demo.vectors("text")
    calibration = calibration_of(demo.encoder.name, None, demo.encoder.dim)
    assert calibration is not None and len(seen) < len(said) <= SAMPLED
    foreign = joint(calibration.images, calibration.texts.reshape(50, 2, -1).sum(1))
    for text, query in zip(TEXTS, encode_queries(demo.encoder, TEXTS)[0], strict=True):
        plain = scale_of(query, calibration.images, seen)
        any_caption = np.concatenate([joint(seen, np.roll(said, n, 0)[:50]) for n in range(100)])
        both = scale_of(query, foreign, np.tile(any_caption.mean(0), (50, 1)))
        expected = {}
        for row, vector in zip(pictures, seen, strict=True):
            own = np.sum([one for other, one in zip(captions, said, strict=True)
                          if other.item.group == row.item.group], axis=0)
            u = float(joint(vector[None], own[None])[0] @ query - both.centre) / both.spread
            expected[row.id] = plain.centre + plain.spread * (SLOPE * u + OFFSET)
        hits = demo.search(text=text, k=50)
        assert [hit.id for hit in hits] == sorted(expected, key=lambda id: -expected[id])
        np.testing.assert_allclose([hit.score for hit in hits],
                                   [expected[hit.id] for hit in hits], atol=1e-3)


def test_pages_put_together_are_the_one_big_search(demo: Collection) -> None:
    for text in TEXTS:
        whole = demo.search(text=text, k=50)
        pages = [hit for offset in range(0, 50, 7) for hit in demo.search(
            text=text, k=7, offset=offset)]
        assert names(pages)[:50] == names(whole)
        rest = demo.search(text=text, k=50, after=whole[9].cursor)
        assert names(rest) == names(whole[10:])


def test_searches_made_together_find_what_each_finds_alone(demo: Collection) -> None:
    together = demo.search_many([Query(text=text) for text in TEXTS])
    for text, hits in zip(TEXTS, together, strict=True):
        assert not isinstance(hits, Exception)
        assert names(hits) == names(demo.search(text=text))
