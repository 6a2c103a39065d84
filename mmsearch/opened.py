"""The segments and approximate indexes of one collection that are open for searching."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from mmsearch.indexes.exact import GATHER_UP_TO
from mmsearch.records import Ids, Kind, SegmentInfo, Vectors
from mmsearch.segments import Ann, Segment

_LARGEST_ANN_K = 1000
"""More neighbours than this are searched exactly: candidates would outnumber any gain."""


def directory(root: Path, info: SegmentInfo) -> Path:
    return root / info.name if info.role == "ann" else root / "segments" / info.name


class Opened:
    """Keeps files open from one snapshot to the next; they are immutable, so that is safe."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._segments: dict[SegmentInfo, Segment] = {}
        self._anns: dict[SegmentInfo, Ann] = {}

    def refresh(self, infos: Sequence[SegmentInfo]) -> None:
        """Open what is new and let go of what is no longer part of the collection.

        Raises:
            FileNotFoundError: a file went away since the catalog was read; read it again.
            CollectionDamaged: a file is cut short or altered.
        """
        wanted = [info for info in infos if info.role == "vectors"]
        self._segments = {
            info: self._segments.get(info) or Segment(directory(self.root, info))
            for info in wanted}
        self._anns = {
            info: self._anns.get(info) or self._open_ann(info)
            for info in infos if info.role == "ann"}
        for info, ann in self._anns.items():
            ann.segments = self.covered(info)

    def _open_ann(self, info: SegmentInfo) -> Ann:
        return Ann(directory(self.root, info), self.covered(info))

    def segment(self, info: SegmentInfo) -> Segment:
        return self._segments[info]

    def of_kinds(self, kinds: Iterable[Kind]) -> list[Segment]:
        wanted = set(kinds)
        return [s for info, s in self._segments.items() if info.kind in wanted]

    def covered(self, ann: SegmentInfo) -> list[Segment]:
        """The segments whose rows an approximate index holds."""
        return [s for info, s in self._segments.items()
                if info.kind == ann.kind and info.last <= ann.last]

    def rows(self, kinds: Iterable[Kind]) -> int:
        return sum(segment.rows for segment in self.of_kinds(kinds))

    def parts(self, kinds: Sequence[Kind], k: int, allowed: Ids | None,
              exact: bool) -> list[Segment | Ann]:
        """What to search: the approximate index of a kind and the segments it does not cover;
        segments alone where a filter leaves so few rows, or k is so large, that they are quicker.
        """
        few = allowed is not None and len(allowed) <= GATHER_UP_TO
        anns = {} if exact or few or k > _LARGEST_ANN_K else {
            info: ann for info, ann in self._anns.items() if info.kind in kinds}
        covered = {id(segment) for info in anns for segment in self.covered(info)}
        rest = [s for s in self.of_kinds(kinds) if id(s) not in covered]
        return [*anns.values(), *rest]

    def gather(self, seqs: Ids, kind: Kind, dim: int) -> Vectors:
        """The vectors with these sequence numbers (ascending), float32 [n, dim]."""
        out = np.zeros((len(seqs), dim), np.float32)
        for segment in self.of_kinds([kind]):
            at = segment.positions(seqs)
            out[np.searchsorted(seqs, segment.ids[at])] = segment.index.vectors[at]
        return out

    def sample(self, kinds: Iterable[Kind], count: int) -> Iterator[Vectors]:
        """Up to `count` vectors, spread evenly over all rows of these kinds, as float32 blocks;
        four neighbours at a time, since the first look at each place in a file costs most."""
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
