"""SQLite's errors in words that say what to do."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmsearch.errors import CollectionBusy, CollectionDamaged, CollectionError, no_collection

_DAMAGE = ("disk image is malformed", "not a database", "malformed database", "decode to UTF-8",
           "unsupported file format", "no such column")


NOTHING_LEFT = ("nothing can be read of it; restore it from a backup, or index again into a new "
                "directory")


def damaged(path: Path, reason: str) -> CollectionDamaged:
    hopeless = "not a database" in reason or not path.exists() or not path.stat().st_size
    advice = NOTHING_LEFT if hopeless else f"run `mmsearch verify --repair -i {path.parent}`"
    return CollectionDamaged(f"{path} is damaged ({reason}); {advice}")


def _refusal(path: Path) -> str:
    """Why a file may not be read; SQLite only says that it cannot open it."""
    try:
        path.open("rb").close()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return error.strerror or str(error)
    return ""


@contextmanager
def plainly(path: Path) -> Iterator[None]:
    """Raise what goes wrong inside with the catalog at `path` as an error of the library."""
    there = os.access(path, os.F_OK)  # what another process makes meanwhile was not there
    try:
        yield
    except UnicodeDecodeError as error:  # in SQLite's own words about a damaged schema
        raise damaged(path, "not UTF-8") from error
    except sqlite3.DatabaseError as error:
        reason = str(error)
        if refusal := _refusal(path):
            raise CollectionError(f"{path} cannot be read: {refusal}") from error
        if "locked" in reason or "busy" in reason:
            raise CollectionBusy(f"{path} is locked by another program; try again") from error
        if "full" in reason:
            raise CollectionError(f"no space left on the disk of {path}; free some and run again: "
                                  "finished work is kept") from error
        if "I/O" in reason:
            raise CollectionError(f"the disk of {path} is full or has a fault ({reason}); "
                                  "finished work is kept") from error
        no_tables = "no such table" in reason or not (there and path.exists())
        segments = no_tables and any((path.parent / "segments").glob("*"))
        if no_tables and not segments:
            raise no_collection(path.parent) from error
        if segments or any(sign in reason for sign in _DAMAGE):
            raise damaged(path, reason) from error
        raise CollectionError(f"{path}: {reason}") from error
