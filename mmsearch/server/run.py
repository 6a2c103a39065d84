"""Running a server until it is told to stop."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mmsearch.collection import Reader
from mmsearch.errors import MissingExtra
from mmsearch.server.settings import Settings

if TYPE_CHECKING:
    from mmsearch.server.listening import Listening


def serve(settings: Settings, *, started: Callable[[str], None] = lambda address: None) -> None:
    """Serve until SIGTERM or SIGINT; requests that run then are answered first.

    started: called with the address, once connections are taken.

    Raises:
        MissingExtra: without the extra `serve`.
        MmsearchError: the address cannot be listened on; CollectionNotFound and the like.
    """
    try:
        import fastapi  # noqa: F401
        import httptools  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        raise MissingExtra("serving", "serve") from None
    if find_spec("faiss") is None:
        raise MissingExtra("searching", "cpu")
    if settings.watch and find_spec("watchfiles") is None:
        raise MissingExtra("watching folders", "watch")
    if settings.fetch and find_spec("urllib3") is None:
        raise MissingExtra("fetching from the web", "fetch")
    from mmsearch.server.listening import listen
    from mmsearch.server.local import local_sockets
    from mmsearch.server.measures import SHARED
    from mmsearch.server.state import collection_at
    from mmsearch.server.workers import serve_with

    sockets = listen(settings.host, settings.port)
    address = _address(settings, sockets[0].getsockname()[1])
    if settings.workers > 1:
        for number, path in enumerate(settings.indexes):  # what is wrong is said once
            written = settings.writable and number == 0
            (collection_at(path, settings.model) if written
             else Reader.open(path, model=settings.model)).close()
        with TemporaryDirectory(prefix="mmsearch-metrics-") as folder, local_sockets(
                settings.indexes) as local:
            os.environ[SHARED] = folder
            serve_with(_run, settings, [*sockets, *local], lambda: started(address))
    else:
        listening = _listening(settings, lambda: started(address))
        with local_sockets(settings.indexes) as local:
            listening.run(sockets=[*sockets, *local])


def _run(settings: Settings, sockets: list[socket.socket], started: Callable[[], None]) -> None:
    """One of several processes."""
    _listening(settings, started).run(sockets=sockets)


def _listening(settings: Settings, started: Callable[[], None]) -> Listening:
    import uvicorn

    from mmsearch.server.app import make_app
    from mmsearch.server.listening import Listening, most_connections, patient
    from mmsearch.server.state import Server

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("mmsearch.server").setLevel(logging.INFO)
    server = Server(settings)
    config = uvicorn.Config(
        make_app(server), http=patient(settings.head_seconds, most_connections()), log_config=None,
        access_log=False, server_header=False, proxy_headers=False, timeout_keep_alive=30,
        timeout_graceful_shutdown=20, lifespan="on")
    return Listening(config, server, started)


def _address(settings: Settings, port: int) -> str:
    if settings.host in ("0.0.0.0", "::"):  # all of this machine, by a name that others can use
        return f"http://{socket.gethostname()}:{port}/"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{port}/"


