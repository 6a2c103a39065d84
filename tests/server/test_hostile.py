"""What an attacker would send: nothing is served that should not be, and nothing goes down."""

from __future__ import annotations

import json
import shutil
import socket
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import httpx
import pytest
from conftest import DEMO, add
from serving import TOKEN, Serving, detail, serving
from test_indexing import wait_for

from mmsearch.collection import Collection

CAT = (DEMO / "cat.jpg").read_bytes()


@pytest.fixture(scope="module")
def guarded(demo_index: Path) -> Iterator[Serving]:
    """A server with a token, small limits and little patience."""
    with serving(demo_index, token=TOKEN, body_bytes=2_000_000, body_seconds=1.0, head_seconds=1.0,
                 pixels=1_000_000, names=("photos.example.org",)) as server:
        yield server


@pytest.fixture
def bearer(guarded: Serving) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=guarded.client.base_url, timeout=60,
                      headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        yield client


def raw(port: int, data: bytes) -> bytes:
    """What a server answers to these bytes, up to its hanging up."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(data)
        return b"".join(iter(partial(connection.recv, 65536), b""))


# -- who asks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [
    "evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "",
    "localhost@evil.example", "evil.example#localhost", "localhost:80:80", "localhost:x",
    "127.0.0.1, evil.example", "[::1", "localhost\u00e9"])
def test_names_of_others_are_refused(client: httpx.Client, host: str) -> None:
    for path in ("/", "/v1/collections", "/healthz"):
        answer = client.get(path, headers=[("Host", host.encode())])
        assert "--name" in detail(answer, 421)


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1", "192.168.1.5:8080",
                                  "[::1]:8080", "LOCALHOST"])
def test_addresses_and_own_names_are_not(client: httpx.Client, host: str) -> None:
    assert client.get("/v1/collections", headers={"Host": host}).status_code == 200


def test_two_hosts_are_none(demo_server: Serving) -> None:
    answer = raw(demo_server.port, b"GET /v1/collections HTTP/1.1\r\nHost: localhost\r\n"
                                   b"Host: evil.example\r\nConnection: close\r\n\r\n")
    assert b" 421 " in answer.splitlines()[0] or b" 400 " in answer.splitlines()[0]


@pytest.mark.parametrize("headers", [
    {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://localhost.evil.example"}])
def test_pages_of_other_sites_can_ask_nothing(client: httpx.Client, headers: dict[str, str]
                                              ) -> None:
    for answer in (client.post("/v1/search", json={"text": "x"}, headers=headers),
                   client.get("/v1/search?q=x", headers=headers),
                   client.get("/v1/items/1/image", headers=headers)):
        assert "site" in detail(answer, 403)
    assert client.post("/v1/search", content=b'{"text": "x"}', headers={
        "Content-Type": "text/plain"}).status_code == 415  # what needs no preflight


def test_nothing_is_said_without_the_token(guarded: Serving) -> None:
    spec = guarded.client.get("/openapi.json").json()
    asked = 0
    for path, methods in spec["paths"].items():
        for method in methods:
            if path in ("/v1/login", "/healthz", "/readyz"):
                continue
            for headers in ({}, {"Authorization": "Bearer wrong-token-of-some-length"},
                            {"Authorization": f"Basic {TOKEN}"}, {"Authorization": TOKEN},
                            {"Cookie": f"mmsearch={TOKEN}"}, {"Cookie": "mmsearch="},
                            {"Authorization": "Bearer \xff"}):
                answer = guarded.client.request(
                    method, path.format(id=1, name="index") + f"?token={TOKEN}", headers={
                        name: value.encode("latin-1") for name, value in headers.items()})
                assert answer.headers["www-authenticate"] == "Bearer"
                assert "log in" in detail(answer, 401)
                asked += 1
    assert asked >= 80


def test_the_page_logs_in_and_out(guarded: Serving) -> None:
    origin = {"Origin": str(guarded.client.base_url).rstrip("/")}
    with httpx.Client(base_url=guarded.client.base_url) as page:
        assert "not the token" in detail(page.post("/v1/login", json={"token": "x" * 20}), 401)
        answer = page.post("/v1/login", json={"token": TOKEN}, headers=origin)
        assert answer.status_code == 204
        cookie = answer.headers["set-cookie"]
        assert TOKEN not in cookie
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
        assert page.get("/v1/collections").json()["login"] is True
        assert page.post("/v1/search", json={"text": "x"}, headers=origin).status_code == 200
        assert "Origin" in detail(page.post("/v1/search", json={"text": "x"}), 403)
        page.post("/v1/logout", headers=origin)
        assert page.get("/v1/collections").status_code == 401


def test_guessing_is_slowed_down(demo_index: Path) -> None:
    with serving(demo_index, token=TOKEN) as server:
        for _ in range(10):
            assert server.client.post("/v1/login", json={"token": "wrong"}).status_code == 401
        answer = server.client.post("/v1/login", json={"token": "wrong"})
        assert "too many" in detail(answer, 429) and answer.headers["retry-after"] == "60"
        # Nobody keeps others out, who may have the same address behind a proxy.
        host = server.client.base_url.netloc.decode()
        for scheme, secure in (("http", False), ("https", True)):
            answer = server.client.post("/v1/login", json={"token": TOKEN}, headers={
                "Origin": f"{scheme}://{host}"})
            assert answer.status_code == 204
            assert ("Secure" in answer.headers["set-cookie"]) is secure


# -- what is asked for ----------------------------------------------------------------------------


@pytest.mark.parametrize("id", [
    "0", "-1", str(2**63), "1" + "0" * 30, "1e3", "0x1", "\u0661", "1.5", "1;2", "1%00",
    "..%2f..%2fetc%2fpasswd", "null", "true", "' OR 1=1 --", "\ud7ff", "1" * 5000])
def test_ids_out_of_range_are_no_items(client: httpx.Client, id: str) -> None:
    for what in ("", "/image", "/thumb", "/similar"):
        assert client.get(f"/v1/items/{id}{what}").status_code in (404, 422)
    assert client.post("/v1/search", json={"image": [{"item": id}]}).status_code in (404, 422)


@pytest.mark.parametrize("path", [
    "/etc/passwd", "/page/../../settings.py", "/page/%2e%2e/%2e%2e/settings.py", "//etc/passwd",
    "/page/..\\..\\settings.py", "/page/%c0%ae%c0%ae/settings.py", "/v1/items/..%2f..%2fx/image",
    "/page/page/../../app.py", "/.git/config", "/v1/../../etc/passwd", "/page/%00", "/page/.",
    "/%"])
def test_no_path_leads_to_a_file(demo_server: Serving, path: str) -> None:
    head = b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = raw(demo_server.port, head % path.encode("latin-1"))
    assert answer.split(b" ", 2)[1] in (b"404", b"400", b"422"), answer[:200]
    assert b"root:" not in answer and b"import" not in answer


def test_no_address_is_ever_opened(client: httpx.Client) -> None:
    """Not of a file, not on the web, not of what else there is."""
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.setblocking(False)
        web = f"http://127.0.0.1:{trap.getsockname()[1]}/x.jpg"
        cat = DEMO / "cat.jpg"
        for address in (web, web.replace("http", "ftp"), str(cat), cat.as_uri(), "s3://b/x.jpg",
                        "/etc/passwd", "memory://x", "data:text/html,x", "../x.jpg"):
            for asked in ({"image": [address]}, {"image": address}, {"image": [{"data": address}]},
                          {"image": [{"url": address}]}, {"image": [{"item": address}]},
                          {"without_image": [address]}, {"text": "x", "collection": address}):
                answer = client.post("/v1/search", json=asked)
                assert 400 <= answer.status_code < 500, answer.text
                assert client.post("/v1/embed", json=asked).status_code >= 400
            assert client.get("/v1/items", params={"collection": address}).status_code == 404
        with pytest.raises(BlockingIOError):
            trap.accept()


def test_what_became_a_page_is_not_served_as_one(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    shutil.copy(DEMO / "cat.jpg", folder / "a\r\nX-Evil: 1\".jpg")
    shutil.copy(DEMO / "bus.jpg", folder / "b.jpg")
    with Collection.create(tmp_path / "index") as collection:
        add(collection, folder)
    with serving("-i", tmp_path / "index") as server:
        items = {item["name"]: item for item in server.client.get("/v1/items").json()["items"]}
        (name,) = (name for name in items if "Evil" in name)
        odd = server.client.get(items[name]["image"])
        assert odd.status_code == 200 and "x-evil" not in odd.headers
        for content in (b"<html><script>alert(1)</script>", b"<svg xmlns='x' onload='alert(1)'/>",
                        b"<?xml version='1.0'?><svg/>", b"#!/bin/sh", b"\0" * 100):
            (folder / "b.jpg").write_bytes(content)
            for what, status in (("image", 404), ("thumb", 415)):
                answer = server.client.get(items["b.jpg"][what])
                assert detail(answer, status) and content not in answer.content


def test_every_answer_tells_the_browser_to_be_careful(client: httpx.Client) -> None:
    for path in ("/", "/v1/collections", "/v1/items/1/image", "/v1/items/1/thumb", "/nothing",
                 "/v1/search", "/openapi.json", "/healthz"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "server" not in headers and "access-control-allow-origin" not in headers


def test_no_request_can_put_one_picture_in_place_of_another(client: httpx.Client) -> None:
    wanted = client.get("/v1/items/1/thumb").content
    other = client.get("/v1/items/2").json()
    v = other["thumb"].rpartition("v=")[2]
    for query in (f"v={v}", "v=../../x", "size=161&v=x", f"size=320&v={v}&v=y", "size=319"):
        answer = client.get(f"/v1/items/1/thumb?{query}", headers={
            "X-Forwarded-Host": "evil", "X-Original-URL": "/v1/items/2/thumb",
            "X-HTTP-Method-Override": "PUT", "If-None-Match": '"x"'})
        assert answer.content == wanted and "no-cache" in answer.headers["cache-control"]
    assert client.get(f"/v1/items/2/thumb?v={v}").content != wanted
    assert client.get("/v1/items/1/thumb").content == wanted


# -- how much, and how slowly ---------------------------------------------------------------------


def bomb(width: int, height: int) -> bytes:
    """A PNG that is small as a file."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(
            ">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes(min(1 + width, 60_001)) * min(height, 2000), 9)
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows)
            + chunk(b"IEND", b""))


@pytest.mark.parametrize(("width", "height"), [(1001, 1000), (60_000, 60_000), (2**31 - 1, 1)])
def test_pictures_of_too_many_pixels_are_refused(bearer: httpx.Client, width: int, height: int
                                                 ) -> None:
    answer = bearer.post("/v1/search", files={"image": bomb(width, height)})
    assert "a picture that was sent cannot be read" in detail(answer, 415)


@pytest.mark.parametrize("body", [
    b"[" * 100_000, b'{"text":' * 50_000, b'{"text": "' + b"x" * 1_000_000 + b'"}', b"\xff\xfe",
    b'{"text": "\\ud800"}', b'{"k": 1e999, "text": "x"}', b'{"weights": [NaN], "text": "x"}',
    b'{"text": ' + json.dumps(["x"] * 100_000).encode() + b"}", b'{"text": "x", "text": 1}',
    b'{"vector": [' + b"1," * 400_000 + b"1]}", b'{"where": "' + b"(" * 5000 + b'", "text": "x"}',
    b'{"where": ["' + b" or ".join([b"a=1"] * 600) + b'"], "text": "x"}', b"null", b"1", b"[]",
    b'{"text": "x", "k": true}', b'{"text": "x", "offset": 1e18}', b"{}" * 10,
    b'{"text": "\\u0000"}'])
def test_odd_and_giant_json_is_answered_in_a_sentence(bearer: httpx.Client, body: bytes) -> None:
    answer = bearer.post("/v1/search", content=body, headers={"Content-Type": "application/json"})
    if answer.status_code != 200:  # a lone surrogate, a NUL: texts like any other
        assert detail(answer, answer.status_code) and 400 <= answer.status_code < 500


def test_texts_are_short_and_pictures_few(bearer: httpx.Client) -> None:
    for asked in ({"text": ["x" * 400] * 11}, {"text": "x" * 2001, "without": ["y" * 2000]},
                  {"text": ["x"] * 17}, {"image": [{"item": 1}] * 9},
                  {"image": [{"item": 1}], "without_image": [{"item": 1}] * 9}):
        assert detail(bearer.post("/v1/search", json=asked), 422)
    answer = bearer.post("/v1/embed", json={"text": ["x" * 400] * 11})
    assert "4000 characters" in detail(answer, 422)
    files = [("image", CAT)] * 9
    assert "at most 8" in detail(bearer.post("/v1/search", files=files), 400)
    # Each has fewer pixels than one may have; together they have more.
    answer = bearer.post("/v1/search", files=[("image", bomb(900, 900))] * 2)
    assert "limit 0.19 megapixels (all pictures together)" in detail(answer, 415)


def test_nobody_fills_the_memory(guarded: Serving, demo_index: Path) -> None:
    answer = guarded.client.post("/v1/login", json={"token": "x" * 5000})
    assert "0.004 MB" in detail(answer, 413)
    body = b'{"text": "' + b"x" * 3000 + b'"}'
    head = (b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
    with serving(demo_index, bodies_bytes=5000) as server:
        with socket.create_connection(("127.0.0.1", server.port), 60) as other:
            other.sendall(head)
            assert other.recv(100).startswith(b"HTTP/1.1 100 ")
            other.sendall(body[:-1])
            answer = server.client.post("/v1/search", content=b" " * 2500 + body, headers={
                "Content-Type": "application/json"})
            assert "too much is being sent" in detail(answer, 503)
        wait_for(lambda: server.client.post("/v1/search", content=body, headers={
            "Content-Type": "application/json"}).status_code == 200)  # once that one has gone


def test_what_is_too_large_is_not_read(bearer: httpx.Client, guarded: Serving) -> None:
    assert "2 MB" in detail(bearer.post("/v1/search", content=bytes(2_000_001), headers={
        "Content-Type": "application/json"}), 413)

    def chunks() -> Iterator[bytes]:  # without telling how long it is
        for _ in range(30):
            yield bytes(100_000)

    answer = bearer.post("/v1/search", content=chunks(),
                         headers={"Content-Type": "application/json"})
    assert "2 MB" in detail(answer, 413)
    for large in (bytes(30_000_000), b'{"text": "%s"}' % bytes(30_000_000)):
        answer = bearer.post("/v1/search", content=large,
                             headers={"Content-Type": "application/json"})
        assert "2 MB" in detail(answer, 413)  # also for who reads only when all is sent
    assert bearer.post("/v1/embed", files=[("image", CAT)] * 200).status_code in (400, 413)
    many = {f"field{n}": "x" for n in range(2000)}
    assert bearer.post("/v1/search", data=many, files={"image": CAT}).status_code == 400


@pytest.mark.parametrize("form", [
    b"", b"--x", b"--x\r\n\r\n", b"--x\r\nContent-Disposition: form-data\r\n\r\nx\r\n--x--\r\n",
    b"--x\r\nContent-Disposition: form-data; name=\"image\"; filename=\"../x\"\r\n\r\nx\r\n--x--",
    b"--x\r\n" + b"A: b\r\n" * 10_000, bytes(1000)])
def test_broken_forms_are_answered_in_a_sentence(bearer: httpx.Client, form: bytes) -> None:
    answer = bearer.post("/v1/search", content=form,
                         headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert detail(answer, answer.status_code) and 400 <= answer.status_code < 500


def test_slow_clients_are_left_and_others_served(bearer: httpx.Client, guarded: Serving) -> None:
    head = (b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer %s\r\nContent-Length: 100\r\n" % TOKEN.encode())
    answers: list[bytes] = []
    threads = [threading.Thread(target=lambda data=data: answers.append(raw(guarded.port, data)))
               for data in [head[:60]] * 40 + [head + b"\r\n{"] * 40 + [b""] * 20]
    for thread in threads:
        thread.start()
    assert bearer.get("/v1/search", params={"q": "a cat"}).status_code == 200
    for thread in threads:
        thread.join()
    # No end of a head: hung up. No end of a body: told so.
    assert sum(answer == b"" for answer in answers) == 60
    assert sum(b" 408 " in answer.splitlines()[0] for answer in answers if answer) == 40


def test_idle_connections_shut_nobody_out(demo_index: Path) -> None:
    """Though there are as many as the server takes."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(4096, limits[1])
    if most < 2000:
        pytest.skip("this process may not open 2,000 files")
    body = b'{"text": "a cat"}'
    head = (b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
    with ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, limits[1]))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        server = stack.enter_context(serving(demo_index, head_seconds=3600.0))

        def connect() -> socket.socket:
            return stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 60))

        asking = connect()
        asking.sendall(head)
        assert asking.recv(100).startswith(b"HTTP/1.1 100 ")
        idle = [connect() for _ in range(1100)]
        for n in range(20):
            with httpx.Client(base_url=server.client.base_url, timeout=60) as client:
                assert client.get("/v1/search", params={"q": f"cat {n}"}).status_code == 200
        with suppress(ConnectionResetError):
            assert idle[0].recv(1) == b""
        asking.sendall(body)
        assert asking.recv(100).startswith(b"HTTP/1.1 200 ")


def test_who_does_not_read_is_hung_up_on(tmp_path: Path) -> None:
    """Though what is sent is more than all buffers on the way hold; nor do they take the turns of
    others."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.jpg").write_bytes(CAT + bytes(60_000_000))
    with Collection.create(tmp_path / "index") as collection:
        add(collection, tmp_path / "files")
    with serving(tmp_path / "index", head_seconds=3.0, waiting=5) as server:
        files = Path(f"/proc/{server.process.pid}/fd")
        if not files.exists():
            pytest.skip("no /proc here")
        before = len(list(files.iterdir()))
        head = b"GET /v1/items/1/image HTTP/1.1\r\nHost: localhost\r\n\r\n"
        lazy: list[socket.socket] = []
        for _ in range(20):
            lazy.append(socket.create_connection(("127.0.0.1", server.port), 60))
            lazy[-1].sendall(head)
            assert lazy[-1].recv(12, socket.MSG_PEEK) == b"HTTP/1.1 200"
        wait_for(lambda: len(list(files.iterdir())) >= before + 40)
        wait_for(lambda: len(list(files.iterdir())) <= before)
        assert len(server.client.get("/v1/items/1/image").content) > 60_000_000
        for one in lazy:
            one.close()


def test_after_all_that_the_servers_are_well(
        client: httpx.Client, bearer: httpx.Client, demo_server: Serving, guarded: Serving) -> None:
    for one in (client, bearer):
        assert one.get("/healthz").json() == {"status": "ok"}
        (hit,) = one.get("/v1/search", params={"q": "a cat", "k": 1}).json()["hits"]
        assert hit["name"] == "cat.jpg"
    log = "".join([*demo_server.said, *guarded.said])
    assert "Traceback" not in log and TOKEN not in log
    assert "GET /v1/search 200" in log and "a+cat" not in log and "a%20cat" not in log


def test_queries_are_logged_only_if_that_is_wanted(demo_index: Path) -> None:
    with serving("-i", demo_index, "--log-queries") as server:
        server.client.get("/v1/search", params={"q": "a secret\nline"})
        server.client.post("/v1/search", json={"text": "another"})
    log = "".join(server.said)
    assert "a+secret%0Aline" in log or "a%20secret%0Aline" in log
    assert "another" in log and "\nline" not in log
