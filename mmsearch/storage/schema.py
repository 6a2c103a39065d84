"""The tables of a catalog, and how its file is opened; changes to the schema are migrations."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.storage import fulltext, taught
from mmsearch.uris import nfc

if TYPE_CHECKING:
    from sqlite_utils import Database

FORMAT = 3
READABLE = (1, 2, 3)
"""Formats that can be read; the first write brings a collection to FORMAT."""
COUNT_ALL = ("DELETE FROM counts",
             "INSERT INTO counts SELECT kind, count(*) FROM items GROUP BY kind")
"""Makes the table `counts` anew."""


def open_to_write(path: Path) -> sqlite3.Connection:
    from sqlite_utils import Database, Migrations

    migrations = Migrations("mmsearch")

    @migrations()
    def tables(db: Database) -> None:
        db.table("settings").create({"key": str, "value": str}, pk="key")
        db.table("items").create(
            {"id": int, "seq": int, "uri": str, "kind": str, "text": str, "grp": str, "meta": str,
             "fingerprint": str, "hash": str, "size": int, "taken": str, "modified": str,
             "width": int, "height": int, "camera": str, "manifest": str},
            pk="id", not_null={"seq", "uri", "kind", "text", "grp", "meta"})
        for columns in (["uri", "kind"], ["seq"]):
            db.table("items").create_index(columns, unique=True)
        for columns in (["fingerprint"], ["grp"], ["manifest"]):
            db.table("items").create_index(columns)
        db.table("segments").create(
            {"name": str, "role": str, "kind": str, "rows": int, "bytes": int, "last": int,
             "sha256": str}, pk="name")
        db.table("settings").insert_all([{"key": "format", "value": "1"},
                                         {"key": "next_seq", "value": "1"}])

    @migrations()
    def full_text(db: Database) -> None:
        db.table("items").add_column("words", str)
        db.conn.create_function("words", -1, fulltext.words, deterministic=True)
        db.execute("UPDATE items SET words = words(uri, kind, text, coalesce(camera, ''), meta)")
        for sql in (*fulltext.CREATE, *fulltext.LIST_ALL):
            db.execute(sql)

    @migrations(name="checks")  # format 2 had a check value for every row, too
    def counts(db: Database) -> None:
        db.execute("CREATE TABLE counts (kind TEXT PRIMARY KEY, items INTEGER)")
        for sql in COUNT_ALL:
            db.execute(sql)

    @migrations()
    def no_checks(db: Database) -> None:
        for sql in ("DROP TABLE IF EXISTS checks", "DROP TRIGGER IF EXISTS items_added",
                    "DROP TRIGGER IF EXISTS items_dropped",
                    f"UPDATE settings SET value = '{FORMAT}' WHERE key = 'format'"):
            db.execute(sql)

    @migrations()
    def text_without_labels(db: Database) -> None:
        db.execute(f"DROP VIEW {fulltext.VIEW}")
        db.execute(fulltext.CREATE_VIEW)

    @migrations()
    def names(db: Database) -> None:  # earlier versions read and write what is without them
        db.execute(taught.CREATE)

    # Autocommit: a transaction is open only inside `atomic`. Full sync: a commit survives a
    # power cut.
    conn = sqlite3.connect(path, timeout=30, isolation_level=None)
    conn.execute("PRAGMA journal_mode = WAL")
    conn.execute("PRAGMA synchronous = FULL")
    migrations.apply(Database(conn))
    return with_nfc(conn)


def open_to_read(path: Path, table: str = "settings") -> sqlite3.Connection:
    """May be handed from one thread to another, to be used by one at a time.

    table: one that is there.
    """
    address, how = f"{path.absolute().as_uri()}?mode=ro", {"uri": True, "check_same_thread": False}
    conn = sqlite3.connect(address, timeout=30, isolation_level=None, **how)
    try:
        conn.execute(f"SELECT 1 FROM {table}")
    except sqlite3.OperationalError:
        # On read-only media SQLite cannot make its lock files, and nobody can write either.
        import os

        if not path.exists() or os.access(path.parent, os.W_OK):
            raise
        conn = sqlite3.connect(f"{address}&immutable=1", isolation_level=None, **how)
    return with_nfc(conn)


def with_nfc(conn: sqlite3.Connection) -> sqlite3.Connection:
    """For conditions, see `storage.conditions`."""
    conn.create_function("nfc", 1, lambda value: nfc(value) if isinstance(value, str) else value,
                         deterministic=True)
    return conn
