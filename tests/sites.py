"""A web server of pictures, on this machine, that misbehaves in every way."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from conftest import DEMO

PICTURES = sorted(DEMO.glob("*.jpg"))[:4]
DATA = [path.read_bytes() for path in PICTURES]


class Handler(BaseHTTPRequestHandler):
    """`/1.jpg` is a picture with an ETag; the other paths misbehave, each in its way."""

    protocol_version = "HTTP/1.1"
    server: Site

    def handle(self) -> None:
        with suppress(OSError):  # hung up on
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].strip("/")
        self.server.seen.append((name, dict(self.headers)))
        with suppress(OSError):
            getattr(self, "on_" + name.partition(".")[0].partition("/")[0], self.on_picture)(name)

    def answer(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for key, value in {"Content_Length": str(len(data)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def on_picture(self, name: str) -> None:
        number = name.partition(".")[0]
        if not number.isdigit() or int(number) >= len(self.server.pictures):
            self.answer(404)
            return
        data = self.server.pictures[int(number)]
        tag = f'"{hash(data)}"'
        if self.headers.get("If-None-Match") == tag:
            self.answer(304, ETag=tag)
        else:
            self.answer(200, data, ETag=tag, Content_Type="text/html")  # a lie

    def on_dated(self, name: str) -> None:
        when = "Mon, 07 Sep 2020 10:00:00 GMT"
        same = self.headers.get("If-Modified-Since") == when
        self.answer(304 if same else 200, b"" if same else DATA[0], Last_Modified=when)

    def on_plain(self, name: str) -> None:
        self.answer(200, DATA[0])

    def on_lying(self, name: str) -> None:
        self.answer(200, b"<html>" * 100, Content_Type="image/jpeg")

    def on_huge(self, name: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(1 << 40))
        self.end_headers()

    def on_endless(self, name: str) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(DATA[0][:100])
        while True:
            self.wfile.write(bytes(1 << 16))

    def on_short(self, name: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA[0])))
        self.end_headers()
        self.wfile.write(DATA[0][:500])
        self.close_connection = True

    def on_silent(self, name: str) -> None:
        time.sleep(5)

    def on_dribble(self, name: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        for byte in DATA[0]:
            self.wfile.write(bytes([byte]))
            time.sleep(0.05)

    def on_slowheaders(self, name: str) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-A: ")
        for _ in range(200):
            self.wfile.write(b"a")
            time.sleep(0.05)

    def on_busy(self, name: str) -> None:
        """Answers when asked for the third time."""
        times = sum(one == name for one, _ in self.server.seen)
        self.answer(*((503,) if times == 1 else (429,) if times == 2 else (200, DATA[0])))

    def on_broken(self, name: str) -> None:
        self.answer(500)

    def on_loop(self, name: str) -> None:
        self.answer(302, Location="/loop")

    def on_to(self, name: str) -> None:
        self.answer(302, Location=self.path.partition("?")[2])

    def on_gone(self, name: str) -> None:
        self.answer(410)

    def on_garbage(self, name: str) -> None:
        self.wfile.write(b"\x00\xff nonsense\r\n\r\n")
        self.close_connection = True


class Site(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pictures = list(DATA)
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def asked(self) -> Counter[str]:
        return Counter(name for name, _ in self.seen)
