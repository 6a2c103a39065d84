"""Whether a collection is as it was written: every row of the catalog, every byte of every file.

What may change unnoticed because nothing reads it: free space inside `catalog.db`, counters and
version numbers in its header, `catalog.db-shm` (made anew at every start), `lock`, `writer.json`
and directories that no row names.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import numpy as np

from mmsearch.errors import CollectionDamaged
from mmsearch.records import Ids, Kind, Problem, SegmentInfo
from mmsearch.storage import integrity, wal
from mmsearch.storage.catalog import CATALOG, Catalog
from mmsearch.storage.open_segments import directory
from mmsearch.storage.schema import open_to_read
from mmsearch.storage.segments import MANIFEST, Segment, sha256_of

NAMED = 5
"""So many items are named in one line."""


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
                problems = [*check_catalog(root), *_check_files(root, infos)]
                damaged = {Path(problem.file).parent for problem in problems}
                problems += _check_rows(root, catalog, infos, damaged)
        except CollectionDamaged as error:
            return [Problem(str(root / CATALOG), reason_of(error, root / CATALOG))]
        except FileNotFoundError as error:
            problems = [Problem(str(error.filename or error), "missing")]
        if not problems:
            return []
        seen = infos  # unless a merge has removed a file meanwhile, that is it


def reason_of(error: CollectionDamaged, path: Path) -> str:
    """What an error says is wrong with a file, without the file's name and the advice to verify."""
    return str(error).removeprefix(f"{path} ").partition("; run `mmsearch verify")[0]


def check_catalog(root: Path) -> list[Problem]:
    """What is wrong with the catalog's file, its log, its rows, its indexes and its counts."""
    path = root / CATALOG
    found = []
    log = path.with_name(path.name + "-wal")
    if reason := wal.problem(log):
        found.append(Problem(str(log), f"{reason}; index again what was indexed last"))
    if path.stat().st_size % integrity.PAGE and not (log.exists() and log.stat().st_size):
        found.append(Problem(str(path), "cut short: its last page is not whole"))
    try:
        with closing(_connection(path)) as conn:
            found += [Problem(str(path), reason) for reason in integrity.structure(conn)]
            found += [Problem(str(path), reason) for reason in _row_problems(conn)]
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        found.append(Problem(str(path), str(error)))
    return found


def _connection(path: Path) -> sqlite3.Connection:
    """One that may write, which SQLite asks for to check full text; on media that cannot be
    written, it cannot, and that check is left out."""
    address = path.absolute().as_uri()
    conn = sqlite3.connect(f"{address}?mode=rw", uri=True, timeout=30, isolation_level=None)
    try:
        conn.execute("SELECT 1 FROM settings")
    except sqlite3.OperationalError:
        conn = open_to_read(path)
    integrity.register(conn)
    return conn


def _row_problems(conn: sqlite3.Connection) -> Iterator[str]:
    if not conn.execute("SELECT 1 FROM sqlite_master WHERE name = 'checks'").fetchone():
        return  # format 1, not written to since
    for row in integrity.altered(conn):
        yield row_problem(conn, row)
    if integrity.miscounted(conn):
        yield "counts: not the numbers of items that are there"
    if integrity.full_text_is_bad(conn):
        yield "the full text is broken, or does not list every item"


def row_problem(conn: sqlite3.Connection, row: integrity.Row) -> str:
    """What is wrong with a row of the catalog, and what to do where it cannot be mended."""
    if row.rowid is None:
        return f"{row.table}: the row {row.key} is gone; index again what it was"
    if row.table != "items":
        return f"{row.table}: the row {row.key} was altered; restore the file from a backup"
    (uri,) = conn.execute("SELECT CAST(uri AS BLOB) FROM items WHERE id = ?", [row.key]).fetchone()
    return f"items: the row {row.key} ({uri.decode(errors='replace')}) was altered; index it again"


def _check_files(root: Path, infos: Sequence[SegmentInfo]) -> list[Problem]:
    return [problem for info in infos
            for problem in verify_directory(directory(root, info), info)]


def verify_directory(path: Path, info: SegmentInfo) -> list[Problem]:
    """What is wrong with a segment's or an approximate index's files; nothing if it is sound."""
    manifest = path / MANIFEST
    try:
        data = manifest.read_bytes()
    except FileNotFoundError:
        return [Problem(str(manifest), "missing")]
    except OSError as error:
        return [Problem(str(manifest), f"cannot be read ({error.strerror})")]
    if hashlib.sha256(data).hexdigest() != info.sha256:
        return [Problem(str(manifest), "checksum does not match: altered since it was written")]
    return [Problem(str(path / name), reason) for name, state in json.loads(data)["files"].items()
            if (reason := _file_problem(path / name, state))]


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


def _check_rows(root: Path, catalog: Catalog, infos: Sequence[SegmentInfo],
                damaged: set[Path]) -> Iterator[Problem]:
    """Whether every item has exactly one vector, in a segment of its kind. Of items that a damaged
    segment may hold nothing is said: its files are named already."""
    for kind in get_args(Kind):
        mine = [info for info in infos if info.kind == kind and info.role == "vectors"]
        if any(directory(root, info) in damaged for info in mine):
            continue
        ids = vector_ids(root, mine)
        if len(np.unique(ids)) != len(ids):
            yield Problem(str(root), f"{kind} segments hold the same row twice; run `mmsearch "
                                     "compact`")
        missing = np.setdiff1d(catalog.select(None, [kind]), ids)
        if len(missing):
            rows = catalog.fetch(missing[:NAMED].tolist()).values()
            names = ", ".join(row.item.uri for row in rows)
            more = ", …" if len(missing) > NAMED else ""
            yield Problem(str(root), f"{len(missing)} {kind} items have no vector and are not "
                                     f"found: {names}{more}; index them again")


def vector_ids(root: Path, infos: Sequence[SegmentInfo]) -> Ids:
    """The sequence numbers of all rows of some segments, int64, ascending."""
    parts = [Segment(directory(root, info)).ids for info in infos]
    return np.sort(np.concatenate(parts)) if parts else np.zeros(0, np.int64)
