"""A server under load: `mmsearch serve`, the same without batches, and a Flask server that makes
one search a call, as clip-retrieval's back end does.

    python bench/serve.py
    python bench/serve.py --rows 10000 --clients 1 8 --seconds 2

Each server is a process of its own with the same collection of CLIP-like vectors and the built-in
model; one after the other is asked for texts, by clients that ask again as soon as they have an
answer, over connections that stay open. The load comes from one more process on the same machine.
CPU ms is what the server's process computes for an answer: on a machine that does other things too,
it says more than the clock.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from clipvectors import ClipVectors
from measure import arguments, machine, table, write_json

SERVERS = ("mmsearch", "unbatched", "flask")
HEAD = ("texts", "clients", "server", "q/s", "p50 ms", "p99 ms", "CPU ms", "failed", "MB")
_WHAT = ("a dog", "two cats", "an old man", "a woman in red", "children", "a yellow bus",
    "a sailing boat", "a bicycle", "a brown horse", "a small bird", "a plate of food",
    "a tall tower", "a train", "a guitar player", "flowers", "a black car", "a football team",
    "an open book", "a wooden chair", "a cup of coffee")
_DOES = ("running", "sleeping", "in the rain", "at night", "seen from above", "in the snow",
    "near a river", "at sunset", "in a crowd", "under a tree", "behind glass",
    "in black and white", "on a hill", "by the sea", "indoors", "in a market", "on a bridge",
    "in fog", "in the morning", "with an umbrella")
_WHERE = ("in Paris", "in a village", "in the desert", "on a beach", "in a garden", "at school",
    "on a farm", "at home", "in an office", "on the road", "in a forest", "at the harbour",
    "in winter", "in summer", "in autumn", "at a party", "at the station", "in a museum",
    "in the mountains", "in a park")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--seconds", type=float, default=8.0, help="for each figure")
    parser.add_argument("--only", default=",".join(SERVERS), help="servers, with commas between")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)  # in a process of its own
    args = parser.parse_args()
    if args.run:
        {"unbatched": unbatched, "flask": flask}[args.run[0]](Path(args.run[1]))
        return
    print(machine(), end="\n\n")
    index = collection(args.cache, args.rows)
    found: list[dict[str, Any]] = []
    for name in args.only.split(","):
        with server(name, index) as (port, process):
            for texts, clients in itertools.product(("unique", "repeated"), args.clients):
                before = cpu_seconds(process.pid)
                one = asyncio.run(load(port, texts, clients, args.seconds))
                spent = cpu_seconds(process.pid) - before
                one |= {"cpu": spent / one.pop("answers") * 1000, "mb": memory(process.pid)}
                found.append({"texts": texts, "clients": clients, "server": name, **one})
                print(name, texts, clients, json.dumps(one), file=sys.stderr)
    found.sort(key=lambda one: (one["texts"] != "unique", one["clients"]))
    print(table(HEAD, [(one["texts"], one["clients"], one["server"], f"{one['qps']:.0f}",
                        f"{one['p50']:.1f}", f"{one['p99']:.1f}", f"{one['cpu']:.1f}",
                        one["failed"], f"{one['mb']:.0f}") for one in found]))
    write_json(args.json, rows=args.rows, figures=found)


def collection(cache: Path, rows: int) -> Path:
    index = cache / f"serve-{rows}"
    if not (index / "catalog.db").exists():
        from mmsearch.encoders import load_encoder

        vectors = cache / f"serve-{rows}.npy"
        cache.mkdir(parents=True, exist_ok=True)
        np.save(vectors, ClipVectors(seed=0, dim=load_encoder("builtin").dim).images(0, rows))
        subprocess.run([sys.executable, "-m", "mmsearch", "index", "--vectors", vectors, "--model",
                        "builtin", "-i", index], check=True)
        vectors.unlink()
    return index


# -- servers --------------------------------------------------------------------------------------


@contextmanager
def server(name: str, index: Path) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    command = ["-m", "mmsearch", "serve", "-i", index, "--port", "0"] if name == "mmsearch" else [
        __file__, "--run", name, index]
    process = subprocess.Popen([sys.executable, *map(str, command)], text=True,
                               stderr=subprocess.PIPE)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if line.startswith("serving on "):
                break
        port = int(line.rstrip("/\n").rpartition(":")[2])
        # What is logged has to go somewhere.
        sink = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
        yield port, process
    finally:
        process.terminate()
        process.wait()
        sink.wait()


def unbatched(index: Path) -> None:
    """The same routes on the same framework; each search is a call of its own in a thread."""
    import uvicorn
    from fastapi import FastAPI
    from fastapi.responses import JSONResponse

    from mmsearch.collection import Reader
    from mmsearch.search import Query
    from mmsearch.server.listening import Listening, listen
    from mmsearch.server.served import Served
    from mmsearch.server.settings import Settings
    from mmsearch.server.shown import shown_hits
    from mmsearch.server.state import Server

    served = Served("index", Reader.open(index), 1)
    served.reader.search(text="warm")
    app = FastAPI()

    @app.get("/v1/search")
    def search(q: str, k: int = 10) -> JSONResponse:
        return JSONResponse({"hits": shown_hits(served, served.reader.search(Query(text=q, k=k)))})

    sockets = listen("127.0.0.1", 0)
    config = uvicorn.Config(app, log_level="error", access_log=False)
    Listening(config, Server(Settings(indexes=(index,))), lambda: print(
        f"serving on http://127.0.0.1:{sockets[0].getsockname()[1]}/", file=sys.stderr,
        flush=True)).run(sockets)


def flask(index: Path) -> None:
    from flask import Flask, Response, request
    from werkzeug.serving import WSGIRequestHandler, make_server

    from mmsearch.collection import Reader
    from mmsearch.server.served import Served
    from mmsearch.server.shown import shown_hits

    WSGIRequestHandler.protocol_version = "HTTP/1.1"
    WSGIRequestHandler.log_request = lambda *_: None  # type: ignore[method-assign]
    served = Served("index", Reader.open(index), 1)
    served.reader.search(text="warm")
    app = Flask("peer")

    @app.get("/v1/search")
    def search() -> Response:
        hits = served.reader.search(text=request.args["q"], k=int(request.args["k"]))
        return Response(json.dumps({"hits": shown_hits(served, hits)}), mimetype="application/json")

    made = make_server("127.0.0.1", 0, app, threaded=True)
    print(f"serving on http://127.0.0.1:{made.port}/", file=sys.stderr, flush=True)
    made.serve_forever()


# -- load -----------------------------------------------------------------------------------------


async def load(port: int, texts: str, clients: int, seconds: float) -> dict[str, float]:
    """Answers a second, and how long they took; the first half second does not count."""
    every = [f"{what} {does} {where}" for where, does, what in itertools.product(
        _WHERE, _DOES, _WHAT)]
    stamp = time.time_ns() % 10_000  # that no run finds what one before it asked
    asked = (f"{text} {_word(n + stamp)}" for n, text in enumerate(itertools.cycle(every))) \
        if texts == "unique" else itertools.cycle(every[:100])
    took: list[float] = []
    failed = answers = 0
    start = time.perf_counter() + 0.5

    async def client() -> None:
        nonlocal failed, answers
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (now := time.perf_counter()) < start + seconds:
            writer.write(f"GET /v1/search?k=10&q={quote(next(asked))} HTTP/1.1\r\n"
                         "Host: localhost\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            answers += 1
            if not head.startswith(b"HTTP/1.1 200"):
                failed += 1
            elif now >= start:
                took.append(time.perf_counter() - now)
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    p50, p99 = np.percentile(took, [50, 99]) * 1000
    return {"qps": len(took) / seconds, "p50": p50, "p99": p99, "failed": failed,
            "answers": answers}


def _word(number: int) -> str:
    """A made-up word for a number: digits would be one token for many."""
    return "".join(f"{'bdfgklmnprst'[(number // 60 ** n) % 12]}{'aeiou'[(number // 60 ** n) % 5]}"
                   for n in range(3))


def cpu_seconds(pid: int) -> float:
    """What all threads of a process have computed so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """Of a process and what it maps, MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1000


if __name__ == "__main__":
    main()
