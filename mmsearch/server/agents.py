"""Agents over HTTP. What answers them takes half a second to load: the first who asks waits for it,
not each start of a server."""

from __future__ import annotations

from asyncio import Event, Future, Task, create_task, get_running_loop, shield
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from starlette.concurrency import run_in_threadpool
from starlette.routing import Route

from mmsearch.server.guard import App, Receive, Scope, Send
from mmsearch.server.state import Server


class Agents:
    """An ASGI application, to be asked inside `running`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._ends = Event()
        self._loaded: Future[App] | None = None
        self._answering: Task[None] | None = None

    def route(self) -> Route:
        """A GET would be kept open for what the server has to say by itself, which is nothing."""
        return Route("/mcp", self, methods=["POST"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._loaded is None:
            self._loaded = get_running_loop().create_future()
            self._answering = create_task(self._answer(self._loaded))
        app = await shield(self._loaded)  # others wait for it, too
        await app(scope, receive, send)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        yield
        self._ends.set()
        if self._answering is not None:
            await self._answering

    async def _answer(self, loaded: Future[App]) -> None:
        """In a task of its own, since what is entered has to be left by the same one."""
        try:
            app, entered = await run_in_threadpool(self._load)
            async with entered():
                loaded.set_result(app)
                await self._ends.wait()
        except Exception as error:
            if loaded.done():
                raise
            loaded.set_exception(error)

    def _load(self) -> tuple[App, Callable[[], AbstractAsyncContextManager[None]]]:
        from mmsearch.server.tools import over_http

        return over_http(self._server)
