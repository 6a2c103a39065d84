"""A damaged catalog: every row that can still be read is copied into a new one.

Indexes of SQLite, counts and full text are so made anew, too. The damaged file is kept beside it,
as `catalog.db.damaged`.
"""

from __future__ import annotations

import json
import re
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

ASIDE = ".damaged"
_AT_ONCE = 1000
_AGAIN = "run `mmsearch index` on it again"
_COUNTS = ("SELECT sum(items) FROM counts", "SELECT count(*) FROM items_fts_docsize",
           "SELECT count(*) FROM items INDEXED BY idx_items_seq")
_MISSING = r"row (\d+) missing from index idx_items_"


def salvage_catalog(path: Path) -> list[Problem]:
    """Give a collection a new catalog of all that can be read of the one at `path`; -> what was
    lost with the rest. Needs the writer's lock.

    Raises:
        CollectionDamaged: nothing can be read; the catalog is as it was.
    """
    new, copy = path.with_name(f"{TEMPORARY}{path.name}"), path.with_name(f"{TEMPORARY}old.db")
    try:
        with closing(open_to_write(new)) as conn:
            conn.execute("PRAGMA wal_checkpoint")
            with closing(_opened(path, new, copy)) as old:
                lost = list(_copied(old, conn, path))
        sync(new)
        # In this order, so that a repair that is killed here can be done again: see `put_back`.
        path.replace(f"{path}{ASIDE}")
        for end in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{path}{end}").replace(f"{path}{ASIDE}{end}")
        new.replace(path)
        sync(path.parent)
    finally:
        for left in path.parent.glob(f"{TEMPORARY}*.db*"):
            left.unlink()
    return lost


def put_back(path: Path) -> None:
    """Where a repair was killed between taking the old catalog away and bringing the new one."""
    for end in ("-wal", "-shm", ""):
        aside = Path(f"{path}{ASIDE}{end}")
        if not path.exists() and aside.exists():
            aside.replace(f"{path}{end}")


def _opened(path: Path, new: Path, copy: Path) -> sqlite3.Connection:
    """The damaged catalog; if the schema on its first page cannot be read, a copy that has the
    first page of a new one: the tables are at the same places in all of them."""
    try:
        conn = open_to_read(path)
        conn.execute(f"SELECT {ITEM} FROM items i LIMIT 0")
        conn.execute(f"SELECT key, value, {', '.join(SEGMENT)} FROM settings, segments LIMIT 0")
        return conn
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        data = path.read_bytes()
        pages = -(-len(data) // 4096)
        first = bytearray(new.read_bytes()[:4096])
        first[28:32] = pages.to_bytes(4, "big")
        copy.write_bytes((first + data[4096:]).ljust(pages * 4096, b"\0"))
        return sqlite3.connect(copy)


def _copied(old: sqlite3.Connection, new: sqlite3.Connection, path: Path) -> Iterator[Problem]:
    """Fill `new`; -> what could not be."""
    expected = max((n for sql in _COUNTS for (n,) in _readable(old, sql) if n), default=0)
    names = set(_readable(old, "SELECT uri, kind FROM items INDEXED BY idx_items_uri_kind"))
    keys = set(_readable(old, "SELECT key FROM settings INDEXED BY sqlite_autoindex_settings_1"))
    doubtful, copied = _doubtful(old), set()
    new.execute("BEGIN")
    for key, value in _rows(old, "settings", "key, value"):
        if key != "format" and _is_json(value):
            new.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (key, value))
            keys.discard((key,))
    new.executemany(f"INSERT OR REPLACE INTO segments VALUES (?{', ?' * (len(SEGMENT) - 1)})",
                    _rows(old, "segments", ", ".join(SEGMENT)))
    put = f"INSERT OR REPLACE INTO items (id, {', '.join(PUT)}) VALUES (?{', ?' * len(PUT)})"
    for values in _rows(old, "items", ITEM):
        with suppress(ValueError, TypeError):
            id, seq, item, hash = as_row(values)
            if id in doubtful:
                item = replace(item, fingerprint="")
                yield Problem(item.uri, f"may have been altered; {_AGAIN}")
            new.execute(put, (id, *described(item), hash, seq))
            copied.add((item.uri, item.kind))
    if not copied:
        raise CollectionDamaged(f"{path} is damaged; nothing can be read of it: restore it from a "
                                "backup, or index again into a new directory")
    for sql in (*COUNT_ALL, *fulltext.LIST_ALL, "COMMIT"):
        new.execute(sql)
    for uri, kind in sorted(names - copied, key=str):
        yield Problem(str(uri), f"its row ({kind}) was lost; {_AGAIN}")
    if (more := expected - len(copied | names)) > 0:
        yield Problem(str(path), f"{more} items were lost that cannot be named; run `mmsearch "
                                 "index` again on all that was indexed")
    for (key,) in sorted(keys - {("format",)}):
        yield Problem(str(path), f"the setting {key} was lost")


def _doubtful(conn: sqlite3.Connection) -> set[int]:
    """ids of items that an index of SQLite has otherwise: one of the two was altered."""
    lines = (str(line) for (line,) in _readable(conn, "PRAGMA integrity_check"))
    numbers = {int(row[1]) for line in lines if (row := re.match(_MISSING, line))}
    ids = [id for (id,) in _readable(conn, "SELECT id FROM items NOT INDEXED ORDER BY id")]
    return {ids[number - 1] for number in numbers if number <= len(ids)}


def _is_json(text: str) -> bool:
    try:
        return json.loads(text) is not None
    except (ValueError, TypeError):
        return False


def _rows(conn: sqlite3.Connection, table: str, columns: str) -> Iterator[Any]:
    """The rows that can be read, in the order of their rowids, which all indexes have as well."""
    indexes = _readable(conn, "SELECT name FROM sqlite_master WHERE type = 'index' AND "
                              f"tbl_name = '{table}'")
    scans = ["NOT INDEXED", "NOT INDEXED ORDER BY rowid DESC",
             *(f"INDEXED BY {name}" for (name,) in list(indexes))]
    rowids = sorted({rowid for scan in scans for (rowid,) in _readable(
        conn, f"SELECT rowid FROM {table} {scan}")})
    sql = f"SELECT {columns} FROM {table} i WHERE i.rowid IN (SELECT value FROM json_each(?))"
    for at in range(0, len(rowids), _AT_ONCE):
        yield from _halved(conn, sql, rowids[at : at + _AT_ONCE])


def _halved(conn: sqlite3.Connection, sql: str, rowids: list[int]) -> Iterator[Any]:
    """The rows with these rowids; where they cannot all be read, those of each half."""
    try:
        yield from conn.execute(sql, [json.dumps(rowids)]).fetchall()
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        half = len(rowids) // 2
        for part in (rowids[:half], rowids[half:]) if half else ():
            yield from _halved(conn, sql, part)


def _readable(conn: sqlite3.Connection, sql: str) -> Iterator[Any]:
    """The rows of an answer up to where it breaks off."""
    with suppress(sqlite3.DatabaseError, UnicodeDecodeError):
        yield from conn.execute(sql)
