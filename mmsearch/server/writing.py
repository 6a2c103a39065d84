"""Adding files to a collection and removing items from it, where the server was started for that.

What is answered with 201 is on disk, in its folder and in the collection.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from mmsearch.collection import Collection
from mmsearch.errors import CollectionBusy, MediaError
from mmsearch.fragments import own_uri
from mmsearch.jsonable import strict
from mmsearch.server import bodies, files
from mmsearch.server.asked import Id
from mmsearch.server.bodies import Uploaded
from mmsearch.server.problems import RESPONSES, Refused
from mmsearch.server.served import Served
from mmsearch.server.shown import Shown, shown
from mmsearch.server.state import Server
from mmsearch.sources import Scan, iter_items, locate

T = TypeVar("T")
_ODD = re.compile(r"[^\w .()+,@=-]+")
_LONGEST = 120
_PATIENCE, _LOOK = 10.0, 0.02
"""Seconds for which a write waits for others, and between two tries."""
_SUFFIXES = {
    "image/jpeg": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), "image/png": (".png", ".apng"),
    "image/gif": (".gif",), "image/bmp": (".bmp", ".dib"), "image/tiff": (".tif", ".tiff"),
    "image/webp": (".webp",), "image/avif": (".avif",), "image/heic": (".heic", ".heif", ".hif"),
    "image/jxl": (".jxl",), "image/x-portable-pixmap": (".ppm", ".pgm", ".pbm", ".pnm"),
    "image/x-raw": (".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".orf", ".rw2", ".raf",
                    ".pef", ".srw"),
    "application/pdf": (".pdf",), "video/mp4": (".mp4", ".mov", ".m4v", ".3gp"),
    "video/webm": (".webm",), "video/x-matroska": (".mkv",), "video/x-msvideo": (".avi",),
    "video/mpeg": (".mpg", ".mpeg"), "video/mp2t": (".mts", ".m2ts"), "video/x-ms-wmv": (".wmv",),
    "video/x-flv": (".flv",), "video/ogg": (".ogv",)}
"""How files of each type may be called; others get the first."""


class AddIn(BaseModel):
    """What the field `query` of the form may say."""

    model_config = ConfigDict(extra="forbid")
    collection: str | None = None


class DeleteIn(BaseModel):
    """Which items to remove from a collection, with all that belongs to their files."""

    model_config = ConfigDict(extra="forbid")
    collection: str | None = None
    ids: Annotated[list[Id], Field(min_length=1, max_length=10_000)]


class Skipped(BaseModel):
    path: str
    reason: str


class Added(BaseModel):
    """copied: files of a content that was known already; they are saved, too."""

    added: int
    copied: int
    skipped: list[Skipped]
    items: list[Shown]


class Deleted(BaseModel):
    deleted: int


def routes(server: Server) -> APIRouter:
    router = APIRouter(prefix="/v1/items", tags=["writing"], responses=RESPONSES)

    @router.post("", status_code=201, response_model=Added,
                 openapi_extra=bodies.openapi_form(AddIn, "file"))
    async def add(request: Request) -> JSONResponse:
        """Save pictures, videos or documents in the folder for them, and index them."""
        asked, sent = await bodies.read(request, AddIn, "file")
        served, folder = writable_of(server, asked.collection)
        return await server.writing.run(partial(_add, served, folder, sent.get("file", [])))

    @router.delete("", response_model=Deleted, openapi_extra=bodies.openapi(DeleteIn))
    async def delete(request: Request) -> JSONResponse:
        """Remove items from a collection; their files stay where they are."""
        asked, _ = await bodies.read(request, DeleteIn)
        served, _folder = writable_of(server, asked.collection)
        return await server.writing.run(partial(_delete, served, asked.ids))

    return router


def writable_of(server: Server, name: str | None) -> tuple[Served, Path]:
    served = server.collection(name)
    if served.writable is None:
        raise Refused(403, f"{served.name!r} cannot be changed over HTTP; start the server with "
                           "--writable FOLDER")
    return served, served.writable


def _add(served: Served, folder: Path, sent: Sequence[Uploaded]) -> JSONResponse:
    if not sent:
        raise Refused(422, "send files in the field `file`")
    types = [files.type_of(BytesIO(one.data)) for one in sent]
    if None in types:
        odd = sent[types.index(None)].name
        raise MediaError(f"{strict(odd)[:100]!r} is no picture, video or document")
    saved = [save(folder, one.name, kind or "", one.data)
             for one, kind in zip(sent, types, strict=True)]
    paths, new = [path for path, _ in saved], {path for path, is_new in saved if is_new}
    scan = Scan()
    report = in_turn(lambda: collection_of(served).add(iter_items(paths, scan=scan)))
    skipped = {one.path: one.reason for one in (*scan.skipped, *report.skipped)}
    uris = {locate.uri_of(path): path for path in paths}
    for uri in uris.keys() & skipped.keys():  # its sender is told that it was not taken
        if uris[uri] in new:
            uris[uri].unlink(missing_ok=True)
    rows = served.reader.of_files(uris)
    return JSONResponse({
        "added": report.added, "copied": report.copied, "items": shown(served, rows),
        "skipped": strict([{"path": path, "reason": reason}
                           for path, reason in skipped.items()])}, 201)


def _delete(served: Served, ids: Sequence[int]) -> JSONResponse:
    rows = served.reader.rows(ids)
    uris = sorted({own_uri(row.item) for row in rows.values()})
    return JSONResponse({
        "deleted": in_turn(lambda: collection_of(served).delete(uris)) if uris else 0})


def collection_of(served: Served) -> Collection:
    assert isinstance(served.reader, Collection)
    return served.reader


def in_turn(write: Callable[[], T]) -> T:
    """Write, once no other process does: another worker of this server is done in a moment.

    Raises:
        CollectionBusy: one goes on to write for long.
    """
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            return write()
        except CollectionBusy:
            if time.monotonic() > until:
                raise
        time.sleep(_LOOK)


def save(folder: Path, name: str, media_type: str, data: bytes) -> tuple[Path, bool]:
    """Write a file under its name, or one like it: never over another, never outside the folder,
    whole or not at all. One of that name that holds the same stays as it is.
    The path, and whether it is new.

    name: as somebody sent it.
    """
    stem, suffix = safe_name(name, media_type)
    part = folder / f".{os.getpid()}-{os.urandom(8).hex()}.part"
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        number = 1
        while True:
            path = folder / (f"{stem}{suffix}" if number == 1 else f"{stem}-{number}{suffix}")
            try:
                path.open("xb").close()  # the name is ours, or somebody else's
                break
            except FileExistsError:
                if _holds(path, data):
                    return path, False
                number += 1
        part.replace(path)
    except OSError as error:
        raise MediaError(f"{folder} cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    _sync(folder)
    return path, True


def _holds(path: Path, data: bytes) -> bool:
    return (path.is_file() and not path.is_symlink() and path.stat().st_size == len(data)
            and path.read_bytes() == data)


def safe_name(name: str, media_type: str) -> tuple[str, str]:
    """Stem and suffix for a file: one plain name, and a suffix that belongs to its type."""
    last = re.split(r"[/\\]", name)[-1]
    stem, dot, suffix = last.rpartition(".")
    if not dot:
        stem, suffix = last, ""
    stem = _ODD.sub("_", stem).strip(" .") or "upload"
    known: Any = _SUFFIXES.get(media_type, ("",))
    suffix = f".{suffix.lower()}"
    encoded = stem.encode()[:_LONGEST].decode("utf-8", "ignore")
    return encoded, suffix if suffix in known else known[0]


def _sync(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
