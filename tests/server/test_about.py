"""What a server tells of itself."""

from __future__ import annotations

import os
import re
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from conftest import DEMO, add
from PIL import Image
from serving import TOKEN, detail, serving
from test_indexing import wait_for

from mmsearch.collection import Collection


def test_collections_and_their_state(client: httpx.Client) -> None:
    about = client.get("/v1/collections").json()
    (one,) = about["collections"]
    assert (one["name"], one["images"], one["texts"], one["indexing"]) == ("index", 50, 100, None)
    assert about["login"] is False
    (state,) = client.get("/v1/status").json()["collections"]
    assert (state["state"], state["items"]) == ("ready", 150)


def test_facets_are_conditions_with_true_counts(client: httpx.Client) -> None:
    answer = client.get("/v1/collections/index/facets").json()
    assert answer["total"] == 50
    values = [value for facet in answer["facets"] for value in facet["values"]]
    assert len(values) > 8
    for value in values:
        page = client.get("/v1/items", params={"where": value["where"]}).json()
        assert page["total"] == value["count"], value
    two = [value["where"] for value in values[:2]]
    both = client.get("/v1/items", params={"where": two}).json()
    assert 0 < both["total"] < min(value["count"] for value in values[:2])
    few = client.get("/v1/collections/index/facets", params={"where": two}).json()
    assert few["total"] == both["total"]
    assert "no collection 'x'" in detail(client.get("/v1/collections/x/facets"), 404)


def test_several_collections_each_have_their_items(demo_index: Path, tmp_path: Path) -> None:
    with Collection.create(tmp_path / "index") as other:
        add(other, DEMO / "cat.jpg")
    with serving("-i", demo_index, "-i", tmp_path / "index") as server:
        names = [one["name"] for one in
                 server.client.get("/v1/collections").json()["collections"]]
        assert names == ["index", "index-2"]
        for name, total in zip(names, (50, 1), strict=True):
            page = server.client.get("/v1/items", params={"collection": name}).json()
            assert page["total"] == total
            assert {item["collection"] for item in page["items"]} == {name}


def test_what_others_commit_is_found_at_once(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "index") as collection, \
            serving("-i", tmp_path / "index") as server:
        answer = server.client.get("/v1/search", params={"q": "a cat"}).json()
        assert answer["hits"] == [] and answer["note"] == "this collection is empty"
        add(collection, DEMO / "cat.jpg")
        answer = server.client.get("/v1/search", params={"q": "a cat"}).json()
        assert [hit["name"] for hit in answer["hits"]] == ["cat.jpg"]


def test_a_server_answers_what_it_has_begun_before_it_stops(demo_index: Path) -> None:
    body = b'{"text": "a dog", "k": 1}'
    with serving("-i", demo_index) as server:
        assert server.client.get("/readyz").json() == {"status": "ready"}
        with socket.create_connection(("127.0.0.1", server.port), 60) as raw:
            raw.sendall(b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n"
                        b"Content-Type: application/json\r\nExpect: 100-continue\r\n\r\n"
                        % len(body))
            assert raw.recv(1000).startswith(b"HTTP/1.1 100 ")  # it waits for the body
            server.process.send_signal(signal.SIGTERM)
            raw.sendall(body)
            answer = b"".join(iter(partial(raw.recv, 4096), b""))
        assert answer.startswith(b"HTTP/1.1 200 ") and b"dogs.jpg" in answer
        assert server.process.wait(60) in (0, -signal.SIGTERM)


def test_the_page_and_nothing_beside_it(client: httpx.Client) -> None:
    for path in ("/page/../app.py", "/page/%2e%2e/app.py", "/page//etc/passwd", "/page/..%2fapp.py",
                 "/page/%2fetc%2fpasswd", "/v1", "/docs", "/page/"):
        assert detail(client.get(path), 404)


def test_the_page_is_packed_and_asked_for_once(client: httpx.Client) -> None:
    index = client.get("/")
    assert index.headers["cache-control"] == "no-cache"
    again = client.get("/", headers={"If-None-Match": index.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    addresses = set(re.findall(r'"(/page/[^"]+)"', index.text))
    assert len(addresses) > 10
    for address in addresses:
        packed, plain = client.get(address), client.get(address, headers={"Accept-Encoding": "br"})
        assert packed.headers["content-encoding"] == "gzip" and packed.content == plain.content
        assert "content-encoding" not in plain.headers
        assert "immutable" in packed.headers["cache-control"]
        assert packed.headers["content-type"].split(";")[0] in (
            "text/javascript", "text/css", "image/svg+xml")


def test_several_processes_answer_and_write_and_one_that_dies_is_replaced(
        folder: Path, tmp_path: Path) -> None:
    def workers() -> set[int]:
        found = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
        return {int(pid) for pid in found.split() if b"spawn_main" in Path(
            f"/proc/{pid}/cmdline").read_bytes()}

    def send(n: int) -> httpx.Response:
        data = BytesIO()
        Image.new("RGB", (40, 30), f"hsl({n * 40}, 80%, 50%)").save(data, "PNG")
        return httpx.post(f"{server.client.base_url}v1/items", headers=bearer, timeout=60,
                          files={"file": ("same name.png", data.getvalue())})

    if not Path("/proc/self/task").exists():
        pytest.skip("no /proc here")
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    with serving("-i", tmp_path / "index", "--workers", 2, "--token", TOKEN,
                 "--writable", folder) as server:
        login = server.client.post("/v1/login", json={"token": TOKEN})
        before = workers()
        assert len(before) == 2
        with ThreadPoolExecutor(8) as pool:  # connections of their own: of either process
            sent = list(pool.map(send, range(8)))
        assert [one.status_code for one in sent] == [201] * 8, [one.text for one in sent]
        names = {item["name"] for one in sent for item in one.json()["items"]}
        assert len(names) == 8 == len(list(folder.iterdir()))
        for n in range(6):
            with httpx.Client(base_url=server.client.base_url, cookies=login.cookies) as client:
                hits = client.get("/v1/search", params={"q": f"{n} dogs", "k": 9}).json()["hits"]
                assert {hit["name"] for hit in hits} == names
        counted = 'mmsearch_request_seconds_count{method="GET",route="/v1/search",status="200"} 6.0'
        # Of both, whichever answers.
        assert counted in server.client.get("/metrics", headers=bearer).text
        os.kill(min(before), signal.SIGKILL)
        wait_for(lambda: len(workers()) == 2 and workers() != before)
        assert counted in httpx.get(f"{server.client.base_url}metrics", headers=bearer).text
        assert httpx.get(f"{server.client.base_url}healthz", timeout=60).status_code == 200
        server.process.terminate()
        assert server.process.wait(60) == 0
    assert "Traceback" not in "".join(server.said)
