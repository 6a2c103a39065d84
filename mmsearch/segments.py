"""Immutable directories of vectors: written whole or not at all, checksummed, memory-mapped.

    segments/<name>/  ids.npy        int64, ascending: the sequence number of each row
                      vectors.faiss  float16 vectors, searched exactly
    ann-<kind>-<n>/   index.faiss    codes of every row of a kind numbered up to n
    both              segment.json   format, kind, rows, dim, and size and sha256 of each file

A directory is written under a temporary name, synced, and renamed. It belongs to a collection
once the catalog names it; one that no catalog row names is garbage.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from mmsearch.errors import CollectionDamaged
from mmsearch.indexes import Blocks, ExactIndex, IvfIndex, build_index, load_index
from mmsearch.indexes.flatfile import write_flat
from mmsearch.merge import top_k
from mmsearch.records import Ids, IndexSpec, Kind, Neighbors, SegmentInfo, Vectors

FORMAT = 1
BLOCK_ROWS = 16_384
TEMPORARY = ".tmp-"
RESCORED = 400
"""At least this many candidates of an approximate index are rescored exactly (with 200 instead,
recall@10 of the measurement beside `indexes.ivf.PROBED_SHARE` is 0.975)."""


def segment_name(kind: Kind, first: int, last: int) -> str:
    """A name that sorts by the numbers inside, and is never given twice."""
    return f"{kind}-{first:012d}-{last:012d}-{secrets.token_hex(3)}"


def write_segment(root: Path, name: str, kind: Kind, ids: Ids, blocks: Blocks) -> SegmentInfo:
    """Write ``root/segments/name`` durably.

    ids: int64, ascending; blocks: called for an iterator over float32 unit rows in their order.
    """
    def fill(directory: Path) -> None:
        np.save(directory / "ids.npy", ids)
        write_flat(directory / "vectors.faiss", blocks(), len(ids))

    size, sha256 = _publish(root / "segments", name, fill, kind=kind, rows=len(ids))
    return SegmentInfo(name, "vectors", kind, len(ids), size, int(ids[-1]), sha256)


def write_ann(root: Path, name: str, kind: Kind, spec: IndexSpec,
              segments: Sequence[Segment]) -> SegmentInfo:
    """Write ``root/name``: one approximate index over all rows of `segments`."""
    ids = np.concatenate([segment.ids for segment in segments])

    def fill(directory: Path) -> None:
        build_index(lambda: all_blocks(segments), spec, ids=ids).save(directory / "index.faiss")

    size, sha256 = _publish(root, name, fill, kind=kind, rows=len(ids))
    return SegmentInfo(name, "ann", kind, len(ids), size, int(ids.max()), sha256)


class Segment:
    """An open segment. Rows are found by the sequence number of the item they belong to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        index = load_index(path / "vectors.faiss")
        if not isinstance(index, ExactIndex):
            raise CollectionDamaged(f"{path} holds no vectors; run `mmsearch verify`")
        self.index = index
        try:
            self.ids: Ids = np.load(path / "ids.npy", mmap_mode="r")
        except (ValueError, EOFError) as error:
            raise CollectionDamaged(f"{path}/ids.npy is damaged ({error})") from error
        self.rows = len(self.ids)
        if self.rows != index.rows:
            raise CollectionDamaged(
                f"{path} has {self.rows} ids for {index.rows} vectors; run `mmsearch verify`")

    def positions(self, ids: Ids) -> Ids:
        """Row numbers of those of `ids` (int64, ascending) that live here."""
        at = np.searchsorted(self.ids, ids)
        at[at == self.rows] = 0
        found: Ids = at[self.ids[at] == ids]
        return found

    def search(self, queries: Vectors, k: int, allowed: Ids | None = None) -> Neighbors:
        """The k best rows by cosine, as sequence numbers; of `allowed` (ascending) alone if given.
        """
        allow = None
        if allowed is not None:
            allow = np.zeros(self.rows, bool)
            allow[self.positions(allowed)] = True
        scores, rows = self.index.search(queries, min(k, self.rows), allow=allow)
        return Neighbors(scores, np.where(rows < 0, -1, self.ids[rows]))

    def blocks(self, positions: Ids | None = None) -> Iterator[Vectors]:
        """The rows as float32, a block at a time; those at `positions` alone if given."""
        vectors = self.index.vectors
        count = self.rows if positions is None else len(positions)
        for at in range(0, count, BLOCK_ROWS):
            part = slice(at, at + BLOCK_ROWS)
            yield vectors[part if positions is None else positions[part]].astype(np.float32)


def all_blocks(segments: Sequence[Segment]) -> Iterator[Vectors]:
    for segment in segments:
        yield from segment.blocks()


class Ann:
    """An open approximate index, rescored from the segments it was built from."""

    def __init__(self, path: Path, segments: Sequence[Segment]) -> None:
        self.path = path
        self.index = cast(IvfIndex, load_index(path / "index.faiss"))
        self.segments = segments

    def search(self, queries: Vectors, k: int, allowed: Ids | None = None) -> Neighbors:
        """Like `Segment.search`, approximately: exact scores, but a near neighbour may be missed.
        """
        allow = None
        if allowed is not None:
            allow = np.zeros(self._last_id + 1, bool)
            allow[allowed[allowed <= self._last_id]] = True
        found = self.index.search(queries, max(RESCORED, 10 * k), allow=allow)
        rows = [top_k([self._rescored(query, ids)], k)
                for query, ids in zip(queries, found.ids, strict=True)]
        return Neighbors(np.concatenate([row.scores for row in rows]),
                         np.concatenate([row.ids for row in rows]))

    def _rescored(self, query: Vectors, ids: Ids) -> Neighbors:
        ids = np.sort(ids[ids >= 0])
        scores, kept = [], []
        for segment in self.segments:
            at = segment.positions(ids)
            scores.append(segment.index.vectors[at].astype(np.float32) @ query)
            kept.append(segment.ids[at])
        return Neighbors(np.concatenate(scores)[None], np.concatenate(kept)[None])

    @cached_property
    def _last_id(self) -> int:
        return max(int(segment.ids[-1]) for segment in self.segments)


def verify_directory(path: Path, info: SegmentInfo) -> list[str]:
    """What is wrong with a segment's or an approximate index's files; nothing if it is sound."""
    manifest = path / "segment.json"
    try:
        data = manifest.read_bytes()
    except FileNotFoundError:
        return [f"{manifest}: missing"]
    except OSError as error:
        return [f"{manifest}: cannot be read ({error.strerror})"]
    if hashlib.sha256(data).hexdigest() != info.sha256:
        return [f"{manifest}: checksum does not match: altered since it was written"]
    return [f"{path / name}: {reason}" for name, state in json.loads(data)["files"].items()
            if (reason := _file_problem(path / name, state))]


def remove(path: Path) -> None:
    """Remove a directory; readers that have it open keep their pages."""
    shutil.rmtree(path, ignore_errors=True)


def _file_problem(path: Path, state: dict[str, Any]) -> str:
    try:
        if (size := path.stat().st_size) != state["bytes"]:
            return f"{size} bytes, written with {state['bytes']}"
        if _sha256(path) != state["sha256"]:
            return "checksum does not match: altered since it was written"
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return ""


def _publish(parent: Path, name: str, fill: Callable[[Path], None],
             **facts: Any) -> tuple[int, str]:
    """Fill a temporary directory, describe it, sync it, give it its name; -> its size in bytes
    and the sha256 of its description."""
    parent.mkdir(parents=True, exist_ok=True)
    temporary = parent / f"{TEMPORARY}{name}"
    remove(temporary)
    temporary.mkdir()
    try:
        fill(temporary)
        files = {path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)}
                 for path in sorted(temporary.iterdir())}
        description = json.dumps({"format": FORMAT, **facts, "files": files}, indent=1).encode()
        (temporary / "segment.json").write_bytes(description)
        for path in [*temporary.iterdir(), temporary]:
            sync(path)
        temporary.rename(parent / name)
        sync(parent)
    except BaseException:
        remove(temporary)
        raise
    size = sum(path.stat().st_size for path in (parent / name).iterdir())
    return size, hashlib.sha256(description).hexdigest()


def sync(path: Path) -> None:
    """Ask the disk to keep what was written to a file, or a directory's list of names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
