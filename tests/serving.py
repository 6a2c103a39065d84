"""A real server, as a process of its own."""

from __future__ import annotations

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


_WITH_SETTINGS = """
import sys
from pathlib import Path
from mmsearch.server import Settings, serve
serve(Settings(indexes=(Path(sys.argv[1]),), port=0, **eval(sys.argv[2])),
      started=lambda address: print("serving on", address, file=sys.stderr, flush=True))
"""


@contextmanager
def serving(*args: object, headers: dict[str, str] | None = None, **settings: object
            ) -> Iterator[Serving]:
    """Runs `mmsearch serve ARGS… --port 0` until the end of the block.

    settings: what no option says: then the only argument is the collection.
    """
    command = ["-c", _WITH_SETTINGS, *args, repr(settings)] if settings else [
        "-m", "mmsearch", "serve", *args, "--port", "0"]
    process = subprocess.Popen([sys.executable, *map(str, command)], stderr=subprocess.PIPE,
                               text=True)
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
