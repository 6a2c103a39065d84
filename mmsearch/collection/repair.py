"""Putting right what `mmsearch verify` finds: what follows from something sound is made again, and
the vectors of a damaged segment are encoded again (docs/format.md has the table).

The rest is reported. An item whose vector is lost stays in the catalog, marked so that the next
`mmsearch index` that comes by reads it again.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np

from mmsearch.collection.reader import Reader
from mmsearch.encoders import BUILTIN, load_encoder, ready
from mmsearch.errors import MmsearchError
from mmsearch.ingest import LARGEST, Shard, build_shard, upkeep
from mmsearch.media import tiling_of
from mmsearch.records import Ids, Kind, Problem, SegmentInfo
from mmsearch.sources import with_sidecars_of
from mmsearch.storage import (
    CATALOG,
    MANIFEST,
    UNREADABLE,
    Catalog,
    Change,
    Segment,
    check_catalog,
    describe,
    description,
    directory,
    find_problems,
    salvage_catalog,
    segment_name,
    stated,
    strays,
    verify_directory,
    without_vector,
    writer_lock,
    written_whole,
)


def repair_collection(root: Path, model: str | None = None,
                      tick: Callable[[int], None] = lambda done: None) -> list[Problem]:
    """Put right what can be; -> every problem that was found, and whether it is one no more; and
    what was lost.

    model: what to encode lost vectors with; by default the model of the collection.
    tick: called with the number of items encoded again since the last call.

    Raises:
        CollectionBusy: another process is writing.
        CollectionNotFound: there is no collection at `root`.
    """
    path, lost, found = root / CATALOG, list[Problem](), find_problems(root)
    if not found:
        return []
    with writer_lock(root):
        if check_catalog(path):
            lost += salvage_catalog(path)
            upkeep.remove_unfinished(root)  # numbers that were lost may be given again
        if not check_catalog(path):
            with closing(Catalog(path, write=True)) as catalog:
                lost += _Repair(root, catalog, model, tick).run()
        left = find_problems(root)
    return [*(problem._replace(fixed=problem not in left)
              for problem in dict.fromkeys([*found, *left])), *lost]


class _Repair:
    """The repair of a collection's files; the catalog is sound."""

    def __init__(self, root: Path, catalog: Catalog, model: str | None,
                 tick: Callable[[int], None]) -> None:
        self.root, self.catalog, self.tick = root, catalog, tick
        self.model = model or str(catalog.settings.get("model") or BUILTIN)

    def run(self) -> Iterator[Problem]:
        """-> what was lost."""
        if not {"encoder", "dim"} <= self.catalog.settings.keys():
            encoder = load_encoder(self.model)
            self.catalog.put_settings({"encoder": encoder.name, "dim": encoder.dim,
                                       "model": self.model})
            yield Problem(str(self.catalog.path), "which model made the vectors was lost; it is "
                          f"taken to be {encoder.name}: if not, index again into a new directory")
        found = strays(self.root, self.catalog)
        self.catalog.commit(Change(drop_segments=found, add_segments=found))
        for info in self._damaged():
            with suppress(*UNREADABLE):
                self._rebuild(info)
        for kind in get_args(Kind):
            yield from self._renew_vectors(kind)
        self.catalog.commit(Change(drop_segments=[
            info for info in self._damaged() if info.role != "vectors"]))
        upkeep.remove_garbage(self.root, self.catalog)
        upkeep.renew_anns(self.root, self.catalog)

    def _damaged(self) -> list[SegmentInfo]:
        return [info for info in self.catalog.segments()
                if verify_directory(directory(self.root, info), info)]

    def _rebuild(self, info: SegmentInfo) -> None:
        """Make again those of a segment's files, and its row, that follow from the others."""
        path = directory(self.root, info)
        _restore(path / MANIFEST, description(path, kind=info.kind, rows=info.rows), info.sha256)
        wanted = describe(path)["files"]["ids.npy"]["sha256"]
        for ids in (np.arange(info.last - info.rows + 1, info.last + 1),
                    self.catalog.between(info.kind, 0, info.last)[-info.rows:]):
            np.save(file := io.BytesIO(), ids)
            _restore(path / "ids.npy", file.getvalue(), wanted)
        row = stated(path)
        if not verify_directory(path, row):
            self.catalog.commit(Change(drop_segments=[info], add_segments=[row]))

    def _renew_vectors(self, kind: Kind) -> Iterator[Problem]:
        """Encode again what no sound segment of a kind holds, and let go of the damaged ones; but
        one that can still be searched stays while it has items that cannot be encoded."""
        damaged = [i for i in self._damaged() if (i.kind, i.role) == (kind, "vectors")]
        lacking = self._lacking(kind, damaged)
        try:
            if len(lacking):
                with Reader(self.root, self.model) as reader:
                    ready(reader.encoder)
        except MmsearchError as error:
            yield Problem(str(self.root), f"{len(lacking)} {kind} items lack a vector: {error}")
        else:
            for at in range(0, len(lacking), LARGEST):
                yield from self._encode(kind, lacking[at : at + LARGEST])
        left = self._lacking(kind, damaged)
        self.catalog.forget(row.id for row in self.catalog.fetch(left).values())
        self.catalog.commit(Change(drop_segments=[
            info for info in damaged if not np.isin(left, self._searchable_ids(info)).any()]))

    def _lacking(self, kind: Kind, damaged: Iterable[SegmentInfo]) -> Ids:
        sound = [info for info in self.catalog.segments() if info not in damaged]
        return without_vector(self.root, self.catalog, kind, sound)

    def _encode(self, kind: Kind, seqs: Ids) -> Iterator[Problem]:
        """Give items a new vector each; -> those that have none now, or of another content."""
        rows = {row.item.uri: row for row in self.catalog.fetch(seqs).values()}
        first = int(self.catalog.settings["next_seq"])
        name = segment_name(kind, first, first + len(rows) - 1)
        built = build_shard(Shard(self.root, name, kind, first,
                                  tuple(row.item for row in rows.values()), self.model), self.tick)
        put = [(seq, replace(item, fingerprint=with_sidecars_of(
                    item.fingerprint, rows[item.uri].item.fingerprint)), hash)
               for seq, item, hash in built.rows if item.uri in rows]
        self.catalog.commit(Change(put=put, add_segments=built.segments))
        reasons = {one.path: one.reason for one in built.skipped}
        same = {item.uri for _, item, hash in put
                if kind == "text" or hash == rows[item.uri].hash}
        tiling = tiling_of(self.catalog.settings.get("tiles"))
        self.catalog.forget(row.id for uri, row in rows.items()  # also what is still to be cut
                            if uri not in same or tiling.is_behind(row.item, row.seq))
        for uri in sorted(rows.keys() - same):
            yield Problem(uri, (
                f"its vector is lost or may be wrong: the file {reasons[uri]}; put it back and "
                "index it again, or delete it from the index") if uri in reasons else
                "the file has changed; index it again")

    def _searchable_ids(self, info: SegmentInfo) -> Ids:
        """The numbers in a damaged segment that can still be searched; none if it cannot be."""
        with suppress(*UNREADABLE, RuntimeError, MemoryError):
            segment = Segment(directory(self.root, info))
            if segment.index.dim == self.catalog.settings["dim"] and (
                    np.diff(segment.ids) > 0).all():
                return np.array(segment.ids)
        return np.zeros(0, np.int64)


def _restore(path: Path, data: bytes, sha256: str) -> None:
    """Write a file again if this is what it was; who has the old one open keeps it."""
    if hashlib.sha256(data).hexdigest() == sha256:
        with written_whole(path) as file:
            file.write(data)
