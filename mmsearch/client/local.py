"""Asking the server of the same user that serves a directory, through a Unix socket in it.

The socket replaces the token: only its owner can connect. This is what makes a query take hardly
longer than Python takes to start, so it speaks HTTP/1.0 by itself: http.client would take 25 ms to
load, HTTPX 140.
"""

from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path
from typing import Any

from mmsearch import __version__
from mmsearch.client.wire import as_json, hit_of
from mmsearch.records import Hit
from mmsearch.search import Query

_NAME = "serve.sock"
_PATIENCE = 5.0
"""Seconds to wait for an answer."""
_HEAD = ("POST /v1/hits HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n"
         "Content-Length: {}\r\n\r\n")


class _Elsewhere(Exception):
    """The server cannot do this as the collection itself would."""


def socket_in(directory: Path) -> str:
    return str(directory / _NAME)


def connected(path: str) -> socket.socket | None:
    """A connection to a server; None where there is none: its file may have outlived it, or be of
    another user, who could answer anything."""
    if not hasattr(socket, "AF_UNIX") or not is_own_socket(path):
        return None
    found = socket.socket(socket.AF_UNIX)
    try:
        found.settimeout(_PATIENCE)
        found.connect(path)
    except OSError:
        found.close()
        return None
    return found


def is_own_socket(path: str) -> bool:
    try:
        info = os.lstat(path)
    except (OSError, ValueError):
        return False
    return stat.S_ISSOCK(info.st_mode) and info.st_uid == os.geteuid()


def ask_local(directory: Path, query: Query) -> tuple[list[Hit], dict[str, Any]] | None:
    """The hits that a server of this directory finds, and what else it says (see `Remote.answer`).

    None: there is no such server, or it does not answer, or has anything to object. Then the
    collection itself is to be asked, which says what is wrong.
    """
    line = connected(socket_in(directory))
    if line is None:
        return None
    with line:
        try:
            body = json.dumps(as_json(query, _picture)).encode()
            line.sendall(_HEAD.format(len(body)).encode() + body)
            answer = b"".join(iter(lambda: line.recv(1 << 16), b""))
        except (OSError, _Elsewhere):
            return None
    return _read(answer)


def _read(answer: bytes) -> tuple[list[Hit], dict[str, Any]] | None:
    head, _, body = answer.partition(b"\r\n\r\n")
    if head.split(b" ", 2)[1:2] != [b"200"]:
        return None
    try:
        found = json.loads(body)
        if found["version"] != __version__:  # which may have changed what is found
            return None
        return [hit_of(row) for row in found.pop("hits")], found
    except (ValueError, TypeError, LookupError):
        return None


def _picture(example: Any) -> dict[str, Any]:
    """The path of a file, which the server opens as the collection would."""
    from mmsearch.media import Crop

    if isinstance(example, Crop):
        return _picture(example.image) | {"crop": example.area}
    if not isinstance(example, str) or not os.path.isfile(example):  # noqa: PTH113
        raise _Elsewhere
    return {"path": os.path.abspath(example)}  # noqa: PTH100
