"""uvicorn, that says when it listens and stops without breaking off answers."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mmsearch.errors import MmsearchError
from mmsearch.server.state import Server

_MOST = 1000
"""Connections at the same time."""
_HEAD = 64 * 1024
"""Bytes of the head of a request."""
_FILES, _OWN = 4096, 200
"""Files that a process had better be able to open, and those that are no connections."""


def listen(host: str, port: int) -> list[socket.socket]:
    """Open sockets, before anything slow is loaded.

    Raises:
        MmsearchError: another program listens there, or it is no address of this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # Only where the protocol is named does asyncio switch Nagle's algorithm off. With it, an
        # answer in two parts waits 40 ms for the first to be acknowledged.
        found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.set_inheritable(True)
    except OSError as error:
        raise MmsearchError(f"cannot listen on {host}, port {port} ({error.strerror or error}); "
                            "choose another with --port") from error
    return [found]


def most_connections() -> int:
    """How many this process can have, after asking for as many files as it may open."""
    if os.name != "posix":
        return _MOST
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return _MOST if soft == resource.RLIM_INFINITY else min(_MOST, max(soft - _OWN, soft // 2))


def patient(seconds: float, most: int) -> type[HttpToolsProtocol]:
    """Speaks HTTP/1.1, and hangs up on who has nothing to ask, or takes so long to say it (uvicorn
    itself would wait for the rest of a request's head for ever, and keep all of it), and on who
    does not read the answer. When one comes and `most` are there, the oldest that waits for nothing
    has to go."""
    open_now: dict[Patient, None] = {}  # in the order in which they came

    class Patient(HttpToolsProtocol):
        seen: tuple[object, int] | None = None
        head: int | None = 0  # bytes, until it is there

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.head is not None:
                self.head += len(data)
                if self.head > _HEAD and not self.transport.is_closing():
                    self.send_400_response("The head of this request is too large.")

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self.head = 0

        def on_headers_complete(self) -> None:
            super().on_headers_complete()
            self.head = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            open_now[self] = None
            if len(open_now) > most:
                oldest = next(one for one in open_now if not one.is_busy())  # at last, this one
                del open_now[oldest]
                oldest.transport.abort()
            self.loop.call_later(seconds, self.look)

        def connection_lost(self, exc: Exception | None) -> None:
            open_now.pop(self, None)
            super().connection_lost(exc)

        def is_busy(self) -> bool:
            """Whether it has asked for what is not all sent yet."""
            return self.transport.get_write_buffer_size() > 0 or (
                self.cycle is not None and not self.cycle.response_complete)

        def look(self) -> None:
            unread = self.transport.get_write_buffer_size()
            if self.transport.is_closing() and not unread:
                return
            now = self.cycle, unread
            if now == self.seen and (unread or not self.is_busy()):
                self.transport.abort()
                return
            self.seen = now
            self.loop.call_later(seconds, self.look)

    return Patient


class Listening(uvicorn.Server):
    """started: called once connections are taken."""

    def __init__(self, config: uvicorn.Config, server: Server, started: Callable[[], None]) -> None:
        super().__init__(config)
        self.server, self.when_started = server, started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.when_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.server.ready = False
        await super().shutdown(sockets)
