"""The catalog: one SQLite file that knows every item and every segment, and THE commit.

A change to a collection is visible once its one transaction commits, and not before.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import astuple, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from mmsearch.errors import CollectionError
from mmsearch.records import Item, SegmentInfo
from mmsearch.storage import fulltext, labels, taught
from mmsearch.storage.reading import SEGMENT, CatalogReader
from mmsearch.storage.rows import (
    COUNT_DROPPED,
    COUNT_NEW,
    SQL_KNOWN,
    SQL_PUT,
    SQL_UPDATE,
    described,
)
from mmsearch.storage.schema import open_to_read, open_to_write
from mmsearch.storage.segments import TEMPORARY, sync
from mmsearch.storage.sqlite_errors import plainly
from mmsearch.storage.taught import TaughtPicture

CATALOG = "catalog.db"
_PUT_AT_ONCE = 10_000
"""Items written between two rounds of listing their words: more would take memory only."""


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
    settings: dict[str, Any] = field(default_factory=dict)
    teach: list[TaughtPicture] = field(default_factory=list)
    """Pictures of names; one that a name has already is replaced."""
    forget: list[str] = field(default_factory=list)
    """Names that go."""

    def __bool__(self) -> bool:
        return any(vars(self).values())


class Catalog(CatalogReader):
    """The catalog at `path`; `write=True` for the one process that holds the writer's lock."""

    def __init__(self, path: Path, *, write: bool = False) -> None:
        self._write = write
        with plainly(path):
            conn = open_to_write(path) if write else open_to_read(path)
            super().__init__(path, conn, keep=not write)

    def close(self) -> None:
        if self._write:
            # All that was committed is then in the one file, even while readers are there; unless
            # one of them is in the middle of a search: it is not waited for, nothing depends on it.
            with suppress(sqlite3.Error):
                self._conn.execute("PRAGMA busy_timeout = 0")
                self._conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._conn.close()

    def _read_settings(self) -> dict[str, Any]:
        settings = super()._read_settings()
        if self._write:  # a number that is too low would give a dead vector to a new item
            rows = self._rows("SELECT max(seq) FROM items UNION ALL SELECT max(last) FROM segments")
            settings["next_seq"] = max(settings.get("next_seq", 1),
                                       *((last or 0) + 1 for (last,) in rows))
        return settings

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Whole or not at all. Begun as a writer: SQLite waits for a lock then, but not later."""
        assert self._write, "this catalog was opened for reading"
        with self._plainly():
            self._conn.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._conn.execute("COMMIT")
            finally:
                if self._conn.in_transaction:
                    self._conn.execute("ROLLBACK")

    def commit(self, change: Change) -> None:
        """Make a change visible and durable, whole or not at all."""
        highest = max((segment.last for segment in change.add_segments), default=0)
        with self._transaction():
            # Updates first: what moved makes room for, or is at once replaced by, what is put.
            self._drop_and_update(change)
            rows = iter(change.put)
            while some := list(islice(rows, _PUT_AT_ONCE)):
                self._put(some)
                highest = max(highest, max(seq for seq, _, _ in some))
            self._swap_segments(change)
            self._conn.executemany("DELETE FROM taught WHERE key = ?",
                                   [(taught.key_of(name),) for name in change.forget])
            self._conn.executemany(taught.PUT, [one.row() for one in change.teach])
            self._conn.executemany("INSERT OR REPLACE INTO settings VALUES (?, ?)", [
                (key, json.dumps(value)) for key, value in change.settings.items()])
            self._conn.execute("UPDATE settings SET value = CAST(max(CAST(value AS INTEGER), ?) AS "
                               "TEXT) WHERE key = 'next_seq'", [highest + 1])
        self.settings = self._read_settings()

    def _drop_and_update(self, change: Change) -> None:
        ids = [id for id, _ in change.update]
        drop = json.dumps(change.drop)
        self._conn.execute(fulltext.UNLIST, [json.dumps([*change.drop, *ids])])
        self._conn.execute(COUNT_DROPPED, [drop])
        self._conn.execute("DELETE FROM items WHERE id IN (SELECT value FROM json_each(?))", [drop])
        self._conn.executemany(SQL_UPDATE, [(*described(item), id) for id, item in change.update])
        self._conn.execute(fulltext.LIST, [json.dumps(ids)])

    def _put(self, rows: list[tuple[int, Item, str]]) -> None:
        (last,) = self._conn.execute("SELECT coalesce(max(id), 0) FROM items").fetchone()
        known = json.dumps([id for (id,) in self._conn.execute(
            SQL_KNOWN, [json.dumps([(item.uri, item.kind) for _, item, _ in rows])])])
        self._conn.execute(fulltext.UNLIST, [known])
        self._conn.executemany(
            SQL_PUT, [(*described(item), hash, seq) for seq, item, hash in rows])
        self._conn.execute(COUNT_NEW, [last])
        self._conn.execute(fulltext.LIST, [known])
        self._conn.execute(fulltext.LIST_NEW, [last])

    def _swap_segments(self, change: Change) -> None:
        self._conn.executemany("DELETE FROM segments WHERE name = ?",
                               [(segment.name,) for segment in change.drop_segments])
        self._conn.executemany(
            f"INSERT INTO segments ({', '.join(SEGMENT)}) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [astuple(segment) for segment in change.add_segments])

    def put_labels(self, name: str, found: Iterable[labels.Labelled]) -> int:
        """See `storage.labels`."""
        with self._transaction():
            return labels.put_labels(self._conn, name, found)

    def drop_labels(self, name: str) -> int:
        """See `storage.labels`."""
        with self._transaction():
            return labels.drop_labels(self._conn, name)

    def relist(self) -> None:
        """Make the full text anew, in one piece."""
        with self._transaction():
            for sql in fulltext.LIST_ALL:
                self._conn.execute(sql)

    def expect_many(self) -> None:
        """Keep 128 MB of the indexes in memory, for very many rows in no order of their uris."""
        self._conn.execute("PRAGMA cache_size = -131072")

    def put_settings(self, values: dict[str, Any], drop: Sequence[int] = ()) -> None:
        """drop: ids of items that go with what was set."""
        self.commit(Change(drop=list(drop), settings=values))

    def forget(self, ids: Iterable[int]) -> None:
        """Let the next run over the sources take items for new ones: their vectors are lost."""
        with self._transaction():
            self._conn.executemany("UPDATE items SET fingerprint = '', hash = '' WHERE id = ?",
                                   [(id,) for id in ids])


def create_catalog(path: Path, settings: dict[str, Any]) -> None:
    """Make an empty catalog at `path`, under another name until it is whole: what a reader sees of
    one that is being made is damage to SQLite. Needs the writer's lock."""
    new = without_leftovers(path)
    with closing(Catalog(new, write=True)) as catalog:
        catalog.put_settings(settings)
    take_place(new, path)


def without_leftovers(path: Path) -> Path:
    """The name under which a new catalog is made."""
    new = path.with_name(f"{TEMPORARY}{path.name}")
    for left in path.parent.glob(f"{new.name}*"):
        left.unlink()
    return new


def take_place(new: Path, path: Path) -> None:
    """Put a catalog, closed, in the place of the one at `path`."""
    if Path(f"{new}-wal").exists():  # SQLite removes it once all is in the one file
        raise CollectionError(f"{path} cannot be written; free some space and run again")
    for end in ("-wal", "-shm", "-journal"):  # SQLite would take them for the new one's
        Path(f"{path}{end}").unlink(missing_ok=True)
    sync(new)
    new.replace(path)
    sync(path.parent)
