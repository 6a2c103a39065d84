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
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from clients import load, overload
from clipvectors import ClipVectors
from measure import arguments, machine, table, write_json

SERVERS = ("mmsearch", "unbatched", "flask")
ASKED = ("unique", "repeated", "pictures")
HEAD = ("asked for", "clients", "server", "q/s", "p50 ms", "p99 ms", "CPU ms", "failed", "MB")


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
