"""Agents find pictures through the official client of the protocol."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import anyio
from conftest import DEMO
from httpx2 import AsyncClient
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from PIL import Image
from serving import TOKEN, detail, serving

from mmsearch.collection import Reader

INITIALIZE = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
    "protocolVersion": "2025-06-18", "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"}}}
Work = Callable[[Client], Awaitable[None]]


def talk(target: Any, work: Work) -> None:
    async def run() -> None:
        async with Client(target) as client:
            await work(client)

    anyio.run(run)


def over_stdio(*indexes: Path) -> StdioServerParameters:
    options = [text for index in indexes for text in ("-i", str(index))]
    return StdioServerParameters(command=sys.executable, args=["-m", "mmsearch", "mcp", *options],
                                 env=dict(os.environ))


def parts(answer: Any) -> tuple[list[Any], list[Image.Image]]:
    """The JSON lines and the pictures of an answer."""
    assert not answer.is_error, answer.content
    texts = [json.loads(one.text) for one in answer.content if one.type == "text"]
    pictures = [one for one in answer.content if one.type == "image"]
    assert {one.mime_type for one in pictures} <= {"image/jpeg"}
    return texts, [Image.open(BytesIO(base64.b64decode(one.data))) for one in pictures]


async def complaint(client: Client, tool: str, **asked: Any) -> str:
    answer = await client.call_tool(tool, asked)
    assert answer.is_error
    return str(answer.content[0].text)


def test_an_agent_finds_and_looks(demo_index: Path) -> None:
    async def work(client: Client) -> None:
        tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools] == ["search", "similar", "get", "describe"]
        assert all(tool.annotations.read_only_hint for tool in tools)
        assert "strangers" in (client.instructions or "")
        hits, pictures = parts(await client.call_tool("search", {"text": "a cat", "k": 3}))
        assert hits[0]["path"] == str(DEMO / "cat.jpg") and hits[0]["match"] > 0.3
        assert len(pictures) == 3 and max(pictures[0].size) == 256
        cat = hits[0]["id"]
        (about,), (large,) = parts(await client.call_tool("get", {"id": cat, "size": 400}))
        assert about["captions"] and about["meta"]["width"] and max(large.size) == 400
        for example in (cat, str(DEMO / "cat.jpg")):
            again, _ = parts(await client.call_tool("search", {"picture": example, "k": 1}))
            assert again[0]["id"] == cat and again[0]["score"] > 0.99
        like, none = parts(await client.call_tool(
            "similar", {"id": cat, "k": 4, "pictures": False}))
        assert len(like) == 4 and not none and cat not in [hit["id"] for hit in like]

    talk(over_stdio(demo_index), work)


def test_conditions_texts_and_what_there_is(demo_index: Path, tmp_path: Path) -> None:
    picture = tmp_path / "new.png"
    Image.open(DEMO / "bus.jpg").save(picture)

    async def work(client: Client) -> None:
        (about,), _ = parts(await client.call_tool("describe", {}))
        with Reader.open(demo_index) as reader:
            assert about["items"] == reader.info()["items"]
        condition, count = next(iter(about["filters"]["colours"].items()))
        hits, _ = parts(await client.call_tool(
            "search", {"text": "food", "where": [condition], "k": 30, "pictures": False}))
        assert len(hits) == min(count, 30)
        texts, pictures = parts(await client.call_tool(
            "search", {"picture": str(picture), "find": "text", "k": 2}))
        assert "bus" in texts[0]["text"] and not pictures
        nothing = await client.call_tool("search", {"text": "a", "where": "width > 90000"})
        assert nothing.content[0].text == "nothing found"

    talk(over_stdio(demo_index), work)


def test_an_agent_is_told_what_is_wrong(demo_index: Path) -> None:
    async def work(client: Client) -> None:
        assert "give a text or a picture" in await complaint(client, "search")
        assert "no item 12345" in await complaint(client, "get", id=12345)
        assert "there are: index" in await complaint(client, "describe", collection="nope")
        assert "no such file" in await complaint(client, "search", picture="/nowhere.jpg")
        assert "not an image" in await complaint(
            client, "search", picture=str(DEMO / "captions.jsonl"))
        assert "k" in await complaint(client, "search", text="a", k=1000)
        assert "width >" in await complaint(client, "search", text="a", where="width >")

    talk(over_stdio(demo_index), work)


def test_an_agent_elsewhere_finds_and_looks(demo_index: Path, tmp_path: Path) -> None:
    picture = tmp_path / "own.jpg"
    picture.write_bytes((DEMO / "bus.jpg").read_bytes())

    async def work(client: Client) -> None:
        hits, pictures = parts(await client.call_tool("search", {"text": "a cat", "k": 2}))
        assert hits[0]["path"] == str(DEMO / "cat.jpg") and len(pictures) == 2
        again, _ = parts(await client.call_tool("search", {"picture": str(DEMO / "bus.jpg")}))
        assert again[0]["path"] == str(DEMO / "bus.jpg") and again[0]["score"] > 0.99
        for path in (picture, "/etc/passwd", "http://127.0.0.1:1/a.jpg"):
            said = await complaint(client, "search", picture=str(path))
            assert "is not indexed; give the id or path of a result" in said

    with serving("-i", demo_index, "--token", TOKEN) as server:
        address = f"{server.client.base_url}mcp"
        headers = {"Authorization": f"Bearer {TOKEN}"}

        async def run() -> None:
            async with AsyncClient(headers=headers, timeout=60) as http, Client(
                    streamable_http_client(address, http_client=http)) as client:
                await work(client)

        anyio.run(run)
        ask = partial(server.client.post, "/mcp", json=INITIALIZE)
        accepts = headers | {"Accept": "application/json, text/event-stream"}
        assert ask(headers=accepts).json()["result"]["serverInfo"]["name"] == "mmsearch"
        assert "log in first" in detail(ask(), 401)
        detail(server.client.get("/mcp", headers=headers | {"Accept": "text/event-stream"}), 405)
        detail(ask(headers=accepts | {"Authorization": "Bearer wrong"}), 401)
        detail(ask(headers=accepts | {"Host": "evil.example"}), 421)
        detail(ask(headers=accepts | {"Origin": "http://evil.example"}), 403)


def test_without_a_collection_or_the_extra_it_is_said(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "mmsearch", "mcp", "-i", tmp_path / "none"],
                          capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (1, "") and "holds no collection" in done.stderr
    code = ("import sys; sys.modules['mcp'] = None\n"
            "from mmsearch.cli.app import main; sys.argv = ['mmsearch', 'mcp']; main()")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and "pip install 'mmsearch[mcp]'" in done.stderr


def test_what_answers_agents_is_loaded_when_one_asks(demo_index: Path) -> None:
    code = """
import json, sys
from pathlib import Path
from starlette.testclient import TestClient
from mmsearch.server.app import make_app
from mmsearch.server.settings import Settings
from mmsearch.server.state import Server
with TestClient(make_app(Server(Settings(indexes=(Path(sys.argv[1]),)))),
                base_url="http://localhost") as client:
    assert client.get("/v1/info").is_success and not {"mcp", "mcp_types"} & sys.modules.keys()
    for _ in range(2):
        answer = client.post("/mcp", json=json.loads(sys.argv[2]),
                             headers={"Accept": "application/json, text/event-stream"})
        assert answer.status_code == 200 and "mmsearch" in answer.text, answer.text
    assert "mcp" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, demo_index, json.dumps(INITIALIZE)], check=True,
                   timeout=120)


def test_standard_output_has_the_protocol_alone(demo_index: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "mmsearch", "mcp", "-i", demo_index],
                          input=json.dumps(INITIALIZE) + "\n", capture_output=True, text=True,
                          timeout=60)
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["result"]["serverInfo"]["name"] == "mmsearch"
