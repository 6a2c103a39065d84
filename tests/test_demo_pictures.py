"""The pictures of `mmsearch demo`: all there, all listed, all credited, and small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import mmsearch

DEMO = Path(mmsearch.__file__).parent / "demo"


@pytest.fixture(scope="module")
def listed() -> list[dict[str, Any]]:
    lines = (DEMO / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_folder_holds_the_listed_pictures_and_nothing_else(listed: list[dict[str, Any]]) -> None:
    images = [row["image"] for row in listed]
    assert 36 <= len(images) <= 60
    assert len(images) == len(set(images))
    files = {file.name for file in DEMO.iterdir() if file.name != "__pycache__"}
    assert files == {*images, "captions.jsonl", "moods.csv", "LICENCES.md"}
    assert sum(file.stat().st_size for file in DEMO.iterdir()) < 5_000_000


def test_every_picture_is_a_modest_jpeg_without_metadata(listed: list[dict[str, Any]]) -> None:
    for row in listed:
        with Image.open(DEMO / row["image"]) as image:
            image.load()
            assert image.format == "JPEG" and image.mode == "RGB", row["image"]
            assert 200 <= max(image.size) <= 640, row["image"]
            assert not image.getexif(), row["image"]
            assert not {"exif", "xmp", "comment", "icc_profile"} & set(image.info), row["image"]


def test_every_picture_has_two_captions_of_its_own(listed: list[dict[str, Any]]) -> None:
    captions = [caption for row in listed for caption in row["captions"]]
    assert all(len(row["captions"]) == 2 for row in listed)
    assert len(captions) == len(set(captions))
    for caption in captions:
        assert caption[0].isupper() and caption.endswith(".") and len(caption.split()) >= 5, caption


def test_every_picture_is_free_and_names_its_author(listed: list[dict[str, Any]]) -> None:
    free = ("public domain", "no known copyright restrictions", "CC0-", "CC-BY-")
    for row in listed:
        assert all(row[key].strip() for key in ("author", "licence", "source", "url")), row
        assert row["licence"].startswith(free), row
        assert "-NC" not in row["licence"] and "-ND" not in row["licence"], row


def test_licences_file_credits_every_picture(listed: list[dict[str, Any]]) -> None:
    lines = (DEMO / "LICENCES.md").read_text(encoding="utf-8").splitlines()
    for row in listed:
        (line,) = [line for line in lines if line.startswith(f"| {row['image']} |")]
        assert f"| {row['author']} | {row['licence']} | {row['source']} |" in line
