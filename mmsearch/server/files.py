"""The original file behind an item: in parts if asked for, with a type that a browser may trust."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from io import BytesIO
from typing import BinaryIO
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from mmsearch.formats import CONTAINER_HEAD, container, is_raw, sniff
from mmsearch.server.guard import FRAMED, HEAD_ONLY
from mmsearch.server.problems import problem
from mmsearch.server.shown import TYPES

_BLOCK = 64 * 1024
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


def type_of(file: BinaryIO) -> str | None:
    """The type of an open file by its first bytes; None for what is not served."""
    file.seek(0)
    head = file.read(CONTAINER_HEAD)
    name = container(head) or sniff(head[:64])
    if name == "TIFF" and is_raw(file):
        name = "RAW"
    return TYPES.get(name or "")


def size_of(file: BinaryIO) -> int:
    return len(file.getbuffer()) if isinstance(file, BytesIO) else os.fstat(file.fileno()).st_size


def part_asked(header: str, size: int) -> tuple[int, int] | None:
    """First byte and number of bytes of a Range header; None for one that is not understood, which
    asks for everything.

    Raises:
        ValueError: there is no such part.
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or match[0] == "bytes=-":
        return None
    if not match[1]:
        length = min(int(match[2]), size)
        first = size - length
    else:
        first = int(match[1])
        last = min(int(match[2]) if match[2] else size - 1, size - 1)
        length = last - first + 1
        if match[2] and int(match[2]) < first:
            return None
    if length <= 0 or first >= size:
        raise ValueError(header)
    return first, length


class FileAnswer(StreamingResponse):
    """An open file, or a part of one; it is closed at the end, whatever that is."""

    def __init__(self, file: BinaryIO, first: int, length: int, status: int,
                 headers: dict[str, str], media_type: str) -> None:
        super().__init__(_blocks(file, first, length), status,
                         headers | {"Content-Length": str(length)}, media_type)
        self.file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if HEAD_ONLY in scope:
            self.body_iterator = _blocks(self.file, 0, 0)
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.file.close()


async def _blocks(file: BinaryIO, first: int, length: int) -> AsyncIterator[bytes]:
    await run_in_threadpool(file.seek, first)
    while length > 0:
        block = await run_in_threadpool(file.read, min(_BLOCK, length))
        if not block:  # it was cut short meanwhile
            return
        length -= len(block)
        yield block


def answer(file: BinaryIO, media_type: str, name: str, *, etag: str, cache: str, range_: str = "",
           if_range: str = "", download: bool = False) -> Response:
    """A file, open at any place, which this closes. etag: with its quotes."""
    size = size_of(file)
    how = "attachment" if download else "inline"
    headers = {"Accept-Ranges": "bytes", "ETag": etag, "Cache-Control": cache,
               "Content-Disposition": f"{how}; filename*=UTF-8''{quote(name, safe='')}"}
    if media_type == TYPES["PDF"]:
        headers |= FRAMED
    part = None
    if range_ and if_range in ("", etag):
        try:
            part = part_asked(range_, size)
        except ValueError:
            file.close()
            return problem(416, f"the file has {size} bytes",
                           headers={"Content-Range": f"bytes */{size}"})
    if part is None:
        return FileAnswer(file, 0, size, 200, headers, media_type)
    first, length = part
    headers["Content-Range"] = f"bytes {first}-{first + length - 1}/{size}"
    return FileAnswer(file, first, length, 206, headers, media_type)
