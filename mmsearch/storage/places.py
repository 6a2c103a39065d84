"""What a reranker looks at of pictures, kept from when they were indexed: `rerank.db`, an SQLite
file beside the catalog.

Nothing depends on it: whoever finds nothing in it reads the picture. It goes by the hash of what
was encoded, so that it is never out of date, and serves all copies of a picture.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Self

from mmsearch.records import Problem
from mmsearch.storage.schema import open_to_read
from mmsearch.storage.sqlite_errors import plainly

PLACES = "rerank.db"
_CREATE = ("CREATE TABLE IF NOT EXISTS made (by TEXT)",
           "CREATE TABLE IF NOT EXISTS places (hash TEXT PRIMARY KEY, packed BLOB, crc INTEGER)")
_GONE = "SELECT hash FROM places EXCEPT SELECT hash FROM catalog.items"


class PlacesWriter:
    """The file, open for writing; needs the writer's lock. What is put is there after `commit`.

    made_by: what makes the places; those that something else made are dropped.
    """

    def __init__(self, root: Path, made_by: str) -> None:
        self.path, self.made_by = root / PLACES, made_by
        with plainly(self.path):
            try:
                self._open()
            except sqlite3.OperationalError:  # locked, say: what is stored is as good as before
                raise
            except sqlite3.DatabaseError:  # damaged
                self._renew()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._conn.close()

    def lacks(self, hash: str) -> bool:
        return not self._run("SELECT 1 FROM places WHERE hash = ?", [hash])

    def put(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """(hash, places)"""
        for hash, packed in rows:
            self._run("INSERT OR REPLACE INTO places VALUES (?, ?, ?)",
                      [hash, packed, zlib.crc32(packed)])

    def commit(self) -> None:
        if self._conn.in_transaction:
            self._run("COMMIT")

    def _run(self, sql: str, values: Iterable[Any] = ()) -> list[Any]:
        with plainly(self.path):
            try:
                return self._conn.execute(sql, [*values]).fetchall()
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:  # damaged: a new one serves as well
                self._renew()
                return []

    def _open(self) -> None:
        # `put` begins a transaction, nothing else: until then others may write, to prune it.
        self._conn = sqlite3.connect(self.path, timeout=30)
        self._conn.execute("PRAGMA journal_mode = WAL")
        self._conn.execute("PRAGMA synchronous = NORMAL")
        self._conn.execute("BEGIN")
        for sql in _CREATE:
            self._conn.execute(sql)
        if self._conn.execute("SELECT by FROM made").fetchall() != [(self.made_by,)]:
            for sql in ("DELETE FROM places", "DELETE FROM made"):
                self._conn.execute(sql)
            self._conn.execute("INSERT INTO made VALUES (?)", [self.made_by])
        self._conn.execute("COMMIT")

    def _renew(self) -> None:
        self._conn.close()
        remove_places(self.path.parent)
        self._open()


def stored_places(root: Path, made_by: str, hashes: Iterable[str]) -> dict[str, bytes]:
    """What is stored for the contents of pictures, by their hash; damaged rows are left out."""
    if (root / PLACES).exists():
        with suppress(sqlite3.DatabaseError), closing(_reading(root)) as conn:
            if conn.execute("SELECT by FROM made").fetchall() == [(made_by,)]:
                return {hash: packed for hash, packed, crc in conn.execute(
                    "SELECT * FROM places WHERE hash IN (SELECT value FROM json_each(?))",
                    [json.dumps([*hashes])]) if _is_whole(packed, crc)}
    return {}


def check_places(root: Path) -> list[Problem]:
    """What is wrong with the file."""
    path = root / PLACES
    if not path.exists():
        return []
    try:
        with closing(open_to_read(path, "sqlite_master")) as conn:
            found = [row[0] for row in conn.execute("PRAGMA integrity_check") if row[0] != "ok"]
            new = not conn.execute("SELECT 1 FROM sqlite_master").fetchall()  # stopped, just made
            wrong = 0 if new else sum(not _is_whole(*row) for row in conn.execute(
                "SELECT packed, crc FROM places"))
    except sqlite3.DatabaseError as error:
        found, wrong = [f"cannot be read: {error}"], 0
    if wrong:
        found.append(f"what was stored of {wrong} pictures is damaged")
    return [Problem(str(path), reason) for reason in found]


def _is_whole(packed: Any, crc: Any) -> bool:
    return isinstance(packed, bytes) and zlib.crc32(packed) == crc


def places_facts(root: Path) -> dict[str, int]:
    """Of how many contents there are places, and what they take on disk; {} if nothing is stored.
    """
    path = root / PLACES
    if path.exists():
        with suppress(sqlite3.DatabaseError), closing(_reading(root)) as conn:
            (found,) = conn.execute("SELECT count(*) FROM places").fetchone()
            return {"pictures": found, "bytes": path.stat().st_size}
    return {}


def prune_places(root: Path, catalog: Path, *, shrink: bool = False) -> None:
    """Remove what no item of the catalog has any more; shrink: and give the space back. Needs the
    writer's lock."""
    path = root / PLACES
    if not path.exists():
        return
    address = f"{path.absolute().as_uri()}?mode=rw"
    with plainly(path):
        try:
            with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as conn:
                conn.execute("ATTACH ? AS catalog", [f"{catalog.absolute().as_uri()}?mode=ro"])
                for sql in (*_CREATE, f"DELETE FROM places WHERE hash IN ({_GONE})",
                            "DETACH catalog", *["VACUUM"][:shrink]):
                    conn.execute(sql)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:  # damaged
            remove_places(root)


def remove_places(root: Path) -> None:
    """Remove the file. Needs the writer's lock."""
    for end in ("", "-wal", "-shm"):
        (root / f"{PLACES}{end}").unlink(missing_ok=True)


def _reading(root: Path) -> sqlite3.Connection:
    return open_to_read(root / PLACES, "made")
