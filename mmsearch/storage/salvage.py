"""A damaged catalog: every row that can still be read is copied into a new one.

SQLite's indexes, counts and full text are so made anew, too. The damaged file is kept beside it, as
`catalog.db.damaged`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmsearch.errors import CollectionDamaged
from mmsearch.records import Problem
from mmsearch.storage import fulltext
from mmsearch.storage.reading import SEGMENT
from mmsearch.storage.rows import ITEM, PUT, as_row, described
from mmsearch.storage.schema import COUNT_ALL, open_to_read, open_to_write
from mmsearch.storage.segments import TEMPORARY, sync
from mmsearch.storage.sqlite_errors import plainly

_AGAIN = "run `mmsearch index` on it again"
_MISSING = re.compile(r"row (\d+) missing from index idx_items_")
_ERRORS = (sqlite3.DatabaseError, UnicodeDecodeError)


def salvage_catalog(path: Path) -> list[Problem]:
    """Give a collection a new catalog of all that can be read of the one at `path`; -> what was
    lost with the rest. If no item can be read, the catalog stays. Needs the writer's lock."""
    new, whole = (path.with_name(f"{TEMPORARY}{path.name}{end}") for end in ("", "-whole"))
    lost = list[Problem]()
    for left in path.parent.glob(f"{new.name}*"):
        left.unlink()
    with plainly(path), closing(open_to_write(new)) as conn:
        conn.execute("PRAGMA wal_checkpoint")
        with suppress(CollectionDamaged, *_ERRORS), closing(_opened(path, whole)) as old:
            lost = list(_copied(old, conn, path))
        items = conn.execute("SELECT count(*) FROM items").fetchone()[0]
    if items:
        for end in ("", "-wal"):
            with suppress(FileNotFoundError):
                shutil.copyfile(f"{path}{end}", f"{path}.damaged{end}")
                sync(Path(f"{path}.damaged{end}"))
        for end in ("-wal", "-shm"):  # SQLite would take them for the new one's
            Path(f"{path}{end}").unlink(missing_ok=True)
        sync(new)
        new.replace(path)
        sync(path.parent)
    for left in path.parent.glob(f"{new.name}*"):
        left.unlink()
    return lost if items else [Problem(str(path), "nothing can be read of it; restore it from a "
                                       "backup, or index again into a new directory")]


def _opened(path: Path, whole: Path) -> sqlite3.Connection:
    """The damaged catalog, or, where its end is cut off, a copy with empty pages in that place."""
    with path.open("rb") as file:
        size = 4096 * int.from_bytes(file.read(32)[28:], "big")
    if path.stat().st_size >= size:
        return open_to_read(path)
    shutil.copyfile(path, whole)
    os.truncate(whole, size)
    return sqlite3.connect(whole)


def _copied(old: sqlite3.Connection, new: sqlite3.Connection, path: Path) -> Iterator[Problem]:
    """Fill `new`; -> what is not as it was."""
    names = set(_readable(old, "SELECT uri, kind FROM items INDEXED BY idx_items_uri_kind"))
    keys = set(_readable(old, "SELECT key FROM settings INDEXED BY sqlite_autoindex_settings_1"))
    doubtful, copied = _doubtful(old), set[tuple[str, str]]()
    new.execute("BEGIN")
    for key, value in _rows(old, "settings", "key, value"):
        with suppress(ValueError, TypeError):
            json.loads(value)
            keys.discard((key,))
            if key != "format":
                new.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (key, value))
    new.executemany(f"INSERT OR REPLACE INTO segments VALUES (?{', ?' * (len(SEGMENT) - 1)})",
                    _rows(old, "segments", ", ".join(SEGMENT)))
    put = f"INSERT OR REPLACE INTO items (id, {', '.join(PUT)}) VALUES (?{', ?' * len(PUT)})"
    for values in _rows(old, "items", f"{ITEM}, i.*"):  # one whose end is not there is no row
        with suppress(ValueError, TypeError, sqlite3.IntegrityError):
            id, seq, item, hash = as_row(values[: 1 + ITEM.count(",")])
            if id in doubtful:
                item, hash = replace(item, fingerprint=""), ""
                yield Problem(item.uri, f"may have been altered; {_AGAIN}")
            new.execute(put, (id, *described(item), hash, seq))
            copied.add((item.uri, item.kind))
    for sql in (*COUNT_ALL, *fulltext.LIST_ALL, "COMMIT"):
        new.execute(sql)
    for uri, kind in sorted(names - copied, key=str):
        yield Problem(str(uri), f"its row ({kind}) was lost; {_AGAIN}")
    for (key,) in sorted(keys, key=str):
        yield Problem(str(path), f"the setting {key} was lost")


def _doubtful(conn: sqlite3.Connection) -> set[int]:
    """ids of items that an index of SQLite has otherwise: one of the two was altered."""
    found = [_MISSING.match(str(line)) for (line,) in _readable(conn, "PRAGMA integrity_check")]
    ids = [id for (id,) in _readable(conn, "SELECT id FROM items NOT INDEXED ORDER BY id")]
    return {id for row in found if row for id in ids[int(row[1]) - 1 : int(row[1])]}


def _rows(conn: sqlite3.Connection, table: str, columns: str) -> Iterator[Any]:
    """The rows that can be read: rowids are in each index of a table, too."""
    indexes = _readable(conn, "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = "
                              f"'{table}'")
    scans = ["NOT INDEXED", "NOT INDEXED ORDER BY rowid DESC",
             *(f"INDEXED BY {name}" for (name,) in list(indexes))]
    rowids = sorted({rowid for scan in scans for (rowid,) in _readable(
        conn, f"SELECT rowid FROM {table} {scan}")})
    sql = f"SELECT {columns} FROM {table} i WHERE i.rowid = ?"
    for rowid in rowids:
        yield from _readable(conn, sql, rowid)


def _readable(conn: sqlite3.Connection, sql: str, *values: int) -> Iterator[Any]:
    """The rows of an answer up to where it breaks off."""
    with suppress(*_ERRORS):
        yield from conn.execute(sql, values)
