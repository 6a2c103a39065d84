"""Vectors that other tools made become items and segments, without an encoder.

A file is taken in ranges of rows. Of a range that is there already, unchanged, no row is read; a
range of which nothing is there streams through, vectors into one large segment and descriptions
into the one transaction that commits it; any other range is compared row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmsearch.encoders import EXTERNAL, Encoder, ExternalEncoder, absolute_name
from mmsearch.errors import EncoderMismatch, ModelError, UsageError
from mmsearch.records import Ids, Item, SegmentInfo, Vectors
from mmsearch.sources import Part, Skipped, VectorSet
from mmsearch.storage import Catalog, Change, Condition, Opened, Row, segment_name, write_segment
from mmsearch.uris import path_to_uri

RANGE_ROWS, RANGE_BYTES = 1 << 19, 512 << 20
"""A range is at most so many rows, and so many bytes of float16 vectors: some 20 seconds' work,
which is what a run that is killed loses."""
COMPARED_ROWS, COMPARED_BYTES = 1 << 15, 64 << 20
"""The same for a range that is compared, and so held in memory."""
LISTED = 100
"""Rows that are left out are listed up to this many, and counted beyond."""
_DROPPED_AT_ONCE = 100_000


@dataclass
class Imported:
    """What became of the rows; `skipped` lists the first of the `left_out`."""

    put: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    left_out: int = 0
    skipped: list[Skipped] = field(default_factory=list)


def import_vectors(root: Path, catalog: Catalog, found: VectorSet,
                   progress: Callable[[int], None]) -> Imported:
    """Bring the collection at `root` in step with `found`: rows are added, replaced, described
    anew, and items of the same source that it no longer has are dropped.

    Raises:
        UsageError: a file changed while it was read; what was committed is kept.
        OSError: the disk is full, say; what was committed is kept.
    """
    done = Imported()
    catalog.expect_many()
    marks = [part.mark for part in found.parts]
    here = sum(catalog.marked(part.fingerprint(0), part.fingerprint(part.file.rows))
               for part in found.parts)
    changed = catalog.count(Condition("i.manifest = ?", (found.source,))) > here
    for part in found.parts:
        size = max(1, min(RANGE_ROWS, RANGE_BYTES // (2 * found.dim)))
        for first in range(0, part.file.rows, size):
            last = min(first + size, part.file.rows)
            _Range(root, catalog, part, first, last, done).take(changed)
            progress(last - first)
    while changed and (gone := catalog.outdated(found.source, marks, _DROPPED_AT_ONCE)):
        catalog.commit(Change(drop=gone))
        done.removed += len(gone)
    return done


@dataclass
class _Range:
    root: Path
    catalog: Catalog
    part: Part
    first: int
    last: int
    done: Imported

    def take(self, changed: bool) -> None:
        """changed: whether the source has been here before, and was other then."""
        part, first, last = self.part, self.first, self.last
        there = self.catalog.marked(part.fingerprint(first), part.fingerprint(last))
        if there == last - first:
            self.done.unchanged += there
            return
        usable = part.file.usable(first, last)
        for row in np.flatnonzero(~usable)[: LISTED]:
            self._leave_out(first + int(row), "not finite, or all zero")
        self.done.left_out += max(0, int((~usable).sum()) - LISTED)
        if there == usable.sum():
            self.done.unchanged += there
        elif there or changed:
            size = max(1, min(COMPARED_ROWS, COMPARED_BYTES // (4 * part.file.dim)))
            for at in range(first, last, size):
                end = min(at + size, last)
                self._compare(at, end, usable[at - first : end - first])
        else:
            self._stream(usable)

    def _leave_out(self, row: int, reason: str) -> None:
        self.done.left_out += 1
        if len(self.done.skipped) < LISTED:
            place = f"{path_to_uri(self.part.file.path)}#{row}"
            self.done.skipped.append(Skipped(place, reason))

    # -- nothing of it is there ------------------------------------------------------------------

    def _stream(self, usable: npt.NDArray[np.bool_]) -> None:
        first_seq = int(self.catalog.settings["next_seq"])
        seqs = first_seq + np.arange(usable.sum(), dtype=np.int64)
        segment = self._segment(seqs, lambda: self.part.file.unit_blocks(
            self.first, self.last, usable))
        self.catalog.commit(Change(put=self._described(usable, first_seq), add_segments=[segment]))

    def _described(self, usable: npt.NDArray[np.bool_],
                   seq: int) -> Iterator[tuple[int, Item, str]]:
        """The items of the rows in the segment. A row that its manifest does not describe has no
        item: its vector waits for the next merge, like that of an item that was deleted."""
        for row, item, hash, problem in self.part.items(self.first, self.last):
            if item is None:
                self._leave_out(row, problem)
            elif usable[row - self.first]:
                self.done.put += 1
                yield seq, item, hash
            seq += bool(usable[row - self.first])

    def _segment(self, seqs: Ids, blocks: Callable[[], Iterator[Vectors]]) -> SegmentInfo:
        name = segment_name(self.part.kind, int(seqs[0]), int(seqs[-1]))
        return write_segment(self.root, name, self.part.kind, seqs, blocks)

    # -- some of it is there, or was ---------------------------------------------------------------

    def _compare(self, first: int, last: int, usable: npt.NDArray[np.bool_]) -> None:
        rows: dict[str, tuple[int, Item, str]] = {}
        for row, item, hash, problem in self.part.items(first, last):
            if item is None:
                self._leave_out(row, problem)
            elif usable[row - first]:
                rows[item.uri] = row, item, hash  # of rows with one uri, the last counts
        known = self.catalog.known(rows, self.part.kind)
        vectors = self.part.file.unit_vectors(first, last, usable)
        same = self._same(rows, known, first, vectors)
        change, put = Change(), []
        for uri, (row, item, hash) in rows.items():
            before = known.get(uri)
            if before is not None and self._is_done(before, row):
                self.done.unchanged += 1
            elif before is not None and uri in same:
                change.update.append((before.id, item))
                if _said(before.item) == _said(item):
                    self.done.unchanged += 1
                else:
                    self.done.updated += 1
            else:
                put.append((row, item, hash))
        if put:
            seqs = int(self.catalog.settings["next_seq"]) + np.arange(len(put), dtype=np.int64)
            chosen = vectors[[row - first for row, *_ in put]]
            change.put = [(int(seq), item, hash)
                          for seq, (_, item, hash) in zip(seqs, put, strict=True)]
            change.add_segments.append(self._segment(seqs, lambda: iter([chosen])))
            self.done.put += len(put)
        if change:
            self.catalog.commit(change)

    def _is_done(self, before: Row, row: int) -> bool:
        """Whether an item is of this row, or of a later one with the same uri, as it is now."""
        mark = before.item.fingerprint
        return mark.startswith(self.part.mark) and mark >= self.part.fingerprint(row)

    def _same(self, rows: dict[str, tuple[int, Item, str]], known: dict[str, Row], first: int,
              vectors: Vectors) -> set[str]:
        """The uris whose stored vectors are what these rows would be stored as."""
        found = sorted(known.values(), key=lambda row: row.seq)
        if not found:
            return set()
        opened = Opened(self.root)
        opened.refresh(self.catalog.segments())
        seqs = np.array([row.seq for row in found], np.int64)
        stored = opened.gather(seqs, self.part.kind, vectors.shape[1])
        now = vectors[[rows[row.item.uri][0] - first for row in found]]
        equal = (now.astype(np.float16) == stored.astype(np.float16)).all(axis=1)
        return {row.item.uri for row, same in zip(found, equal, strict=True) if same}


def _said(item: Item) -> tuple[object, ...]:
    return item.text, item.group, item.meta


# --- which model made them ----


def maker(vectors: VectorSet, model: str) -> tuple[Encoder, str]:
    """The encoder to note for vectors, and what it is loaded by: the model itself, if it can be
    loaded here and is the one that their files name, and else its name alone.

    Raises:
        EncoderMismatch: the model makes vectors of another length, or the files name another.
    """
    model = absolute_name(model) if model else ""
    if vectors.model and model not in ("", vectors.model):
        raise EncoderMismatch(f"{vectors.path} says that {vectors.model} made its vectors, not "
                              f"{model}; leave out --model")
    model = model or vectors.model
    external = ExternalEncoder(model, vectors.dim, vectors.encoder)
    try:
        return external.load() if model else external, model
    except EncoderMismatch as error:
        if not vectors.encoder:
            raise EncoderMismatch(f"{model} does not make vectors of {vectors.dim} numbers, as in "
                                  f"{vectors.path}; give the right --model") from error
        return external, model
    except ModelError:
        return external, model


def check_maker(path: Path, settings: Mapping[str, Any], vectors: VectorSet, model: str) -> None:
    """Refuse vectors that another model made than those of the collection at `path`.

    Raises:
        EncoderMismatch: they are of another model, or of another length.
        UsageError: it is not known what made them, and the collection's model is known.
    """
    if vectors.dim != settings["dim"]:
        raise EncoderMismatch(f"{vectors.path} has vectors of {vectors.dim} numbers, {path} of "
                              f"{settings['dim']}; import them into another directory (-i)")
    known, encoder = settings["model"], settings["encoder"].removeprefix(EXTERNAL)
    name = absolute_name(model) if model else vectors.model
    if known and not name:
        raise UsageError(f"the vectors in {path} were made by {known}; if those in {vectors.path} "
                         f"were too, give --model {known}")
    if name == known:
        fits = not vectors.encoder or encoder in (vectors.encoder, name)
    else:
        fits = maker(vectors, model)[0].name.removeprefix(EXTERNAL) == encoder
    if not fits:
        raise EncoderMismatch(
            f"the vectors in {path} were made by {encoder or 'an unknown model'}, those "
            f"in {vectors.path} by {vectors.encoder or name}; import them into another directory "
            "(-i)")
