"""A real server, as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import IO, Any

import httpx

TOKEN = "0123456789abcdef-token"


@dataclass
class Serving:
    """client: knows the address; process: the server; said: all that it wrote to stderr so far."""

    client: httpx.Client
    process: subprocess.Popen[str]
    said: list[str]

    @property
    def port(self) -> int:
        return int(self.client.base_url.port or 0)


@contextmanager
def serving(*args: object, env: dict[str, str] | None = None, headers: dict[str, str] | None = None
            ) -> Iterator[Serving]:
    """Runs `mmsearch serve ARGS… --port 0` until the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mmsearch", "serve", *map(str, args), "--port", "0"],
        stderr=subprocess.PIPE, text=True, env=os.environ | (env or {}))
    assert process.stderr is not None
    said: list[str] = []
    reading = Thread(target=said.extend, args=[process.stderr])
    try:
        address = _address(process.stderr, said)
        reading.start()  # a pipe that nobody reads would hold the server up
        with httpx.Client(base_url=address, timeout=60, headers=headers) as client:
            yield Serving(client, process, said)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(60)
        if reading.is_alive():
            reading.join()
        process.stderr.close()


def _address(stderr: IO[str], said: list[str]) -> str:
    for line in stderr:
        said.append(line)
        if line.startswith("serving on "):
            return line.removeprefix("serving on ").strip()
    raise AssertionError("".join(said))


def detail(answer: httpx.Response, status: int) -> str:
    """What a problem says, after checking that it is one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == status and body["title"]
    return str(body["detail"])
