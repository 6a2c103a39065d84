"""Names that are spelled as macOS does (NFD) meet the same names as others spell them (NFC)."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from unicodedata import normalize

import pytest
from conftest import DEMO, Cli, add, scanned

from mmsearch.collection.collection import Collection
from mmsearch.evaluation.pairs import load_pairs
from mmsearch.sources.locate import uri_of
from mmsearch.sources.sidecars import paired

NAME = "café Zürich が.jpg"
FORMS = ["NFC", "NFD"]


def other(form: str) -> str:
    return {"NFC": "NFD", "NFD": "NFC"}[form]


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def picture(folder: Path, form: str) -> Path:
    """A picture whose name and folder are of a form, beside a plain one."""
    (folder / normalize(form, "Fotos é")).mkdir()
    picture = folder / normalize(form, "Fotos é") / normalize(form, NAME)
    shutil.copy(DEMO / "cat.jpg", picture)
    shutil.copy(DEMO / "bus.jpg", folder / "plain.jpg")
    return picture


@pytest.fixture
def collection(tmp_path: Path, folder: Path, picture: Path) -> Collection:
    made = Collection.create(tmp_path / "index")
    add(made, folder)
    return made


def typed(picture: Path, form: str) -> str:
    return normalize(other(form), str(picture))


@pytest.mark.parametrize("condition", [
    "path ~ café", "path ~ CAFÉ", "path ~ 'é/caf'", "path = *caf?*", "path ~ 'が.jpg'",
    "path = '{}'", "uri in ('{}')", "not path = *plain*", "path != *plain*", "format = JPEG and "
    "path ~ zürich"])
@pytest.mark.parametrize("typed_form", FORMS)
def test_conditions_on_names(collection: Collection, picture: Path, condition: str,
                             typed_form: str) -> None:
    where = normalize(typed_form, condition.format(picture))
    assert collection.count(where=where) == 1


def test_a_bare_letter_is_no_letter_with_an_accent(collection: Collection) -> None:
    assert collection.count(where="path ~ cafe") == 0


def test_conditions_on_metadata_and_texts(collection: Collection, tmp_path: Path,
                                          form: str) -> None:
    row = {"caption": normalize(form, "Grüße"), "place": normalize(form, "Zürich"),
           "tags": [normalize(form, "Öl")]}
    (tmp_path / "m.jsonl").write_text(json.dumps(row, ensure_ascii=False), "utf-8")
    add(collection, tmp_path / "m.jsonl")
    for where in ("place = Zürich", "place ~ ZÜR", "tags = Öl", "text ~ grüße", "place >= Zürich"):
        where = normalize(other(form), where)
        assert collection.count(where=where, find="text") == 1, where


@pytest.mark.parametrize("mode", ["vector", "text", "hybrid"])
def test_stored_as_it_is_and_found_by_its_words(collection: Collection, picture: Path, form: str,
                                                mode: str) -> None:
    hits = collection.search(text=normalize(other(form), "café"), mode=mode, k=9)
    assert str(picture) in [hit.item.uri for hit in hits]


def test_manifests_name_pictures_in_another_form(folder: Path, picture: Path, form: str) -> None:
    rows = [{"image": normalize(other(form), f"Fotos é/{NAME}"), "caption": "a cat"},
            {"image": normalize(other(form), "Fotos é/missing é.jpg"), "caption": "none"}]
    manifest = folder / "m.jsonl"
    manifest.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    items, scan = scanned(manifest)
    assert [(item.uri, item.kind) for item in items] == [
        (str(picture), "image"), (f"{picture}#caption1", "text")]
    assert [skip.reason for skip in scan.skipped] == [f"image not found: {rows[1]['image']}"]
    manifest.write_text(json.dumps(rows[0]), "utf-8")
    assert [pair.image for pair in load_pairs(manifest)] == [picture]


def test_the_exact_name_comes_first(folder: Path) -> None:
    both = [folder / normalize(form, "é.jpg") for form in FORMS]
    for path in both:
        shutil.copy(DEMO / "cat.jpg", path)
    assert [uri_of(path) for path in both] == [str(path) for path in both]


def test_sidecars_of_another_form(form: str) -> None:
    picture, raw = normalize(form, "é.jpg"), normalize(form, "é.jpg.xmp")
    for name in ("é.txt", "é.jpg.json", "é.xmp"):
        beside = normalize(other(form), name)
        assert paired([picture, raw, beside])[picture] == sorted([raw, beside])


def test_a_raw_and_its_developed_picture(folder: Path, form: str) -> None:
    (folder / normalize(form, "é.dng")).touch()
    shutil.copy(DEMO / "cat.jpg", folder / normalize(other(form), "é.jpg"))
    assert [item.uri[-4:] for item in scanned(folder)[0]] == [".jpg"]


@pytest.mark.parametrize("glob", ["caf?*", "*é", "Fotos é/**", "**/café*.jpg"])
def test_excludes(folder: Path, picture: Path, form: str, glob: str) -> None:
    items, _ = scanned(folder, exclude=[normalize(other(form), glob)])
    assert [item.uri for item in items] == [str(folder / "plain.jpg")]


def test_a_folder_named_in_another_form(folder: Path, picture: Path, form: str) -> None:
    for path in (picture, picture.parent):
        assert [item.uri for item in scanned(typed(path, form))[0]] == [str(picture)]


def test_a_picture_as_query(collection: Collection, picture: Path, form: str) -> None:
    for image in (typed(picture, form), Path(typed(picture, form))):
        assert collection.search(image=image, k=1)[0].item.uri == str(picture)
    assert uri_of(f"{typed(picture, form)}#xywh=percent:0,0,50,50").startswith(str(picture))


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize("what", ["picture", "folder"])
def test_delete(collection: Collection, picture: Path, form: str, is_there: bool, what: str,
                cli: Cli) -> None:
    path = typed(picture if what == "picture" else picture.parent, form)
    if not is_there:
        shutil.rmtree(picture.parent)
    done = cli("delete", path, "-i", collection.path)
    assert (done.stdout, done.stderr, done.returncode) == ("deleted 1 item\n", "", 0)


def test_members_of_archives(folder: Path, form: str) -> None:
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.write(DEMO / "cat.jpg", normalize(form, "é/ü.jpg"))
    inside = f"{folder}/a.zip!/" + normalize(form, "é/ü.jpg")
    assert uri_of(normalize(other(form), inside)) == inside
    (folder / "m.jsonl").write_text(json.dumps({"image": normalize(other(form), "a.zip!/é/ü.jpg")}))
    assert [item.uri for item in scanned(folder / "m.jsonl")[0]] == [inside]
