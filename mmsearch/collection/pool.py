"""The connections of an open collection, so that any number of threads may use one handle."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakSet

from mmsearch.errors import CollectionError, UsageError
from mmsearch.indexes import Device
from mmsearch.storage import CATALOG, Catalog, Files, Opened


def usable(device: Device) -> Device:
    """The device that there is; the CPU needs no FAISS to say so."""
    if device == "cpu":
        return device
    from mmsearch.indexes import gpu

    return gpu.usable(device)


def refuse_odd_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"the name of the index directory must be UTF-8: {str(path)!r}") from error


class Connection:
    """What one call reads from: a catalog, and the segments that are named in it."""

    def __init__(self, path: Path, files: Files) -> None:
        self.catalog = Catalog(path / CATALOG)
        self.opened = Opened(path, files)
        self.version: int | None = None
        """Of the catalog, when `opened` was brought in step with it."""

    def refresh(self) -> None:
        """Open what has been committed since the last call, if anything has."""
        version = self.catalog.version()
        if version != self.version:
            self.catalog.renew_settings()
            self.opened.refresh(self.catalog.segments())
            self.version = version


class Pool:
    """Lends a connection to each call, and keeps it for the next: threads that come and go leave
    nothing behind. The files of segments are opened once for all.

    Taking from a list and adding to it are single steps, so that nobody waits here.
    """

    def __init__(self, path: Path, device: Device) -> None:
        self.path, self.closed = path, False
        self.files = Files(device)
        self._idle = [Connection(path, self.files)]
        _POOLS.add(self)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Raises CollectionError after `close`."""
        self.check_open()
        try:
            one = self._idle.pop()
        except IndexError:
            one = Connection(self.path, self.files)
        try:
            yield one
        finally:
            self._idle.append(one)
            if self.closed:
                self.close_idle()

    def check_open(self) -> None:
        if self.closed:
            raise CollectionError(f"{self.path} was closed; open it again to use it")

    def close(self) -> None:
        """Calls that run in other threads end as they would; then theirs are closed, too."""
        self.closed = True
        self.close_idle()

    def close_idle(self) -> None:
        while self._idle:
            try:
                one = self._idle.pop()
            except IndexError:  # another thread was quicker
                return
            one.catalog.close()


_POOLS: WeakSet[Pool] = WeakSet()


def _before_fork() -> None:
    """SQLite's locks belong to a process, so that no connection may be carried into another."""
    for pool in list(_POOLS):
        pool.close_idle()


def _after_fork_in_child() -> None:
    for pool in list(_POOLS):
        pool.files.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
