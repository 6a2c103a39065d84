"""The page: whatever files lie in `page/`, as they are."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

FOLDER = Path(__file__).parent / "page"
_TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8",
          ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".png": "image/png",
          ".ico": "image/x-icon", ".woff2": "font/woff2", ".json": "application/json",
          ".webmanifest": "application/manifest+json", ".txt": "text/plain; charset=utf-8"}


def routes() -> APIRouter:
    """Each file is read once; there are no others, so that no name leads elsewhere."""
    router = APIRouter(include_in_schema=False)
    known = {path.relative_to(FOLDER).as_posix(): path for path in sorted(FOLDER.rglob("*"))
             if path.is_file() and path.suffix in _TYPES}

    def answer(request: Request, name: str) -> Response:
        if name not in known:
            raise HTTPException(404)
        data = known[name].read_bytes()
        etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        headers = {"ETag": etag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(data, headers=headers | {"Content-Type": _TYPES[known[name].suffix]})

    @router.get("/")
    def index(request: Request) -> Response:
        return answer(request, "index.html")

    @router.get("/favicon.ico")
    def icon(request: Request) -> Response:
        return answer(request, "favicon.svg")

    @router.get("/page/{name:path}")
    def file(request: Request, name: str) -> Response:
        return answer(request, name)

    return router
