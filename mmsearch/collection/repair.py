"""Putting right what `verifying` finds, where what was written is certain, and saying what is not.

| damaged                   | mended from                                                        |
| ------------------------- | ------------------------------------------------------------------ |
| a row of the catalog      | its check value, if one byte was altered                           |
| SQLite's log              | its checksums, if one byte of a frame was altered                  |
| SQLite's indexes, counts, full text | the rows                                                 |
| `segment.json`            | the other files; the catalog has its sha256                        |
| `ids.npy`                 | the numbers it can have held; `segment.json` has its sha256        |
| `index.faiss`             | the segments: it is built anew                                     |
| `vectors.faiss`           | the pictures and texts, encoded again, if they are as they were    |

What cannot be mended stays as it is where it can still be searched. An item whose vector is lost
stays in the catalog, marked so that the next `mmsearch index` that comes by reads it again.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import get_args

import numpy as np

from mmsearch.encoders import BUILTIN, load_encoder
from mmsearch.errors import CollectionDamaged, MediaError, MmsearchError
from mmsearch.fragments import file_uri
from mmsearch.ingest import LARGEST, Shard, build_shard, hash_at, hash_of_file, upkeep
from mmsearch.media import tiling_of
from mmsearch.records import Ids, Kind, Problem, SegmentInfo
from mmsearch.sources import with_sidecars_of
from mmsearch.storage import (
    CATALOG,
    MANIFEST,
    TEMPORARY,
    Catalog,
    Change,
    Row,
    Segment,
    check_catalog,
    description,
    directory,
    integrity,
    open_to_write,
    reason_of,
    segment_name,
    sha256_of,
    sync,
    vector_ids,
    verify_directory,
    wal,
    writer_lock,
)

_HEADER = {0: b"SQLite format 3\0", 16: b"\x10\x00\x02\x02\x00\x40\x20\x20", 44: b"\0\0\0\x04",
           56: b"\0\0\0\x01"}
"""What the first bytes of every catalog are (https://sqlite.org/fileformat2.html#database_header):
4096 bytes a page, a write-ahead log, UTF-8. Byte 28 has the number of pages."""
_HEADER_BYTES = 100
_HOPELESS = "it cannot be mended; restore it from a backup, or index again into a new directory"
_TRIED_IDS = 20_000
DAMAGED = "damaged"
"""Where what is left of a segment goes that is needed and cannot be opened."""
Tick = Callable[[int], None]


def repair_collection(root: Path, model: str | None = None,
                      tick: Tick = lambda done: None) -> list[Problem]:
    """Mend what can be mended; -> every problem that was found, and whether it is one no more.

    model: what to encode lost vectors with; by default the model of the collection.
    tick: called with the number of items encoded again since the last call.

    Raises:
        CollectionBusy: another process is writing.
        CollectionNotFound: there is no collection at `root`.
    """
    path = root / CATALOG
    if not path.exists():
        Catalog(path).close()  # raises what there is to say
    with writer_lock(root):
        problems = _mend_catalog(path)
        try:
            Catalog(path).close()  # before anything is written into what may be no catalog at all
            with closing(Catalog(path, write=True)) as catalog:
                catalog.refuse_altered()
                if catalog.in_order():
                    problems += Repair(root, catalog, model, tick).run()
                elif all(problem.mended for problem in problems):
                    problems.append(Problem(str(path), _HOPELESS))
        except CollectionDamaged as error:
            problems.append(Problem(str(path), f"{reason_of(error, path)}; {_HOPELESS}"))
    return problems


# -- the catalog -----------------------------------------------------------------------------------


def _mend_catalog(path: Path) -> list[Problem]:
    found = _mend_log(path.with_name(path.name + "-wal"))
    found += [problem._replace(mended=True) for problem in [*_mend_end(path), *_mend_header(path)]]
    if not _has_tables(path):
        return found  # whoever opens it next says why
    try:
        conn: sqlite3.Connection = open_to_write(path).conn
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return found  # whoever opens it next says why
    with closing(conn):
        before = check_catalog(path.parent)
        if before:
            with suppress(sqlite3.DatabaseError, UnicodeDecodeError):
                _mend_rows(conn)
    after = check_catalog(path.parent) if before else []
    return found + [problem._replace(mended=problem not in after) for problem in before
                    if not problem.file.endswith("-wal")]


def _mend_log(log: Path) -> list[Problem]:
    """Before anybody opens the catalog to write: SQLite would drop what does not fit."""
    reason = wal.problem(log)
    return [Problem(str(log), f"{reason}; index again what was indexed last",
                    wal.mend(log))] if reason else []


def _mend_rows(conn: sqlite3.Connection) -> None:
    """Rows from their check values, and then everything that is made from rows. Nothing is made
    anew while rows are out of reach: what is there may be all that is left of them."""
    if integrity.structure(conn) and not _rows_are_lost(conn):
        integrity.rebuild(conn)  # before rows are mended, so that their old entries are found
    conn.execute("BEGIN IMMEDIATE")
    integrity.mend_rows(conn, integrity.altered(conn))
    for row in list(integrity.altered(conn, ["items"])):
        if row.rowid is not None:  # no file looks like this one: the next index run reads it again
            integrity.make_readable(conn, row.rowid)
            conn.execute("UPDATE items SET fingerprint = '', hash = '' WHERE id = ?", [row.rowid])
    conn.execute("COMMIT")
    if not _rows_are_lost(conn):
        integrity.rebuild(conn)


def _rows_are_lost(conn: sqlite3.Connection) -> bool:
    try:
        return any(row.rowid is None for row in integrity.altered(conn))
    except sqlite3.DatabaseError:
        return False  # not to be told; what is rebuilt stops at a row that cannot be read


def _has_tables(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as conn:
            names = {name for (name,) in conn.execute("SELECT name FROM sqlite_master")}
        return names >= {"items", "segments", "settings"}
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return False


def _mend_end(path: Path) -> Iterator[Problem]:
    """Make the last page whole; if what is missing was not empty, its rows will tell."""
    size = path.stat().st_size
    log = path.with_name(path.name + "-wal")
    if size % integrity.PAGE and not (log.exists() and log.stat().st_size):
        os.truncate(path, size + -size % integrity.PAGE)
        sync(path)
        yield Problem(str(path), "cut short: its last page was not whole")


def _is_refused(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as conn:
            return bool(integrity.structure(conn))
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return True


def _mend_header(path: Path) -> Iterator[Problem]:
    """Put the bytes right that are the same in every catalog, if SQLite refuses the file."""
    log, size = path.with_name(path.name + "-wal"), path.stat().st_size
    if size < _HEADER_BYTES or (log.exists() and log.stat().st_size) or not _is_refused(path):
        return
    with path.open("r+b") as file:
        old = bytearray(file.read(_HEADER_BYTES))
        new = bytearray(old)
        for at, data in {**_HEADER, 28: (size // integrity.PAGE).to_bytes(4, "big")}.items():
            new[at : at + len(data)] = data
        different = sum(a != b for a, b in zip(old, new, strict=True))
        if not 0 < different <= 4:  # more, and it is no catalog at all
            return
        file.seek(0)
        file.write(new)
    sync(path)
    yield Problem(str(path), "its header was altered")


# -- segments and approximate indexes --------------------------------------------------------------


class Repair:
    """The repair of a collection's files; the catalog is sound."""

    def __init__(self, root: Path, catalog: Catalog, model: str | None, tick: Tick) -> None:
        self.root, self.catalog, self.tick = root, catalog, tick
        self.model = model or str(catalog.settings.get("model", BUILTIN))

    def run(self) -> list[Problem]:
        found: list[Problem] = []
        broken: list[SegmentInfo] = []
        for info in self.catalog.segments():
            if problems := self._problems(info):
                self._mend_files(info)
                found += problems
                broken += [info] if self._problems(info) else []
        lost = [problem for kind in get_args(Kind) for problem in self._mend_vectors(kind, broken)]
        anns = [info for info in broken if info.role == "ann"]
        self.catalog.commit(Change(drop_segments=anns))
        upkeep.remove_garbage(self.root, self.catalog)
        bad = {Path(problem.file).parent for info in self.catalog.segments()
               for problem in self._problems(info)}
        if not bad:  # else an index would be built on what is damaged
            upkeep.renew_anns(self.root, self.catalog)
        return [p._replace(mended=Path(p.file).parent not in bad) for p in found] + lost

    def _path(self, info: SegmentInfo) -> Path:
        return directory(self.root, info)

    def _problems(self, info: SegmentInfo) -> list[Problem]:
        return verify_directory(self._path(info), info)

    # Files that follow from others

    def _mend_files(self, info: SegmentInfo) -> None:
        path = self._path(info)
        with suppress(OSError):
            if _sha256(path / MANIFEST) != info.sha256:
                data = description(path, kind=info.kind, rows=info.rows)
                if hashlib.sha256(data).hexdigest() != info.sha256:
                    return  # another file is damaged too
                _replace(path / MANIFEST, data)
            state = json.loads((path / MANIFEST).read_bytes())["files"].get("ids.npy")
            if state and _sha256(path / "ids.npy") != state["sha256"]:
                for ids in self._possible_ids(info):
                    data = _npy(ids)
                    if hashlib.sha256(data).hexdigest() == state["sha256"]:
                        _replace(path / "ids.npy", data)
                        return

    def _possible_ids(self, info: SegmentInfo) -> Iterator[Ids]:
        """What ``ids.npy`` may have held: numbers given in one go, all that are live, or what is
        there but for its header or one byte."""
        yield np.arange(info.last - info.rows + 1, info.last + 1)
        yield self.catalog.between(info.kind, 0, info.last)[-info.rows:]
        path = self._path(info) / "ids.npy"
        size = 8 * info.rows
        data = path.read_bytes()[-size:] if path.exists() else b""
        if len(data) == size:
            there = np.frombuffer(data, np.int64)
            yield there
            yield from islice(_one_byte_other(there), _TRIED_IDS)

    # Vectors

    def _mend_vectors(self, kind: Kind, broken: list[SegmentInfo]) -> Iterator[Problem]:
        """Encode again what no sound segment of a kind holds, and let go of the broken ones.

        -> a problem for each item that cannot be encoded. A broken segment that has one and can
        still be searched stays.
        """
        mine = [i for i in self.catalog.segments() if (i.kind, i.role) == (kind, "vectors")]
        sound = vector_ids(self.root, [info for info in mine if info not in broken])
        reasons = self._encode(kind, np.setdiff1d(self.catalog.select(None, [kind]), sound))
        lost = np.array(sorted(reasons), np.int64)
        self.catalog.forget(self._row(seq).id for seq in reasons)
        held: set[int] = set()
        drop = []
        for info in [info for info in mine if info in broken]:
            here = np.intersect1d(lost, self._searchable_ids(info))
            if len(here):
                held |= set(here.tolist())
            else:
                drop.append(info)
        if len(lost) > len(held):
            self._set_aside(drop)
        anns = [i for i in self.catalog.segments() if (i.kind, i.role) == (kind, "ann")]
        self.catalog.commit(Change(drop_segments=[*drop, *(anns if drop else [])]))
        for seq in lost.tolist():
            state = "may be wrong" if seq in held else "is lost"
            yield Problem(self._row(seq).item.uri, f"its vector {state}: {reasons[seq]}")

    def _row(self, seq: int) -> Row:
        return self.catalog.fetch([seq])[seq]

    def _encode(self, kind: Kind, seqs: Ids) -> dict[int, str]:
        """Give items a new vector each; -> the numbers of those that have none now, and why."""
        if not len(seqs):
            return {}
        reasons: dict[int, str] = {}
        tiling = tiling_of(self.catalog.settings.get("tiles"))
        if unfit := self._unfit_encoder():
            return dict.fromkeys(seqs.tolist(), unfit)
        for at in range(0, len(seqs), LARGEST):
            rows = self.catalog.fetch(seqs[at : at + LARGEST].tolist())
            reasons |= {seq: reason for seq, row in rows.items() if (reason := _unlike(row))}
            items = [row.item for seq, row in sorted(rows.items()) if seq not in reasons]
            if not items:
                continue
            first = int(self.catalog.settings["next_seq"])
            name = segment_name(kind, first, first + len(items) - 1)
            shard = Shard(self.root, name, kind, first, tuple(items), self.model, expand=False)
            built = build_shard(shard, self.tick)
            was = {row.item.uri: row.item.fingerprint for row in rows.values()}
            put = [(seq,
                    replace(item, fingerprint=with_sidecars_of(item.fingerprint, was[item.uri])),
                    hash) for seq, item, hash in built.rows]
            self.catalog.commit(Change(put=put, add_segments=built.segments))
            self.catalog.forget(row.id for row in rows.values()
                                if tiling.is_behind(row.item, row.seq))  # still to be cut
            skipped = {one.path: one.reason for one in built.skipped}
            reasons |= {seq: skipped[row.item.uri] for seq, row in rows.items()
                        if row.item.uri in skipped}
        return reasons

    def _unfit_encoder(self) -> str:
        """Why the model at hand cannot make vectors for this collection; empty if it can."""
        settings = self.catalog.settings
        try:
            encoder = load_encoder(self.model)
        except MmsearchError as error:
            return str(error)
        if (encoder.name, encoder.dim) != (settings.get("encoder"), settings.get("dim")):
            return (f"it was made by {settings.get('encoder')} ({settings.get('dim')} dimensions), "
                    f"not by {encoder.name}; repair with that model, or index again")
        return ""

    def _searchable_ids(self, info: SegmentInfo) -> Ids:
        """The numbers in a damaged segment that can still be searched; none if it cannot be."""
        try:
            segment = Segment(self._path(info))
            ids = np.array(segment.ids)
        except (MmsearchError, OSError, RuntimeError, MemoryError):
            return np.zeros(0, np.int64)
        fits = segment.index.dim == self.catalog.settings.get("dim") and (np.diff(ids) > 0).all()
        return ids if fits and len(ids) == info.rows else np.zeros(0, np.int64)

    def _set_aside(self, infos: list[SegmentInfo]) -> None:
        """Keep what is left of segments that are needed and cannot be opened."""
        for info in infos:
            if self._path(info).exists():
                (self.root / DAMAGED).mkdir(exist_ok=True)
                self._path(info).rename(self.root / DAMAGED / info.name)


def _unlike(row: Row) -> str:
    """Why an item cannot be encoded again as it was; empty if it can."""
    if row.item.kind == "text":
        return ""
    try:
        found, _ = hash_at(file_uri(row.item))
    except MediaError as error:
        return f"the file {error}; put it back and index it again, or delete it from the index"
    return "" if found == hash_of_file(row.hash) else "the file has changed; index it again"


def _one_byte_other(ids: Ids) -> Iterator[Ids]:
    """Ascending numbers that differ from `ids` (int64) in one byte; where the order is broken,
    first."""
    bounds = np.concatenate([[-1], ids, [np.iinfo(np.int64).max]])
    broken = (ids <= bounds[:-2]) | (ids >= bounds[2:])
    for at in [*np.flatnonzero(broken), *np.flatnonzero(~broken)]:
        low, high = bounds[at], bounds[at + 2]
        for shift in range(0, 64, 8):
            for mask in range(1, 256):
                value = int(ids[at]) ^ (mask << shift)
                if low < value < high:
                    other = ids.copy()
                    other[at] = value
                    yield other


def _npy(ids: Ids) -> bytes:
    file = io.BytesIO()
    np.save(file, ids)
    return file.getvalue()


def _sha256(path: Path) -> str:
    return sha256_of(path) if path.exists() else ""


def _replace(path: Path, data: bytes) -> None:
    """Give a file another content, durably and at once; who has the old one open keeps it."""
    new = path.with_name(f"{TEMPORARY}{path.name}")
    new.write_bytes(data)
    sync(new)
    new.replace(path)
    sync(path.parent)
