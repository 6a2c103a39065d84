"""SQLite's errors in words that say what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmsearch.errors import CollectionBusy, CollectionDamaged, CollectionError, no_collection

_DAMAGE = ("disk image is malformed", "not a database", "malformed database", "decode to UTF-8",
           "unsupported file format", "no such column")


def damaged(path: Path, reason: str) -> CollectionDamaged:
    return CollectionDamaged(
        f"{path} is damaged ({reason}); run `mmsearch verify --repair -i {path.parent}`")


@contextmanager
def plainly(path: Path) -> Iterator[None]:
    """Raise what goes wrong inside with the catalog at `path` as an error of the library."""
    try:
        yield
    except UnicodeDecodeError as error:  # in SQLite's own words about a damaged schema
        raise damaged(path, "not UTF-8") from error
    except sqlite3.DatabaseError as error:
        reason = str(error)
        if "locked" in reason or "busy" in reason:
            raise CollectionBusy(f"{path} is locked by another program; try again") from error
        if "full" in reason:
            raise CollectionError(f"no space left on the disk of {path}; free some and run again: "
                                  "finished work is kept") from error
        if "I/O" in reason:
            raise CollectionError(f"the disk of {path} is full or has a fault ({reason}); "
                                  "finished work is kept") from error
        no_tables = "no such table" in reason or not path.exists()
        segments = no_tables and any((path.parent / "segments").glob("*"))
        if no_tables and not segments:
            raise no_collection(path.parent) from error
        if segments or any(sign in reason for sign in _DAMAGE):
            raise damaged(path, reason) from error
        raise CollectionError(f"{path}: {reason}") from error
