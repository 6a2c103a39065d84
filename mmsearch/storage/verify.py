"""Whether a collection is as it was written: SQLite's own checks of the catalog, the checksums of
all other files, and ids against rows (docs/format.md says what may change unnoticed)."""

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
from mmsearch.storage.places import check_places
from mmsearch.storage.reading import SEGMENT, as_segment
from mmsearch.storage.rows import ITEM, as_row
from mmsearch.storage.schema import open_to_read
from mmsearch.storage.segments import UNREADABLE, ids_of, stated, verify_directory


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
                problems = check_catalog(path) or [
                    *_check_segments(root, catalog, infos), *check_places(root)]
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
            conn.execute("BEGIN")
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
    for row in conn.execute(f"SELECT {', '.join(SEGMENT)} FROM segments"):
        as_segment(row)
    for _, value in conn.execute("SELECT key, value FROM settings"):
        json.loads(value)
    kinds = Counter(as_row(row).item.kind for row in conn.execute(f"SELECT {ITEM} FROM items i"))
    if "counts" in tables and kinds != Counter(dict(conn.execute("SELECT * FROM counts"))):
        yield "counts: they differ from the numbers of items"
    if TABLE in tables and conn.execute(
            f"SELECT count(*) FROM {TABLE}_docsize").fetchone() != (kinds.total(),):
        yield "the full text does not list every item"


def _check_segments(root: Path, catalog: Catalog,
                    infos: Sequence[SegmentInfo]) -> Iterator[Problem]:
    """Whether all files are as they were written, and every item has exactly one vector, in a
    segment of its kind; that is not asked of kinds of which a file is damaged."""
    if infos and not {"encoder", "dim"} <= catalog.settings.keys():
        yield Problem(str(catalog.path), "the settings do not say which model made the vectors")
    damaged = set[str]()
    for info in infos:
        if problems := verify_directory(directory(root, info), info):
            damaged.add(info.kind)
            yield from problems
    for kind in get_args(Kind):
        if kind not in damaged and len(lacking := without_vector(root, catalog, kind, infos)):
            yield Problem(str(root), f"{len(lacking)} {kind} items have no vector, or more than "
                                     "one; index them again")


def without_vector(root: Path, catalog: Catalog, kind: Kind, infos: Iterable[SegmentInfo]) -> Ids:
    """Sequence numbers of the items of a kind that have not exactly one vector in `infos`."""
    parts = [np.zeros(0, np.int64)]
    for info in infos:
        if (info.kind, info.role) == (kind, "vectors"):
            with suppress(*UNREADABLE):
                parts.append(ids_of(directory(root, info)))
    ids, times = np.unique(np.concatenate(parts), return_counts=True)
    return np.setdiff1d(catalog.select(None, [kind]), ids[times == 1])


def strays(root: Path, catalog: Catalog) -> list[SegmentInfo]:
    """Sound segments that no row names, though they have vectors of items that no other has."""
    infos, found = catalog.segments(), list[SegmentInfo]()
    named = {directory(root, info) for info in infos if info.role == "vectors"}
    for path in sorted(set((root / "segments").glob("[!.]*")) - named):
        with suppress(*UNREADABLE):
            info = stated(path)
            lacking = without_vector(root, catalog, info.kind, [*infos, *found])
            if np.isin(ids_of(path), lacking).any() and not verify_directory(path, info):
                found.append(info)
    return found
