"""Serving folders that are indexed at the same time, and followed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from conftest import DEMO, Cli
from serving import serving


def wait_for(ask: Callable[[], Any]) -> Any:
    """What `ask` gives, once it gives anything; after a minute, an error."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if found := ask():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def state(client: httpx.Client) -> dict[str, Any]:
    (one,) = client.get("/v1/status").json()["collections"]
    return dict(one)


def test_a_folder_is_indexed_while_it_is_served(photos: Path, tmp_path: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    with serving(photos, "-i", tmp_path / "index") as server:
        client = server.client
        first = client.get("/v1/search", params={"q": "a cat"}).json()
        assert "hits" in first  # whatever is there by now
        done = wait_for(lambda: state(client) if state(client)["state"] == "ready" else None)
        assert (done["items"], done["done"], done["skipped"], done["error"]) == (12, 13, 1, None)
        (skipped,) = done["skipped_files"]
        assert skipped["path"].endswith("broken.jpg") and skipped["reason"]
        assert client.get("/v1/items").json()["total"] == 12
        assert client.get("/v1/collections").json()["collections"][0]["indexing"] is None
    assert any("broken.jpg" in line for line in server.said)


def test_changes_are_followed(photos: Path, tmp_path: Path) -> None:
    with serving(photos, "-i", tmp_path / "index", "--watch") as server:
        client = server.client
        wait_for(lambda: state(client)["items"] == 12)
        shutil.copy(DEMO / "wren.jpg", photos / "new.jpg")
        wait_for(lambda: state(client)["items"] == 13)
        (photos / "new.jpg").write_bytes(b"\xff\xd8\xff broken")
        (photos / "torn.jpg").write_bytes(b"\xff\xd8\xff torn")
        wait_for(lambda: state(client)["skipped"] == 2)
        names = [Path(one["path"]).name for one in state(client)["skipped_files"]]
        assert sorted(names) == ["new.jpg", "torn.jpg"]
        shutil.copy(DEMO / "cat.jpg", photos / "new.jpg")
        (photos / "torn.jpg").unlink()
        wait_for(lambda: not state(client)["skipped"])
        (photos / "new.jpg").unlink()
        wait_for(lambda: state(client)["items"] == 12)


def test_a_server_that_is_stopped_while_indexing_keeps_what_is_done(tmp_path: Path, cli: Cli
                                                                    ) -> None:
    with serving(DEMO, "-i", tmp_path / "index") as server:
        server.process.terminate()
        server.process.wait(60)
    assert cli("verify", "-i", tmp_path / "index").returncode == 0


def test_what_cannot_be_served_is_said_in_a_sentence(cli: Cli, tmp_path: Path) -> None:
    short = tmp_path / "token"
    short.write_text("abc")
    for args, code, says in (
            (["-i", tmp_path / "none"], 1, "holds no collection"),
            ([tmp_path / "nowhere"], 2, "no such file or folder"),
            (["--watch"], 2, "--watch needs the folders"),
            (["--host", "0.0.0.0"], 2, "give a --token-file, or say --no-auth"),
            (["--token-file", short], 2, "16 characters"),
            (["--token-file", tmp_path / "no"], 2, "cannot be read"),
            (["--writable", tmp_path / "no"], 2, "a folder that exists"),
            (["-i", tmp_path / "none", "--host", "192.0.2.1", "--no-auth"], 1, "cannot listen")):
        done = cli("serve", *args)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert says in done.stderr and "Traceback" not in done.stderr
