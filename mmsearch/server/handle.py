"""What `mmsearch.client` asks: hits and facts as the handle on a collection has them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from mmsearch import __version__
from mmsearch.jsonable import strict
from mmsearch.records import Hit
from mmsearch.search import Query
from mmsearch.server import bodies
from mmsearch.server.asked import OwnQueryIn, QueryIn, query_of
from mmsearch.server.fetching import fetch
from mmsearch.server.guard import own_collection
from mmsearch.server.problems import RESPONSES
from mmsearch.server.searching import remarks
from mmsearch.server.served import Served
from mmsearch.server.state import Server

_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


class ItemOut(BaseModel):
    """As `mmsearch.Item`."""

    uri: str
    kind: Literal["image", "text", "frame"]
    text: str
    group: str
    meta: dict[str, Any]
    fingerprint: str


class HitOut(BaseModel):
    """As `mmsearch.Hit`."""

    id: int
    score: float
    item: ItemOut
    cosine: float | None
    bm25: float | None
    cursor: str
    relevance: float | None


class Hits(BaseModel):
    """corrected: misspelt texts, and as what they were taken. note: a sentence for people.
    version: of mmsearch."""

    hits: list[HitOut]
    corrected: dict[str, str]
    note: str | None
    version: str


def routes(server: Server) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["handle"], responses=RESPONSES)

    @router.post("/hits", response_model=Hits, openapi_extra=bodies.openapi(QueryIn))
    async def hits(request: Request) -> Response:
        """The hits as `Collection.search` of the Python library gives them."""
        own = own_collection(request.scope)
        asked, _ = await bodies.read(request, OwnQueryIn if own else QueryIn)
        served = server.collection(own or asked.collection)
        await fetch(server, [*asked.image, *asked.without_image])
        if asked.image or asked.without_image:
            query = await server.decoding.run(partial(query_of, asked, served))
        else:
            query = query_of(asked, served)
        data: bytes = await server.batches.search(served, query, partial(_answer, served, query))
        return Response(data, media_type="application/json")

    @router.get("/info", response_model=dict[str, Any])
    def info(collection: str | None = None) -> JSONResponse:
        """What `Collection.info` of the Python library gives."""
        return JSONResponse(strict(server.collection(collection).reader.info()))

    return router


def _answer(served: Served, query: Query, hits: Sequence[Hit]) -> bytes:
    corrected, note = remarks(query, served, hits)
    return _encode({"hits": [_hit(hit) for hit in hits], "corrected": corrected, "note": note,
                    "version": __version__}).encode()


def _hit(hit: Hit) -> dict[str, Any]:
    """All digits, so that it is the very same hit elsewhere."""
    item = hit.item
    return {"id": hit.id, "score": float(hit.score), "cosine": _number(hit.cosine),
            "bm25": _number(hit.bm25), "cursor": hit.cursor, "relevance": _number(hit.relevance),
            "item": {"uri": item.uri, "kind": item.kind, "text": item.text, "group": item.group,
                     "meta": dict(item.meta), "fingerprint": item.fingerprint}}


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
