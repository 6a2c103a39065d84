"""A photo and its movie, a Live Photo or a motion photo, rank once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from conftest import DEMO, add
from making import film

from mmsearch.collection.collection import Collection
from mmsearch.records import Item
from mmsearch.search.moments import Moments

SHOT = 1_600_000_000


def pair(folder: Path, photo: str, movie: str, apart: int = 1) -> None:
    (folder / movie).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(DEMO / "bus.jpg", folder / photo)
    film(folder / "clip.mp4", ["bus"], seconds=1).rename(folder / movie)
    for name, time in ((photo, SHOT), (movie, SHOT + apart)):
        os.utime(folder / name, (time, time))


@pytest.mark.parametrize(("photo", "movie", "apart", "shown"), [
    ("IMG_1.jpg", "IMG_1.MOV", 2, 1), ("IMG_1.JPG", "img_1.mp4", 0, 1),
    ("IMG_1.jpg", "IMG_1.jpg.mov", -3, 1), ("IMG_1.jpg", "IMG_1.mov", 3600, 2),
    ("IMG_1.jpg", "IMG_2.mov", 0, 2), ("IMG_1.jpg", "other/IMG_1.mov", 0, 2)])
def test_a_photo_and_its_movie(tmp_path: Path, folder: Path, photo: str, movie: str, apart: int,
                               shown: int) -> None:
    pair(folder, photo, movie, apart)
    with Collection.create(tmp_path / "index") as index:
        add(index, folder)
        assert len(index.search(text="a bus", k=9)) == shown
        assert len(index.search(text="a bus", k=9, collapse=False)) > 1
        assert index.search(text="a bus", k=9, where="duration > 0")  # there, and found alone


def item(uri: str, **meta: str) -> Item:
    return Item(uri, "image", group=uri, meta=meta)


@pytest.mark.parametrize(("photo", "movie", "one"), [
    ({"taken": "2021-06-01T12:00:00"}, {"taken": "2021-06-01T12:00:03"}, True),
    ({"taken": "2021-06-01T12:00:00+02:00"}, {"taken": "2021-06-01T10:00:02Z"}, True),
    ({"taken": "2021-06-01T12:00:00"}, {"taken": "2021-06-01T10:00:02Z"}, True),
    ({"taken": "2021-06-01T12:00:00"}, {"taken": "2021-06-01T10:04:02Z"}, False),
    ({"taken": "2021-06-01T12:00:00"}, {"taken": "2022-06-01T12:00:00Z"}, False),
    ({"taken": "2021-06-01"}, {"taken": "2021-06-01"}, True),
    ({"taken": "2021-06-01T12:00:00", "modified": "2023-01-01T00:00:00Z"},
     {"taken": "2020-06-01T12:00:00", "modified": "2023-01-01T00:00:00Z"}, False),
    ({"taken": "2021-06-01T12:00:00", "modified": "2023-01-01T00:00:00Z"},
     {"modified": "2023-01-01T00:00:01Z"}, True),
    ({}, {}, False), ({"taken": "no date"}, {"taken": "no date"}, False)])
def test_when_times_agree(photo: dict[str, str], movie: dict[str, str], one: bool) -> None:
    both = item("/a/x.heic", **photo), item("/a/x.mov", **movie)
    for first, second in (both, both[::-1]):
        moments = Moments()
        assert not moments.is_shown(first)
        assert moments.is_shown(second) == one


def test_two_photos_or_two_movies_of_one_name_stay_two() -> None:
    when = {"modified": "2023-01-01T00:00:00Z"}
    for pair_ in (("/a/x.jpg", "/a/x.png"), ("/a/x.mov", "/a/x.mp4")):
        moments = Moments()
        assert not any(moments.is_shown(item(uri, **when)) for uri in pair_)
