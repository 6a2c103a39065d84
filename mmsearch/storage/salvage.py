"""A damaged catalog: every row that can still be read is copied into a new one.

SQLite's indexes, counts and full text are so made anew, too. The damaged file is kept beside it, as
`catalog.db.damaged`.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmsearch.records import Problem
from mmsearch.storage import fulltext
from mmsearch.storage.catalog import take_place, without_leftovers
from mmsearch.storage.reading import SEGMENT
from mmsearch.storage.rows import ITEM, PUT, as_row, described
from mmsearch.storage.schema import COUNT_ALL, open_to_write
from mmsearch.storage.segments import sync
from mmsearch.storage.sqlite_errors import NOTHING_LEFT, plainly

_INDEXES = {"idx_items_uri_kind": "uri, kind", "idx_items_seq": "seq", "idx_items_grp": "grp",
            "idx_items_fingerprint": "fingerprint", "idx_items_manifest": "manifest"}
_STORED = {"TEXT": "'text'", "INTEGER": "'integer'", "FLOAT": "'real', 'integer'"}


def salvage_catalog(path: Path) -> list[Problem]:
    """Give a collection a new catalog of all that can be read of the one at `path`; -> what was
    lost with the rest. If no item can be read, the catalog stays. Needs the writer's lock."""
    new = without_leftovers(path)
    address = f"{path.absolute().as_uri()}?mode=ro"
    with (plainly(path), closing(open_to_write(new)) as conn,
          closing(sqlite3.connect(address, uri=True)) as old):
        old.execute("PRAGMA writable_schema = ON")  # an end that is cut off keeps nothing closed
        lost = list(_copied(old, conn, path))
        items = conn.execute("SELECT count(*) FROM items").fetchone()[0]
    if not items:
        new.unlink()
        return [Problem(str(path), NOTHING_LEFT)]
    for end in ("", "-wal"):
        with suppress(FileNotFoundError):
            shutil.copyfile(f"{path}{end}", f"{path}.damaged{end}")
            sync(Path(f"{path}.damaged{end}"))
    take_place(new, path)
    return lost


def _copied(old: sqlite3.Connection, new: sqlite3.Connection, path: Path) -> Iterator[Problem]:
    """Fill `new`; -> what is not as it was."""
    listed = set(_readable(old, "SELECT uri, kind FROM items INDEXED BY idx_items_uri_kind"))
    # An index of SQLite has them otherwise: one of the two was altered.
    doubtful = {id for index, columns in _INDEXES.items() for (id,) in _readable(
        old, f"SELECT id FROM (SELECT id, {columns} FROM items NOT INDEXED "
             f"EXCEPT SELECT id, {columns} FROM items INDEXED BY {index})")}
    # So was a value of another type than its column: SQLite would have converted it.
    other = " OR ".join(f"typeof({name}) NOT IN ('null', {_STORED[type]})" for _, name, type, *_ in
                        new.execute("PRAGMA table_info(items)") if type in _STORED)
    doubtful.update(id for (id,) in _readable(
        old, f"SELECT id FROM items NOT INDEXED WHERE {other}"))
    new.execute("BEGIN")
    for key, value in _rows(old, "settings", "key, value"):
        with suppress(ValueError, TypeError):
            json.loads(value)
            if key != "format":
                new.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (key, value))
    new.executemany(f"INSERT OR REPLACE INTO segments VALUES (?{', ?' * (len(SEGMENT) - 1)})",
                    _rows(old, "segments", ", ".join(SEGMENT)))
    put = f"INSERT OR REPLACE INTO items (id, {', '.join(PUT)}) VALUES (?{', ?' * len(PUT)})"
    for values in _rows(old, "items", f"{ITEM}, i.*", *_INDEXES):  # the last has to be there, too
        with suppress(ValueError, TypeError, sqlite3.IntegrityError):
            id, seq, item, hash = as_row(values[: 1 + ITEM.count(",")])
            if id in doubtful:
                item, hash = replace(item, fingerprint=""), ""
                yield Problem(item.uri, "may have been altered; run `mmsearch index` on it again")
            new.execute(put, (id, *described(item), hash, seq))
            listed.discard((item.uri, item.kind))
    for sql in (*COUNT_ALL, *fulltext.LIST_ALL, "COMMIT"):
        new.execute(sql)
    for uri, kind in sorted(listed, key=str):
        yield Problem(str(uri), f"its row ({kind}) was lost; run `mmsearch index` on it again")
    if more := _unnamed(old, new.execute("SELECT count(*) FROM items").fetchone()[0] + len(listed)):
        yield Problem(str(path), f"{more} other items were lost, and their names; run `mmsearch "
                                 "index` again on all that was indexed")
    for (key,) in _readable(old, "SELECT key FROM settings INDEXED BY sqlite_autoindex_settings_1"):
        if not new.execute("SELECT 1 FROM settings WHERE key = ?", [key]).fetchone():
            yield Problem(str(path), f"the setting {key} was lost")


def _unnamed(old: sqlite3.Connection, known: int) -> str:
    """How many items were lost besides those that are known: a number, if any, or words."""
    scans = ("items NOT INDEXED", "items INDEXED BY idx_items_uri_kind")
    if all(list(_readable(old, f"SELECT count(*) FROM {scan}")) for scan in scans):
        return ""  # neither breaks off
    counted = [items for (items,) in _readable(old, "SELECT items FROM counts")]
    if not counted:
        return "an unknown number of"
    return str(sum(counted) - known) if sum(counted) > known else ""


def _rows(conn: sqlite3.Connection, table: str, columns: str, *indexes: str) -> Iterator[Any]:
    """The rows that can be read: rowids are in each index of a table, too."""
    scans = ["NOT INDEXED", *(f"INDEXED BY {index}" for index in indexes)]
    for rowid in sorted({rowid for scan in scans for (rowid,) in _readable(
            conn, f"SELECT rowid FROM {table} {scan}")}):
        yield from _readable(conn, f"SELECT {columns} FROM {table} i WHERE i.rowid = ?", rowid)


def _readable(conn: sqlite3.Connection, sql: str, *values: int) -> Iterator[Any]:
    """The rows of an answer up to where it breaks off."""
    with suppress(sqlite3.DatabaseError, UnicodeDecodeError):
        yield from conn.execute(sql, values)
