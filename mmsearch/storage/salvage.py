"""What can be saved of what is damaged.

Of a catalog, every row that can still be read is copied into a new one. SQLite's indexes, counts
and full text are so made anew, too. The damaged file is kept beside it, as `catalog.db.damaged`.
"""

from __future__ import annotations

import filecmp
import hashlib
import io
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np

from mmsearch.records import Problem, SegmentInfo
from mmsearch.storage import fulltext, taught
from mmsearch.storage.catalog import Catalog, Change, take_place, without_leftovers
from mmsearch.storage.open_segments import directory
from mmsearch.storage.reading import SEGMENT, as_segment
from mmsearch.storage.rows import ITEM, PUT, as_row, described
from mmsearch.storage.schema import COUNT_ALL, open_to_write
from mmsearch.storage.segments import (
    MANIFEST,
    TEMPORARY,
    UNREADABLE,
    describe,
    description,
    stated,
    sync,
    verify_directory,
    written_whole,
)
from mmsearch.storage.sqlite_errors import NOTHING_LEFT, plainly
from mmsearch.storage.taught import as_taught


def salvage_catalog(path: Path) -> list[Problem]:
    """Give a collection a new catalog of all that can be read of the one at `path`; -> what was
    lost with the rest. If no item can be read, the catalog stays. Needs the writer's lock."""
    kept = Path(f"{path}.damaged")
    again = _was_killed(path, kept)
    new = without_leftovers(path)
    with plainly(path), closing(open_to_write(new)) as conn, \
            closing(_Damaged(kept if again else path)) as old:
        _copy(old, conn)
        lost = list(_lost(old, conn, path))
        items = conn.execute("SELECT count(*) FROM items").fetchone()[0]
    if not items:
        new.unlink()
        return [Problem(str(path), NOTHING_LEFT)]
    for end in ("", "-wal") if not again else ():
        with suppress(FileNotFoundError):
            shutil.copyfile(f"{path}{end}", f"{kept}{end}")
            sync(Path(f"{kept}{end}"))
    take_place(new, path)
    return lost


def _was_killed(path: Path, kept: Path) -> bool:
    """Whether an earlier run got as far as to remove the log: the copy has it still."""
    log = Path(f"{path}-wal")
    return (path.with_name(f"{TEMPORARY}{path.name}").exists() and kept.exists()
            and not (log.exists() and log.stat().st_size)
            and filecmp.cmp(path, kept, shallow=False))


class _Damaged:
    """What can be read of a damaged catalog."""

    def __init__(self, path: Path) -> None:
        self._conn = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        self._conn.execute("PRAGMA writable_schema = ON")  # opens it though its end is cut off
        self.close = self._conn.close
        self.broke_off = False
        """Whether an answer ended before its time."""

    def read(self, sql: str, *values: int) -> Iterator[Any]:
        try:
            yield from self._conn.execute(sql, values)
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            self.broke_off = True

    def rows(self, table: str, columns: str, *indexes: str) -> Iterator[Any]:
        """Row by row, also behind a page that cannot be read: a table's indexes have its rowids."""
        scans = ["NOT INDEXED", *(f"INDEXED BY {index}" for index in indexes)]
        for rowid in sorted({rowid for scan in scans for (rowid,) in self.read(
                f"SELECT rowid FROM {table} {scan}")}):
            yield from self.read(f"SELECT {columns} FROM {table} i WHERE i.rowid = ?", rowid)


def _copy(old: _Damaged, new: sqlite3.Connection) -> None:
    new.execute("BEGIN")
    for key, value in old.rows("settings", "key, value"):
        with suppress(ValueError, TypeError):
            json.loads(value)
            if key != "format":
                new.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (key, value))
    for row in old.rows("segments", ", ".join(SEGMENT)):
        with suppress(ValueError):
            new.execute("INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?, ?, ?, ?)",
                        astuple(as_segment(row)))
    if any(old.read(taught.THERE)):
        for row in old.rows("taught", taught.COLUMNS):
            with suppress(ValueError, TypeError):
                as_taught(row)
                new.execute(taught.PUT, row)
    put = f"INSERT OR REPLACE INTO items (id, {', '.join(PUT)}) VALUES (?{', ?' * len(PUT)})"
    indexes = [name for (name,) in new.execute(
        "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'items'")]
    for row in old.rows("items", ITEM, *indexes):
        with suppress(ValueError, TypeError, sqlite3.IntegrityError):
            id, seq, item, hash = as_row(row)
            new.execute(put, (id, *described(item), hash, seq))
    for sql in (*COUNT_ALL, *fulltext.LIST_ALL, "COMMIT"):
        new.execute(sql)


def _lost(old: _Damaged, new: sqlite3.Connection, path: Path) -> Iterator[Problem]:
    """What was not copied, by name where an index of SQLite still has it."""
    yield Problem(str(path), "made anew from the rows that can be read; nobody can tell what was "
                  "altered in them: `mmsearch index --reread` on all that was indexed makes sure")
    for (key,) in old.read("SELECT key FROM settings INDEXED BY sqlite_autoindex_settings_1"):
        if not new.execute("SELECT 1 FROM settings WHERE key = ?", [key]).fetchone():
            yield Problem(str(path), f"the setting {key} was lost")
    copied = set(new.execute("SELECT uri, kind FROM items"))
    named = {*old.read("SELECT uri, kind FROM items INDEXED BY idx_items_uri_kind")} - copied
    for uri, kind in sorted(named, key=str):
        yield Problem(str(uri), f"its row ({kind}) was lost; run `mmsearch index` on it again")
    if old.broke_off:
        counted = next(old.read("SELECT CAST(sum(items) AS INTEGER) FROM counts"), (None,))[0]
        more = None if counted is None else counted - len(copied) - len(named)
        if more is None or more > 0:
            yield Problem(str(path), f"{more or 'an unknown number of'} other items were lost, and "
                          "their names; run `mmsearch index` again on all that was indexed")


def salvage_segment(root: Path, catalog: Catalog, info: SegmentInfo) -> None:
    """Make again those of a segment's files, and its row, that follow from the others."""
    path = directory(root, info)
    with suppress(*UNREADABLE):
        _restore(path / MANIFEST, description(path, kind=info.kind, rows=info.rows), info.sha256)
        wanted = describe(path)["files"]["ids.npy"]["sha256"]
        for ids in (np.arange(info.last - info.rows + 1, info.last + 1),
                    catalog.between(info.kind, 0, info.last)[-info.rows:]):
            np.save(file := io.BytesIO(), ids)
            _restore(path / "ids.npy", file.getvalue(), wanted)
        row = stated(path)
        if not verify_directory(path, row):
            catalog.commit(Change(drop_segments=[info], add_segments=[row]))


def _restore(path: Path, data: bytes, sha256: str) -> None:
    """Write a file again if this is what it was; who has the old one open keeps it."""
    if hashlib.sha256(data).hexdigest() == sha256:
        with written_whole(path) as file:
            file.write(data)
