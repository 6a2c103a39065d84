"""The catalog: one SQLite file that knows every item and every segment, and THE commit.

A change to a collection is visible once its one transaction commits, and not before. Readers
work through the standard library's sqlite3 (quick to import); writers through sqlite-utils.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmsearch.errors import CollectionBusy, CollectionDamaged, CollectionError, CollectionNotFound
from mmsearch.filters import Condition
from mmsearch.records import Ids, Item, Kind, SegmentInfo

if TYPE_CHECKING:
    from sqlite_utils import Database

FORMAT = 1
COLUMNS = ("size", "taken", "modified", "width", "height", "camera", "manifest")
"""Metadata with a column of its own; all other metadata is JSON in the column `meta`. There, a
manifest's column of the same name lives too: as `meta.size`, say, in `Item.meta` and in filters."""
_ITEM = "i.id, i.seq, i.uri, i.kind, i.text, i.grp, i.meta, i.fingerprint, i.hash, " + ", ".join(
    f"i.{column}" for column in COLUMNS)
_DAMAGE = ("disk image is malformed", "not a database", "malformed database")
_SEGMENT = ("name", "role", "kind", "rows", "bytes", "last", "sha256")


class Row(NamedTuple):
    """An item as stored: `id` is its own for life, `seq` that of its present vector, `hash` that
    of the content the vector was made from."""

    id: int
    seq: int
    item: Item
    hash: str


@dataclass
class Change:
    """What one transaction does."""

    put: list[tuple[int, Item, str]] = field(default_factory=list)
    """(seq, item, hash): a new item, or the same uri and kind with a new vector."""
    update: list[tuple[int, Item]] = field(default_factory=list)
    """(id, item): moved, touched or described anew; its vector stays."""
    drop: list[int] = field(default_factory=list)
    """ids of items that go."""
    add_segments: list[SegmentInfo] = field(default_factory=list)
    drop_segments: list[SegmentInfo] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(vars(self).values())


class Catalog:
    """The catalog at `path`; `write=True` for the one process that holds the writer's lock."""

    def __init__(self, path: Path, *, write: bool = False) -> None:
        self.path = path
        with self._plainly():
            if write:
                self._db: Database | None = _open_to_write(path)
                self._conn = self._db.conn
            else:
                self._db = None
                self._conn = _open_to_read(path)
            self.settings = self._read_settings()

    def close(self) -> None:
        if self._db is not None:
            # All that was committed is then in the one file, even while readers are there; unless
            # one of them is in the middle of a search: it is not waited for, nothing depends on it.
            with suppress(sqlite3.Error):
                self._conn.execute("PRAGMA busy_timeout = 0")
                self._conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._conn.close()

    # -- reading ---------------------------------------------------------------------------------

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All reads inside see one state of the collection, whatever a writer does meanwhile."""
        with self._plainly():
            self._conn.execute("BEGIN")
        try:
            yield
        finally:
            self._conn.execute("ROLLBACK")

    def setting(self, key: str) -> Any:
        """A setting as it is now (`settings` are as they were when this was opened), or None."""
        rows = self._rows("SELECT value FROM settings WHERE key = ?", [key])
        return json.loads(rows[0][0]) if rows else None

    def segments(self) -> list[SegmentInfo]:
        """Segments and approximate indexes, in the order of their names."""
        return [SegmentInfo(*row) for row in
                self._rows(f"SELECT {', '.join(_SEGMENT)} FROM segments ORDER BY name")]

    def counts(self) -> dict[str, int]:
        """Items by kind."""
        return dict(self._rows("SELECT kind, count(*) FROM items GROUP BY kind ORDER BY kind"))

    def select(self, where: Condition | None, kinds: Sequence[Kind] = ()) -> Ids:
        """Sequence numbers (int64, ascending) of the items that meet a condition."""
        sql, parameters = _where(where, kinds)
        rows = self._rows(f"SELECT i.seq FROM items i{sql} ORDER BY i.seq", parameters)
        return np.fromiter((row[0] for row in rows), np.int64, len(rows))

    def fetch(self, seqs: Iterable[int]) -> dict[int, Row]:
        """Live items by sequence number; a number that is no item's is left out."""
        wanted = json.dumps([int(seq) for seq in seqs])
        return {row.seq: row for row in self._items(
            "WHERE i.seq IN (SELECT value FROM json_each(?))", [wanted])}

    def find(self, uri: str, kind: Kind) -> Row | None:
        return next(self._items("WHERE i.uri = ? AND i.kind = ?", [uri, kind]), None)

    def of_size(self, size: int) -> list[Row]:
        """Image items whose file has this size: where moved and copied files are looked for."""
        return list(self._items("WHERE i.kind = 'image' AND i.fingerprint >= ? "
                                "AND i.fingerprint < ?", [f"{size}:", f"{size};"]))

    def group(self, group: str) -> list[Row]:
        return list(self._items("WHERE i.grp = ?", [group]))

    def rows(self, where: Condition | None = None, kinds: Sequence[Kind] = ()) -> Iterator[Row]:
        return self._items(*_where(where, kinds))

    def below(self, roots: Sequence[str]) -> Iterator[Row]:
        """Items whose uri is one of `roots`, or below one, or that came out of that file: captions
        of a picture, lines of a text, all that a manifest names."""
        for root in roots:
            prefix = root.rstrip("/") + "/"
            yield from self._items(
                "WHERE i.uri = ? OR (i.uri >= ? AND i.uri < ?) OR i.manifest = ? OR "
                "(i.uri >= ? AND i.uri < ? AND i.kind = 'text' "
                "AND ? IN (i.grp, json_extract(i.meta, '$.file')))",
                [root, prefix, prefix[:-1] + "0", root, root + "#", root + "$", root])

    def check(self) -> list[str]:
        """What SQLite finds wrong with the file; nothing if it is sound."""
        try:
            found = [row[0] for row in self._conn.execute("PRAGMA integrity_check")]
        except sqlite3.DatabaseError as error:
            found = [str(error)]
        return [] if found == ["ok"] else [f"{self.path}: {reason}" for reason in found]

    # -- writing ---------------------------------------------------------------------------------

    def commit(self, change: Change) -> None:
        """Make a change visible and durable, whole or not at all."""
        highest = max([*(seq for seq, _, _ in change.put),
                       *(segment.last for segment in change.add_segments)], default=0)
        assert self._db is not None, "this catalog was opened for reading"
        with self._plainly(), self._db.atomic():
            run = self._conn.executemany
            run("DELETE FROM items WHERE id = ?", [(id,) for id in change.drop])
            # Updates first: what moved makes room for, or is at once replaced by, what is put.
            run(_sql_update(), [(*_described(item), id) for id, item in change.update])
            run(_sql_put(), [_stored(item, hash, seq) for seq, item, hash in change.put])
            run("DELETE FROM segments WHERE name = ?", [(s.name,) for s in change.drop_segments])
            run(f"INSERT INTO segments ({', '.join(_SEGMENT)}) VALUES (?, ?, ?, ?, ?, ?, ?)",
                [astuple(segment) for segment in change.add_segments])
            self._conn.execute("UPDATE settings SET value = CAST(max(CAST(value AS INTEGER), ?) AS "
                               "TEXT) WHERE key = 'next_seq'", [highest + 1])
        self.settings = self._read_settings()

    def put_settings(self, values: dict[str, Any]) -> None:
        assert self._db is not None, "this catalog was opened for reading"
        with self._plainly(), self._db.atomic():
            self._db.table("settings").upsert_all(
                [{"key": key, "value": json.dumps(value)} for key, value in values.items()],
                pk="key")
        self.settings = self._read_settings()

    # -- inside ----------------------------------------------------------------------------------

    def _read_settings(self) -> dict[str, Any]:
        values = {key: json.loads(value) for key, value in
                  self._rows("SELECT key, value FROM settings WHERE key != 'ruler'")}
        if values.get("format", FORMAT) != FORMAT:
            raise CollectionError(f"{self.path} has format {values['format']}, this version reads "
                                  f"{FORMAT}; upgrade mmsearch")
        return values

    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        with self._plainly():
            return self._conn.execute(sql, parameters).fetchall()

    def _items(self, where: str, parameters: Sequence[Any] = ()) -> Iterator[Row]:
        with self._plainly():
            for row in self._conn.execute(f"SELECT {_ITEM} FROM items i {where}", parameters):
                yield _row(row)

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """SQLite's errors in words that say what to do."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            reason = str(error)
            if "locked" in reason or "busy" in reason:
                raise CollectionBusy(f"{self.path} is locked by another program; try again") \
                    from error
            if "full" in reason:
                raise CollectionError(f"no space left on the disk of {self.path}; free some and "
                                      "run again: what was committed is kept") from error
            if "I/O" in reason:
                raise CollectionError(f"the disk of {self.path} fails or is full ({reason}); what "
                                      "was committed is kept") from error
            no_tables = "no such table" in reason or not self.path.exists()
            segments = no_tables and any((self.path.parent / "segments").glob("*"))
            if no_tables and not segments:
                raise CollectionNotFound(f"{self.path.parent} holds no collection") from error
            if segments or any(sign in reason for sign in _DAMAGE):
                raise CollectionDamaged(
                    f"{self.path} is damaged ({reason}); restore it from a backup or index again "
                    "into a new directory") from error
            raise CollectionError(f"{self.path}: {reason}") from error


def _open_to_write(path: Path) -> Database:
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
        db.table("settings").insert_all([{"key": "format", "value": str(FORMAT)},
                                         {"key": "next_seq", "value": "1"}])

    # Autocommit: a transaction is open only inside `atomic`. Full sync: a commit survives a
    # power cut.
    conn = sqlite3.connect(path, timeout=30, isolation_level=None)
    conn.execute("PRAGMA journal_mode = WAL")
    conn.execute("PRAGMA synchronous = FULL")
    db = Database(conn)
    migrations.apply(db)
    return db


def _open_to_read(path: Path) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode=ro"
    conn = sqlite3.connect(address, uri=True, timeout=30, isolation_level=None)
    try:
        conn.execute("SELECT 1 FROM settings")
    except sqlite3.OperationalError:
        # On read-only media SQLite cannot make its lock files, and nobody can write either.
        import os

        if not path.exists() or os.access(path.parent, os.W_OK):
            raise
        conn = sqlite3.connect(f"{address}&immutable=1", uri=True, isolation_level=None)
    return conn


def _where(where: Condition | None, kinds: Sequence[Kind]) -> tuple[str, list[Any]]:
    clauses: list[str] = []
    parameters: list[Any] = []
    if where is not None:
        clauses.append(f"({where.sql})")
        parameters.extend(where.params)
    if kinds:
        clauses.append(f"i.kind IN ({', '.join('?' * len(kinds))})")
        parameters.extend(kinds)
    return (" WHERE " + " AND ".join(clauses) if clauses else ""), parameters


def _row(row: Sequence[Any]) -> Row:
    id, seq, uri, kind, text, group, meta, fingerprint, hash = row[:9]
    known = {name: value for name, value in zip(COLUMNS, row[9:], strict=True)
             if value is not None}
    rest = {f"meta.{key}" if key in COLUMNS else key: value
            for key, value in json.loads(meta).items()}
    return Row(id, seq, Item(uri, kind, text, group, rest | known, fingerprint), hash)


def _described(item: Item) -> tuple[Any, ...]:
    """The columns that describe an item, in the order of `_DESCRIBED`."""
    rest = {key.removeprefix("meta.") if key.removeprefix("meta.") in COLUMNS else key: value
            for key, value in item.meta.items() if key not in COLUMNS}
    meta = json.dumps(rest, ensure_ascii=False, sort_keys=True, allow_nan=False)
    return (item.uri, item.kind, item.text, item.group or item.uri, meta, item.fingerprint,
            *(item.meta.get(column) for column in COLUMNS))


_DESCRIBED = ("uri", "kind", "text", "grp", "meta", "fingerprint", *COLUMNS)


def _stored(item: Item, hash: str, seq: int) -> tuple[Any, ...]:
    return (*_described(item), hash, seq)


def _sql_put() -> str:
    columns = (*_DESCRIBED, "hash", "seq")
    return (f"INSERT INTO items ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) "
            "ON CONFLICT (uri, kind) DO UPDATE SET "
            + ", ".join(f"{column} = excluded.{column}" for column in columns))


def _sql_update() -> str:
    return f"UPDATE items SET {', '.join(f'{c} = ?' for c in _DESCRIBED)} WHERE id = ?"

