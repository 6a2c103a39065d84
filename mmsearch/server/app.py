"""The application: routes, errors, the guard around all, an OpenAPI that tells what is true."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.concurrency import run_in_threadpool

from mmsearch import __version__
from mmsearch.server import about, copies, handle, items, logins, naming, pages, searching, writing
from mmsearch.server.agents import Agents
from mmsearch.server.asked import EmbedIn, QueryIn, SearchIn
from mmsearch.server.fetching import allowed
from mmsearch.server.guard import App, Guard
from mmsearch.server.indexing import begin
from mmsearch.server.measures import Measured
from mmsearch.server.problems import Problem, add_problems, known_only
from mmsearch.server.state import Server

_MODELS: list[type[BaseModel]] = [
    Problem, QueryIn, SearchIn, EmbedIn, logins.Login, writing.AddIn, writing.DeleteIn,
    naming.TeachIn, naming.ForgetIn]
"""Those that routes name themselves."""
_REF = "#/components/schemas/{model}"


def make_app(server: Server) -> App:
    agents = Agents(server)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(server.start)
        with allowed(server.settings):
            indexing = begin(server)
            async with agents.running():
                yield
            if indexing is not None:
                await run_in_threadpool(indexing.end)
        await run_in_threadpool(server.close)

    app = FastAPI(title="mmsearch", version=__version__, docs_url=None, redoc_url=None,
                  lifespan=lifespan, redirect_slashes=False)
    for room in (searching, items, about, copies, writing, naming, logins, handle):
        app.include_router(room.routes(server), dependencies=[Depends(known_only)])
    app.include_router(pages.routes())
    if find_spec("mcp") is not None:
        app.router.routes.append(agents.route())
    add_problems(app)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return Measured(Guard(app, server.settings, server.own, server.admission), server.measures,
                    log_queries=server.settings.log_queries)


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        found = get_openapi(title=app.title, version=app.version, routes=app.routes,
                            description="Search pictures and texts by what they mean.")
        _, models = models_json_schema([(model, "validation") for model in _MODELS],
                                       ref_template=_REF)
        found.setdefault("components", {}).setdefault("schemas", {}).update(models["$defs"])
        app.openapi_schema = found
    return app.openapi_schema
