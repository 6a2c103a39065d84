"""Items, their originals, their small pictures."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import DEMO, add
from making import document, film
from PIL import Image
from serving import detail, serving

from mmsearch.collection import Collection


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def mixed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A video, a document, a picture, one in an archive, a text, one that changes and one that
    gives way to a link."""
    film(folder / "clip.mp4")
    document(folder / "paper.pdf", ["a zebra", "a bicycle"])
    for name in ("cat", "bus", "lake", "osprey"):
        shutil.copy(DEMO / f"{name}.jpg", folder)
    (folder / "note.txt").write_text("<script>alert(1)</script> a text about snow")
    archive = Path(shutil.make_archive(str(folder / "old"), "zip", DEMO, "wren.jpg"))
    index = tmp_path_factory.mktemp("mixed") / "index"
    with Collection.create(index) as collection:
        add(collection, folder, archive)
    (folder / "osprey.jpg").unlink()
    Image.open(folder / "bus.jpg").rotate(180).save(folder / "bus.jpg")
    (folder / "lake.jpg").unlink()
    secret = tmp_path_factory.mktemp("elsewhere") / "secret.jpg"
    shutil.copy(DEMO / "dogs.jpg", secret)
    (folder / "lake.jpg").symlink_to(secret)
    with serving("-i", index) as server:
        yield server.client


def named(client: httpx.Client, name: str, find: str = "any") -> dict[str, Any]:
    answer = client.post("/v1/search", json={
        "text": "something", "k": 100, "find": find, "collapse": False})
    return next(hit for hit in answer.json()["hits"] if hit["name"] == name)


def test_pages_of_items_hold_each_file_once(mixed: httpx.Client) -> None:
    seen: list[dict[str, Any]] = []
    after: str | None = ""
    while after is not None:
        page = mixed.get("/v1/items", params={"k": 3, "after": after}).json()
        seen, after = seen + page["items"], page["cursor"]
    assert sorted(item["name"] for item in seen) == [
        "bus.jpg", "cat.jpg", "clip.mp4", "lake.jpg", "osprey.jpg", "paper.pdf", "wren.jpg"]
    assert page["total"] == 7
    assert {item["media"] for item in seen} == {"image", "video", "pdf"}


def test_an_item_has_its_metadata_and_the_parts_of_its_file(mixed: httpx.Client) -> None:
    frame = named(mixed, "clip.mp4")
    whole = mixed.get(f"/v1/items/{frame['id']}").json()
    assert whole["meta"]["codec"] == "h264"
    assert [one["time"] for one in whole["members"]] == sorted(
        one["time"] for one in whole["members"]) and len(whole["members"]) == 4
    assert "no item 99" in detail(mixed.get("/v1/items/99"), 404)


def test_the_original_comes_whole_and_in_parts(mixed: httpx.Client, folder: Path) -> None:
    cat = named(mixed, "cat.jpg")
    data = (folder / "cat.jpg").read_bytes()
    answer = mixed.get(cat["image"])
    assert (answer.content, answer.headers["content-type"]) == (data, "image/jpeg")
    assert "immutable" in answer.headers["cache-control"]
    head = mixed.head(cat["image"])
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(data))
    known = mixed.get(cat["image"], headers={"If-None-Match": answer.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    for asked, first, last in (("bytes=0-9", 0, 10), ("bytes=5-", 5, None), ("bytes=-7", -7, None),
                               ("bytes=3-999999999", 3, None)):
        part = mixed.get(cat["image"], headers={"Range": asked})
        assert part.status_code == 206 and part.content == data[first:last], asked
    assert part.headers["content-range"] == f"bytes 3-{len(data) - 1}/{len(data)}"
    for asked in ("bytes=0-1,3-4", "bytes=9-3", "lines=1-2", "bytes=-", "bytes=a-b"):
        assert mixed.get(cat["image"], headers={"Range": asked}).content == data, asked
    beyond = mixed.get(cat["image"], headers={"Range": "bytes=99999999-"})
    assert beyond.headers["content-range"] == f"bytes */{len(data)}"
    assert "bytes" in detail(beyond, 416)
    stale = mixed.get(cat["image"], headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert stale.content == data


@pytest.mark.parametrize(("name", "kind"), [
    ("clip.mp4", "video/mp4"), ("paper.pdf", "application/pdf"), ("wren.jpg", "image/jpeg")])
def test_files_have_the_type_that_their_bytes_tell(mixed: httpx.Client, name: str, kind: str
                                                   ) -> None:
    item = named(mixed, name)
    assert item["media_type"] == kind
    assert mixed.get(item["image"]).headers["content-type"] == kind
    saved = mixed.get(item["image"], params={"collection": "index", "download": True})
    assert saved.headers["content-disposition"].startswith("attachment;")


@pytest.mark.parametrize("name", ["cat.jpg", "clip.mp4", "paper.pdf", "wren.jpg"])
def test_every_picture_has_small_ones(mixed: httpx.Client, name: str) -> None:
    item = named(mixed, name)
    for size in (100, 320):
        answer = mixed.get(f"{item['thumb']}&size={size}")
        assert answer.headers["content-type"] == "image/webp"
        picture = Image.open(BytesIO(answer.content))
        assert picture.height <= {100: 160, 320: 320}[size] and picture.width > 40
    again = mixed.get(f"{item['thumb']}&size=320")
    assert again.content == answer.content and "immutable" in again.headers["cache-control"]
    without_v = mixed.get(f"/v1/items/{item['id']}/thumb")
    assert without_v.headers["cache-control"] == "private, no-cache"


def test_a_text_is_shown_as_text_alone(mixed: httpx.Client) -> None:
    text = named(mixed, "note.txt", "text")
    assert "<script>" in text["text"] and text["image"] is text["thumb"] is None
    for what in ("image", "thumb"):
        assert "is a text" in detail(mixed.get(f"/v1/items/{text['id']}/{what}"), 404)


def test_a_caption_shows_its_picture(client: httpx.Client) -> None:
    answer = client.get("/v1/search", params={"q": "a cat", "find": "text", "k": 1})
    (text,) = answer.json()["hits"]
    assert text["picture"] != text["id"]
    picture = client.get(f"/v1/items/{text['picture']}").json()
    assert text["thumb"] == picture["thumb"] and text["text"] in picture["captions"]
    assert client.get(f"/v1/items/{text['id']}/thumb").status_code == 200


@pytest.mark.parametrize("what", ["image", "thumb"])
def test_only_what_is_indexed_is_served(mixed: httpx.Client, what: str) -> None:
    """A file that was edited is; one that has become a link, or has vanished, is not."""
    assert mixed.get(named(mixed, "bus.jpg")[what]).status_code == 200
    assert "has changed" in detail(mixed.get(named(mixed, "lake.jpg")[what]), 409)
    assert "has vanished" in detail(mixed.get(named(mixed, "osprey.jpg")[what]), 409)
