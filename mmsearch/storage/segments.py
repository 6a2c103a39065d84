"""Immutable directories of vectors: written whole or not at all, checksummed, memory-mapped.

    segments/<name>/  ids.npy        int64, ascending: the sequence number of each row
                      vectors.faiss  float16 vectors, searched exactly
    ann-<name>/       index.faiss    approximate, over one segment; ids are its row numbers
    both              segment.json   format, kind, rows, and size and sha256 of each file; for an
                                     index also its segment, what it is, and what it was tuned to

A directory is written under a temporary name, synced, and renamed. It belongs to a collection
once the catalog names it; one that no catalog row names is garbage.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mmsearch.errors import CollectionDamaged, MmsearchError
from mmsearch.indexes import (
    ApproximateIndex,
    Blocks,
    Device,
    ExactIndex,
    RescoredIndex,
    VectorIndex,
    build_index,
    few,
    load_index,
    write_flat,
)
from mmsearch.records import (
    Effort,
    Ids,
    IndexSpec,
    Kind,
    Neighbors,
    Problem,
    SegmentInfo,
    Tuning,
    Vectors,
)

FORMAT = 1
BLOCK_ROWS = 16_384
TEMPORARY = ".tmp-"
MANIFEST = "segment.json"
_ANN = "ann-"
_ALTERED = "checksum does not match: altered since it was written"
UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, MmsearchError)
"""What reading a directory's damaged files raises."""
Tuner = Callable[[RescoredIndex], Tuning]


def segment_name(kind: Kind, first: int, last: int) -> str:
    """A name that sorts by the numbers inside, and is never given twice."""
    return f"{kind}-{first:012d}-{last:012d}-{secrets.token_hex(3)}"


def write_segment(root: Path, name: str, kind: Kind, ids: Ids, blocks: Blocks) -> SegmentInfo:
    """Write ``root/segments/name`` durably.

    ids: int64, ascending; blocks: called for an iterator over float32 unit rows in their order.
    """
    def fill(directory: Path) -> dict[str, Any]:
        np.save(directory / "ids.npy", ids)
        write_flat(directory / "vectors.faiss", blocks(), len(ids))
        return {}

    return _publish(root / "segments", name, fill, kind=kind, rows=len(ids))


def write_ann(root: Path, segment: Segment, kind: Kind, spec: IndexSpec, tuner: Tuner,
              device: Device = "cpu") -> SegmentInfo:
    """Write an approximate index over all rows of a segment, tuned by `tuner`, below `root`."""
    def fill(directory: Path) -> dict[str, Any]:
        path = directory / "index.faiss"
        build_index(segment.blocks, spec, rows=segment.rows, device=device).save(path)
        return _ann_facts(segment, spec, path, tuner)

    return _publish_ann(root, segment, kind, fill)


def retune_ann(root: Path, ann: Ann, kind: Kind, tuner: Tuner) -> SegmentInfo:
    """Write the same index with another tuning: a new directory that shares the file."""
    def fill(directory: Path) -> dict[str, Any]:
        path, old = directory / "index.faiss", ann.path / "index.faiss"
        try:
            path.hardlink_to(old)
        except OSError:  # a file system without links
            shutil.copyfile(old, path)
        return _ann_facts(ann.segment, ann.spec, path, tuner)

    return _publish_ann(root, ann.segment, kind, fill)


def _ann_facts(segment: Segment, spec: IndexSpec, path: Path, tuner: Tuner) -> dict[str, Any]:
    index = load_index(path, spec)
    tuned = None
    if isinstance(index, ApproximateIndex):
        tuned = asdict(tuner(RescoredIndex(index, segment.index)))
    return {"segment": segment.path.name, "spec": asdict(spec), "tuned": tuned}


def _publish_ann(root: Path, segment: Segment, kind: Kind,
                 fill: Callable[[Path], dict[str, Any]]) -> SegmentInfo:
    name = f"{_ANN}{kind}-{segment.ids[-1]:012d}-{secrets.token_hex(3)}"
    return _publish(root, name, fill, kind=kind, rows=segment.rows)


def _load(path: Path, name: str, spec: IndexSpec | None = None) -> ExactIndex | ApproximateIndex:
    try:
        return load_index(path / name, spec)
    except CollectionDamaged as error:
        raise _damaged(path, f"is damaged: {error}") from error


def _damaged(path: Path, what: str) -> CollectionDamaged:
    root = path.parent if path.name.startswith(_ANN) else path.parents[1]
    return CollectionDamaged(f"{path} {what}; run `mmsearch verify --repair -i {root}`")


class Segment:
    """An open segment. Rows are found by the sequence number of the item they belong to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        index = _load(path, "vectors.faiss")
        if not isinstance(index, ExactIndex):
            raise _damaged(path, "holds no vectors")
        self.index = index
        self.searched: VectorIndex = index
        """What answers queries: a copy on a GPU, where there is one."""
        self.ids = ids_of(path)
        self.rows = len(self.ids)
        if self.rows != index.rows:
            raise _damaged(path, f"has {self.rows} ids for {index.rows} vectors")

    def positions(self, ids: Ids) -> Ids:
        """Row numbers of those of `ids` (int64, ascending) that live here."""
        first = int(self.ids[0])
        if int(self.ids[-1]) - first == self.rows - 1:  # no gaps: nothing to look up
            start, end = np.searchsorted(ids, [first, first + self.rows])
            return ids[start:end] - first
        at = np.searchsorted(self.ids, ids)
        at[at == self.rows] = 0
        found: Ids = at[self.ids[at] == ids]
        return found

    def search(self, queries: Vectors, k: int, allowed: Ids | None = None) -> Neighbors:
        """The k best rows by cosine, as sequence numbers; of `allowed` (ascending) alone if given.
        """
        return search_rows(self, self.searched, queries, k, allowed)

    def blocks(self, positions: Ids | None = None) -> Iterator[Vectors]:
        """The rows as float32, a block at a time; those at `positions` alone if given."""
        vectors = self.index.vectors
        count = self.rows if positions is None else len(positions)
        for at in range(0, count, BLOCK_ROWS):
            part = slice(at, at + BLOCK_ROWS)
            yield vectors[part if positions is None else positions[part]].astype(np.float32)


class Ann:
    """An open approximate index over one segment, which it is rescored from.

    Raises:
        KeyError: written by an earlier version: `segment` is not said.
    """

    def __init__(self, path: Path, facts: dict[str, Any], segment: Segment) -> None:
        self.path, self.segment = path, segment
        self.spec = IndexSpec(**facts["spec"])
        self.tuned = tuning_of(facts)
        index = _load(path, "index.faiss", self.spec)
        if index.rows != segment.rows:
            raise _damaged(path, f"has {index.rows} rows for {segment.rows} vectors")
        self.effort = self.tuned.effort if self.tuned else None
        self.index = index
        self.searched: VectorIndex | RescoredIndex = index
        if isinstance(index, ApproximateIndex):
            self.searched = RescoredIndex(index, segment.index, self.effort)

    def search(self, queries: Vectors, k: int, allowed: Ids | None = None) -> Neighbors:
        """Like `Segment.search`, approximately: exact scores, but a near neighbour may be missed.
        """
        return search_rows(self.segment, self.searched, queries, k, allowed)


def search_rows(segment: Segment, index: VectorIndex | RescoredIndex, queries: Vectors, k: int,
                allowed: Ids | None) -> Neighbors:
    """Search an index over the rows of a segment; ids and `allowed` are sequence numbers."""
    k = min(k, segment.rows)
    if allowed is None:
        scores, rows = index.search(queries, k)
    elif few(len(at := segment.positions(allowed)), segment.rows):
        scores, rows = segment.index.search_rows(queries, k, at)
    else:
        allow = np.zeros(segment.rows, bool)
        allow[at] = True
        scores, rows = index.search(queries, k, allow=allow)
    return Neighbors(scores, np.where(rows < 0, -1, segment.ids[rows]))


def describe(path: Path) -> dict[str, Any]:
    """What a segment or an approximate index says of itself; FileNotFoundError: it is gone;
    CollectionDamaged: that cannot be read."""
    try:
        facts: dict[str, Any] = json.loads((path / "segment.json").read_bytes())
    except ValueError as error:
        raise _damaged(path, "has a damaged segment.json") from error
    return facts


def tuning_of(facts: dict[str, Any]) -> Tuning | None:
    """What an approximate index was tuned to, from its description."""
    if not (tuned := facts.get("tuned")):
        return None
    return Tuning(**{**tuned, "effort": Effort(**tuned["effort"])})


def remove(path: Path) -> None:
    """Remove a directory; readers that have it open keep their pages."""
    shutil.rmtree(path, ignore_errors=True)


def description(directory: Path, **facts: Any) -> bytes:
    """What ``segment.json`` says of the other files of a directory."""
    files = {path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
             for path in sorted(directory.iterdir()) if path.name != MANIFEST}
    return json.dumps({"format": FORMAT, **facts, "files": files}, indent=1).encode()


def _publish(parent: Path, name: str, fill: Callable[[Path], dict[str, Any]],
             **facts: Any) -> SegmentInfo:
    """Fill a temporary directory, describe it (`fill` may add to what is said), sync it, give it
    its name; -> its row of the catalog."""
    parent.mkdir(parents=True, exist_ok=True)
    temporary = parent / f"{TEMPORARY}{name}"
    remove(temporary)
    temporary.mkdir()
    try:
        facts |= fill(temporary)
        (temporary / MANIFEST).write_bytes(description(temporary, **facts))
        for path in [*temporary.iterdir(), temporary]:
            sync(path)
        temporary.rename(parent / name)
        sync(parent)
    except BaseException:
        remove(temporary)
        raise
    return stated(parent / name)


def stated(path: Path) -> SegmentInfo:
    """The row that a directory has in the catalog, from its files alone, which may be damaged."""
    facts, sha256 = describe(path), sha256_of(path / MANIFEST)
    size = sum(file.stat().st_size for file in path.iterdir())
    if path.name.startswith(_ANN):
        last = int(path.name.split("-")[2])
        return SegmentInfo(path.name, "ann", facts["kind"], facts["rows"], size, last, sha256)
    ids = ids_of(path)
    return SegmentInfo(path.name, "vectors", facts["kind"], len(ids), size, int(ids[-1]), sha256)


def verify_directory(path: Path, info: SegmentInfo) -> list[Problem]:
    """What is wrong with a segment's or an approximate index's files; nothing if it is sound."""
    manifest = path / MANIFEST
    try:
        if sha256_of(manifest) != info.sha256:
            return [Problem(str(manifest), _ALTERED)]
        files = describe(path)["files"].items()
        found = [Problem(str(path / name), reason) for name, state in files
                 if (reason := _file_problem(path / name, state))]
        if not found and stated(path) != info:
            found = [Problem(str(manifest), "its row in the catalog was altered")]
        return found
    except OSError as error:
        return [Problem(str(manifest), _unread(error))]


def _file_problem(path: Path, state: dict[str, Any]) -> str:
    try:
        if (size := path.stat().st_size) != state["bytes"]:
            return f"{size} bytes, written with {state['bytes']}"
        return "" if sha256_of(path) == state["sha256"] else _ALTERED
    except OSError as error:
        return _unread(error)


def _unread(error: OSError) -> str:
    missing = isinstance(error, FileNotFoundError)
    return "missing" if missing else f"cannot be read ({error.strerror})"


def ids_of(path: Path) -> Ids:
    """The sequence numbers of a segment's rows, int64, ascending, memory-mapped."""
    try:
        ids = np.load(path / "ids.npy", mmap_mode="r")
    except OSError:
        raise
    except Exception as error:  # whatever numpy makes of a damaged header
        raise CollectionDamaged(f"{path}/ids.npy is damaged ({error})") from error
    if ids.ndim != 1 or ids.dtype != np.int64:
        raise CollectionDamaged(f"{path}/ids.npy is damaged")
    # A plain view: the class of a memory map costs microseconds at every look-up.
    return np.asarray(ids)


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file that is written under another name, synced, and there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(TEMPORARY + path.name)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Ask the disk to keep what was written to a file, or a directory's list of names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
