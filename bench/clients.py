"""Clients of `bench/serve.py`: who asks a server over and over, or all at once."""

from __future__ import annotations

import asyncio
import itertools
import selectors
import socket
import time
from collections.abc import Iterator
from importlib.resources import files
from urllib.parse import quote

import numpy as np

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
