"""What a camera writes into each of its pictures is no caption, whatever its words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from making_metadata import exif
from PIL import ExifTags, Image

from mmsearch import Collection
from mmsearch.sources import Scan, iter_items


def take(folder: Path, names: range, camera: str, text: str, days: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    for n in names:
        when = {0x9003: f"2024:05:{1 + n % days:02d} 10:00:00"} if days else {}
        tags = exif(when, Model=camera) if camera else Image.Exif()
        if text:
            tags[ExifTags.Base.ImageDescription] = text
        pixels = np.random.default_rng(n).integers(0, 255, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{n}.jpg", exif=tags)


def index(collection: Collection, folder: Path) -> tuple[int, int]:
    scan = Scan()
    report = collection.add(iter_items([folder], scan=scan), scan=scan)
    return report.added, report.removed


def captions(collection: Collection) -> dict[str, int]:
    texts = [row.item.text for row in collection.vectors("text")[0]]
    return {text: texts.count(text) for text in texts}


def test_what_many_pictures_of_a_camera_share_is_no_caption(tmp_path: Path) -> None:
    folder, collection = tmp_path / "p", Collection.create(tmp_path / "c")
    take(folder, range(9), "Zeta 1", "qwlk mode")
    take(folder, range(20, 29), "Other", "qwlk mode")
    take(folder, range(30, 32), "Zeta 1", "Anna on the pier")
    assert index(collection, folder) == (40, 0)
    assert captions(collection) == {"qwlk mode": 18, "Anna on the pier": 2}
    take(folder, range(9, 12), "Zeta 1", "qwlk mode")  # now they are many
    assert index(collection, folder) == (3, 9)
    assert captions(collection) == {"qwlk mode": 9, "Anna on the pier": 2}
    assert index(collection, folder) == (0, 0)
    hits = collection.search(text="x", find="image", where=["description = 'qwlk mode'"], k=99)
    assert len(hits) == 21
    take(folder, range(12, 13), "Zeta 1", "qwlk mode")
    assert index(collection, folder) == (1, 0)


def test_what_scans_without_a_camera_share_is_a_caption(tmp_path: Path) -> None:
    folder, collection = tmp_path / "p", Collection.create(tmp_path / "c")
    take(folder, range(20), "", "The Schmidts")
    assert index(collection, folder) == (40, 0) and captions(collection) == {"The Schmidts": 20}


def test_a_person_writes_about_an_event_and_a_camera_every_day(tmp_path: Path) -> None:
    folder, collection = tmp_path / "p", Collection.create(tmp_path / "c")
    take(folder, range(15), "Zeta 1", "A week in Rome", days=7)
    take(folder, range(20, 35), "Zeta 1", "qwlk mode", days=15)
    take(folder, range(40, 80), "Zeta 1", "", days=28)
    assert index(collection, folder) == (85, 0)
    assert captions(collection) == {"A week in Rome": 15}


def test_a_caption_comes_back_when_the_camera_turns_out_to_write_others(tmp_path: Path) -> None:
    folder, collection = tmp_path / "p", Collection.create(tmp_path / "c")
    take(folder, range(12), "Zeta 1", "Anna's wedding")
    take(folder, range(12, 24), "Zeta 1", "oznor")
    assert index(collection, folder) == (24, 0) and captions(collection) == {}
    take(folder, range(24, 260), "Zeta 1", "")
    assert index(collection, folder) == (248, 0)
    assert captions(collection) == {"Anna's wedding": 12}
    for n in range(24, 260):
        (folder / f"{n}.jpg").unlink()
    assert index(collection, folder) == (0, 236) and captions(collection) == {
        "Anna's wedding": 12}
