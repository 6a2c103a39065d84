"""Putting right what `mmsearch verify` finds: what follows from something sound is made again, and
the vectors of a damaged segment are encoded again (docs/format.md has the table).

The rest is reported. An item whose vector is lost stays in the catalog, marked so that the next
`mmsearch index` that comes by reads it again.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np

from mmsearch.encoders import BUILTIN, load_encoder
from mmsearch.errors import MediaError, MmsearchError
from mmsearch.fragments import file_uri
from mmsearch.ingest import LARGEST, Shard, build_shard, hash_at, hash_of_file, upkeep
from mmsearch.media import tiling_of
from mmsearch.records import Ids, Kind, Problem, SegmentInfo
from mmsearch.sources import with_sidecars_of
from mmsearch.storage import (
    CATALOG,
    MANIFEST,
    TEMPORARY,
    UNREADABLE,
    Catalog,
    Change,
    Row,
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
    sync,
    verify_directory,
    without_vector,
    writer_lock,
)

Tick = Callable[[int], None]


def repair_collection(root: Path, model: str | None = None,
                      tick: Tick = lambda done: None) -> list[Problem]:
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
            found += find_problems(root)
        if not check_catalog(path):
            with closing(Catalog(path, write=True)) as catalog:
                lost += _Repair(root, catalog, model, tick).run()
        left = find_problems(root)
    return [*(problem._replace(fixed=problem not in left)
              for problem in dict.fromkeys([*found, *left])), *lost]


class _Repair:
    """The repair of a collection's files; the catalog is sound."""

    def __init__(self, root: Path, catalog: Catalog, model: str | None, tick: Tick) -> None:
        self.root, self.catalog, self.tick = root, catalog, tick
        self.model = model or str(catalog.settings.get("model") or BUILTIN)

    def run(self) -> Iterator[Problem]:
        """-> what was lost."""
        yield from self._name_model()
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
        if not self._damaged():  # else an index would be built on what is damaged
            upkeep.renew_anns(self.root, self.catalog)

    def _damaged(self) -> list[SegmentInfo]:
        return [info for info in self.catalog.segments()
                if verify_directory(directory(self.root, info), info)]

    def _name_model(self) -> Iterator[Problem]:
        """Where the settings are lost that say what made the vectors."""
        if not {"encoder", "dim"} <= self.catalog.settings.keys():
            encoder = load_encoder(self.model)
            self.catalog.put_settings({"encoder": encoder.name, "dim": encoder.dim,
                                       "model": self.model})
            yield Problem(str(self.catalog.path), "which model made the vectors was lost; it is "
                          f"taken to be {encoder.name}: if not, index again into a new directory")

    def _rebuild(self, info: SegmentInfo) -> None:
        """Make again those of a segment's files, and its row, that follow from the others."""
        path = directory(self.root, info)
        data = description(path, kind=info.kind, rows=info.rows)
        if hashlib.sha256(data).hexdigest() == info.sha256:
            _replace(path / MANIFEST, data)
        wanted = describe(path)["files"]["ids.npy"]["sha256"]
        for ids in (np.arange(info.last - info.rows + 1, info.last + 1),
                    self.catalog.between(info.kind, 0, info.last)[-info.rows:]):
            file = io.BytesIO()
            np.save(file, ids)
            if hashlib.sha256(file.getvalue()).hexdigest() == wanted:
                _replace(path / "ids.npy", file.getvalue())
        row = stated(path)
        if not verify_directory(path, row):
            self.catalog.commit(Change(drop_segments=[info], add_segments=[row]))

    def _renew_vectors(self, kind: Kind) -> Iterator[Problem]:
        """Encode again what no sound segment of a kind holds, and let go of the damaged ones.

        -> a problem for each item that cannot be encoded. A damaged segment that has one and can
        still be searched stays.
        """
        damaged = [i for i in self._damaged() if (i.kind, i.role) == (kind, "vectors")]
        sound = [i for i in self.catalog.segments()
                 if (i.kind, i.role) == (kind, "vectors") and i not in damaged]
        lacking = without_vector(self.root, self.catalog, kind, sound)
        reasons: dict[int, str] = {}
        if unfit := self._unfit_encoder() if len(lacking) else "":
            reasons = dict.fromkeys(lacking.tolist(), unfit)
        for at in range(0, 0 if unfit else len(lacking), LARGEST):
            reasons |= self._encode(kind, self.catalog.fetch(lacking[at : at + LARGEST].tolist()))
        rows, held, drop = self.catalog.fetch(reasons), set[int](), []
        self.catalog.forget(row.id for row in rows.values())
        for info in damaged:
            here = reasons.keys() & set(self._searchable_ids(info).tolist())
            held |= here
            drop += [] if here else [info]
        self.catalog.commit(Change(drop_segments=drop))
        for seq, reason in sorted(reasons.items()):
            state = "may be wrong" if seq in held else "is lost"
            yield Problem(rows[seq].item.uri, f"its vector {state}: {reason}")

    def _encode(self, kind: Kind, rows: dict[int, Row]) -> dict[int, str]:
        """Give items a new vector each; -> the numbers of those that have none now, and why."""
        reasons = {seq: reason for seq, row in rows.items() if (reason := _unlike(row))}
        items = [row.item for seq, row in sorted(rows.items()) if seq not in reasons]
        if not items:
            return reasons
        first = int(self.catalog.settings["next_seq"])
        name = segment_name(kind, first, first + len(items) - 1)
        built = build_shard(Shard(self.root, name, kind, first, tuple(items), self.model,
                                  expand=False), self.tick)
        was = {row.item.uri: row.item.fingerprint for row in rows.values()}
        put = [(seq, replace(item, fingerprint=with_sidecars_of(item.fingerprint, was[item.uri])),
                hash) for seq, item, hash in built.rows]
        self.catalog.commit(Change(put=put, add_segments=built.segments))
        tiling = tiling_of(self.catalog.settings.get("tiles"))
        self.catalog.forget(row.id for row in rows.values()
                            if tiling.is_behind(row.item, row.seq))  # still to be cut
        skipped = {one.path: one.reason for one in built.skipped}
        return reasons | {seq: skipped[row.item.uri] for seq, row in rows.items()
                          if row.item.uri in skipped}

    def _unfit_encoder(self) -> str:
        """Why the model at hand cannot make vectors for this collection; empty if it can."""
        made_by, dim = self.catalog.settings["encoder"], self.catalog.settings["dim"]
        try:
            encoder = load_encoder(self.model)
        except MmsearchError as error:
            return str(error)
        return "" if (encoder.name, encoder.dim) == (made_by, dim) else (
            f"it was made by {made_by} ({dim} dimensions), not by {encoder.name}; repair with that "
            "model, or index again")

    def _searchable_ids(self, info: SegmentInfo) -> Ids:
        """The numbers in a damaged segment that can still be searched; none if it cannot be."""
        with suppress(*UNREADABLE, RuntimeError, MemoryError):
            segment = Segment(directory(self.root, info))
            if segment.index.dim == self.catalog.settings["dim"] and (
                    np.diff(segment.ids) > 0).all():
                return np.array(segment.ids)
        return np.zeros(0, np.int64)


def _unlike(row: Row) -> str:
    """Why an item cannot be encoded again as it was; empty if it can."""
    if row.item.kind == "text":
        return ""
    try:
        found, _ = hash_at(file_uri(row.item))
    except MediaError as error:
        return f"the file {error}; put it back and index it again, or delete it from the index"
    return "" if found == hash_of_file(row.hash) else "the file has changed; index it again"


def _replace(path: Path, data: bytes) -> None:
    """Give a file another content, durably and at once; who has the old one open keeps it."""
    new = path.with_name(f"{TEMPORARY}{path.name}")
    new.write_bytes(data)
    sync(new)
    new.replace(path)
    sync(path.parent)
