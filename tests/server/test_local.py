"""The socket in a collection's directory: `mmsearch query` uses it, nobody else can."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import DEMO, Cli, somebody_else
from serving import TOKEN, Serving, serving

from mmsearch.client.local import ask_local, connected, socket_in
from mmsearch.collection import Reader
from mmsearch.search import Query


@pytest.fixture(scope="module")
def index(demo_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection that only these tests serve."""
    path = tmp_path_factory.mktemp("local") / "index"
    shutil.copytree(demo_index, path, ignore=shutil.ignore_patterns("*.sock"))
    return path


@pytest.fixture(scope="module")
def server(index: Path, served_index: Path) -> Iterator[Serving]:
    with serving("-i", served_index, "-i", index, "--token", TOKEN) as running:
        yield running


def printed(cli: Cli, *args: object) -> list[dict[str, Any]]:
    done = cli("query", *args, "--json", check=True)
    hits: list[dict[str, Any]] = json.loads(done.stdout)
    return hits


@pytest.mark.parametrize("asked", [
    ["a dog", "-k", 3], ["snow", "a mountain", "--not", "people", "--weight", 1, "--weight", 0.4],
    ["a dgo", "--find", "any", "--no-collapse"], ["food", "--diverse", 0.3, "--offset", 2],
    ["bird", "--mode", "hybrid", "--where", "width>300"], ["bird", "--mode", "text"],
    ["--image", DEMO / "cat.jpg"], ["--image", DEMO / "bus.jpg", "--crop", "0,0,50%,50%", "red"],
    ["a", "--where", "width > 90000"], ["a", "--where", "nonsense = 1"], ["ein Hund im Schnee"],
    ["--image", "nowhere.jpg"], ["a", "-k", 2000], ["a", "--where", "width >"]], ids=str)
def test_a_query_says_the_same_with_and_without_a_server(
        cli: Cli, server: Serving, index: Path, asked: list[object], tmp_path: Path) -> None:
    there = cli("query", *asked, "-i", index)
    shutil.copytree(index, tmp_path / "copy", ignore=shutil.ignore_patterns("*.sock"))
    here = cli("query", *asked, "-i", tmp_path / "copy")
    assert there.returncode == here.returncode
    assert (there.stdout, there.stderr.replace(str(index), "…")) == (
        here.stdout, here.stderr.replace(str(tmp_path / "copy"), "…"))


def test_json_says_that_the_server_found_it(cli: Cli, server: Serving, index: Path) -> None:
    for asked in (["a dog"], ["--image", DEMO / "cat.jpg"]):
        found = printed(cli, *asked, "-i", index)
        assert len(found) == 10 and {hit["server"] for hit in found} == {socket_in(index)}
        assert all("server" not in hit for hit in
                   printed(cli, *asked, "-i", index, "--model", "builtin"))


def test_such_a_query_loads_neither_numpy_nor_a_model(server: Serving, index: Path) -> None:
    code = ("import sys; from mmsearch.cli.app import app\n"
            "app('query')(['query', 'a dog', '--json', '-i', sys.argv[1]], standalone_mode=False)\n"
            "print([name for name in ('numpy', 'onnxruntime', 'sqlite3', 'PIL', 'http.client', "
            "'httpx') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code, index], capture_output=True, text=True,
                          check=True)
    assert done.stdout.splitlines()[-1] == "[]" and '"server"' in done.stdout


def test_hits_are_the_very_same(server: Serving, index: Path) -> None:
    query = Query(text="a dog", find="any", k=30, mode="hybrid")
    found = ask_local(index, query)
    assert found is not None
    with Reader.open(index) as reader:
        assert found[0] == reader.search(query)


def test_only_its_user_can_connect(server: Serving, index: Path) -> None:
    info = os.lstat(socket_in(index))
    assert stat.S_ISSOCK(info.st_mode) and stat.S_IMODE(info.st_mode) == 0o600
    with somebody_else():
        if os.geteuid() != info.st_uid:  # the tests run as root
            assert connected(socket_in(index)) is None
            with socket.socket(socket.AF_UNIX) as line, pytest.raises(PermissionError):
                line.connect(socket_in(index))


def test_the_network_gets_no_files_by_their_paths(server: Serving, index: Path) -> None:
    body = {"image": [{"path": str(DEMO / "cat.jpg")}]}
    headers = {"Authorization": f"Bearer {TOKEN}"}
    for route in ("/v1/hits", "/v1/search"):
        assert server.client.post(route, json=body).status_code == 401
        answer = server.client.post(route, json=body, headers=headers)
        assert answer.status_code == 422 and "image.0.path" in answer.json()["detail"]


def test_it_comes_and_goes_with_the_server(index: Path, tmp_path: Path) -> None:
    copy = tmp_path / "index"
    shutil.copytree(index, copy, ignore=shutil.ignore_patterns("*.sock"))
    query = Query(text="a dog")
    with serving("-i", copy):
        assert ask_local(copy, query)
        with serving("-i", copy):  # does not take it away
            assert ask_local(copy, query)
        assert ask_local(copy, query)
    assert not os.path.lexists(socket_in(copy))
    with serving("-i", copy, "--workers", 2):
        assert ask_local(copy, query)
    assert not os.path.lexists(socket_in(copy))


def test_one_that_was_left_behind_is_passed_over_and_replaced(
        cli: Cli, index: Path, tmp_path: Path) -> None:
    copy = tmp_path / "index"
    shutil.copytree(index, copy, ignore=shutil.ignore_patterns("*.sock"))
    with serving("-i", copy) as killed:
        killed.process.send_signal(signal.SIGKILL)
        killed.process.wait()
    assert os.path.lexists(socket_in(copy))
    assert "server" not in printed(cli, "a dog", "-i", copy)[0]
    with serving("-i", copy):
        assert printed(cli, "a dog", "-i", copy)[0]["server"] == socket_in(copy)


def test_what_is_no_socket_stays(index: Path, tmp_path: Path) -> None:
    copies = [tmp_path / name for name in ("file", "folder", "link")]
    for copy in copies:
        shutil.copytree(index, copy, ignore=shutil.ignore_patterns("*.sock"))
    file, folder, link = (Path(socket_in(copy)) for copy in copies)
    file.write_text("no socket")
    folder.mkdir()
    link.symlink_to("/dev/null")
    with serving(*(word for copy in copies for word in ("-i", copy))) as server:
        for copy in copies:
            asked = {"q": "a dog", "collection": copy.name}
            assert server.client.get("/v1/search", params=asked).json()["hits"]
            assert ask_local(copy, Query(text="a dog")) is None
    assert file.read_text() == "no socket" and folder.is_dir() and link.is_symlink()


@pytest.mark.parametrize("said", [
    b"", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n[1]", b"nonsense",
    b'HTTP/1.1 200 OK\r\n\r\n{"version": "0.0.1", "hits": [], "corrected": {}, "note": null}',
    b'HTTP/1.1 500 Oh\r\n\r\n{"detail": "no"}'])
def test_whoever_answers_otherwise_is_not_believed(tmp_path: Path, said: bytes) -> None:
    from threading import Thread

    with socket.socket(socket.AF_UNIX) as other:
        other.bind(socket_in(tmp_path))
        other.listen()

        def answer() -> None:
            line, _ = other.accept()
            with line:
                while b"\r\n\r\n" not in line.recv(1 << 16):
                    pass
                line.sendall(said)

        thread = Thread(target=answer)
        thread.start()
        assert ask_local(tmp_path, Query(text="a dog")) is None
        thread.join()


def test_a_path_that_is_too_long_does_without(cli: Cli, index: Path, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100) / "index"
    shutil.copytree(index, long, ignore=shutil.ignore_patterns("*.sock"))
    with serving("-i", long) as server:
        assert server.client.get("/v1/info").json()["items"] > 50
        assert "server" not in printed(cli, "a dog", "-i", long)[0]
