"""Adding and removing items over HTTP."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from conftest import DEMO
from PIL import Image
from serving import Serving, detail, serving

from mmsearch.collection import Collection, Reader
from mmsearch.server.writing import safe_name

CAT, BUS = (DEMO / "cat.jpg").read_bytes(), (DEMO / "bus.jpg").read_bytes()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serving, Path]]:
    root = tmp_path_factory.mktemp("writing")
    (root / "files").mkdir()
    with serving("-i", root / "index", "--writable", root / "files") as server:
        yield server, root / "files"


@pytest.fixture
def folder(running: tuple[Serving, Path]) -> Path:
    return running[1]


@pytest.fixture
def writable(running: tuple[Serving, Path]) -> Iterator[Serving]:
    """The same server for all tests, each time of an empty collection and folder."""
    server, folder = running
    yield server
    if ids := [one["id"] for one in server.client.get("/v1/items").json()["items"]]:
        server.client.request("DELETE", "/v1/items", json={"ids": ids})
    for path in folder.iterdir():
        path.unlink()


def test_what_is_sent_is_saved_found_and_removed(writable: Serving, folder: Path) -> None:
    client = writable.client
    answer = client.post("/v1/items", files=[("file", ("my cat.jpg", CAT)),
                                             ("file", ("../../b us<1>.png", BUS))])
    assert answer.status_code == 201, answer.text
    assert (answer.json()["added"], answer.json()["skipped"]) == (2, [])
    assert sorted(path.name for path in folder.iterdir()) == ["b us_1_.jpg", "my cat.jpg"]
    assert (folder / "my cat.jpg").read_bytes() == CAT
    (hit,) = client.get("/v1/search", params={"q": "a cat", "k": 1}).json()["hits"]
    assert hit["name"] == "my cat.jpg" and client.get(hit["image"]).content == CAT
    again = client.post("/v1/items", files={"file": ("my cat.jpg", BUS)}).json()
    assert [item["name"] for item in again["items"]] == ["my cat-2.jpg"]
    for data, name in ((CAT, "my cat.jpg"), (BUS, "my cat-2.jpg")):  # they are there already
        same = client.post("/v1/items", files={"file": ("my cat.jpg", data)}).json()
        assert (same["added"], [item["name"] for item in same["items"]]) == (0, [name])
    ids = [item["id"] for item in client.get("/v1/items").json()["items"]]
    gone = client.request("DELETE", "/v1/items", json={"ids": [*ids, 10**6]})
    assert gone.json() == {"deleted": 3} and (folder / "my cat.jpg").exists()
    assert client.get("/v1/items").json()["total"] == 0


@pytest.mark.parametrize("data", [b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<html>",
                                  b"#!/bin/sh\n"])
def test_only_pictures_are_saved(writable: Serving, folder: Path, data: bytes) -> None:
    answer = writable.client.post("/v1/items", files=[("file", ("a.jpg", CAT)),
                                                      ("file", ("b.jpg", data))])
    assert "'b.jpg' is no picture" in detail(answer, 415)
    assert list(folder.iterdir()) == []


def test_a_damaged_picture_is_told_and_not_kept(writable: Serving, folder: Path) -> None:
    answer = writable.client.post("/v1/items", files={"file": ("a.jpg", CAT[:200])}).json()
    assert answer["added"] == 0 and answer["skipped"][0]["path"].endswith("a.jpg")
    assert list(folder.iterdir()) == []
    for n in (0, 1):
        answer = writable.client.post("/v1/items", files={"file": (f"{n}.jpg", CAT)}).json()
        assert (answer["added"], answer["copied"], len(answer["items"])) == (1 - n, n, 1)


def test_without_being_asked_for_nothing_can_be_changed(client: httpx.Client) -> None:
    for answer in (client.post("/v1/items", files={"file": ("a.jpg", CAT)}),
                   client.request("DELETE", "/v1/items", json={"ids": [1]})):
        assert "--writable" in detail(answer, 403)


@pytest.mark.parametrize(("name", "safe"), [
    ("a.jpg", "a.jpg"), ("a.JPEG", "a.jpeg"), ("a", "a.jpg"), ("", "upload.jpg"),
    ("..", "upload.jpg"), ("/etc/passwd", "passwd.jpg"), ("C:\\x\\y.exe", "y.jpg"),
    (".htaccess", "upload.jpg"), ("a\0b\n.jpg", "a_b_.jpg"), ("x" * 999, "x" * 120 + ".jpg"),
    ("großé.jpg", "großé.jpg"), ("-rf.jpg", "-rf.jpg"), ("\u202egpj.exe", "_gpj.jpg")])
def test_names_are_made_safe(name: str, safe: str) -> None:
    assert "".join(safe_name(name, "image/jpeg")) == safe


def test_nothing_acknowledged_is_lost_when_the_server_is_killed(tmp_path: Path) -> None:
    index, folder, acknowledged = tmp_path / "index", tmp_path / "files", []
    folder.mkdir()

    def send(client: httpx.Client, worker: int, enough: threading.Event, most: int) -> None:
        for number in range(len(acknowledged), 1000):
            data = BytesIO()
            Image.new("RGB", (40, 40), (worker * 60, number % 256, number // 4)).save(data, "PNG")
            try:
                answer = client.post("/v1/items", files={
                    "file": (f"{worker}-{number}.png", data.getvalue())})
            except httpx.HTTPError:
                return
            if answer.status_code == 201:
                acknowledged.extend(item["uri"] for item in answer.json()["items"])
                if len(acknowledged) >= most:
                    enough.set()

    for most in (5, 14, 25):  # killed three times, each time over what the last one left
        with serving("-i", index, "--writable", folder) as server:
            enough = threading.Event()
            threads = [threading.Thread(target=send, args=(server.client, n, enough, most))
                       for n in range(4)]
            for thread in threads:
                thread.start()
            assert enough.wait(60)
            server.process.send_signal(signal.SIGKILL)
            for thread in threads:
                thread.join()
        with Reader.open(index) as reader:
            assert reader.verify() == []
            assert {row.item.uri for row in reader.of_uris(acknowledged)} == set(acknowledged)
    assert all(Path(uri).stat().st_size for uri in acknowledged)
    with Collection.open(index) as collection:
        assert collection.repair() == []
