"""Pictures behind web addresses: fetched when asked for, from servers of every kind."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, add
from sites import DATA, PICTURES, Site

from mmsearch.cli.sheet import contact_sheet
from mmsearch.collection.collection import Collection
from mmsearch.errors import MediaError
from mmsearch.records import Hit, Item
from mmsearch.sources import locate, web
from mmsearch.sources.folders import Scan, iter_items
from mmsearch.sources.web import Fetch, NotFound, fetching

PATIENT = Fetch(private=True, max_bytes=1 << 20, seconds=60, silence=30, pause=0.01)
QUICK = replace(PATIENT, seconds=1.5, silence=0.5)


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield site
        site.shutdown()


@pytest.fixture
def allowed() -> Iterator[None]:
    with fetching(PATIENT):
        yield


def reason(url: str) -> str:
    with pytest.raises(MediaError) as caught:
        locate.read(url)
    return str(caught.value)


def test_nothing_is_fetched_unasked(site: Site) -> None:
    assert "--fetch" in reason(f"{site.url}/0.jpg")
    item = Item(f"{site.url}/0.jpg", "image")
    page = contact_sheet([Hit(1, 0.5, item)], title="t")
    assert f'href="{site.url}/0.jpg"' in page and "--fetch" in page
    assert site.seen == []


def test_a_picture_whatever_the_server_calls_it(site: Site, allowed: None) -> None:
    data, fingerprint = locate.read(f"{site.url}/0.jpg?size=large#top")
    assert data == DATA[0]
    assert fingerprint == f'{len(data)}:etag="{hash(data)}"'
    (_, headers), = site.seen
    assert headers["Host"] == site.url.removeprefix("http://")
    assert headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(("path", "said"), [
    ("lying", "not an image (the server says: image/jpeg)"),
    ("huge", "1,099,511,627,776 bytes, limit 1 MiB"),
    ("endless", "more than 1,048,576 bytes, limit 1 MiB"),
    ("dribble", "took more than 1.5 seconds"),
    ("slowheaders", "took more than 1.5 seconds"),
    ("silent", ""),
    ("short", "cannot be fetched"),
    ("garbage", "cannot be fetched"),
    ("broken", "the server answers 500 Internal Server Error"),
    ("gone", "the server answers 410 Gone"),
    ("nowhere", "the server answers 404 Not Found"),
    ("loop", "redirected more than 5 times"),
    ("to?ftp://example.org/a.jpg", "not an http or https address: ftp"),
    ("to?file:///etc/passwd", "not an http or https address: file"),
])
def test_servers_that_misbehave(site: Site, path: str, said: str) -> None:
    with fetching(QUICK):
        assert said in reason(f"{site.url}/{path}")


def test_retries_and_what_is_not_tried_again(site: Site, allowed: None) -> None:
    assert locate.read(f"{site.url}/busy")[0] == DATA[0]
    for path in ("broken", "gone", "lying", "nowhere"):
        reason(f"{site.url}/{path}")
    asked = site.asked()
    assert (asked["busy"], asked["broken"]) == (3, 3)
    assert (asked["gone"], asked["lying"], asked["nowhere"]) == (1, 1, 1), site.seen


def test_redirects_are_followed(site: Site, allowed: None) -> None:
    assert locate.read(f"{site.url}/to?/to?1.jpg")[0] == DATA[1]


@pytest.mark.parametrize("host", [
    "127.0.0.1", "127.1", "2130706433", "0x7f.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]",
    "0.0.0.0", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1",
    "[fd00:ec2::254]", "[fe80::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "224.0.0.1",
    "[64:ff9b:1::7f00:1]", "[::127.0.0.1]", "[::ffff:0:127.0.0.1]", "[fec0::1]"])
def test_addresses_that_are_not_on_the_internet(site: Site, host: str) -> None:
    port = site.server_address[1]
    with fetching(Fetch(seconds=1, tries=1)):
        said = reason(f"http://{host}:{port}/0.jpg")
    assert "not on the internet" in said or "there is no address" in said
    assert site.seen == []


def test_the_address_that_was_checked_is_connected_to(
        site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads to a public address first, and to this machine when asked again."""
    port, asked = int(site.server_address[1]), []
    really = socket.getaddrinfo

    def rebinding(host: str, *args: Any, **options: Any) -> Any:
        if host != "rebinding.example":
            return really(host, *args, **options)
        asked.append(host)
        return really("203.0.113.9" if len(asked) == 1 else "127.0.0.1", *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(web, "_is_public", lambda address: address == "203.0.113.9")
    with fetching(Fetch(seconds=1, silence=0.3, tries=1)):
        assert "cannot be fetched" in reason(f"http://rebinding.example:{port}/0.jpg")
    assert (len(asked), site.seen) == (1, [])


def test_a_redirect_to_this_machine(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "_is_public", lambda address: address == "127.0.0.1")
    with fetching(Fetch(seconds=2, tries=1)):
        said = reason(f"{site.url}/to?http://127.0.0.2:{site.server_address[1]}/0.jpg")
    assert "leads to 127.0.0.2, which is not on the internet" in said
    assert site.asked() == {"to": 1}


@pytest.mark.parametrize("url", [
    "http://", "http:///a.jpg", "http://[::1", "http://a:99999999/x", "http://exa mple/",
    "http://\ud800/", "http://" + "a" * 300 + "/x.jpg", "https://127.0.0.1:1/x.jpg",
    "http://a\r\nX: y/"])
def test_odd_addresses(allowed: None, url: str) -> None:
    assert reason(url)


def test_what_is_known_is_asked_for_by_its_tag(site: Site, allowed: None) -> None:
    for path in ("0.jpg", "dated"):
        _, known = locate.read(f"{site.url}/{path}")
        assert web.check(f"{site.url}/{path}", known) == known
    site.pictures[0] = DATA[1]
    assert web.check(f"{site.url}/0.jpg", locate.read(f"{site.url}/1.jpg")[1]) != ""
    assert web.check(f"{site.url}/0.jpg", '9:etag="other"') == ""
    assert web.check(f"{site.url}/plain", locate.read(f"{site.url}/plain")[1]) == ""
    with pytest.raises(NotFound):
        web.check(f"{site.url}/gone", "9:")


def manifest(path: Path, site: Site, names: list[str]) -> Path:
    rows = [{"image": f"{site.url}/{name}", "caption": f"this is {name}"} for name in names]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def uris(collection: Collection) -> list[str]:
    found = collection.search(text="a picture", k=100, find="any", collapse=False)
    return sorted(hit.item.uri.rpartition("/")[2] for hit in found)


def test_a_manifest_of_web_addresses(
        tmp_path: Path, collection: Collection, site: Site, allowed: None) -> None:
    path = manifest(tmp_path / "m.jsonl", site, ["0.jpg", "1.jpg", "dated", "plain", "gone"])
    report = add(collection, path)
    assert (report.added, [one.reason for one in report.skipped]) == (
        8, ["the server answers 410 Gone"])
    (hit,) = collection.search(image=PICTURES[1], k=1)
    assert hit.item.uri == f"{site.url}/1.jpg" and hit.score > 0.99
    assert (hit.item.meta["size"], hit.item.meta["manifest"]) == (len(DATA[1]), str(path))

    site.seen.clear()
    report = add(collection, path)
    assert (report.added, report.replaced, report.removed) == (0, 0, 0)
    assert site.asked()["0.jpg"] == site.asked()["dated"] == 1  # a question each, no download
    site.pictures[0] = DATA[3]
    report = add(collection, path)
    assert report.replaced == 1
    assert collection.search(image=PICTURES[3], k=1)[0].item.uri == f"{site.url}/0.jpg"

    manifest(path, site, ["1.jpg"])
    assert add(collection, path).removed == 6
    assert uris(collection) == ["1.jpg", "1.jpg#caption1"]


def test_nothing_is_dropped_because_a_server_is_down(
        tmp_path: Path, collection: Collection, site: Site) -> None:
    path = manifest(tmp_path / "m.jsonl", site, ["0.jpg", "1.jpg"])
    with fetching(PATIENT):
        assert add(collection, path).added == 4
    site.shutdown()
    site.server_close()
    with fetching(QUICK):
        report = add(collection, path)
        assert (report.removed, len(report.skipped)) == (0, 2)
    report = add(collection, path)  # and not without --fetch either
    assert report.removed == 0
    assert [one.reason for one in report.skipped] == [
        "2 pictures are on the web; to download, add --fetch"]
    assert len(uris(collection)) == 4


def test_the_captions_of_a_refused_picture_are_not_indexed(
        tmp_path: Path, collection: Collection, site: Site, allowed: None) -> None:
    path = manifest(tmp_path / "m.jsonl", site, ["0.jpg", "lying.jpg", "9.jpg", "1.jpg"])
    for count in (4, 0):  # the next run asks again, and says it again
        report = add(collection, path)
        assert (report.added, len(report.skipped)) == (count, 2)
        assert uris(collection) == ["0.jpg", "0.jpg#caption1", "1.jpg", "1.jpg#caption1"]
    site.pictures.extend(DATA[:1] * 10)
    assert add(collection, path).added == 2


def test_many_are_fetched_at_once(
        tmp_path: Path, collection: Collection, site: Site, allowed: None) -> None:
    names = [f"{n % 4}.jpg?{n}" for n in range(60)]
    path = manifest(tmp_path / "m.jsonl", site, names)
    assert add(collection, path).added == 120
    assert sum(site.asked().values()) == 60


def test_the_command_line(tmp_path: Path, site: Site, cli: Cli) -> None:
    path = manifest(tmp_path / "m.jsonl", site, ["0.jpg"])
    refused = cli("index", path)
    assert refused.returncode == 2 and "to download, add --fetch" in refused.stderr
    unsafe = cli("index", path, "--fetch")
    assert "--fetch-private allows it" in unsafe.stderr
    assert unsafe.returncode == 1 and "added" not in unsafe.stdout  # nor its caption
    assert "added 2, items 2" in cli("index", path, "--fetch-private").stdout
    assert site.asked() == {"0.jpg": 1}
    shown = cli("query", "--image", f"{site.url}/0.jpg", "--filepath-only").stdout
    assert shown == f"{site.url}/0.jpg\n"


def test_a_manifest_names_members_of_archives(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("x/0.jpg", DATA[0])
    path = tmp_path / "m.csv"
    path.write_text("image,caption\na.zip!/x/0.jpg,one\na.zip!/x/1.jpg,two\ns3://b/c.jpg,three\n")
    scan = Scan()
    items = list(iter_items([path], scan=scan))
    assert [item.uri for item in items] == [f"{tmp_path}/a.zip!/x/0.jpg",
                                            f"{tmp_path}/a.zip!/x/0.jpg#caption1"]
    assert [one.reason for one in scan.skipped] == [
        "image not found: a.zip!/x/1.jpg",
        "s3://b/c.jpg: an address of this kind is read only from the command line, not from a "
        "manifest"]


def test_certificates_are_checked_against_the_name(
        tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                    "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    site.socket = context.wrap_socket(site.socket, server_side=True)
    port = site.server_address[1]
    once = replace(PATIENT, tries=1)
    with fetching(once):
        assert "certificate" in reason(f"https://localhost:{port}/0.jpg")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with fetching(once):
        assert locate.read(f"https://localhost:{port}/0.jpg")[0] == DATA[0]
        assert "cannot be fetched" in reason(f"https://127.0.0.1:{port}/0.jpg")
    assert [headers["Host"] for _, headers in site.seen] == [f"localhost:{port}"]
