"""Pictures that queries name by their web address are fetched where that was allowed, and from
nowhere else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import Cli
from serving import Serving, detail, serving
from sites import DATA, PICTURES, Site

import mmsearch
from mmsearch.errors import MediaError, UsageError


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site() as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield site
        site.shutdown()


@pytest.fixture(scope="module")
def fetching(demo_index: Path) -> Iterator[Serving]:
    """A server that may fetch from this machine."""
    with serving("-i", demo_index, "--fetch-private") as server:
        yield server


@pytest.fixture(scope="module")
def careful(demo_index: Path) -> Iterator[Serving]:
    """One that fetches from the internet alone."""
    with serving("-i", demo_index, "--fetch") as server:
        yield server


def search(server: Serving, url: str, **asked: Any) -> httpx.Response:
    return server.client.post("/v1/search", json={"image": [{"url": url}], "k": 1, **asked})


def test_a_picture_is_found_by_its_address(fetching: Serving, site: Site) -> None:
    url = f"{site.url}/1.jpg"
    for answer in (search(fetching, url), search(fetching, f"{site.url}/to?{url}"),
                   fetching.client.get("/v1/search", params={"url": url, "k": 1})):
        assert answer.status_code == 200, answer.text
        (hit,) = answer.json()["hits"]
        assert (hit["name"], round(hit["score"], 2)) == (PICTURES[1].name, 1)
    both = {"image": [{"url": url, "crop": "0,0,50%,50%"}], "without_image": [{"url": url}]}
    assert fetching.client.post("/v1/search", json={"text": "a lake", **both}).status_code == 200
    vectors = [fetching.client.post("/v1/embed", **asked).json()["vectors"] for asked in (
        {"json": {"image": [{"url": url}]}}, {"files": {"image": DATA[1]}})]
    assert vectors[0] == vectors[1]
    assert "give one of" in detail(search(fetching, url, image=[{"url": url, "item": 1}]), 422)


def test_from_python_and_the_command_line(fetching: Serving, demo_server: Serving, site: Site,
                                          cli: Cli) -> None:
    url, address = f"{site.url}/1.jpg", str(fetching.client.base_url)
    with mmsearch.connect(address) as there:
        assert there.search(image=url, k=1)[0].item.uri.endswith(PICTURES[1].name)
        with pytest.raises(MediaError, match="not an image"):
            there.search(image=f"{site.url}/lying")
    done = cli("query", "--image", url, "-i", address, "-k", "1", "--filepath-only")
    assert done.stdout.strip().endswith(PICTURES[1].name)
    with (mmsearch.connect(str(demo_server.client.base_url)) as there,
          pytest.raises(UsageError, match="fetches nothing from the web")):
        there.search(image=url)


def test_nothing_is_fetched_unasked(demo_server: Serving, site: Site) -> None:
    before = len(site.seen)
    for answer in (search(demo_server, f"{site.url}/1.jpg"),
                   demo_server.client.get("/v1/search", params={"url": f"{site.url}/1.jpg"}),
                   demo_server.client.post("/v1/embed", json={"image": [{"url": site.url}]}),
                   demo_server.client.post("/v1/hits", json={"image": [{"url": site.url}]})):
        assert "--fetch" in detail(answer, 400)
    assert len(site.seen) == before


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]",
                                  "0.0.0.0", "127.1"])
def test_nothing_is_fetched_from_the_own_network(careful: Serving, site: Site, host: str) -> None:
    before = len(site.seen)
    said = detail(search(careful, f"http://{host}:{site.server_address[1]}/1.jpg"), 415)
    assert said.endswith("leads to an address that is not on the internet")
    assert len(site.seen) == before


@pytest.mark.parametrize("url", [
    "file:///etc/passwd", "ftp://example.org/x.jpg", "/etc/passwd", "s3://bucket/x.jpg", "",
    "memory://x", "data:image/png;base64,AAAA", "http://", "http:///x", "\ud800",
    "http://a\r\nX: y/", "gopher://127.0.0.1/"])
def test_only_addresses_of_the_web_are_opened(fetching: Serving, careful: Serving, url: str
                                              ) -> None:
    for server in (fetching, careful):
        answer = search(server, url.encode("utf-8", "replace").decode())
        assert detail(answer, 415) and "root:" not in answer.text


@pytest.mark.parametrize(("path", "said"), [
    ("to?file:///etc/passwd", "not an http or https address"), ("loop", "redirected more than"),
    ("huge", "limit 19"), ("endless", "limit 19"), ("lying", "not an image"),
    ("short", "cannot be fetched"), ("nowhere", "404")])
def test_sites_that_misbehave(fetching: Serving, site: Site, path: str, said: str) -> None:
    assert said in detail(search(fetching, f"{site.url}/{path}"), 415)


def test_a_slow_site_holds_up_nobody_else(demo_index: Path, site: Site) -> None:
    """Also pictures that are sent are still decoded, though several wait for it."""
    with (serving(demo_index, fetch=True, fetch_private=True, fetch_seconds=4.0) as server,
          ThreadPoolExecutor(8) as threads):
        slow = [threads.submit(search, server, f"{site.url}/slowheaders") for _ in range(8)]
        answer = server.client.post("/v1/search", files={"image": DATA[0]})
        assert answer.status_code == 200 and not any(one.done() for one in slow)
        assert all("took more than 4 seconds" in detail(one.result(), 415) for one in slow)


def test_agents_may_name_them_likewise(fetching: Serving, demo_server: Serving, site: Site
                                       ) -> None:
    pytest.importorskip("mcp")

    def ask(server: Serving, picture: str) -> Any:
        return server.client.post("/mcp", json={
            "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
                "name": "search", "arguments": {"picture": picture, "k": 1, "pictures": False}}},
            headers={"Accept": "application/json, text/event-stream"}).json()["result"]

    found = ask(fetching, f"{site.url}/1.jpg")
    assert PICTURES[1].name in found["content"][0]["text"] and not found["isError"]
    for server, says in ((fetching, "404"), (demo_server, "is not indexed")):
        said = ask(server, f"{site.url}/none.jpg")
        assert said["isError"] and says in said["content"][0]["text"]
