"""uvicorn, that says when it listens and stops without breaking off answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from mmsearch.errors import MmsearchError
from mmsearch.server.state import Server


def listen(host: str, port: int) -> list[socket.socket]:
    """Open sockets, before anything slow is loaded.

    Raises:
        MmsearchError: another program listens there, or it is no address of this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        found = socket.socket(family)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.set_inheritable(True)
    except OSError as error:
        raise MmsearchError(f"cannot listen on {host}, port {port} ({error.strerror or error}); "
                            "choose another with --port") from error
    return [found]


def patient(seconds: float) -> type[H11Protocol]:
    """Speaks HTTP/1.1, and hangs up on who has nothing to ask, or takes so long to say it. (uvicorn
    itself would wait for the rest of a request's head for ever.)"""

    class Patient(H11Protocol):
        seen: object = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.loop.call_later(seconds, self.look)

        def look(self) -> None:
            if self.transport.is_closing():
                return
            busy = self.cycle is not None and not self.cycle.response_complete
            if not busy and self.cycle is self.seen:
                self.transport.close()
                return
            self.seen = self.cycle
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
