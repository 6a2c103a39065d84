"""A hub on this machine: what huggingface.co answers to its client, over folders of files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = 50_000
"""Larger files are given out by another host, as those in Git LFS are."""


class Hub:
    """root: OWNER/NAME/FILES.

    log: method and path of every request, with its range; broken: parts of paths whose next
    transfer breaks off; busy: how many of the next questions are one too many.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log: list[str] = []
        self.broken: set[str] = set()
        self.busy = 0
        self.url = ""

    def fetched(self) -> list[str]:
        """The files whose contents were asked for."""
        return [line.split()[1] for line in self.log if line.startswith("GET /cdn")]


@contextmanager
def serve(root: Path) -> Iterator[Hub]:
    hub = Hub(root)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.log.append(f"{self.command} {path} {self.headers.get('Range', '')}".strip())
            if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/([^/]+)", path):
                if hub.busy:
                    hub.busy -= 1
                    return self.answer(429, {"Retry-After": "1"})
                return self.info(*found.groups())
            if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                return self.resolve(*found.groups())
            if found := re.fullmatch(r"/cdn/([^/]+/[^/]+)/(.+)", path):
                return self.contents(root / found[1] / found[2])
            return self.answer(404)

        def info(self, name: str, revision: str) -> None:
            if self.refused(name, revision):
                return
            files = sorted(file for file in (root / name).rglob("*") if file.is_file())
            siblings = [{"rfilename": str(file.relative_to(root / name)),
                         "size": file.stat().st_size} for file in files]
            self.answer(200, {"Content-Type": "application/json"}, json.dumps(
                {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings}).encode())

        def resolve(self, name: str, revision: str, file: str) -> None:
            path = root / name / file
            if self.refused(name, revision):
                return None
            if not path.is_file():
                return self.answer(404, {"X-Error-Code": "EntryNotFound"})
            digest, size = hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size
            about = {"X-Repo-Commit": COMMIT, "ETag": f'"{digest}"', "Accept-Ranges": "bytes"}
            if size <= LARGE:
                return self.answer(200, about, path.read_bytes())
            return self.answer(302, about | {
                "Location": f"{elsewhere}/cdn/{name}/{file}", "X-Linked-Size": str(size),
                "X-Linked-ETag": f'"{digest}"'})

        def contents(self, path: Path) -> None:
            data = path.read_bytes()
            about = {"Accept-Ranges": "bytes"}
            first = int((self.headers.get("Range") or "bytes=0-").split("=")[1].split("-")[0])
            if first:
                about["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
            breaks = {part for part in hub.broken if part in self.path}
            hub.broken -= breaks
            self.answer(206 if first else 200, about, data[first:], broken=bool(breaks))

        def refused(self, name: str, revision: str) -> bool:
            """Unknown repositories look like those of others."""
            if not (root / name).is_dir():
                self.answer(401, {"X-Error-Message": "Invalid username or password."})
            elif revision not in ("main", COMMIT):
                self.answer(404, {"X-Error-Code": "RevisionNotFound"})
            else:
                return False
            return True

        def answer(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"",
                   broken: bool = False) -> None:
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[: len(body) * 9 // 10] if broken else body)
            if broken:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    elsewhere = f"http://localhost:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
