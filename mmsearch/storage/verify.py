"""Whether a collection is as it was written: SQLite's own checks of the catalog, the checksums of
all other files, and ids against rows.

What may change unnoticed: a letter inside of a cell of the catalog that no index of SQLite covers;
what nothing reads (free space in `catalog.db`, counters in its header, `catalog.db-shm`, `lock`,
`writer.json`, directories that no row names and no item needs); and the end of `catalog.db-wal`,
which SQLite takes for what a killed writer did not finish.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import get_args

import numpy as np

from mmsearch.errors import CollectionDamaged
from mmsearch.records import Ids, Kind, Problem, SegmentInfo
from mmsearch.storage.catalog import CATALOG, Catalog
from mmsearch.storage.fulltext import TABLE
from mmsearch.storage.open_segments import directory
from mmsearch.storage.reading import ALL_COLUMNS
from mmsearch.storage.rows import ITEM, as_row
from mmsearch.storage.schema import open_to_read
from mmsearch.storage.segments import UNREADABLE, ids_of, stated, verify_directory

_NAMED = 5
"""So many items are named in one line."""


def find_problems(root: Path) -> list[Problem]:
    """Everything that is not as it was written; nothing if all is sound. Writes nothing.

    Raises:
        CollectionNotFound: there is no collection at `root`.
        CollectionError: it has a newer format.
    """
    path, problems = root / CATALOG, list[Problem]()
    seen: list[SegmentInfo] | None = None
    while True:
        try:
            with closing(Catalog(path)) as catalog, catalog.snapshot():
                infos = catalog.segments()
                if infos == seen:
                    return problems
                problems = [*check_catalog(path), *_check_segments(root, catalog, infos)]
        except CollectionDamaged as error:
            return check_catalog(path) or [Problem(str(path), str(error))]
        except FileNotFoundError as error:
            problems = [Problem(str(error.filename or error), "missing")]
        if not problems:
            return []
        seen = infos  # unless a merge has removed a file meanwhile, that is it


def check_catalog(path: Path) -> list[Problem]:
    """What is wrong with the catalog's structure, and with what follows from its rows."""
    found: list[str] = []
    try:
        log = path.with_name(f"{path.name}-wal")
        if path.stat().st_size % 4096 and not (log.exists() and log.stat().st_size):
            found.append("cut short: its last page is not whole")
        with closing(open_to_read(path)) as conn:
            for sql in ("BEGIN", *ALL_COLUMNS):
                conn.execute(sql)
            found.extend(_faults(conn))
        # Only who may write can ask for this; on media that are read-only, nobody can tell.
        with suppress(sqlite3.OperationalError), closing(sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)) as conn:
            conn.execute(f"INSERT INTO {TABLE} ({TABLE}) VALUES ('integrity-check')")
    except (sqlite3.DatabaseError, ValueError, TypeError) as error:
        found.append(f"cannot be read: {error}")
    return [Problem(str(path), reason) for reason in found]


def _faults(conn: sqlite3.Connection) -> Iterator[str]:
    for check in ("integrity_check", "foreign_key_check"):
        yield from (str(row[0]) for row in conn.execute(f"PRAGMA {check}") if row[0] != "ok")
    tables = {name for (name,) in conn.execute("SELECT name FROM sqlite_master")}
    for (value,) in conn.execute("SELECT value FROM settings"):
        json.loads(value)
    kinds = Counter(as_row(row).item.kind for row in conn.execute(f"SELECT {ITEM} FROM items i"))
    if "counts" in tables and kinds != Counter(dict(conn.execute("SELECT * FROM counts"))):
        yield "counts: not the numbers of items that are there"
    if TABLE in tables and conn.execute(
            f"SELECT count(*) FROM {TABLE}_docsize").fetchone() != (kinds.total(),):
        yield "the full text does not list every item"


def _check_segments(root: Path, catalog: Catalog,
                    infos: Sequence[SegmentInfo]) -> Iterator[Problem]:
    """Whether all files are as they were written, and every item has exactly one vector, in a
    segment of its kind. Of items that a damaged segment may hold nothing is said: its files are
    named already."""
    if infos and not {"encoder", "dim"} <= catalog.settings.keys():
        yield Problem(str(catalog.path), "the settings do not say what made the vectors")
    damaged = set()
    for info in infos:
        problems = verify_directory(directory(root, info), info)
        damaged |= {info for _ in problems}
        yield from problems
    for info in strays(root, catalog):
        yield Problem(str(directory(root, info)), "the row that names it is lost or altered")
    for kind in get_args(Kind):
        mine = [info for info in infos if (info.kind, info.role) == (kind, "vectors")]
        if damaged.isdisjoint(mine) and len(
                lacking := without_vector(root, catalog, kind, mine)):
            rows = catalog.fetch(lacking[:_NAMED].tolist()).values()
            names = ", ".join(row.item.uri for row in rows) + ", …" * (len(lacking) > _NAMED)
            yield Problem(str(root), f"{len(lacking)} {kind} items have no vector, or more than "
                                     f"one: {names}; index them again")


def without_vector(root: Path, catalog: Catalog, kind: Kind, infos: Sequence[SegmentInfo]) -> Ids:
    """Sequence numbers of the items of a kind that have not exactly one vector in `infos`."""
    ids, times = np.unique(_ids([directory(root, info) for info in infos]), return_counts=True)
    return np.setdiff1d(catalog.select(None, [kind]), ids[times == 1])


def strays(root: Path, catalog: Catalog) -> list[SegmentInfo]:
    """Sound segments that no row names, though they have vectors of items that no other has."""
    named = {directory(root, info) for info in catalog.segments() if info.role == "vectors"}
    unnamed = [path for path in (root / "segments").glob("[!.]*") if path not in named]
    there, found = _ids(named if unnamed else ()), list[SegmentInfo]()
    for path in sorted(unnamed, key=lambda path: len(_ids([path])), reverse=True):
        with suppress(*UNREADABLE):
            info, ids = stated(path), ids_of(path)
            live = np.intersect1d(ids, catalog.between(info.kind, 0, info.last))
            if len(np.setdiff1d(live, there)) and not verify_directory(path, info):
                found.append(info)
                there = np.concatenate([there, ids])
    return found


def _ids(paths: Iterable[Path]) -> Ids:
    """The sequence numbers in those of some segments that can be read."""
    parts = [np.zeros(0, np.int64)]
    for path in paths:
        with suppress(*UNREADABLE):
            parts.append(ids_of(path))
    return np.concatenate(parts)
