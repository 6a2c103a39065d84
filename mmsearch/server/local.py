"""A Unix socket in the directory of each collection, for the commands of the user who serves it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from mmsearch.client import connected, is_own_socket, socket_in


@contextmanager
def local_sockets(directories: Iterable[Path]) -> Iterator[list[socket.socket]]:
    """Sockets that only this user can connect to; at the end, also by SIGTERM, their files go.

    A directory goes without where it cannot have one (it is read-only, its path is longer than the
    100 characters that a socket's may have), or has that of another server.
    """
    opened = [one for path in directories if (one := _opened(socket_in(path))) is not None]
    files = {one.getsockname(): os.lstat(one.getsockname()) for one in opened}

    def remove() -> None:
        for path, info in files.items():
            with suppress(OSError):
                if os.path.samestat(os.lstat(path), info):  # or it is that of a later server
                    os.unlink(path)  # noqa: PTH108

    def leave(number: int, frame: FrameType | None) -> None:
        remove()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    if opened:
        signal.signal(signal.SIGTERM, leave)  # what uvicorn raises again when it is through
    try:
        yield opened
    finally:
        remove()


def _opened(path: str) -> socket.socket | None:
    if not hasattr(socket, "AF_UNIX"):
        return None
    if (other := connected(path)) is not None:
        other.close()
        return None
    found = socket.socket(socket.AF_UNIX)
    try:
        if is_own_socket(path):  # of a server that was killed
            os.unlink(path)  # noqa: PTH108
        found.bind(path)
        os.chmod(path, 0o600)  # noqa: PTH101 (nobody can connect before it listens)
    except OSError:
        found.close()
        return None
    return found
