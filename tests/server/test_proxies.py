"""The examples for TLS in deploy/, with the real nginx and Caddy in front of a real server."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

import httpx
import pytest
from conftest import DEMO, add
from serving import TOKEN, detail, serving

from mmsearch.collection import Collection

DEPLOY = Path(__file__).parents[2] / "deploy"
NAME = "photos.example.org"
CAT = (DEMO / "cat.jpg").read_bytes()


def needs(program: str) -> str:
    """nginx is in /usr/sbin, which is not on everybody's path."""
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def run(*command: object, env: dict[str, str] | None = None) -> None:
    """What it says goes to a file: a proxy that stays in the background would hold a pipe open."""
    with TemporaryFile("w+") as said:
        done = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=said,
                              stderr=said, timeout=60, env=os.environ | (env or {}))
        said.seek(0)
        assert done.returncode == 0, said.read()


@contextmanager
def nginx(folder: Path, upstream: int) -> Iterator[tuple[int, int, Path]]:
    """Ports of HTTP and HTTPS, and who signed the certificate."""
    program, openssl = needs("nginx"), needs("openssl")
    http, https = free_port(), free_port()
    certificate = folder / "fullchain.pem"
    run(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-days", 1, "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}",
        "-keyout", folder / "privkey.pem", "-out", certificate)
    site = (DEPLOY / "nginx.conf").read_text("utf-8")
    site = re.sub(r" *listen \[::\].*\n", "", site)
    for ours, here in (("listen 80;", f"listen 127.0.0.1:{http};"),
                       ("listen 443 ", f"listen 127.0.0.1:{https} "),
                       ("server 127.0.0.1:8080;", f"server 127.0.0.1:{upstream};"),
                       (f"/etc/letsencrypt/live/{NAME}", str(folder))):
        assert ours in site
        site = site.replace(ours, here)
    (folder / "site.conf").write_text(site)
    paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in (
        "client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;\n" if os.geteuid() == 0 else ""
    main = folder / "main.conf"
    main.write_text(f"{user}pid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
                    f"http {{\naccess_log off;\n{paths}include {folder}/site.conf;\n}}\n")
    run(program, "-p", folder, "-c", main)  # it goes to the background when it listens
    try:
        yield http, https, certificate
    finally:
        run(program, "-p", folder, "-c", main, "-s", "quit")


def has_certificate(port: int) -> bool:
    anything = ssl.create_default_context()
    anything.check_hostname, anything.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            anything.wrap_socket(connection, server_hostname=NAME).close()
    except ssl.SSLError:
        return False
    return True


@contextmanager
def caddy(folder: Path, upstream: int) -> Iterator[tuple[int, int, Path]]:
    program = needs("caddy")
    http, https = free_port(), free_port()
    admin = f"unix//{folder}/admin"
    config = folder / "Caddyfile"
    config.write_text(f"{{\nadmin {admin}\nhttp_port {http}\nhttps_port {https}\n"
                      "default_bind 127.0.0.1\nlocal_certs\nskip_install_trust\n}\n"
                      f"import {DEPLOY}/Caddyfile\n")
    env = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder),
           "MMSEARCH_NAME": NAME, "MMSEARCH_UPSTREAM": f"127.0.0.1:{upstream}"}
    run(program, "start", "--config", config, "--adapter", "caddyfile", env=env)  # likewise
    try:
        until = time.monotonic() + 30
        while not has_certificate(https) and time.monotonic() < until:
            pass  # it makes one in the background, and says so to nobody
        yield http, https, folder / "caddy/pki/authorities/local/root.crt"
    finally:
        run(program, "stop", "--address", admin)


class Proxied:
    """page: logged in, as a browser is; fresh: a client that is not."""

    def __init__(self, http: int, https: int, trusted: Path) -> None:
        self.http, self.https = http, https
        self.trusted = ssl.create_default_context(cafile=str(trusted))
        self.origin = {"Origin": f"https://{NAME}"}
        self.page = self.fresh()
        answer = self.page.post("/v1/login", json={"token": TOKEN}, headers=self.origin)
        assert answer.status_code == 204
        self.cookie = answer.headers["set-cookie"]

    def fresh(self, **headers: str) -> httpx.Client:
        def named(request: httpx.Request) -> None:
            request.extensions["sni_hostname"] = NAME

        return httpx.Client(base_url=f"https://127.0.0.1:{self.https}", verify=self.trusted,
                            timeout=60, headers={"Host": NAME} | headers,
                            event_hooks={"request": [named]})


@pytest.fixture(scope="module", params=[nginx, caddy])
def proxied(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
            ) -> Iterator[Proxied]:
    needs(request.param.__name__)
    folder = tmp_path_factory.mktemp(request.param.__name__)
    photos = folder / "photos"
    photos.mkdir()
    for name in ("bus.jpg", "dogs.jpg", "goldfish.jpg"):
        shutil.copy(DEMO / name, photos)
    with Collection.create(folder / "index") as collection:
        add(collection, photos)
    token = folder / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    with (serving("-i", folder / "index", "--token-file", token, "--name", NAME, "--writable",
                  photos) as server, request.param(folder, server.port) as (http, https, trusted)):
        yield Proxied(http, https, trusted)


def test_http_is_sent_to_https(proxied: Proxied) -> None:
    answer = httpx.get(f"http://127.0.0.1:{proxied.http}/?q=dog", headers={"Host": NAME})
    assert answer.status_code in (301, 308)
    assert answer.headers["location"].startswith(f"https://{NAME}")
    assert answer.headers["location"].endswith("/?q=dog")


def test_the_page_comes_with_its_policy(proxied: Proxied) -> None:
    answer = proxied.fresh().get("/")
    assert answer.status_code == 200 and "<!doctype html>" in answer.text.lower()
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


def test_the_cookie_logs_in(proxied: Proxied) -> None:
    assert {"HttpOnly", "Secure", "SameSite=strict", "Path=/"} <= set(proxied.cookie.split("; "))
    answer = proxied.page.post("/v1/search", json={"text": "two dogs"}, headers=proxied.origin)
    assert answer.json()["hits"][0]["name"] == "dogs.jpg"
    assert "log in" in detail(proxied.fresh().get("/v1/collections"), 401)
    bearer = proxied.fresh(Authorization=f"Bearer {TOKEN}")
    assert bearer.get("/v1/search", params={"q": "two dogs"}).status_code == 200


def test_other_sites_and_names_get_nothing(proxied: Proxied) -> None:
    evil = proxied.page.post("/v1/search", json={"text": "x"},
                             headers={"Origin": "https://evil.example"})
    assert "another site" in detail(evil, 403)
    answer = proxied.page.get("/v1/collections", headers={"Host": "evil.example"})
    assert "collections" not in answer.text  # 421 of mmsearch, or an empty page of Caddy


def test_pictures_come_whole_and_in_parts(proxied: Proxied) -> None:
    items = proxied.page.get("/v1/items").json()["items"]
    bus = next(item for item in items if item["name"] == "bus.jpg")
    data = (DEMO / "bus.jpg").read_bytes()
    whole = proxied.page.get(bus["image"])
    assert whole.content == data and whole.headers["accept-ranges"] == "bytes"
    part = proxied.page.get(bus["image"], headers={"Range": "bytes=100-299"})
    assert part.status_code == 206 and part.content == data[100:300]
    assert part.headers["content-range"] == f"bytes 100-299/{len(data)}"
    assert proxied.page.get(bus["image"], headers={"Range": f"bytes={len(data)}-"}
                            ).status_code == 416
    thumb = proxied.page.get(bus["thumb"])
    assert thumb.headers["content-type"] == "image/webp" and "immutable" in thumb.headers[
        "cache-control"]
    again = proxied.page.get(bus["thumb"], headers={"If-None-Match": thumb.headers["etag"]})
    assert again.status_code == 304


def test_uploads_arrive_up_to_the_limit(proxied: Proxied) -> None:
    answer = proxied.page.post("/v1/search", files={"image": CAT}, headers=proxied.origin)
    assert answer.status_code == 200 and answer.json()["hits"]
    added = proxied.page.post("/v1/items", files={"file": ("cat.jpg", CAT)},
                              headers=proxied.origin)
    assert added.status_code == 201 and added.json()["added"] == 1
    found = proxied.page.post("/v1/search", json={"text": "a cat"}, headers=proxied.origin)
    assert found.json()["hits"][0]["name"] == "cat.jpg"


def test_what_is_too_large_is_told_so(proxied: Proxied) -> None:
    """In our words where it is too large for us, and not yet for the proxy."""
    headers = {**proxied.origin, "Content-Type": "application/json"}
    large = b'{"text": "%s"}' % bytes(30_000_000)
    for _ in range(3):
        answer = proxied.page.post("/v1/search", content=large, headers=headers)
        assert "20 MB at most" in detail(answer, 413)
    with suppress(httpx.TransportError):  # or it hangs up
        assert proxied.page.post("/v1/search", content=bytes(70_000_000), headers=headers
                                 ).status_code >= 400
    answer = proxied.page.post("/v1/search", json={"text": "a bus"}, headers=proxied.origin)
    assert answer.json()["hits"][0]["name"] == "bus.jpg"
