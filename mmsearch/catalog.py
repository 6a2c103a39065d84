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
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmsearch import fulltext, integrity
from mmsearch.errors import CollectionBusy, CollectionDamaged, CollectionError, CollectionNotFound
from mmsearch.filters import Condition
from mmsearch.records import Ids, Item, Kind, Neighbors, SegmentInfo
from mmsearch.schema import open_to_read, open_to_write

if TYPE_CHECKING:
    from sqlite_utils import Database

CATALOG = "catalog.db"
FORMAT = 2
READABLE = (1, 2)
"""Formats that can be read; the first write brings a collection to FORMAT."""
COLUMNS = ("size", "taken", "modified", "width", "height", "camera", "manifest")
"""Metadata with a column of its own; all other metadata is JSON in the column `meta`. There, a
manifest's column of the same name lives too: as `meta.size`, say, in `Item.meta` and in filters."""
_ITEM = "i.id, i.seq, i.uri, i.kind, i.text, i.grp, i.meta, i.fingerprint, i.hash, " + ", ".join(
    f"i.{column}" for column in COLUMNS)
_DAMAGE = ("disk image is malformed", "not a database", "malformed database", "decode to UTF-8",
           "unsupported file format", "no such column")
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
                self._db: Database | None = open_to_write(path)
                self._conn = self._db.conn
            else:
                self._db = None
                self._conn = open_to_read(path)
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

    def segments(self) -> list[SegmentInfo]:
        """Segments and approximate indexes, in the order of their names."""
        return [SegmentInfo(*row) for row in
                self._rows(f"SELECT {', '.join(_SEGMENT)} FROM segments ORDER BY name")]

    def counts(self) -> dict[str, int]:
        """Items by kind."""
        kept = self.settings.get("format", 1) > 1
        return dict(self._rows(
            "SELECT kind, items FROM counts WHERE items > 0 ORDER BY kind" if kept else
            "SELECT kind, count(*) FROM items GROUP BY kind ORDER BY kind"))

    def select(self, where: Condition | None, kinds: Sequence[Kind] = ()) -> Ids:
        """Sequence numbers (int64, ascending) of the items that meet a condition."""
        sql, parameters = _where(where, kinds)
        rows = self._rows(f"SELECT i.seq FROM items i{sql} ORDER BY i.seq", parameters)
        return np.fromiter((row[0] for row in rows), np.int64, len(rows))

    def match(self, text: str, k: int, where: Condition | None = None, kinds: Sequence[Kind] = (),
              without: Sequence[str] = (), least: float = 0.0) -> Neighbors:
        """The k items that the terms of `text` match best, see `mmsearch.fulltext`: sequence
        numbers (int64 [1, n]) and BM25 scores (float32 [1, n], above 0), best first, n <= k.

        An item has all terms or, if none has, any of them. A picture is found by its captions
        too. Items that match one of `without`, all its terms, are left out.

        least: how much an item with only some of the terms must score, as a share of the inverse
            document frequencies of all: one that has but the "a" of "a zebra" says little.

        Raises:
            CollectionError: made by an older version and not written to since.
        """
        if not self._has_fulltext():
            raise CollectionError(f"{self.path.parent} was made by an older version and has no "
                                  f"full text yet: run `mmsearch compact -i {self.path.parent}`")
        conditions, parameters = _where(where, kinds)
        if excluded := fulltext.any_text(without):
            conditions += f"{' AND' if conditions else ' WHERE'} {fulltext.WITHOUT}"
            parameters.append(excluded)
        sql = (f"{fulltext.MATCHES}{conditions} GROUP BY i.seq HAVING best >= ? "
               "ORDER BY best DESC, i.seq LIMIT ?")
        terms, rows = fulltext.terms(text), []
        if terms:
            rows = self._rows(sql, [" AND ".join(terms), *parameters, 0, k])
        if len(terms) > 1 and not rows:
            enough = least * self._rarity(terms) if least else 0
            rows = self._rows(sql, [" OR ".join(terms), *parameters, enough, k])
        found = np.array(rows, np.float64).reshape(-1, 2)
        return Neighbors(found[:, 1].astype(np.float32)[None], found[:, 0].astype(np.int64)[None])

    def twins(self, where: Condition | None, kinds: Sequence[Kind] = ()) -> list[Ids]:
        """Sequence numbers (int64, ascending) of items that share one content, for each such
        content."""
        sql, parameters = _where(where, kinds)
        rows = self._rows(f"SELECT json_group_array(i.seq) FROM items i{sql} GROUP BY i.hash "
                          "HAVING count(*) > 1 AND i.hash <> ''", parameters)
        return [np.array(sorted(json.loads(row[0])), np.int64) for row in rows]

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

    def between(self, kind: Kind, first: int, last: int) -> Ids:
        """Sequence numbers (int64, ascending) of the items of a kind from `first` to `last`."""
        rows = self._rows("SELECT seq FROM items WHERE seq BETWEEN ? AND ? AND kind = ? "
                          "ORDER BY seq", [first, last, kind])
        return np.fromiter((row[0] for row in rows), np.int64, len(rows))

    def refuse_altered(self) -> None:
        """Raise CollectionDamaged if the rows that name the segments are not as they were written:
        a writer that believed them would take sound directories for garbage."""
        with self._plainly():
            if any(integrity.altered(self._conn, ("segments", "settings"))):
                raise CollectionDamaged(f"{self.path} is damaged (a row was altered); run "
                                        f"`mmsearch verify --repair -i {self.path.parent}`")

    def in_order(self) -> bool:
        """Whether SQLite finds no fault with the file's structure, and no row is gone."""
        with self._plainly():
            return not integrity.structure(self._conn) and all(
                row.rowid is not None for row in integrity.altered(self._conn))

    # -- writing ---------------------------------------------------------------------------------

    def commit(self, change: Change) -> None:
        """Make a change visible and durable, whole or not at all."""
        highest = max([*(seq for seq, _, _ in change.put),
                       *(segment.last for segment in change.add_segments)], default=0)
        assert self._db is not None, "this catalog was opened for reading"
        with self._plainly(), self._db.atomic():
            run = self._conn.executemany
            touched = [json.dumps([*change.drop, *(id for id, _ in change.update)]),
                       json.dumps([(item.uri, item.kind) for _, item, _ in change.put])]
            self._conn.execute(fulltext.UNLIST, touched)
            run("DELETE FROM items WHERE id = ?", [(id,) for id in change.drop])
            integrity.unseal(self._conn, "items", change.drop)
            # Updates first: what moved makes room for, or is at once replaced by, what is put.
            run(_sql_update(), [(*_described(item), id) for id, item in change.update])
            run(_sql_put(), [_stored(item, hash, seq) for seq, item, hash in change.put])
            self._conn.execute(fulltext.LIST, touched)
            run("DELETE FROM segments WHERE name = ?", [(s.name,) for s in change.drop_segments])
            run(f"INSERT INTO segments ({', '.join(_SEGMENT)}) VALUES (?, ?, ?, ?, ?, ?, ?)",
                [astuple(segment) for segment in change.add_segments])
            self._conn.execute("UPDATE settings SET value = CAST(max(CAST(value AS INTEGER), ?) AS "
                               "TEXT) WHERE key = 'next_seq'", [highest + 1])
            self._seal(change)
        self.settings = self._read_settings()

    def relist(self) -> None:
        """Make the full text anew, in one piece."""
        assert self._db is not None, "this catalog was opened for reading"
        with self._plainly(), self._db.atomic():
            for sql in fulltext.LIST_ALL:
                self._conn.execute(sql)

    def put_settings(self, values: dict[str, Any]) -> None:
        assert self._db is not None, "this catalog was opened for reading"
        with self._plainly(), self._db.atomic():
            self._db.table("settings").upsert_all(
                [{"key": key, "value": json.dumps(value)} for key, value in values.items()],
                pk="key")
            integrity.seal(self._conn, "settings", "key", values)
        self.settings = self._read_settings()

    def forget(self, ids: Iterable[int]) -> None:
        """Let the next run over the sources take items for new ones: their vectors are lost."""
        assert self._db is not None, "this catalog was opened for reading"
        ids = list(ids)
        with self._plainly(), self._db.atomic():
            self._conn.executemany("UPDATE items SET fingerprint = '', hash = '' WHERE id = ?",
                                   [(id,) for id in ids])
            integrity.seal(self._conn, "items", "id", ids)

    # -- inside ----------------------------------------------------------------------------------

    def _seal(self, change: Change) -> None:
        conn = self._conn
        integrity.seal(conn, "items", "id", [id for id, _ in change.update])
        integrity.seal(conn, "items", "seq", [seq for seq, _, _ in change.put])
        integrity.unseal(conn, "segments", [segment.name for segment in change.drop_segments])
        integrity.seal(conn, "segments", "name", [segment.name for segment in change.add_segments])
        integrity.seal(conn, "settings", "key", ["next_seq"])

    def _read_settings(self) -> dict[str, Any]:
        rows = self._rows("SELECT key, value FROM settings")
        try:
            values = {key: json.loads(value) for key, value in rows}
        except (ValueError, TypeError) as error:
            raise CollectionDamaged(f"{self.path} is damaged (settings); run `mmsearch verify "
                                    f"--repair -i {self.path.parent}`") from error
        if values.get("format", FORMAT) not in READABLE:
            raise CollectionError(f"{self.path} has format {values['format']}, this version reads "
                                  f"{' and '.join(map(str, READABLE))}; upgrade mmsearch")
        return values

    def _has_fulltext(self) -> bool:
        return bool(self._rows("SELECT 1 FROM sqlite_master WHERE name = ?", [fulltext.TABLE]))

    def _rarity(self, terms: Sequence[str]) -> float:
        """The sum of the inverse document frequencies of terms, as FTS5's BM25 has them."""
        items = self._rows("SELECT count(*) FROM items")[0][0]
        counts = [self._rows(f"SELECT count(*) FROM {fulltext.TABLE} WHERE {fulltext.TABLE} "
                             "MATCH ?", [term])[0][0] for term in terms]
        return sum(max(0.0, log((items - n + 0.5) / (n + 0.5))) for n in counts)

    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        with self._plainly():
            return self._conn.execute(sql, parameters).fetchall()

    def _items(self, where: str, parameters: Sequence[Any] = ()) -> Iterator[Row]:
        with self._plainly():
            for row in self._conn.execute(f"SELECT {_ITEM} FROM items i {where}", parameters):
                try:
                    found = _row(row)
                except (ValueError, TypeError) as error:
                    raise CollectionDamaged(
                        f"{self.path} is damaged (item {row[0]}); run `mmsearch verify --repair "
                        f"-i {self.path.parent}`") from error
                yield found

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """SQLite's errors in words that say what to do."""
        try:
            yield
        except UnicodeDecodeError as error:  # in SQLite's own words about a damaged schema
            raise CollectionDamaged(f"{self.path} is damaged (not UTF-8); run `mmsearch verify "
                                    f"--repair -i {self.path.parent}`") from error
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
                    f"{self.path} is damaged ({reason}); run `mmsearch verify --repair -i "
                    f"{self.path.parent}`") from error
            raise CollectionError(f"{self.path}: {reason}") from error


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
    words = fulltext.words(item.uri, item.kind, item.text, item.meta.get("camera") or "", meta)
    return (item.uri, item.kind, item.text, item.group or item.uri, meta, item.fingerprint, words,
            *(item.meta.get(column) for column in COLUMNS))


_DESCRIBED = ("uri", "kind", "text", "grp", "meta", "fingerprint", "words", *COLUMNS)


def _stored(item: Item, hash: str, seq: int) -> tuple[Any, ...]:
    return (*_described(item), hash, seq)


def _sql_put() -> str:
    columns = (*_DESCRIBED, "hash", "seq")
    return (f"INSERT INTO items ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) "
            "ON CONFLICT (uri, kind) DO UPDATE SET "
            + ", ".join(f"{column} = excluded.{column}" for column in columns))


def _sql_update() -> str:
    return f"UPDATE items SET {', '.join(f'{c} = ?' for c in _DESCRIBED)} WHERE id = ?"

