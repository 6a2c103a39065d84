"""Opening the file behind an item for somebody else, who may see what is indexed and nothing more.

Whoever may write to a folder could put a link to another file in place of a picture. So a file is
opened as it was found only while it is unchanged; one that was edited, only if no link leads to it.
"""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from mmsearch.errors import FileChanged, MediaError
from mmsearch.fragments import file_uri
from mmsearch.records import Item
from mmsearch.sources import locate
from mmsearch.sources.sidecars import own_fingerprint
from mmsearch.uris import fingerprint_of, is_unchanged, split_member, uri_to_path


def open_indexed(item: Item) -> BinaryIO:
    """The file that an item is, or is a part of, open for reading.

    Raises:
        FileChanged: it has vanished, or became another since it was indexed.
        MediaError: it cannot be read.
    """
    uri = file_uri(item)
    path = locate.own_file(uri)
    if path is None:
        return BytesIO(_far(uri, own_fingerprint(item.fingerprint)))
    try:
        file = locate.open_regular(path)
    except MediaError as error:
        if locate.is_removed(uri):
            raise FileChanged(f"{uri} has vanished since it was indexed") from error
        raise
    now = fingerprint_of(os.fstat(file.fileno()))
    if not is_unchanged(now, own_fingerprint(item.fingerprint)) and not _is_without_links(
            path, file):
        file.close()
        raise _changed(uri)
    return file


def source_of(file: BinaryIO) -> Path | bytes:
    """An open file as decoders take it: by a path that cannot become another file meanwhile."""
    if isinstance(file, BytesIO):
        return file.getvalue()
    same = Path(f"/proc/self/fd/{file.fileno()}")
    return same if same.exists() else Path(file.name)


def _far(uri: str, before: str) -> bytes:
    member = split_member(uri)
    if member is not None:
        container = uri_to_path(member.container)
        now = locate.fingerprint(uri)
        if locate.is_removed(uri):
            raise FileChanged(f"{uri} has vanished since it was indexed")
        if (now and not is_unchanged(now, before)) or (
                not now and os.path.realpath(container) != str(container)):
            raise _changed(uri)
    return locate.read(uri)[0]


def _is_without_links(path: Path, file: BinaryIO) -> bool:
    """Whether `path` itself is what was opened, with no link in any of its folders."""
    if os.path.realpath(path) != str(path):
        return False
    now, opened = os.lstat(path), os.fstat(file.fileno())
    return (now.st_dev, now.st_ino) == (opened.st_dev, opened.st_ino)


def _changed(uri: str) -> FileChanged:
    return FileChanged(f"{uri} has changed since it was indexed; run `mmsearch index` again")
