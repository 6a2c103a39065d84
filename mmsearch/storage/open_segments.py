"""The segments and approximate indexes of one collection that are open for searching."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from threading import Lock

import numpy as np

from mmsearch.errors import GpuUnavailable, MissingExtra
from mmsearch.indexes import Device, RescoredIndex
from mmsearch.records import Ids, Kind, SegmentInfo, Vectors
from mmsearch.storage.segments import Ann, Segment, describe

_LARGEST_ANN_K = 1000
"""More neighbours than this are searched exactly: candidates would outnumber any gain."""


def directory(root: Path, info: SegmentInfo) -> Path:
    return root / info.name if info.role == "ann" else root / "segments" / info.name


class Files:
    """What is open, for all who read one collection: from one snapshot to the next, and in all
    threads. Files are immutable, so that is safe."""

    def __init__(self, device: Device = "cpu") -> None:
        self.device = device
        self.segments: dict[SegmentInfo, Segment] = {}
        self.anns: dict[SegmentInfo, Ann] = {}
        self.renew_lock()

    def renew_lock(self) -> None:
        """In a process that was forked while another thread had it."""
        self.lock = Lock()


class Opened:
    """What one snapshot names, open for searching."""

    def __init__(self, root: Path, files: Files | None = None) -> None:
        self.root, self._files = root, files or Files()
        self._segments: dict[SegmentInfo, Segment] = {}
        self._anns: dict[SegmentInfo, Ann] = {}
        self._parts: dict[tuple[tuple[Kind, ...], bool], list[Segment | Ann]] = {}
        self._samples: dict[tuple[tuple[Kind, ...], int], Vectors] = {}

    def refresh(self, infos: Sequence[SegmentInfo]) -> None:
        """Open what is new and let go of what is no longer part of the collection.

        Raises:
            FileNotFoundError: a file went away since the catalog was read; read it again.
            CollectionDamaged: a file is cut short or altered.
        """
        files, self._parts, self._samples = self._files, {}, {}
        with files.lock:
            self._segments = {
                info: files.segments.get(info) or Segment(directory(self.root, info))
                for info in infos if info.role == "vectors"}
            by_name = {info.name: segment for info, segment in self._segments.items()}
            anns = {info: files.anns.get(info) or self._open_ann(info, by_name)
                    for info in infos if info.role == "ann"}
            self._anns = {info: ann for info, ann in anns.items() if ann is not None}
            if files.device != "cpu":
                self._move(files.device)
            files.segments, files.anns = self._segments, self._anns

    def _open_ann(self, info: SegmentInfo, by_name: dict[str, Segment]) -> Ann | None:
        path = directory(self.root, info)
        facts = describe(path)
        # One from before version 0.2 covers several segments: it is left alone until the next
        # writer builds another, and its rows are searched exactly.
        segment = by_name.get(facts.get("segment", ""))
        return None if segment is None else Ann(path, facts, segment)

    def _move(self, device: Device) -> None:
        """Copy to the GPUs what is searched: vectors, exactly; where they are too many, the
        approximate index over them.

        Raises:
            GpuUnavailable, MissingExtra: with "cuda", where that cannot be; "auto" warns.
        """
        from mmsearch.indexes import on_device

        over = {id(ann.segment): ann for ann in self._anns.values()}
        for segment in self._segments.values():
            ann = over.get(id(segment))
            if segment.searched is not segment.index or (
                    ann and not isinstance(ann.searched, RescoredIndex)):
                continue
            try:
                strictly: Device = "cuda" if ann else device
                segment.searched = on_device(
                    segment.index, segment.index, strictly) or segment.index
            except (GpuUnavailable, MissingExtra):
                if ann is None:
                    raise
                moved = on_device(ann.index, segment.index, device, ann.effort)
                ann.searched = moved or ann.searched

    def anns(self) -> dict[SegmentInfo, Ann]:
        return dict(self._anns)

    def segment(self, info: SegmentInfo) -> Segment:
        return self._segments[info]

    def of_kinds(self, kinds: Iterable[Kind]) -> list[Segment]:
        wanted = set(kinds)
        return [s for info, s in self._segments.items() if info.kind in wanted]

    def rows(self, kinds: Iterable[Kind]) -> int:
        return sum(segment.rows for segment in self.of_kinds(kinds))

    def parts(self, kinds: Sequence[Kind], k: int, exact: bool = False) -> list[Segment | Ann]:
        """What to search: the approximate index of a kind and the segments it does not cover;
        segments alone where k is so large that they are quicker."""
        key = (tuple(kinds), exact or k > _LARGEST_ANN_K)
        if key not in self._parts:
            self._parts[key] = self._chosen(kinds, exact=key[1])
        return self._parts[key]

    def _chosen(self, kinds: Sequence[Kind], *, exact: bool) -> list[Segment | Ann]:
        anns = [] if exact else [
            ann for info, ann in self._anns.items()
            if info.kind in kinds and ann.segment.searched is ann.segment.index]
        covered = {id(ann.segment) for ann in anns}
        return [*anns, *(s for s in self.of_kinds(kinds) if id(s) not in covered)]

    def gather(self, seqs: Ids, kind: Kind, dim: int) -> Vectors:
        """The vectors with these sequence numbers (ascending), float32 [n, dim]."""
        out = np.zeros((len(seqs), dim), np.float32)
        for segment in self.of_kinds([kind]):
            at = segment.positions(seqs)
            out[np.searchsorted(seqs, segment.ids[at])] = segment.index.vectors[at]
        return out

    def sample(self, kinds: Sequence[Kind], count: int) -> Vectors:
        """Up to `count` vectors, spread evenly over all rows of these kinds, float32 [n, dim]."""
        key = (tuple(kinds), count)
        if key not in self._samples:
            self._samples[key] = np.concatenate([*self._sampled(kinds, count)])
        return self._samples[key]

    def _sampled(self, kinds: Sequence[Kind], count: int) -> Iterator[Vectors]:
        """Four neighbours at a time, since the first look at each place in a file costs most."""
        segments = self.of_kinds(kinds)
        rows = sum(segment.rows for segment in segments)
        at = np.arange(rows) if rows <= count else (
            np.arange(count // 4)[:, None] * rows // (count // 4) + np.arange(4)).ravel()
        for segment in segments:
            yield from segment.blocks(at[(at >= 0) & (at < segment.rows)])
            at -= segment.rows

    def vector(self, seq: int, kind: Kind = "image") -> Vectors:
        """The stored vector (float32 [dim]) with a sequence number.

        Raises:
            KeyError: no open segment has it.
        """
        for segment in self.of_kinds([kind]):
            at = segment.positions(np.array([seq], np.int64))
            if len(at):
                vector: Vectors = segment.index.vectors[at[0]].astype(np.float32)
                return vector
        raise KeyError(seq)
