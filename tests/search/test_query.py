"""What a search can be asked is said once, in `Query`: its checks, its help, who takes it."""

from __future__ import annotations

from dataclasses import fields
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
import typer
from conftest import DEMO
from making import film
from PIL import Image

from mmsearch import Collection, Query
from mmsearch.cli.app import app
from mmsearch.errors import UsageError
from mmsearch.media import Crop
from mmsearch.search.compose import share_of_images

CAT = DEMO / "cat.jpg"
PARTS = [part.name for part in fields(Query)]


@pytest.mark.parametrize(("parts", "reason"), [
    ({}, "give a text or a picture to look for"),
    ({"text": ["a", " "]}, "a text is empty"),
    ({"text": "a", "without": ""}, "a text is empty"),
    ({"text": "", "image": CAT}, "a text is empty"),
    ({"text": "a", "k": 0}, "^k must be at least 1"),
    ({"text": "a", "weights": [1, 2]}, "2 weights for 1 text or picture"),
    ({"text": "a", "find": "x"}, "find must be one of image, text, any, not 'x'"),
    ({"image": CAT, "mode": "hybrid"}, "the mode hybrid needs a text"),
    ({"mode": "text"}, "the mode text needs a text"),
    ({"text": "a", "mode": "text", "image": CAT}, "matches only words"),
    ({"text": "a", "mode": "text", "weights": [2.0]}, "matches only words"),
    ({"text": "a", "mode": "text", "vector": np.ones(4)}, "matches only words"),
    ({"text": "a", "mode": "text", "min_score": 0.5}, "the mode text has no relevance"),
    ({"text": "a", "mode": "semantic"}, "mode must be one of vector, text, hybrid"),
    ({"text": "a", "mode": "hybrid", "fusion": "max"}, "fusion must be one of weighted, rrf"),
    ({"text": "a", "mode": "hybrid", "text_weight": 1.5}, "text weight must be a number from 0"),
    ({"text": "a", "mode": "hybrid", "text_weight": float("nan")}, "from 0 to 1"),
    ({"text": "a", "diverse": -1.0}, "diverse must be a number from 0 to 1"),
    ({"text": "a", "min_score": 50}, "min_score must be a number from 0 to 1"),
    ({"text": "a", "offset": -1}, "offset must be at least 0"),
    ({"text": "a", "offset": 2**31}, "at most 2,147,483,647"),
    ({"text": "a", "mode": "text", "after": "0.3:4"}, "a cursor needs the mode vector"),
])
def test_what_makes_no_sense_is_refused(parts: dict[str, object], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        Query(**parts)  # type: ignore[arg-type]


def test_a_search_takes_a_query_or_its_parts_or_both(demo_index: Path) -> None:
    collection = Collection.open(demo_index)
    by_name = collection.search(text="a dog", k=3, find="any")
    query = Query(text="a dog", k=3, find="any")
    assert collection.search(query) == by_name
    assert collection.search(query, k=2) == by_name[:2]
    with pytest.raises(TypeError, match="'txt'"):
        collection.search(txt="a dog")  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="give a text or a picture"):
        collection.search()


def test_every_part_is_explained_wherever_it_can_be_asked() -> None:
    assert list(signature(Collection.search).parameters)[2:] == PARTS
    options = " ".join(str(getattr(param, "help", ""))
                       for param in typer.main.get_command(app()).commands["query"].params)
    for part in fields(Query):
        assert f"{part.name}: {part.metadata['help']}" in str(Query.__doc__)
        assert part.metadata["help"] in options or part.name == "after", part.name


def test_the_share_of_images_in_a_query() -> None:
    assert share_of_images(Query(text="a")) == 0
    assert share_of_images(Query(text="a", image=CAT)) == 0.5
    assert share_of_images(Query(text="a", image=CAT, weights=[1, -3])) == 0.75
    assert share_of_images(Query(vector=np.ones(4))) == 0.5


def test_a_picture_can_be_asked_for_in_any_form(demo_index: Path) -> None:
    collection = Collection.open(demo_index)
    with Image.open(CAT) as opened, CAT.open("rb") as file:
        pixels = np.asarray(opened)
        forms = [str(CAT), CAT, CAT.as_uri(), CAT.read_bytes(), file, opened,
                 opened.convert("CMYK"), pixels, pixels.astype(np.uint16) * 257, pixels / 255,
                 Crop(pixels, "0,0,100%,100%")]
        for form in forms:
            assert collection.search(image=form, k=1)[0].item.uri == str(CAT)
            assert collection.search(text="a picture", without_image=form, k=1)
            assert collection.embed(images=[form]).ndim == 1
    for bad in (None, 5, pixels.astype(np.int64), np.full((9, 9), np.nan)):
        with pytest.raises(UsageError, match="a picture is a path, a uri, bytes"):
            collection.search(image=bad)


@pytest.mark.parametrize("part", ["", "#xywh=percent:0,0,50,50"])
def test_of_a_video_one_frame_has_to_be_named(
        demo_index: Path, tmp_path: Path, part: str) -> None:
    clip = film(tmp_path / "clip.mp4", ["bus"], seconds=1)
    with pytest.raises(UsageError, match=f"holds many pictures; .*{clip}#t=12.5 for"):
        Collection.open(demo_index).search(image=f"{clip}{part}")
