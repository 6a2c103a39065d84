"""Where the bytes behind an item are, whatever its address: the one place that asks.

Files, members of archives, rows of Parquet files, web addresses and remote files (fsspec) are told
apart by `mmsearch.uris`. What cannot be read ends in a MediaError with its reason.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from mmsearch.errors import MediaError
from mmsearch.records import Item
from mmsearch.uris import (
    Member,
    fingerprint_of,
    is_archive,
    kind_of,
    member_name,
    member_uri,
    nfc,
    path_to_uri,
    scheme_of,
    split_member,
    uri_to_path,
)

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from mmsearch.sources.archives import Archive

AT_ONCE = 16
"""Pictures that are fetched from far away at the same time."""
_LARGE = 16 << 20
"""Bytes from which on a file is not read before its turn: dozens may wait for theirs."""
_started: dict[str, Future[tuple[bytes, str]]] = {}


def read(uri: str) -> tuple[bytes, str]:
    """The bytes behind an address, and the fingerprint that goes with them. Safe to call from
    threads.

    Raises:
        MediaError: it cannot be read, or (web) must not be.
    """
    kind = kind_of(uri)
    if kind == "file":
        return _read_file(uri_to_path(uri))
    if (member := split_member(uri)) is not None:
        return _read_member(member)
    if (started := _started.pop(uri, None)) is not None:
        return started.result()
    return _read_far(uri)


def source(uri: str) -> Path | bytes:
    """What a decoder is given: the path of a file, which may be large; else the bytes.

    Raises:
        MediaError: they cannot be read.
    """
    path = own_file(uri)
    return read(uri)[0] if path is None else path


def fingerprint(uri: str) -> str:
    """What `read` would give as the fingerprint, without reading; empty where that takes reading,
    or there is nothing.

    Raises:
        MediaError: that cannot be told now.
    """
    kind = kind_of(uri)
    if kind == "file":
        try:
            return fingerprint_of(uri_to_path(uri).stat())
        except (OSError, ValueError):
            return ""
    member = split_member(uri)
    if member is not None and is_archive(member.container):
        return _archive(uri_to_path(member.container)).fingerprint(member.name) or ""
    return ""


def is_removed(uri: str) -> bool:
    """Whether there certainly is nothing any more at an address; never so of a web address."""
    kind = kind_of(uri)
    if kind == "file":
        return not os.path.lexists(uri_to_path(uri))
    member = split_member(uri)
    if member is not None:
        path = uri_to_path(member.container)
        if not os.path.lexists(path):
            return True
        with suppress(MediaError):
            if is_archive(member.container):
                return _archive(path).fingerprint(member.name) is None
            from mmsearch.sources import parquet_images

            return parquet_images.is_removed(path, member.name)
        return False
    if kind == "remote":
        from mmsearch.sources import remote

        return remote.is_removed(uri)
    return False


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The same items; what is far away is fetched before its turn, several at once, for the
    `read` that follows."""
    from concurrent.futures import ThreadPoolExecutor  # 9 ms, of the 120 of a query that is served

    waiting: deque[Item] = deque()
    threads: ThreadPoolExecutor | None = None
    try:
        for item in items:
            if item.kind == "image" and is_far(item.uri) and not is_large(item):
                threads = threads or ThreadPoolExecutor(AT_ONCE, "fetch")
                _started[item.uri] = threads.submit(_read_far, item.uri)
            waiting.append(item)
            if threads is None or len(waiting) > AT_ONCE:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        for item in waiting:  # nobody will ask for them
            _started.pop(item.uri, None)
        if threads is not None:
            threads.shutdown(cancel_futures=bool(waiting))


def is_large(item: Item) -> bool:
    """Whether an item is taken into memory as a whole and has, as far as that is known before, so
    many bytes that it had better not be before its turn."""
    size = item.fingerprint.partition(":")[0]
    return own_file(item.uri) is None and size.isdecimal() and int(size) >= _LARGE


def is_far(uri: str) -> bool:
    """Whether an item is not on this machine, so that looking at it takes time and permission."""
    return kind_of(uri) in ("web", "remote")


def uri_of(name: str | os.PathLike[str]) -> str:
    """The uri of what somebody typed: a path, `archive.zip!/member`, or an address; spelled as it
    is there, see `uris.nfc`."""
    text = os.fsdecode(name)
    if isinstance(name, str) and scheme_of(text):
        return text
    member = split_member(text)
    if member is not None and not os.path.lexists(text):
        container = path_to_uri(as_on_disk(uri_to_path(member.container)))
        return member_uri(container, _in_archive(container, member_name(member.name)))
    return path_to_uri(as_on_disk(text))


def as_on_disk(name: str | os.PathLike[str]) -> str:
    """The absolute path of a file as its folders spell it, as far as it is there."""
    # Not Path.resolve: users know a file by the name of the link that they gave.
    path = os.path.abspath(name)  # noqa: PTH100
    if path.isascii() or os.path.lexists(path):
        return path
    folder, last = os.path.split(path)
    folder = as_on_disk(folder)
    there = os.path.join(folder, last)  # noqa: PTH118
    if last.isascii() or os.path.lexists(there):
        return there
    with suppress(OSError):
        names = _names(folder, Path(folder).stat().st_mtime_ns)
        file, mark, fragment = last.rpartition("#")
        return os.path.join(folder, names.get(  # noqa: PTH118
            nfc(last), names.get(nfc(file), file) + mark + fragment))
    return there


@lru_cache(maxsize=16)
def _names(folder: str, _changed: int) -> dict[str, str]:
    """The names in a folder that have several spellings, by that in NFC."""
    return {nfc(name): name for name in sorted(os.listdir(folder)) if not name.isascii()}  # noqa: PTH208


def _in_archive(container: str, name: str) -> str:
    """The name of a member, as its archive spells it."""
    if not name.isascii() and is_archive(container):
        with suppress(MediaError):
            archive = _archive(uri_to_path(container))
            if archive.fingerprint(name) is None:
                alike = (one.name for one in archive.members() if nfc(one.name) == nfc(name))
                return next(alike, name)
    return name


def own_file(uri: str) -> Path | None:
    """The file that holds an item and nothing else, whether it is there or not; None for a member
    of an archive, say."""
    return uri_to_path(uri) if kind_of(uri) == "file" else None


def open_regular(path: Path) -> BinaryIO:
    """An open file; a folder, a pipe or a device is refused without waiting for it.

    Raises:
        MediaError: it cannot be opened, or is none.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MediaError(f"cannot be read: {reason}") from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise MediaError("a folder; give files" if stat.S_ISDIR(mode) else "not a regular file")
    return os.fdopen(descriptor, "rb")


def link(uri: str) -> str:
    """What a browser can open: the file, the archive that holds it, the web; empty for the rest."""
    kind = kind_of(uri)
    if kind == "web":
        return uri
    member = split_member(uri)
    path = uri_to_path(member.container if member else uri)
    return path.as_uri() if kind != "remote" and path.is_absolute() else ""


def _read_far(uri: str) -> tuple[bytes, str]:
    from mmsearch.sources import remote, web

    return web.fetched(uri) if kind_of(uri) == "web" else remote.read(uri)


def _read_file(path: Path) -> tuple[bytes, str]:
    with open_regular(path) as file:
        try:
            return file.read(), fingerprint_of(os.fstat(file.fileno()))
        except OSError as error:
            raise MediaError(f"cannot be read: {error.strerror or error}") from error


def _archive(path: Path) -> Archive:
    from mmsearch.sources.archives import open_archive  # 10 ms, and a search seldom needs one

    return open_archive(path)


def _read_member(member: Member) -> tuple[bytes, str]:
    path = uri_to_path(member.container)
    if is_archive(member.container):
        return _archive(path).read(member.name)
    from mmsearch.sources import parquet_images

    return parquet_images.read(path, member.name)
