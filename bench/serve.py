"""A server under load: `mmsearch serve`, the same without batches, and a Flask server that makes
one search a call, as clip-retrieval's back end does.

    python bench/serve.py
    python bench/serve.py --rows 10000 --clients 1 8 --seconds 2 --ask unique
    python bench/serve.py --overload
    python bench/serve.py --minutes 10

Each server is a process of its own with the same collection of CLIP-like vectors and the built-in
model; one after the other is asked for texts or pictures, by clients that ask again as soon as they
have an answer, over connections that stay open where the server lets them. The load comes from one
more process on the same machine. CPU ms is what the server's process computes for an answer: on a
machine that does other things too, it says more than the clock.

With --overload, 900 ask mmsearch, at once and then again and again: how soon those are told that
are turned away, and whether all is well between. With --minutes, its memory is looked at each
minute.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from clipvectors import ClipVectors
from measure import arguments, machine, table, write_json

SERVERS = ("mmsearch", "unbatched", "flask")
ASKED = ("unique", "repeated", "pictures")
HEAD = ("asked for", "clients", "server", "q/s", "p50 ms", "p99 ms", "CPU ms", "failed", "MB")
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
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--ask", nargs="+", choices=ASKED, default=ASKED)
    parser.add_argument("--seconds", type=float, default=8.0, help="for each figure")
    parser.add_argument("--only", default=",".join(SERVERS), help="servers, with commas between")
    parser.add_argument("--overload", action="store_true", help="more than are let in, at once")
    parser.add_argument("--minutes", type=int, default=0, help="of load, and memory after each")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)  # in a process of its own
    args = parser.parse_args()
    if args.run:
        {"unbatched": unbatched, "flask": flask}[args.run[0]](Path(args.run[1]))
        return
    print(machine(), end="\n\n")
    index = collection(args.cache, args.rows)
    if args.overload or args.minutes:
        with server("mmsearch", index) as (port, process):
            if args.overload:
                overload(port)
            for minute in range(args.minutes):
                one = asyncio.run(load(port, "unique", 16, 60))
                print(f"after {minute + 1} min: {memory(process.pid):.0f} MB, {one['qps']:.0f} q/s",
                      flush=True)
        return
    found: list[dict[str, Any]] = []
    for name in args.only.split(","):
        with server(name, index) as (port, process):
            asyncio.run(load(port, "unique", 4, 2))  # what loads with the first is loaded
            for asked, clients in itertools.product(args.ask, args.clients):
                before = cpu_seconds(process.pid)
                one = asyncio.run(load(port, asked, clients, args.seconds))
                spent = cpu_seconds(process.pid) - before
                one |= {"cpu": spent / max(one.pop("answers"), 1) * 1000,
                        "mb": memory(process.pid)}
                found.append({"asked": asked, "clients": clients, "server": name, **one})
                print(name, asked, clients, json.dumps(one), file=sys.stderr)
    found.sort(key=lambda one: (ASKED.index(one["asked"]), one["clients"]))
    print(table(HEAD, [(one["asked"], one["clients"], one["server"], f"{one['qps']:.1f}",
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
    from fastapi import FastAPI, File
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

    @app.post("/v1/search")
    def search_by_picture(image: bytes = File()) -> JSONResponse:
        query = Query(image=picture(image), k=10)
        return JSONResponse({"hits": shown_hits(served, served.reader.search(query))})

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

    WSGIRequestHandler.log_request = lambda *_: None  # type: ignore[method-assign]
    served = Served("index", Reader.open(index), 1)
    served.reader.search(text="warm")
    app = Flask("peer")

    @app.get("/v1/search")
    def search() -> Response:
        hits = served.reader.search(text=request.args["q"], k=int(request.args["k"]))
        return Response(json.dumps({"hits": shown_hits(served, hits)}), mimetype="application/json")

    @app.post("/v1/search")
    def search_by_picture() -> Response:
        hits = served.reader.search(image=picture(request.files["image"].read()), k=10)
        return Response(json.dumps({"hits": shown_hits(served, hits)}), mimetype="application/json")

    made = make_server("127.0.0.1", 0, app, threaded=True)
    print(f"serving on http://127.0.0.1:{made.port}/", file=sys.stderr, flush=True)
    made.serve_forever()


def picture(data: bytes) -> Any:
    from mmsearch.encoders import load_encoder
    from mmsearch.media import decode

    return decode(data, min_side=load_encoder("builtin").min_side).image


# -- load -----------------------------------------------------------------------------------------


async def load(port: int, asked: str, clients: int, seconds: float) -> dict[str, float]:
    """Answers a second, and how long they took; the first half second does not count."""
    requests = {"unique": _unique, "repeated": _repeated, "pictures": _pictures}[asked]()
    took: list[float] = []
    failed = answers = 0
    start = time.perf_counter() + 0.5

    async def client() -> None:
        nonlocal failed, answers
        connection = await asyncio.open_connection("127.0.0.1", port)
        while (now := time.perf_counter()) < start + seconds:
            status, stays = await ask(connection, next(requests))
            answers += 1
            if status != 200:
                failed += 1
            elif now >= start:
                took.append(time.perf_counter() - now)
            if not stays:
                connection[1].close()
                connection = await asyncio.open_connection("127.0.0.1", port)
        connection[1].close()

    await asyncio.gather(*(client() for _ in range(clients)))
    p50, p99 = np.percentile(took, [50, 99]) * 1000 if took else (float("nan"),) * 2
    return {"qps": len(took) / seconds, "p50": p50, "p99": p99, "failed": failed,
            "answers": answers}


async def ask(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], request: bytes
              ) -> tuple[int, bool]:
    """The status of the answer, which is read to its end, and whether the connection stays."""
    reader, writer = connection
    writer.write(request)
    async with asyncio.timeout(60):
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
    stays = head.startswith(b"http/1.1") and b"connection: close" not in head
    return int(head.split(maxsplit=2)[1]), stays


def overload(port: int, clients: int = 900) -> None:
    """How soon those are told that are turned away when all ask at once, and the others; whether
    all is well then; and how soon while the server stays full."""
    storm(port, clients)
    after = asyncio.run(load(port, "repeated", 1, 2))
    print(f"one client then: p50 {after['p50']:.1f} ms, {after['failed']} failed")
    print(f"{clients} that come again a second after they are turned away:")
    _print_by_status(asyncio.run(siege(port, clients, 10)))


def storm(port: int, clients: int) -> None:
    """Plain sockets, so that the one process that asks takes little of the cores that answer."""
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(clients)]
    selector = selectors.DefaultSelector()
    asked: dict[socket.socket, float] = {}
    took: dict[int, list[float]] = {}
    for connection in connections:  # they are there when the storm begins
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while not connection.recv(1 << 20).endswith(b"}"):
            pass
        selector.register(connection, selectors.EVENT_READ)
    for connection, request in zip(connections, _unique(), strict=False):
        asked[connection] = time.perf_counter()
        connection.sendall(request)
    print(f"{clients} ask within {(time.perf_counter() - asked[connections[0]]) * 1000:.0f} ms:")
    while asked:
        for key, _ in selector.select(60):
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            status = int(connection.recv(1 << 20).split(maxsplit=2)[1])
            took.setdefault(status, []).append(time.perf_counter() - asked.pop(connection))
            selector.unregister(connection)
    for connection in connections:
        connection.close()
    _print_by_status(took)


async def siege(port: int, clients: int, seconds: float) -> dict[int, list[float]]:
    """Seconds that answers take, by status, of clients that do what Retry-After says."""
    requests, until = _unique(), time.perf_counter() + seconds
    took: dict[int, list[float]] = {}

    async def client(n: int) -> None:
        await asyncio.sleep(n / clients)  # not all at once
        connection = await asyncio.open_connection("127.0.0.1", port)
        while (start := time.perf_counter()) < until:
            status, _ = await ask(connection, next(requests))
            took.setdefault(status, []).append(time.perf_counter() - start)
            if status == 429:
                await asyncio.sleep(1)
        connection[1].close()

    await asyncio.gather(*map(client, range(clients)))
    return took


def _print_by_status(took: dict[int, list[float]]) -> None:
    for status, times in sorted(took.items()):
        p50, p99 = np.percentile(times, [50, 99]) * 1000
        print(f"  status {status}: {len(times)} answers, p50 {p50:.0f} ms, p99 {p99:.0f} ms")


def _texts() -> list[str]:
    return [f"{what} {does} {where}" for where, does, what in itertools.product(
        _WHERE, _DOES, _WHAT)]


def _unique() -> Iterator[bytes]:
    stamp = time.time_ns() % 10_000  # that no run finds what one before it asked
    for n, text in enumerate(itertools.cycle(_texts())):
        yield _get(f"{text} {_word(n + stamp)}")


def _repeated() -> Iterator[bytes]:
    return map(_get, itertools.cycle(_texts()[:100]))


def _get(text: str) -> bytes:
    return (f"GET /v1/search?k=10&q={quote(text)} HTTP/1.1\r\nHost: localhost\r\n\r\n").encode()


def _pictures() -> Iterator[bytes]:
    """The pictures of the demo, as a browser would send them."""
    demo = files("mmsearch") / "demo"
    pictures = [one.read_bytes() for one in demo.iterdir() if one.name.endswith(".jpg")]
    for data in itertools.cycle(pictures):
        body = (b'--part\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n'
                b"Content-Type: image/jpeg\r\n\r\n" + data + b"\r\n--part--\r\n")
        yield (f"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
               "Content-Type: multipart/form-data; boundary=part\r\n\r\n").encode() + body


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
