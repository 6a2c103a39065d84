"""Files beside a picture: which belong to it, what they say, and what a change of one costs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import DEMO, add, numbers
from hypothesis import given, settings, strategies as st
from making_metadata import IN_XMP, XMP, exif, iptc
from PIL import Image

from mmsearch.collection.collection import Collection
from mmsearch.errors import CollectionError
from mmsearch.ingest import plan, prepare, shards, work
from mmsearch.records import Item
from mmsearch.sources.folders import Scan, iter_items
from mmsearch.sources.sidecars import (
    Beside,
    names_in,
    own_fingerprint,
    paired,
    read,
    sidecar_marks,
    with_sidecars,
)
from mmsearch.storage.catalog import CATALOG, Catalog
from mmsearch.storage.filters import parse_where

Decoded = Callable[[], int]


# --- which belong to which ----------------------------------------------------------------------


@pytest.mark.parametrize(("picture", "sidecar"), [
    ("x.jpg", "x.txt"), ("x.jpg", "x.jpg.txt"), ("X.JPG", "x.Txt"), ("x.heic", "x.xmp"),
    ("x.jpg", "x.jpg.xmp"), ("x.png", "x.json"), ("x.jpg", "x.jpg.json"),
    ("x.jpg", "x.jpg.supplemental-metadata.json"), ("x.jpg", "x.jpg.supplemental-me.json"),
    ("x.jpg", "x.jpg.s.json"), ("x(1).jpg", "x.jpg(1).json"),
    ("x(2).jpg", "x.jpg.supplemental-metadata(2).json"), ("a.b.jpg", "a.b.txt"),
    ("a" * 50 + ".jpg", "a" * 46 + ".json"), ("a" * 41 + ".jpg", "a" * 41 + ".jpg..json"),
])
def test_a_sidecar_finds_its_picture(picture: str, sidecar: str) -> None:
    assert paired([picture, sidecar, "other.jpg"]) == {picture: [sidecar]}


@pytest.mark.parametrize("names", [
    ["x.jpg", "xy.txt"], ["x.jpg", "x.jpg.bak.txt"], ["x.jpg", "captions.json"], ["x.txt"],
    ["x.jpg", "x.md"], ["x.jpg", "x.jpg.metadata.json"], ["x(1).jpg", "x.jpg.json"], ["x.jpg", ""],
    ["x.jpg", "x.jpg(1).json"],
])
def test_what_is_nobodys(names: list[str]) -> None:
    assert paired(names) == {}


def test_a_stem_is_of_all_pictures_with_it_and_a_picture_may_have_several() -> None:
    assert paired(["x.jpg", "x.heic", "x.xmp", "x.jpg.xmp", "x.jpg.json"]) == {
        "x.jpg": ["x.jpg.json", "x.jpg.xmp", "x.xmp"], "x.heic": ["x.xmp"]}


names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8)
stems = st.sampled_from(["x", "X", "x.jpg", "y", "x(1)", "x.jpg.supplemental-metadata", "é"])
listings = st.lists(st.tuples(stems, st.sampled_from([".jpg", ".JPG", ".txt", ".xmp", ".json"]))
                    .map("".join) | names, max_size=12, unique=True)


@given(listings)
def test_pairs_are_a_picture_and_another_file_that_are_there(listed: list[str]) -> None:
    pairs = paired(listed)
    beside = {name for found in pairs.values() for name in found}
    assert beside <= set(listed) and pairs.keys() <= set(listed)
    assert not beside & pairs.keys()
    assert pairs == paired(reversed(listed))


prints = st.from_regex(r"[0-9]{1,9}:[0-9]{1,19}", fullmatch=True)


@given(prints, st.lists(st.tuples(names, prints), max_size=4))
def test_a_fingerprint_gives_back_what_was_put_in(first: str, marks: list[tuple[str, str]]) -> None:
    whole = with_sidecars(first, marks)
    assert own_fingerprint(whole) == first
    assert names_in(whole) == [name for name, _ in marks]
    assert bool(sidecar_marks(whole)) == bool(marks)


LONG = "Urlaub in Knaufspesch in der Schneifel im Regen"  # 47 characters


@pytest.mark.parametrize(("picture", "beside"), [
    ("x-edited.jpg", "x.jpg.json"), ("X-EDITED.JPG", "X.JPG.json"), ("x-edited.jpg", "x.heic.json"),
    ("x-bearbeitet.jpg", "x.jpg.json"), ("x-modifié.jpg", "x.jpg.json"),
    ("x-編集済み.jpg", "x.jpg.supplemental-metadata.json"),
    ("x-edited.jpg", "x.jpg.supplemental-metadata.json"), ("x-edited.jpg", "x.jpg.suppl.json"),
    ("x-edited(1).jpg", "x.jpg(1).json"), ("x(1)-edited.jpg", "x.jpg(1).json"),
    ("x-edited(2).jpg", "x.jpg.supplemental-metadata(2).json"),
    (f"{LONG}-edited.jpg", f"{LONG}.json"), (f"{LONG}-edi.jpg", f"{LONG[:46]}.json"),
    (f"{LONG[:43]}-ed.jpg", f"{LONG[:43]}.jp.json")])
@pytest.mark.parametrize("has_original", [True, False])
def test_google_describes_an_edited_picture_beside_its_original(picture: str, beside: str,
                                                                has_original: bool) -> None:
    plain = beside.replace(".supplemental-metadata", "").replace(".suppl", "")
    stem, _, rest = plain.removesuffix(".json").partition(".")
    original = f"{stem}{rest[rest.find('('):] if '(' in rest else ''}.jpg"
    others = [original] if has_original else []
    assert paired([picture, beside, "y-edited.jpg", *others])[picture] == [beside]


def test_an_edited_picture_with_metadata_of_its_own() -> None:
    names = ["x.jpg", "x-edited.jpg", "x.jpg.json", "x-edited.jpg.json"]
    assert paired(names) == {"x.jpg": ["x.jpg.json"], "x-edited.jpg": ["x-edited.jpg.json"]}
    assert "x(1).jpg" not in paired(["x(1).jpg", "x-edited.jpg", "x.jpg.json"])


def test_only_regular_files_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").touch()
    (tmp_path / "y.jpg").symlink_to("y.jpg")
    (tmp_path / "y.txt").touch()
    (tmp_path / "x.txt").symlink_to("nowhere")
    (tmp_path / "x.xmp").mkdir()
    os.mkfifo(tmp_path / "x.json")
    with os.scandir(tmp_path) as entries:
        beside = Beside(list(entries))
    assert list(beside.of("x.jpg")) == list(beside.of("y.jpg")) == []
    assert not beside.taken  # what is nobody's is a text of its own


# --- what they say ------------------------------------------------------------------------------


TAKEOUT = {
    "title": "IMG_1.jpg", "description": "Grandma on the swing",
    "photoTakenTime": {"timestamp": "1388574245", "formatted": "Jan 1, 2014, 11:04:05 AM UTC"},
    "geoData": {"latitude": 0.0, "longitude": 0.0, "altitude": 0.0},
    "geoDataExif": {"latitude": -33.85, "longitude": 151.2, "altitude": 12.5},
    "people": [{"name": "Grandma"}, {"name": "Ben"}], "favorited": True}


@pytest.mark.parametrize(("name", "text", "captions", "meta"), [
    ("x.txt", "A red  bus.\n\n  Two people wait.\r\n", ("A red  bus.", "Two people wait."), {}),
    ("x.xmp", XMP.decode(), IN_XMP.captions, IN_XMP.meta),
    ("x.json", json.dumps(TAKEOUT), ("Grandma on the swing",),
     {"taken": "2014-01-01T11:04:05+00:00", "latitude": -33.85, "longitude": 151.2,
      "altitude": 12.5, "people": ["Grandma", "Ben"]}),
    ("x.json", '{"caption": "a dog", "url": "http://x", "status": "success", "exif": "{}"}',
     ("a dog",), {}),
    ("x.json", '{"captions": ["a dog", "a hound"], "keywords": "pet, brown", "rating": 5, '
     '"title": "Rex", "people": ["Ann"]}', ("a dog", "a hound"),
     {"keywords": ["pet", "brown"], "rating": 5, "title": "Rex", "people": ["Ann"]}),
    ("x.jpg.json", '{"title": "x.JPG", "description": "real words"}', ("real words",), {}),
    ("x.json", '{"description": "only this"}', ("only this",), {}),
    ("x.json", '{"caption": "a dog", "description": "Rex in the garden", "title": "Rex"}',
     ("a dog", "Rex in the garden"), {"title": "Rex"}),
    ("x.json", '{"shapes": [], "imageData": null}', (), {}),
    ("x.json", '[{"caption": "of something else"}]', (), {}),
    ("x.json", '{"photoTakenTime": 7, "geoData": [], "people": "Ann", "description": null}', (),
     {}),
    ("x.json", '{"photoTakenTime": {"timestamp": "1e400"}, "geoData": {"latitude": "NaN", '
     '"longitude": Infinity}}', (), {}),
])
def test_what_sidecars_say(tmp_path: Path, name: str, text: str, captions: tuple[str, ...],
                           meta: Mapping[str, Any]) -> None:
    (tmp_path / name).write_text(text, newline="")
    said = read(tmp_path / name)
    assert (said.captions, said.meta) == (captions, meta)


@pytest.mark.parametrize(("name", "content", "is_caption"), [
    ("x.xmp", XMP.decode().replace("A yellow tram climbs a hill.", "oznorWO"), False),
    ("x.jpg.json", '{"photoTakenTime": {}, "description": "oznorWO"}', False),
    ("x.txt", "oznorWO", True)])
def test_words_of_machines_are_captions_only_where_a_person_wrote_the_file(
    name: str, content: str, is_caption: bool, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    found = read(tmp_path / name)
    assert ("oznorWO" in found.captions) == is_caption
    assert ("oznorWO" in found.meta.get("description", ())) != is_caption


@pytest.mark.parametrize(("name", "data", "reason"), [
    ("x.txt", b"\0\1\2", "not text"), ("x.json", b"{", "invalid JSON"),
    ("x.json", b"[" * 200_000, "invalid JSON"), ("x.json", b"\xff\xfe\0", "invalid JSON"),
    ("x.xmp", b"<x", "damaged XMP"), ("x.xmp", b"<!DOCTYPE x><x/>", "document type"),
])
def test_what_cannot_be_understood_is_said_in_one_line(tmp_path: Path, name: str, data: bytes,
                                                       reason: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=reason) as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["caption", "captions", "description", "photoTakenTime", "timestamp",
                         "geoData", "latitude", "longitude", "people", "name", "rating", "title",
                         "keywords"]), inner, max_size=6), max_leaves=12)


@given(json_values)
@settings(deadline=None)
def test_any_json_is_read(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(value))
    said = read(path)
    json.dumps(dict(said.meta), allow_nan=False, ensure_ascii=False).encode("utf-8", "strict")
    assert all(text.strip() for text in said.captions)


# --- what becomes of them -----------------------------------------------------------------------


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Decoded:
    """How many pictures were decoded since the last call."""
    calls: list[int] = []
    real = prepare.decode
    monkeypatch.setattr(prepare, "decode", lambda *a, **k: (calls.append(1), real(*a, **k))[1])

    def count() -> int:
        done = len(calls)
        calls.clear()
        return done

    return count


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures: one with a text beside it, one with a packet, one with nothing."""
    place = tmp_path / "photos"
    place.mkdir()
    for name in ("bus", "cat", "lake"):
        shutil.copy(DEMO / f"{name}.jpg", place)
    (place / "bus.txt").write_text("A yellow school bus.\nIt waits at the kerb.")
    (place / "cat.xmp").write_bytes(XMP)
    return place


def items(collection: Collection, where: str = "kind exists") -> dict[str, Item]:
    catalog = Catalog(collection.path / CATALOG)
    try:
        rows = catalog.rows(parse_where([where]))
        return {Path(row.item.uri).name: row.item for row in rows}
    finally:
        catalog.close()


def texts(collection: Collection) -> dict[str, str]:
    return {name: item.text for name, item in items(collection, "kind = text").items()}


BUS = {"bus.jpg#caption1": "A yellow school bus.", "bus.jpg#caption2": "It waits at the kerb."}
CAT = {f"cat.jpg#caption{n}": text for n, text in enumerate(IN_XMP.captions, 1)}


def test_captions_and_metadata_of_sidecars(collection: Collection, folder: Path) -> None:
    assert numbers(add(collection, folder)) == {"added": 7}
    assert texts(collection) == BUS | CAT
    found = items(collection)
    assert found["bus.jpg#caption1"].group == str(folder / "bus.jpg")
    assert found["bus.jpg#caption1"].meta == {"sidecar": "bus.txt"}
    assert IN_XMP.meta.items() <= found["cat.jpg"].meta.items()
    best = collection.search(text="a yellow school bus", find="text", k=1)[0]
    assert best.item.uri.endswith("bus.jpg#caption1")
    words = collection.search(text="Anna Li", mode="text", k=3)
    assert [Path(hit.item.uri).name for hit in words] == ["cat.jpg"]
    assert collection.verify() == []


def test_a_run_over_an_unchanged_folder_reads_nothing(
        collection: Collection, folder: Path, decoded: Decoded,
        monkeypatch: pytest.MonkeyPatch) -> None:
    add(collection, folder)
    assert decoded() == 3
    for module, name in ((prepare, "described"), (shards, "described"), (plan, "hash_at")):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("something was read"))
    assert numbers(add(collection, folder)) == {"unchanged": 3}
    assert texts(collection) == BUS | CAT


def test_a_changed_sidecar_is_read_and_no_picture_is_decoded(
        collection: Collection, folder: Path, decoded: Decoded) -> None:
    add(collection, folder)
    before = {name: item.meta for name, item in items(collection, "kind = image").items()}
    decoded()
    (folder / "bus.txt").write_text("A yellow school bus.\nChildren get on.\nIt is early.")
    assert numbers(add(collection, folder)) == {
        "updated": 1, "unchanged": 2, "added": 1, "replaced": 1}
    assert texts(collection) == CAT | {
        "bus.jpg#caption1": "A yellow school bus.", "bus.jpg#caption2": "Children get on.",
        "bus.jpg#caption3": "It is early."}
    assert decoded() == 0
    assert {name: item.meta for name, item in items(collection, "kind = image").items()} == before
    assert numbers(add(collection, folder)) == {"unchanged": 3}
    hit = collection.search(image=folder / "bus.jpg", k=1)[0]
    assert hit.score == pytest.approx(1, abs=0.01)
    assert collection.verify() == []


def test_a_deleted_sidecar_takes_what_it_said_along(
        collection: Collection, folder: Path, decoded: Decoded) -> None:
    add(collection, folder)
    decoded()
    (folder / "cat.xmp").unlink()
    assert numbers(add(collection, folder)) == {"updated": 1, "unchanged": 2, "removed": 2}
    assert texts(collection) == BUS
    assert not {"keywords", "rating", "people", "title"} & items(collection)["cat.jpg"].meta.keys()
    assert items(collection)["cat.jpg"].meta["width"] == 451
    (folder / "lake.txt").write_text("A calm lake.")
    assert numbers(add(collection, folder)) == {"updated": 1, "unchanged": 2, "added": 1}
    assert decoded() == 0


def test_moved_and_copied_pictures(collection: Collection, folder: Path, decoded: Decoded) -> None:
    add(collection, folder)
    ids = {hit.id for hit in collection.search(text="bus", k=50)}
    decoded()
    below = folder / "below"
    below.mkdir()
    for name in ("bus.jpg", "bus.txt", "cat.jpg"):  # the packet stays behind
        (folder / name).rename(below / name)
    shutil.copy(folder / "lake.jpg", below / "lake2.jpg")
    (below / "lake2.txt").write_text("The same lake.")
    report = add(collection, folder)
    assert (report.moved, report.copied) == (2, 1)
    assert texts(collection) == BUS | {"lake2.jpg#caption1": "The same lake."}
    assert decoded() == 0
    assert {hit.id for hit in collection.search(text="bus", k=50)} >= ids
    assert numbers(add(collection, folder)) == {"unchanged": 4}
    assert collection.verify() == []


def test_what_is_inside_of_a_picture(collection: Collection, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(iptc((120, b"Two players jump."), (25, b"derby")))
    Image.new("RGB", (30, 20)).save(photos / "b.jpg", exif=exif(ImageDescription="A dark room"))
    (photos / "b.txt").write_text("A dark room\nNobody is there")
    assert numbers(add(collection, photos)) == {"added": 5}
    assert texts(collection) == {
        "a.jpg#embedded1": "Two players jump.", "b.jpg#caption1": "A dark room",
        "b.jpg#caption2": "Nobody is there"}
    assert numbers(add(collection, photos)) == {"unchanged": 2}
    (photos / "b.txt").unlink()
    add(collection, photos)
    assert texts(collection) == {"a.jpg#embedded1": "Two players jump.",
                                 "b.jpg#embedded1": "A dark room"}
    (photos / "a.jpg").rename(photos / "c.jpg")
    add(collection, photos)
    assert texts(collection) == {"c.jpg#embedded1": "Two players jump.",
                                 "b.jpg#embedded1": "A dark room"}
    Image.new("RGB", (30, 20), "red").save(photos / "c.jpg")
    add(collection, photos)
    assert texts(collection) == {"b.jpg#embedded1": "A dark room"}


def test_a_manifest_counts_more_than_what_lies_beside(
        collection: Collection, folder: Path) -> None:
    add(collection, folder)
    manifest = folder / "captions.jsonl"
    manifest.write_text('{"image": "bus.jpg", "captions": ["from the manifest"]}')
    add(collection, manifest)
    said = {"bus.jpg#caption1": "from the manifest"}
    assert texts(collection) == CAT | said
    for _ in range(2):
        assert numbers(add(collection, folder)) == {"unchanged": 3}
    assert texts(collection) == CAT | said
    assert numbers(add(collection, manifest)) == {"unchanged": 2}


def test_a_broken_sidecar_costs_only_itself(collection: Collection, folder: Path) -> None:
    (folder / "lake.json").write_text("{")
    (folder / "cat.xmp").write_bytes(XMP[:500])
    report = add(collection, folder)
    assert {Path(one.path).name: one.reason.split(":")[0] for one in report.skipped} == {
        "lake.json": "invalid JSON", "cat.xmp": "damaged XMP"}
    assert texts(collection) == BUS
    assert len(items(collection, "kind = image")) == 3
    (folder / "cat.xmp").write_bytes(XMP)
    add(collection, folder)
    assert texts(collection) == BUS | CAT


def test_an_unreadable_sidecar_is_tried_again(
        collection: Collection, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmsearch.sources import sidecars

    def denied(path: Path) -> Any:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:  # a test that runs as root may read everything
        patched.setattr(sidecars, "read", denied)
        report = add(collection, folder)
    assert {one.reason for one in report.skipped} == {"cannot be read: Permission denied"}
    assert texts(collection) == {}
    add(collection, folder)
    assert texts(collection) == BUS | CAT


def test_excluded_and_named(collection: Collection, folder: Path) -> None:
    scan = Scan()
    collection.add(iter_items([folder], exclude=["*.txt"], scan=scan), scan=scan)
    assert texts(collection) == CAT
    add(collection, folder / "bus.jpg", folder / "cat.jpg")
    assert texts(collection) == BUS | CAT
    assert numbers(add(collection, folder)) == {"unchanged": 3}


def test_a_picture_is_there_with_its_captions_or_not_at_all(
        collection: Collection, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(work, "build_shard", full)  # what writes the captions' segment
        with pytest.raises(CollectionError, match="No space left"):
            add(collection, folder)
    assert items(collection) == {}
    assert numbers(add(collection, folder)) == {"added": 7}


def test_names_that_are_not_utf8(collection: Collection, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    shutil.copy(DEMO / "bus.jpg", folder / os.fsdecode(b"\xff.jpg"))
    (folder / os.fsdecode(b"\xff.txt")).write_text("A bus.")
    add(collection, folder)
    assert list(texts(collection).values()) == ["A bus."]
    assert numbers(add(collection, folder)) == {"unchanged": 1}


@given(st.lists(st.tuples(st.sampled_from(["bus", "cat"]),
                          st.sampled_from([".txt", ".xmp", ".json", ".jpg"]),
                          st.sampled_from(["write", "delete", "run"])), max_size=8))
@settings(max_examples=12, deadline=None)
def test_any_history_is_as_one_run_over_the_last_state(
        tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, str]]) -> None:
    root = tmp_path_factory.mktemp("history")
    folder = root / "photos"
    folder.mkdir()
    (folder / "other.md").write_text("Of a folder that is empty, all is kept.")
    collection = Collection.create(root / "index")
    for at, (stem, suffix, step) in enumerate([*steps, ("", "", "run")]):
        path = folder / f"{stem}{suffix}"
        if step == "run":
            add(collection, folder)
        elif step == "delete":
            path.unlink(missing_ok=True)
        elif suffix == ".jpg":
            shutil.copy(DEMO / ("bus.jpg" if at % 2 else "cat.jpg"), path)
        else:
            said = {"caption": f"said {at}", "rating": at % 5}
            path.write_text({".txt": f"line {at}\nsame", ".json": json.dumps(said),
                             ".xmp": XMP.decode().replace("tram", f"t{at}")}[suffix])
    fresh = Collection.create(root / "fresh")
    add(fresh, folder)
    assert items(collection) == items(fresh)
    assert collection.verify() == []
