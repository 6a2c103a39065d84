"""`mmsearch query` and `info` find the same, whoever answers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from conftest import DEMO, Cli
from serving import TOKEN, Serving, serving


def address_of(server: Serving) -> str:
    return str(server.client.base_url)


def without(hits: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{name: value for name, value in hit.items() if name not in names} for hit in hits]


@pytest.mark.parametrize("asked", [
    ["a dog", "-k", 3], ["a dgo", "--find", "any", "--no-collapse"],
    ["bird", "--mode", "hybrid", "--where", "width>300"],
    ["--image", DEMO / "cat.jpg", "--crop", "0,0,50%,50%"]], ids=str)
def test_a_query_of_an_address_prints_what_that_of_the_directory_prints(
        cli: Cli, demo_server: Serving, demo_index: Path, asked: list[object]) -> None:
    here = cli("query", *asked, "-i", demo_index, check=True)
    there = cli("query", *asked, "-i", address_of(demo_server), check=True)
    assert (there.stdout, there.stderr) == (here.stdout, here.stderr)
    assert here.stdout.count("\n") > 2


def test_json_says_which_server_found_it(cli: Cli, demo_server: Serving, demo_index: Path) -> None:
    asked = ["query", "a dog", "--json", "-k", "4"]
    there = json.loads(cli(*asked, "-i", address_of(demo_server), check=True).stdout)
    assert {hit["server"] for hit in there} == {address_of(demo_server).rstrip("/")}
    here = json.loads(cli(*asked, "-i", demo_index, check=True).stdout)
    assert without(there, "server") == without(here, "server")


def test_info_of_an_address(cli: Cli, demo_server: Serving, served_index: Path) -> None:
    asked = {"env": os.environ | {"MMSEARCH_INDEX": address_of(demo_server)}}
    assert cli("info", check=True, **asked).stdout == cli("info", "-i", served_index).stdout
    facts = json.loads(cli("info", "--json", check=True, **asked).stdout)
    assert facts["path"] == str(served_index)


def test_the_token_comes_from_the_environment(cli: Cli, demo_index: Path) -> None:
    with serving("-i", demo_index, "--token", TOKEN) as server:
        asked = ["query", "a dog", "-k", "1", "-i", address_of(server)]
        refused = cli(*asked)
        assert refused.returncode == 1 and refused.stdout == ""
        assert "wants a token (token=, or MMSEARCH_TOKEN)" in refused.stderr
        assert cli(*asked, check=True, env=os.environ | {"MMSEARCH_TOKEN": TOKEN}).stdout


def test_what_a_server_cannot_do_is_said(cli: Cli, demo_server: Serving) -> None:
    def complaint(*args: object) -> str:
        done = cli(*args, "-i", address_of(demo_server))
        assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
        return done.stderr

    assert "leave out --model" in complaint("query", "a", "--model", "good")
    assert "open http" in complaint("query", "a", "--html", "x.html")
    assert "only query and info ask a server" in complaint("delete", "a.jpg")
    assert "only query and info ask a server" in complaint("index", DEMO)


def test_a_server_says_why_nothing_was_found(cli: Cli, demo_server: Serving) -> None:
    done = cli("query", "a", "--where", "width > 90000", "-i", address_of(demo_server), check=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "nothing meets the condition\n")
