"""What a server has: its collections, how far they are, and what they can be filtered by."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.responses import Response

from mmsearch import __version__
from mmsearch.jsonable import strict
from mmsearch.server.asked import ALL, Wheres
from mmsearch.server.problems import RESPONSES, problem
from mmsearch.server.served import Served
from mmsearch.server.shown import for_people
from mmsearch.server.state import Server


class Skipped(BaseModel):
    path: str
    reason: str


class State(BaseModel):
    """How far a collection is; total is null while it is not known. skipped_files: the first 100 of
    those that could not be indexed."""

    name: str
    state: Literal["ready", "indexing", "failed"]
    done: int
    total: int | None
    message: str
    error: str | None
    skipped: int
    skipped_files: list[Skipped]
    items: int


class Status(BaseModel):
    collections: list[State]


class About(BaseModel):
    """A collection. indexing: null when it is ready."""

    name: str
    items: int
    images: int
    frames: int
    texts: int
    model: str
    encoder: str
    dim: int
    writable: bool
    watching: bool
    indexing: State | None


class Collections(BaseModel):
    """login: whether a token is asked for."""

    version: str
    login: bool
    collections: list[About]


class Value(BaseModel):
    """where: the condition that these files meet."""

    value: str
    count: int
    where: str


class Facet(BaseModel):
    name: str
    field: str
    values: list[Value]


class Facets(BaseModel):
    total: int
    facets: list[Facet]


class Health(BaseModel):
    status: str


def routes(server: Server) -> APIRouter:
    router = APIRouter(tags=["about"], responses=RESPONSES)

    @router.get("/v1/collections", response_model=Collections)
    def collections() -> JSONResponse:
        """The collections of this server, the default first."""
        return JSONResponse({
            "version": __version__, "login": server.settings.token is not None,
            "collections": [_about(one) for one in server.collections.values()]})

    @router.get("/v1/collections/{name}/facets", response_model=Facets)
    def facets(name: str, where: Wheres = ALL) -> JSONResponse:
        """What pictures, videos and documents can be filtered by."""
        served = server.collection(name)
        found = served.reader.facets(where=where)
        total = sum(value.files for facet in found if facet.name == "types"
                    for value in facet.values)
        return JSONResponse(strict({"total": total, "facets": [
            {"name": facet.name, "field": facet.field, "values": [
                {"value": for_people(one.value) if facet.name == "folders" else one.value,
                 "count": one.files, "where": one.where} for one in facet.values]}
            for facet in found]}))

    @router.get("/v1/status", response_model=Status)
    def status() -> JSONResponse:
        """How far each collection is."""
        return JSONResponse({"collections": [_state(one) for one in server.collections.values()]})

    @router.get("/healthz", response_model=Health)
    async def healthz() -> dict[str, str]:
        """That the process lives."""
        return {"status": "ok"}

    @router.get("/readyz", response_model=Health)
    async def readyz() -> Any:
        """That the models are loaded, and that no stop was asked for."""
        return {"status": "ready"} if server.ready else problem(503, "not ready")

    @router.get("/metrics", response_class=Response,
                responses={200: {"content": {"text/plain": {}}}})
    def metrics() -> Response:
        """What Prometheus reads."""
        return Response(server.measures.told(), media_type=CONTENT_TYPE_LATEST)

    return router


def _about(served: Served) -> dict[str, Any]:
    info = served.reader.info()
    kinds = info["kinds"]
    state = _state(served)
    found: dict[str, Any] = strict({
        "name": served.name, "items": info["items"], "images": kinds.get("image", 0),
        "frames": kinds.get("frame", 0), "texts": kinds.get("text", 0),
        "model": served.reader.model, "encoder": info["encoder"], "dim": info["dim"],
        "writable": served.writable is not None, "watching": served.watching,
        "indexing": state if state["state"] != "ready" else None})
    return found


def _state(served: Served) -> dict[str, Any]:
    items = sum(served.reader.counts().values())
    found: dict[str, Any] = strict({
        "name": served.name, **asdict(served.progress), "items": items})
    return found
