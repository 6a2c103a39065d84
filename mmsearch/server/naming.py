"""Names for what pictures show, which searches then know: see `Collection.teach`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from mmsearch.jsonable import strict
from mmsearch.server import bodies
from mmsearch.server.asked import Id
from mmsearch.server.problems import RESPONSES
from mmsearch.server.served import Served
from mmsearch.server.state import Server
from mmsearch.server.writing import collection_of, in_turn, writable_of

Word = Annotated[str, Field(max_length=100)]


class TeachIn(BaseModel):
    """A name, a word for what it is (or ""), and the items that show it."""

    model_config = ConfigDict(extra="forbid")
    collection: str | None = None
    name: Annotated[str, Field(min_length=1, max_length=100)]
    is_a: Word = ""
    items: Annotated[list[Id], Field(min_length=1, max_length=64)]


class ForgetIn(BaseModel):
    """A name that goes."""

    model_config = ConfigDict(extra="forbid")
    collection: str | None = None
    name: Word


class Name(BaseModel):
    """pictures: how many it was taught by."""

    name: str
    is_a: str
    pictures: int


class Names(BaseModel):
    names: list[Name]


class Forgotten(BaseModel):
    """How many pictures the name had; 0 if there was no such name."""

    forgotten: int


def routes(server: Server) -> APIRouter:
    router = APIRouter(prefix="/v1/names", tags=["names"], responses=RESPONSES)

    @router.get("", response_model=Names)
    def names(collection: str | None = None) -> JSONResponse:
        """The names that were taught."""
        return _names(server.collection(collection))

    @router.post("", status_code=201, response_model=Names,
                 openapi_extra=bodies.openapi(TeachIn))
    async def teach(request: Request) -> JSONResponse:
        """Give a name to what some items show, or more items to a name."""
        asked, _ = await bodies.read(request, TeachIn)
        served, _folder = writable_of(server, asked.collection)
        return await server.writing.run(partial(_teach, served, asked))

    @router.delete("", response_model=Forgotten, openapi_extra=bodies.openapi(ForgetIn))
    async def forget(request: Request) -> JSONResponse:
        """Take a name away."""
        asked, _ = await bodies.read(request, ForgetIn)
        served, _folder = writable_of(server, asked.collection)
        return await server.writing.run(partial(_forget, served, asked.name))

    return router


def _names(served: Served, status: int = 200) -> JSONResponse:
    return JSONResponse({"names": strict([
        {"name": one.name, "is_a": one.is_a, "pictures": len(one.pictures)}
        for one in served.reader.taught()])}, status)


def _teach(served: Served, asked: TeachIn) -> JSONResponse:
    uris = [served.shown_as(served.row(id)).item.uri for id in asked.items]
    in_turn(lambda: collection_of(served).teach(asked.name, uris, is_a=asked.is_a))
    return _names(served, 201)


def _forget(served: Served, name: str) -> JSONResponse:
    return JSONResponse({"forgotten": in_turn(lambda: collection_of(served).forget(name))})
