"""Small pictures, made once and kept on disk up to a number of bytes.

The name of a file comes from what it is made of (collection, item, its present content, size) and
from nothing that a request says, so that no request can put one picture in place of another.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from threading import Lock, get_ident
from typing import TYPE_CHECKING

from mmsearch.errors import MediaError
from mmsearch.fragments import part_of
from mmsearch.media import frames, read_part
from mmsearch.records import Item
from mmsearch.sources import open_indexed, source_of

if TYPE_CHECKING:
    from PIL.Image import Image

SIZES = (160, 320, 640, 1280, 2560)
"""Heights, in pixels; a request for another gets the next larger."""
WIDEST = 3
"""Times as wide as high, at most."""
_QUALITY = 80
_TOUCHED = 3600.0
"""Seconds after which a use is noted again."""


class Thumbs:
    """A directory of WebP files that keeps what was used last."""

    def __init__(self, directory: Path, most_bytes: int) -> None:
        self.directory, self.most_bytes = directory, most_bytes
        self._lock = Lock()
        self._bytes: int | None = None
        """None until they have been counted."""

    def get(self, key: str) -> bytes | None:
        path = self._path(key)
        try:
            data = path.read_bytes()
            if time.time() - path.stat().st_mtime > _TOUCHED:
                path.touch()
        except OSError:
            return None
        return data

    def put(self, key: str, data: bytes) -> None:
        """Without a word where the disk is full or read-only: the picture is made again."""
        path = self._path(key)
        part = path.with_suffix(f".{os.getpid()}-{get_ident()}")
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(data)
            part.replace(path)
            self._make_room(len(data))

    def _path(self, key: str) -> Path:
        return self.directory / key[:2] / f"{key}.webp"

    def _make_room(self, added: int) -> None:
        with self._lock:
            if self._bytes is None:
                self._bytes = sum(size for _, size, _ in self._files())
            else:
                self._bytes += added
            if self._bytes <= self.most_bytes:
                return
            files = sorted(self._files())
            self._bytes = sum(size for _, size, _ in files)
            for _, size, path in files:
                if self._bytes <= self.most_bytes * 0.8:
                    return
                with suppress(OSError):
                    path.unlink()
                self._bytes -= size

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        for path in self.directory.glob("??/*"):
            with suppress(OSError):
                status = path.stat()
                yield status.st_mtime, status.st_size, path


def key_of(collection: Path, id: int, item: Item, size: int) -> str:
    """Another for each content."""
    what = f"{collection.absolute()}\n{id}\n{item.uri}\n{item.fingerprint}\n{size}"
    return hashlib.sha256(what.encode("utf-8", "replace")).hexdigest()[:40]


def rounded(size: int) -> int:
    return next((one for one in SIZES if one >= size), SIZES[-1])


def picture_of(item: Item, min_side: int | None) -> Image:
    """What an item shows: RGB, upright, reduced, its shorter side at least `min_side` where it was.

    Raises:
        MediaError, FileChanged: it cannot be read, or is no longer what was indexed.
    """
    part = part_of(item)
    with open_indexed(item) as file:
        source = source_of(file)
        if part is None and isinstance(source, Path) and not frames.holds_several(source):
            source = file.read()
        if part is None and frames.holds_several(source):
            raise MediaError(f"{item.uri} holds many pictures, and this item is none of them")
        return read_part(source, part, min_side)


def thumbnail(item: Item, size: int) -> bytes:
    """A picture as WebP, at most `size` pixels high and three times as wide."""
    picture = picture_of(item, size)
    picture.thumbnail((WIDEST * size, size))
    data = BytesIO()
    picture.save(data, "WEBP", quality=_QUALITY, method=2)
    return data.getvalue()
