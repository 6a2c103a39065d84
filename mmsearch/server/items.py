"""Items: lists of them, one with all that is known of it, its original and its small pictures."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query as Param, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from mmsearch.fragments import part_of
from mmsearch.jsonable import strict
from mmsearch.server import files, thumbs
from mmsearch.server.asked import ALL, Id, K, Text, Wheres
from mmsearch.server.problems import RESPONSES
from mmsearch.server.served import NoSuchItem, Served, Stored, version_of
from mmsearch.server.shown import Shown, folder_of, name_of, shown
from mmsearch.server.state import Server
from mmsearch.sources import open_indexed
from mmsearch.storage import Row, Wanted

_MOST_MEMBERS = 500
_FOREVER, _ASK = "private, max-age=31536000, immutable", "private, no-cache"
_PICTURES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/*": {}, "video/*": {}, "application/pdf": {}}},
    206: {"description": "a part of it"}, 304: {"description": "not changed"}}


class Items(BaseModel):
    """A page of items, newest first. total: of all pages."""

    items: list[Shown]
    cursor: str | None
    total: int


class Whole(Shown):
    """An item with its metadata (docs/metadata.md), the captions of its file, and the parts of the
    file that are items, itself among them."""

    meta: dict[str, Any]
    captions: list[str]
    members: list[Shown]
    folder: str


def routes(server: Server) -> APIRouter:
    router = APIRouter(prefix="/v1/items", tags=["items"], responses=RESPONSES)

    @router.get("", response_model=Items)
    def items(collection: str | None = None, where: Wheres = ALL,
              sort: Literal["taken", "added"] = "taken",
              after: Annotated[str, Param(max_length=100)] = "", k: K = 50) -> JSONResponse:
        """Pictures, videos and documents, newest first; those without a date come last."""
        served = server.collection(collection)
        page = served.reader.page(Wanted(k, after, sort), where=where)
        return JSONResponse({"items": shown(served, page.rows), "cursor": page.cursor or None,
                             "total": page.total})

    @router.get("/{id}", response_model=Whole)
    def item(id: Id, collection: str | None = None) -> JSONResponse:
        """All that is known of an item."""
        served = server.collection(collection)
        return JSONResponse(_whole(served, served.row(id)))

    @router.get("/{id}/image", responses=_PICTURES, response_class=Response)
    def image(request: Request, id: Id, collection: str | None = None, v: Text = "",
              download: bool = False) -> Response:
        """The original file: of a frame its video, of a page its document."""
        served = server.collection(collection)
        row = served.row(id)
        if row.item.kind == "text" and part_of(row.item) is None:
            raise NoSuchItem(f"item {id} is a text, and has no file of its own")
        etag, cache = _marks(row, v, "o")
        if _is_known(request, etag):
            return Response(status_code=304, headers={"ETag": etag, "Cache-Control": cache})
        file = open_indexed(row.item)
        try:
            media_type = files.type_of(file)
            if media_type is None:
                raise NoSuchItem(f"the file of item {id} is of no type that is shown")
        except BaseException:
            file.close()
            raise
        return files.answer(
            file, media_type, name_of(row.item), etag=etag, cache=cache, download=download,
            range_=request.headers.get("range", ""), if_range=request.headers.get("if-range", ""))

    @router.get("/{id}/thumb", response_class=Response, responses={
        200: {"content": {"image/webp": {}}}, 304: {"description": "not changed"}})
    async def thumb(request: Request, id: Id, collection: str | None = None, v: Text = "",
                    size: Annotated[int, Param(ge=1, le=10_000)] = 320) -> Response:
        """A small picture in WebP, at most so many pixels high and three times as wide."""
        served, height = server.collection(collection), thumbs.rounded(size)

        def look() -> tuple[Stored, str, bytes | None]:
            row = served.shown_as(served.row(id))
            if row.item.kind == "text" and part_of(row.item) is None:
                raise NoSuchItem(f"item {id} is a text that belongs to no picture")
            key = thumbs.key_of(served.reader.path, row.id, row.item, height)
            return row, key, server.thumbs.get(key)

        row, key, data = await run_in_threadpool(look)
        etag, cache = _marks(row, v, str(height))
        if _is_known(request, etag):
            return Response(status_code=304, headers={"ETag": etag, "Cache-Control": cache})
        server.measures.thumbs.labels("no" if data is None else "yes").inc()
        if data is None:
            data = await server.decoding.run(partial(_make, server, row, key, height))
        return Response(data, media_type="image/webp",
                        headers={"ETag": etag, "Cache-Control": cache})

    return router


def _make(server: Server, row: Stored, key: str, height: int) -> bytes:
    data = thumbs.thumbnail(row.item, height)
    server.thumbs.put(key, data)
    return data


def _marks(row: Stored, v: str, what: str) -> tuple[str, str]:
    """The ETag of an answer, and how long it may be kept: for ever where the address would be
    another for another content."""
    version = version_of(row.item)
    return f'"{version}-{what}"', _FOREVER if v == version else _ASK


def _is_known(request: Request, etag: str) -> bool:
    known = request.headers.get("if-none-match", "")
    return etag in (one.strip().removeprefix("W/") for one in known.split(","))


def _whole(served: Served, row: Row) -> dict[str, Any]:
    group = served.reader.group(row.item)
    parts = [one for one in group if one.item.kind != "text"][:_MOST_MEMBERS]
    texts = [one.item.text for one in group
             if one.item.kind == "text" and part_of(one.item) is None]
    (this,) = shown(served, [row])
    return this | {"meta": strict(row.item.meta), "captions": strict(texts[:100]),
                   "members": shown(served, _in_order(parts)),
                   "folder": strict(folder_of(row.item))}


def _in_order(rows: list[Row]) -> list[Row]:
    def place(row: Row) -> tuple[float, float, int]:
        part = part_of(row.item)
        return (part.page or 0, part.time or 0.0, row.id) if part else (0, 0.0, row.id)

    return sorted(rows, key=place)
