"""All items encoded again with another model: a new generation of vectors beside the old one.

Items stay as they are, with their ids and sequence numbers. Only which segments hold the vectors
of these numbers changes, with the settings that go with the model, in one commit at the end. Until
then all that is new lies in a directory of its own,

    reindex-<hash of the model>/segments/<name>/    numbered as the items are, in no order

which is found again by the next run, also if items came, changed or went meanwhile: a sequence
number stands for one content for ever. `compact` removes what nobody went on with.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np

from mmsearch.collection.report import Reindexed
from mmsearch.collection.teaching import encoded_again
from mmsearch.encoders import EXTERNAL, load_encoder, pinned_name
from mmsearch.errors import GpuUnavailable, MissingExtra, UsageError
from mmsearch.fragments import file_uri, is_tile
from mmsearch.indexes import Device
from mmsearch.ingest import (
    COMMIT_SECONDS,
    FIRST_SHARD,
    LARGEST,
    Shard,
    content_hash,
    encode_shard,
    upkeep,
)
from mmsearch.media import NO_TILES, Grid, tiling_of
from mmsearch.records import Ids, Item, Kind, SegmentInfo, Vectors
from mmsearch.search import calibration_of, kept_calibration
from mmsearch.sources import Skipped
from mmsearch.storage import (
    UNREADABLE,
    Catalog,
    Change,
    Opened,
    Row,
    Segment,
    directory,
    remove,
    remove_places,
    segment_name,
    stated,
    sync,
    verify_directory,
    write_segment,
)

_KINDS: tuple[Kind, ...] = get_args(Kind)
_BLOCK = 16_384


class Generation:
    """The vectors of all items of the collection at `root` by another model, being made; needs the
    writer's lock."""

    def __init__(self, root: Path, catalog: Catalog, model: str, device: Device,
                 progress: Callable[[int], None]) -> None:
        if str(catalog.settings["encoder"]).startswith(EXTERNAL):
            raise UsageError(f"the vectors in {root} were made elsewhere, perhaps from pictures "
                             "that are not here: index the pictures into another directory (-i)")
        self.root, self.catalog, self.device = root, catalog, device
        self.encoder = load_encoder(model)
        self.model = pinned_name(model, self.encoder)
        self.progress = progress
        self.path = root / f"{upkeep.REINDEX}{content_hash(self.encoder.name.encode())[:12]}"
        self.infos: list[SegmentInfo] = []
        self.have: dict[Kind, Ids] = dict.fromkeys(_KINDS, np.zeros(0, np.int64))
        """Sequence numbers of the vectors that there are."""
        self.report = Reindexed(self.encoder.name, self.encoder.dim)
        self._why: dict[str, Skipped] = {}
        """By uri: what could not be read."""
        self._changed: dict[str, None] = {}
        self._size, self._ticked = FIRST_SHARD, 0

    def run(self, allow_missing: bool) -> Reindexed:
        """Encode what is not yet, and put it in the place of what is there."""
        start = time.perf_counter()
        if self.encoder.name == self.catalog.settings["encoder"]:
            self.catalog.put_settings({"model": self.model})  # another precision of it, say
            self.report.switched = True
            return self.report
        self._find_kept()
        for items, kind, grid in self._work():
            self._encode(items, kind, grid)
        missing = [row for kind in _KINDS for rows in self._batches(kind) for row in rows]
        self.report.missing = [self._missing(row.item) for row in missing]
        self.report.changed = list(self._changed)
        if not missing or allow_missing:
            # First: whoever is killed in between has the old vectors, and reads these files again.
            self.catalog.forget(row.id for row in missing)
            self._switch()
        self.report.seconds = time.perf_counter() - start
        return self.report

    # -- encoding --------------------------------------------------------------------------------

    def _find_kept(self) -> None:
        """Take over what an earlier run encoded; what one for a third model has left goes."""
        upkeep.remove_unfinished(self.root, keep=self.path)
        for path in sorted((self.path / "segments").glob("*")):
            with suppress(*UNREADABLE):
                info = stated(path)
                if not verify_directory(path, info):
                    self._have(info, Segment(path).ids)
                    continue
            remove(path)
        self.report.kept = sum(len(np.intersect1d(seqs, self.catalog.select(None, [kind])))
                               for kind, seqs in self.have.items())
        self.progress(self.report.kept)

    def _have(self, info: SegmentInfo, seqs: Ids) -> None:
        self.infos.append(info)
        self.have[info.kind] = np.union1d(self.have[info.kind], seqs)

    def _work(self) -> Iterator[tuple[list[Item], Kind, Grid]]:
        """What to encode, a shard at a time: pictures with their tiles, files with all that is in
        them, what is then still without a vector for itself, and texts as the catalog has them."""
        grid = tiling_of(self.catalog.settings.get("tiles")).grid
        for rows in self._batches("image"):
            yield [row.item for row in rows], "image", grid
        files: set[str] = set()
        for rows in self._batches("frame"):
            found = {file_uri(row.item): Item(file_uri(row.item), "image",
                                              fingerprint=row.item.fingerprint)
                     for row in rows if not is_tile(row.item)}
            yield [file for uri, file in found.items() if uri not in files], "image", NO_TILES
            files |= found.keys()
        for rows in self._batches("frame"):
            yield [row.item for row in rows if file_uri(row.item) not in self._why], \
                "frame", NO_TILES
        for rows in self._batches("text"):
            yield [row.item for row in rows], "text", NO_TILES

    def _batches(self, kind: Kind) -> Iterator[list[Row]]:
        """The items of a kind that are still without a vector, in the order of their numbers."""
        todo = np.setdiff1d(self.catalog.select(None, [kind]), self.have[kind])
        while len(todo):
            seqs, todo = todo[: self._size], todo[self._size :]
            yield [row for _, row in sorted(self.catalog.fetch(seqs).items())]

    def _encode(self, items: Sequence[Item], kind: Kind, grid: Grid) -> None:
        if not items:
            return
        start, ticked, before = time.monotonic(), self._ticked, self.report.encoded
        shard = Shard(self.path, "", kind, 0, tuple(items), self.model, grid=grid)
        rows, vectors, skipped = encode_shard(shard, self._tick)
        self._why.update((one.path, one) for one in skipped)
        for kind in _KINDS:
            self._keep(kind, rows, vectors)
        self.progress(max(self.report.encoded - before - (self._ticked - ticked), 0))
        size = round(len(rows) / (time.monotonic() - start) * COMMIT_SECONDS)
        self._size = min(max(size, FIRST_SHARD), LARGEST)

    def _tick(self, done: int) -> None:
        self._ticked += done
        self.progress(done)

    def _keep(self, kind: Kind, rows: Sequence[tuple[Item, str]], vectors: Vectors) -> None:
        """Write those of some vectors that items of a kind lack."""
        known = self.catalog.known([item.uri for item, _ in rows if item.kind == kind], kind)
        at: dict[int, int] = {}
        for n, (item, hash) in enumerate(rows):
            row = known.get(item.uri) if item.kind == kind else None
            if row is None or item.text != row.item.text:
                continue
            at[row.seq] = n
            if kind != "text" and row.hash not in ("", hash):
                self._changed[file_uri(item)] = None
                self.catalog.forget([row.id])  # its vector is of a file that may be put back
        seqs = np.setdiff1d(np.array(sorted(at), np.int64), self.have[kind])
        if len(seqs):
            part = vectors[[at[int(seq)] for seq in seqs]]
            name = segment_name(kind, int(seqs[0]), int(seqs[-1]))
            info = write_segment(self.path, name, kind, seqs, lambda: iter([part]))
            self._have(info, seqs)
            self.report.encoded += len(seqs)

    def _missing(self, item: Item) -> Skipped:
        why = self._why.get(item.uri) or self._why.get(file_uri(item))
        return replace(why, path=item.uri) if why else Skipped(item.uri, "not in its file any more")

    # -- switching -------------------------------------------------------------------------------

    def _switch(self) -> None:
        change = self._whole()
        (self.root / "segments").mkdir(exist_ok=True)
        for info in change.add_segments:
            directory(self.path, info).rename(directory(self.root, info))
        sync(self.root / "segments")
        sync(self.root)
        self.catalog.commit(change)
        self.report.switched = True
        remove_places(self.root)  # they are the old model's
        for info in change.drop_segments:
            remove(directory(self.root, info))
        remove(self.path)

    def _whole(self) -> Change:
        """All vectors of a kind in one segment, and what goes with them."""
        encoder, change = self.encoder, Change(drop_segments=self.catalog.segments())
        shipped = calibration_of(encoder.name, None, encoder.dim)
        change.settings = {"encoder": encoder.name, "dim": encoder.dim, "model": self.model,
                           "ruler": None if shipped else kept_calibration(encoder).to_json()}
        change.teach = encoded_again(self.catalog.taught(pictures=True), encoder)
        opened = Opened(self.path)
        opened.refresh(self.infos)
        for kind in _KINDS:
            seqs = np.intersect1d(self.catalog.select(None, [kind]), self.have[kind])
            if len(seqs):
                parts = np.split(seqs, range(_BLOCK, len(seqs), _BLOCK))
                gathered = partial(map, partial(opened.gather, kind=kind, dim=encoder.dim), parts)
                change.add_segments.append(write_segment(
                    self.path, segment_name(kind, int(seqs[0]), int(seqs[-1])), kind, seqs,
                    gathered))
        opened = Opened(self.path)
        opened.refresh(change.add_segments)
        # What is built over them is built for the new model; the commit reads settings anew.
        self.catalog.settings = {**self.catalog.settings, **change.settings}
        try:
            change.add_segments += upkeep.build_anns(self.path, self.catalog, opened,
                                                     change.add_segments, self.device)
        except (UsageError, GpuUnavailable, MissingExtra) as error:
            warnings.warn(f"no approximate index was built: {error}", stacklevel=2)
        return change
