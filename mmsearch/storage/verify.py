"""Whether a collection is as it was written: SQLite's own checks of the catalog, the checksums of
all other files, and ids against rows.

What may change unnoticed: a letter inside of a cell of the catalog that no index of SQLite covers;
what nothing reads (free space in `catalog.db`, counters in its header, `catalog.db-shm`, `lock`,
`writer.json`, directories that no row names and no item needs); and the end of `catalog.db-wal`,
which SQLite takes for what a killed writer did not finish.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, get_args

import numpy as np

from mmsearch.errors import CollectionDamaged, MmsearchError
from mmsearch.records import Ids, Kind, Problem, SegmentInfo
from mmsearch.storage.catalog import CATALOG, Catalog
from mmsearch.storage.fulltext import TABLE
from mmsearch.storage.open_segments import directory
from mmsearch.storage.rows import ITEM, as_row
from mmsearch.storage.schema import open_to_read
from mmsearch.storage.segments import MANIFEST, ids_of, sha256_of, stated

NAMED = 5
"""So many items are named in one line."""
UNREADABLE = (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, MmsearchError)
"""What reading a damaged file of a segment raises."""


def find_problems(root: Path) -> list[Problem]:
    """Everything that is not as it was written; nothing if all is sound. Writes nothing.

    Raises:
        CollectionNotFound: there is no collection at `root`.
        CollectionError: it has a newer format.
    """
    seen: list[SegmentInfo] | None = None
    problems: list[Problem] = []
    while True:
        try:
            with closing(Catalog(root / CATALOG)) as catalog, catalog.snapshot():
                infos = catalog.segments()
                if infos == seen:
                    return problems
                problems = [*check_catalog(root / CATALOG), *_check_segments(root, catalog, infos)]
        except CollectionDamaged as error:
            return check_catalog(root / CATALOG) or [Problem(str(root / CATALOG), str(error))]
        except FileNotFoundError as error:
            problems = [Problem(str(error.filename or error), "missing")]
        if not problems:
            return []
        seen = infos  # unless a merge has removed a file meanwhile, that is it


# -- the catalog -----------------------------------------------------------------------------------


def check_catalog(path: Path) -> list[Problem]:
    """What is wrong with the catalog's structure, and with what follows from its rows."""
    found: list[str] = []
    try:
        if path.stat().st_size % 4096 and not _size(path.with_name(f"{path.name}-wal")):
            found.append("cut short: its last page is not whole")
        with closing(open_to_read(path)) as conn:
            conn.execute("BEGIN")
            found.extend(_faults(conn))
        if not found:
            _check_full_text(path)
    except (sqlite3.DatabaseError, ValueError, TypeError) as error:
        found.append(f"cannot be read: {error}")
    return [Problem(str(path), reason) for reason in found]


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _faults(conn: sqlite3.Connection) -> Iterator[str]:
    yield from (line for (line,) in conn.execute("PRAGMA integrity_check") if line != "ok")
    tables = {name for (name,) in conn.execute("SELECT name FROM sqlite_master")}
    settings = {key: json.loads(value) for key, value in conn.execute("SELECT * FROM settings")}
    kinds = Counter(as_row(row).item.kind for row in conn.execute(f"SELECT {ITEM} FROM items i"))
    if kinds and (lost := {"encoder", "dim", "format", "next_seq"} - settings.keys()):
        yield f"settings: {', '.join(sorted(lost))} lost"
    if "counts" in tables and kinds != Counter(dict(conn.execute("SELECT * FROM counts"))):
        yield "counts: not the numbers of items that are there"
    if TABLE in tables and kinds.total() != conn.execute(
            f"SELECT count(*) FROM {TABLE}_docsize").fetchone()[0]:
        yield "the full text does not list every item"


def _check_full_text(path: Path) -> None:
    """Raise sqlite3.DatabaseError if it is broken."""
    # Only who may write can ask; on read-only media, and where there is none yet, nobody can tell.
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)) as conn:
        conn.execute(f"INSERT INTO {TABLE} ({TABLE}) VALUES ('integrity-check')")


# -- segments and approximate indexes --------------------------------------------------------------


def _check_segments(root: Path, catalog: Catalog,
                    infos: Sequence[SegmentInfo]) -> Iterator[Problem]:
    """Whether all files are as they were written, and every item has exactly one vector, in a
    segment of its kind. Of items that a damaged segment may hold nothing is said: its files are
    named already."""
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
            rows = catalog.fetch(lacking[:NAMED].tolist()).values()
            names = ", ".join(row.item.uri for row in rows) + ", …" * (len(lacking) > NAMED)
            yield Problem(str(root), f"{len(lacking)} {kind} items have no vector, or more than "
                                     f"one: {names}; index them again")


def without_vector(root: Path, catalog: Catalog, kind: Kind, infos: Sequence[SegmentInfo]) -> Ids:
    """Sequence numbers of the items of a kind that have not exactly one vector in `infos`."""
    ids, times = np.unique(_ids(root, infos), return_counts=True)
    return np.setdiff1d(catalog.select(None, [kind]), ids[times == 1])


def _ids(root: Path, infos: Sequence[SegmentInfo]) -> Ids:
    parts = [np.zeros(0, np.int64)]
    for info in infos:
        with suppress(*UNREADABLE):
            parts.append(ids_of(directory(root, info)))
    return np.concatenate(parts)


def strays(root: Path, catalog: Catalog) -> list[SegmentInfo]:
    """Sound segments that no row names, though they have vectors of items that no other has."""
    infos = [info for info in catalog.segments() if info.role == "vectors"]
    named, found = {info.name for info in infos}, []
    unnamed = [path for path in (root / "segments").glob("[!.]*") if path.name not in named]
    there = _ids(root, infos if unnamed else [])
    for path in sorted(unnamed, key=lambda path: (_size(path / "ids.npy"), path), reverse=True):
        with suppress(*UNREADABLE):
            info, ids = stated(path), ids_of(path)
            live = np.intersect1d(ids, catalog.between(info.kind, 0, info.last))
            if len(np.setdiff1d(live, there)) and not verify_directory(path, info):
                found.append(info)
                there = np.concatenate([there, ids])
    return found


def verify_directory(path: Path, info: SegmentInfo) -> list[Problem]:
    """What is wrong with a segment's or an approximate index's files; nothing if it is sound."""
    manifest = path / MANIFEST
    try:
        data = manifest.read_bytes()
        if hashlib.sha256(data).hexdigest() != info.sha256:
            return [Problem(str(manifest), "checksum does not match: altered since it was written")]
        facts = json.loads(data)
        found = [Problem(str(path / name), reason) for name, state in facts["files"].items()
                 if (reason := _file_problem(path / name, state))]
        if not found and stated(path) != info:
            found = [Problem(str(manifest), "its row in the catalog was altered")]
        return found
    except FileNotFoundError:
        return [Problem(str(manifest), "missing")]
    except OSError as error:
        return [Problem(str(manifest), f"cannot be read ({error.strerror})")]


def _file_problem(path: Path, state: dict[str, Any]) -> str:
    try:
        if (size := path.stat().st_size) != state["bytes"]:
            return f"{size} bytes, written with {state['bytes']}"
        if sha256_of(path) != state["sha256"]:
            return "checksum does not match: altered since it was written"
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return ""
