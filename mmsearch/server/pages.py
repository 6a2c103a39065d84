"""The page: whatever files lie in `page/`, as they are."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

FOLDER = Path(__file__).parent / "page"
_TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8",
          ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
_FOREVER = "public, max-age=31536000, immutable"


def routes() -> APIRouter:
    """Each file is read once; there are no others, so that no name leads elsewhere.

    They lie under a name made of their contents, so that a browser never asks for one again, and
    has all of one version; modules name each other relative to it."""
    router = APIRouter(include_in_schema=False)
    files = {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir())
             if path.suffix in _TYPES}
    version = hashlib.sha256(b"".join(files.values())).hexdigest()[:12]
    files["index.html"] = files["index.html"].replace(b'"/page/', f'"/page/{version}/'.encode())
    packed = {name: gzip.compress(data, mtime=0) for name, data in files.items()}

    def answer(request: Request, name: str, cache: str) -> Response:
        headers = {"ETag": f'W/"{version}"', "Cache-Control": cache, "Vary": "Accept-Encoding"}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        headers["Content-Type"] = _TYPES[Path(name).suffix]
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(packed[name], headers=headers | {"Content-Encoding": "gzip"})
        return Response(files[name], headers=headers)

    @router.get("/")
    def index(request: Request) -> Response:
        return answer(request, "index.html", "no-cache")

    @router.get("/favicon.ico")
    def icon(request: Request) -> Response:
        return answer(request, "favicon.svg", "no-cache")

    @router.get(f"/page/{version}/{{name}}")
    def file(request: Request, name: str) -> Response:
        if name not in files:
            raise HTTPException(404)
        return answer(request, name, _FOREVER)

    return router
