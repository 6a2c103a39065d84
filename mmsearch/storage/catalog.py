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
from itertools import islice
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.errors import CollectionBusy, CollectionDamaged, CollectionError, no_collection
from mmsearch.records import Ids, Item, Kind, Neighbors, SegmentInfo
from mmsearch.storage import fulltext, integrity
from mmsearch.storage.conditions import Condition
from mmsearch.storage.rows import (
    COLUMNS,
    ITEM,
    SQL_PUT,
    SQL_UPDATE,
    Row,
    as_row,
    described,
    where_sql,
)
from mmsearch.storage.schema import open_to_read, open_to_write
from mmsearch.uris import inside_of

if TYPE_CHECKING:
    from sqlite_utils import Database

CATALOG = "catalog.db"
FORMAT = 2
READABLE = (1, 2)
"""Formats that can be read; the first write brings a collection to FORMAT."""
_SELECTIONS_KEPT = 8
_PUT_AT_ONCE = 10_000
"""Items written between two rounds of listing their words: more would take memory only."""
_DAMAGE = ("disk image is malformed", "not a database", "malformed database", "decode to UTF-8",
           "unsupported file format", "no such column")
_SEGMENT = ("name", "role", "kind", "rows", "bytes", "last", "sha256")


@dataclass
class Change:
    """What one transaction does."""

    put: Iterable[tuple[int, Item, str]] = field(default_factory=list)
    """(seq, item, hash): a new item, or the same uri and kind with a new vector. Drawn one by one
    while they are written, so that there may be more of them than memory holds."""
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
        self._selected: dict[tuple[Any, ...] | None, Ids] = {}
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
        kept = self.settings.get("format", 1) > 1
        return dict(self._rows(
            "SELECT kind, items FROM counts WHERE items > 0 ORDER BY kind" if kept else
            "SELECT kind, count(*) FROM items GROUP BY kind ORDER BY kind"))

    def version(self) -> int:
        """A number that changes when another connection has committed something."""
        return int(self._rows("PRAGMA data_version")[0][0])

    def select(self, where: Condition | None, kinds: Sequence[Kind] = ()) -> Ids:
        """Sequence numbers (int64, ascending) of the items that meet a condition; a reader keeps
        the last few answers until something is committed."""
        sql, parameters = where_sql(where, kinds)
        key = (sql, *parameters, self.version()) if self._db is None else None
        if key in self._selected:
            return self._selected[key]
        rows = self._rows(f"SELECT i.seq FROM items i{sql} ORDER BY i.seq", parameters)
        found = np.fromiter((row[0] for row in rows), np.int64, len(rows))
        if key is not None:
            found.flags.writeable = False
            self._selected = dict([*self._selected.items(), (key, found)][-_SELECTIONS_KEPT:])
        return found

    def match(self, text: str, k: int, where: Condition | None = None, kinds: Sequence[Kind] = (),
              without: Sequence[str] = (), least: float = 0.0) -> Neighbors:
        """The k items that the terms of `text` match best, see `storage.fulltext`: sequence
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
        conditions, parameters = where_sql(where, kinds)
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
        """Sequence numbers (int64, ascending) of items that share a content, for each content."""
        sql, parameters = where_sql(where, kinds)
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
        """Pictures, and parts of files, whose file has this size: where moved and copied files are
        looked for."""
        return list(self._items("WHERE i.kind <> 'text' AND i.fingerprint >= ? "
                                "AND i.fingerprint < ?", [f"{size}:", f"{size};"]))

    def known(self, uris: Iterable[str], kind: Kind) -> dict[str, Row]:
        """Those of `uris` that are items of a kind."""
        return {row.item.uri: row for row in self._items(
            "WHERE i.kind = ? AND i.uri IN (SELECT value FROM json_each(?))",
            [kind, json.dumps(list(uris))])}

    def marked(self, first: str, last: str) -> int:
        """How many items have a fingerprint from `first` up to, but not with, `last`."""
        return int(self._rows("SELECT count(*) FROM items WHERE fingerprint >= ? AND "
                              "fingerprint < ?", [first, last])[0][0])

    def outdated(self, source: str, marks: Sequence[str], limit: int) -> list[int]:
        """ids of at most `limit` items of a source (the column `manifest`) whose fingerprints begin
        with none of `marks`, which are of one length."""
        length = len(marks[0])
        return [row[0] for row in self._rows(
            "SELECT id FROM items WHERE manifest = ? AND substr(fingerprint, 1, ?) NOT IN "
            "(SELECT value FROM json_each(?)) LIMIT ?", [source, length, json.dumps(marks), limit])]

    def group(self, group: str) -> list[Row]:
        return list(self._items("WHERE i.grp = ?", [group]))

    def rows(self, where: Condition | None = None, kinds: Sequence[Kind] = (),
             order: str = "") -> Iterator[Row]:
        """Items that meet a condition; `order` is a column that they are sorted by."""
        sql, parameters = where_sql(where, kinds)
        return self._items(sql + (f" ORDER BY i.{order}" if order else ""), parameters)

    def count(self, where: Condition | None, kinds: Sequence[Kind] = ()) -> int:
        """How many items meet a condition."""
        sql, parameters = where_sql(where, kinds)
        return int(self._rows(f"SELECT count(*) FROM items i{sql}", parameters)[0][0])

    def meta_types(self, where: Condition | None, kinds: Sequence[Kind]) -> dict[str, set[str]]:
        """The names that metadata has among the items that meet a condition, each with the types of
        its values: those of SQLite's json_each, "large" for integers beyond 64 bits."""
        sql, parameters = where_sql(where, kinds)
        found: dict[str, set[str]] = {}
        for name, kind, held in self._rows(
                "SELECT DISTINCT j.key, j.type, typeof(j.value) FROM items i, json_each(i.meta) j"
                + sql, parameters):
            name = f"meta.{name}" if name in COLUMNS else name
            large = kind == "integer" and held != "integer"
            found.setdefault(name, set()).add("large" if large else kind)
        for column in COLUMNS:
            held = {row[0] for row in self._rows(
                f"SELECT DISTINCT typeof(i.{column}) FROM items i{sql}", parameters)}
            if held - {"null"}:
                found[column] = held - {"null"}
        return found

    def below(self, roots: Sequence[str]) -> Iterator[Row]:
        """Items whose uri is one of `roots`, or below one, or that came out of that file: captions
        of a picture, lines of a text, frames of a video, all that a manifest names."""
        for root in roots:
            ends = [(one, one[:-1] + "0") for one in (root.rstrip("/") + "/", inside_of(root))]
            yield from self._items(
                "WHERE i.uri = ? OR (i.uri >= ? AND i.uri < ?) OR (i.uri >= ? AND i.uri < ?) OR "
                "i.manifest = ? OR (i.uri >= ? AND i.uri < ? AND i.kind <> 'image' "
                "AND ? IN (i.grp, json_extract(i.meta, '$.file')))",
                [root, *ends[0], *ends[1], root, root + "#", root + "$", root])

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
        highest = max((segment.last for segment in change.add_segments), default=0)
        assert self._db is not None, "this catalog was opened for reading"
        with self._plainly(), self._transaction():
            # Updates first: what moved makes room for, or is at once replaced by, what is put.
            self._drop_and_update(change)
            rows = iter(change.put)
            while some := list(islice(rows, _PUT_AT_ONCE)):
                self._put(some)
                highest = max(highest, max(seq for seq, _, _ in some))
            self._swap_segments(change)
            self._conn.execute("UPDATE settings SET value = CAST(max(CAST(value AS INTEGER), ?) AS "
                               "TEXT) WHERE key = 'next_seq'", [highest + 1])
            integrity.seal(self._conn, "settings", "key", ["next_seq"])
        self.settings = self._read_settings()

    def _drop_and_update(self, change: Change) -> None:
        ids = [id for id, _ in change.update]
        self._conn.execute(fulltext.UNLIST, [json.dumps([*change.drop, *ids]), "[]"])
        run = self._conn.executemany
        run("DELETE FROM items WHERE id = ?", [(id,) for id in change.drop])
        integrity.unseal(self._conn, "items", change.drop)
        run(SQL_UPDATE, [(*described(item), id) for id, item in change.update])
        integrity.seal(self._conn, "items", "id", ids)
        self._conn.execute(fulltext.LIST, [json.dumps(ids), "[]"])

    def _put(self, rows: list[tuple[int, Item, str]]) -> None:
        touched = ["[]", json.dumps([(item.uri, item.kind) for _, item, _ in rows])]
        self._conn.execute(fulltext.UNLIST, touched)
        self._conn.executemany(
            SQL_PUT, [(*described(item), hash, seq) for seq, item, hash in rows])
        integrity.seal(self._conn, "items", "seq", [seq for seq, _, _ in rows])
        self._conn.execute(fulltext.LIST, touched)

    def _swap_segments(self, change: Change) -> None:
        dropped = [segment.name for segment in change.drop_segments]
        added = [segment.name for segment in change.add_segments]
        self._conn.executemany("DELETE FROM segments WHERE name = ?", [(n,) for n in dropped])
        self._conn.executemany(
            f"INSERT INTO segments ({', '.join(_SEGMENT)}) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [astuple(segment) for segment in change.add_segments])
        integrity.unseal(self._conn, "segments", dropped)
        integrity.seal(self._conn, "segments", "name", added)

    def relist(self) -> None:
        """Make the full text anew, in one piece."""
        with self._plainly(), self._transaction():
            for sql in fulltext.LIST_ALL:
                self._conn.execute(sql)

    def expect_many(self) -> None:
        """Keep 128 MB of the indexes in memory, for very many rows in no order of their uris."""
        self._conn.execute("PRAGMA cache_size = -131072")

    def put_settings(self, values: dict[str, Any], drop: Sequence[int] = ()) -> None:
        assert self._db is not None, "this catalog was opened for reading"
        with self._plainly(), self._transaction():
            self._drop_and_update(Change(drop=list(drop)))  # items that go with them
            self._db.table("settings").upsert_all(
                [{"key": k, "value": json.dumps(v)} for k, v in values.items()], pk="key")
            integrity.seal(self._conn, "settings", "key", values)
        self.settings = self._read_settings()

    def forget(self, ids: Iterable[int]) -> None:
        """Let the next run over the sources take items for new ones: their vectors are lost."""
        ids = list(ids)
        with self._plainly(), self._transaction():
            self._conn.executemany("UPDATE items SET fingerprint = '', hash = '' WHERE id = ?",
                                   [(id,) for id in ids])
            integrity.seal(self._conn, "items", "id", ids)

    # -- inside ----------------------------------------------------------------------------------

    def _read_settings(self) -> dict[str, Any]:
        rows = self._rows("SELECT key, value FROM settings WHERE key NOT IN ('ruler', 'archives')")
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
            for row in self._conn.execute(f"SELECT {ITEM} FROM items i {where}", parameters):
                try:
                    found = as_row(row)
                except (ValueError, TypeError) as error:
                    raise CollectionDamaged(
                        f"{self.path} is damaged (item {row[0]}); run `mmsearch verify --repair "
                        f"-i {self.path.parent}`") from error
                yield found

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Whole or not at all. Begun as a writer: SQLite waits for a lock then, but not later."""
        self._conn.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._conn.execute("COMMIT")
        finally:
            if self._conn.in_transaction:
                self._conn.execute("ROLLBACK")

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
                raise no_collection(self.path.parent) from error
            if segments or any(sign in reason for sign in _DAMAGE):
                raise CollectionDamaged(
                    f"{self.path} is damaged ({reason}); run `mmsearch verify --repair -i "
                    f"{self.path.parent}`") from error
            raise CollectionError(f"{self.path}: {reason}") from error
