"""Names over HTTP: taught by items, known to searches at once, and forgotten."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import DEMO
from serving import Serving, detail, serving


@pytest.fixture(scope="module")
def served(demo_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("naming")
    shutil.copytree(demo_index, folder / "index", ignore=shutil.ignore_patterns("*.sock"))
    (folder / "files").mkdir()
    with serving("-i", folder / "index", "--writable", folder / "files") as server:
        yield server


def found(served: Serving, text: str) -> str:
    (hit,) = served.client.get("/v1/search", params={"q": text, "k": 1}).json()["hits"]
    return str(hit["name"])


def id_of(served: Serving, name: str) -> int:
    where = f"path = {DEMO / name}.jpg"
    (item,) = served.client.get("/v1/items", params={"where": where}).json()["items"]
    return int(item["id"])


def test_a_name_is_taught_known_and_forgotten(served: Serving) -> None:
    client, bus = served.client, id_of(served, "bus")
    assert client.get("/v1/names").json() == {"names": []}
    answer = client.post("/v1/names", json={"name": "Zorblax", "items": [bus]})
    assert (answer.status_code, answer.json()) == (
        201, {"names": [{"name": "Zorblax", "is_a": "", "pictures": 1}]})
    assert found(served, "my zorblax") == "bus.jpg"
    answer = client.post("/v1/names", json={
        "name": "zorblax", "is_a": "bus", "items": [id_of(served, "bicycle"), bus]})
    assert answer.json() == client.get("/v1/names").json() == {
        "names": [{"name": "zorblax", "is_a": "bus", "pictures": 2}]}
    assert client.request("DELETE", "/v1/names", json={"name": "Zorblax"}).json() == {
        "forgotten": 2}
    assert client.request("DELETE", "/v1/names", json={"name": "Zorblax"}).json() == {
        "forgotten": 0}
    assert client.get("/v1/names").json() == {"names": []}


@pytest.mark.parametrize(("asked", "status", "says"), [
    ({"name": "", "items": [1]}, 422, "name"), ({"name": "!", "items": [1]}, 400, "one letter"),
    ({"name": "x", "items": []}, 422, "items"), ({"name": "x", "items": [10**9]}, 404, "no item"),
    ({"name": "x" * 101, "items": [1]}, 422, "name"), ({"name": "x"}, 422, "items")])
def test_it_complains_plainly(served: Serving, asked: dict[str, object], status: int, says: str
                              ) -> None:
    assert says in detail(served.client.post("/v1/names", json=asked), status)


def test_only_a_writable_server_is_taught(demo_server: Serving) -> None:
    client = demo_server.client
    for method, asked in (("POST", {"name": "x", "items": [1]}), ("DELETE", {"name": "x"})):
        assert "--writable" in detail(client.request(method, "/v1/names", json=asked), 403)
    assert client.get("/v1/names").json() == {"names": []}
