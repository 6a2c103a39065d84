"""Putting right what `mmsearch verify` finds: what follows from something sound is made anew.

| damaged | made anew from |
| --- | --- |
| the catalog: its structure, indexes, counts, full text | the rows that can be read |
| a row that names a segment | the segment |
| `segment.json` | the other files; the catalog has its sha256 |
| `ids.npy` | the rows of the catalog; `segment.json` has its sha256 |
| `index.faiss` | the segment: it is built again |
| `vectors.faiss` | pictures and texts that are there unchanged: they are encoded again |

The rest is said. An item whose vector is lost stays in the catalog, marked so that the next
`mmsearch index` that comes by reads it again.
"""

from __future__ import annotations

import hashlib
import io
import json
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

DAMAGED = "damaged"
"""Where what is left of a segment goes that is needed and cannot be opened."""
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

    # Files that follow from others

    def _rebuild(self, info: SegmentInfo) -> None:
        path = directory(self.root, info)
        data = description(path, kind=info.kind, rows=info.rows)
        if hashlib.sha256(data).hexdigest() == info.sha256:
            _replace(path / MANIFEST, data)
        state = json.loads((path / MANIFEST).read_bytes())["files"]["ids.npy"]
        for ids in (np.arange(info.last - info.rows + 1, info.last + 1),
                    self.catalog.between(info.kind, 0, info.last)[-info.rows:]):
            file = io.BytesIO()
            np.save(file, ids)
            if hashlib.sha256(file.getvalue()).hexdigest() == state["sha256"]:
                _replace(path / "ids.npy", file.getvalue())
        row = stated(path)
        if not verify_directory(path, row):
            self.catalog.commit(Change(drop_segments=[info], add_segments=[row]))

    # Vectors

    def _renew_vectors(self, kind: Kind) -> Iterator[Problem]:
        """Encode again what no sound segment of a kind holds, and let go of the damaged ones.

        -> a problem for each item that cannot be encoded. A damaged segment that has one and can
        still be searched stays.
        """
        damaged = [i for i in self._damaged() if (i.kind, i.role) == (kind, "vectors")]
        sound = [info for info in self.catalog.segments()
                 if (info.kind, info.role) == (kind, "vectors") and info not in damaged]
        reasons = self._encode(kind, without_vector(self.root, self.catalog, kind, sound))
        rows = self.catalog.fetch(reasons)
        self.catalog.forget(row.id for row in rows.values())
        held: set[int] = set()
        drop = []
        for info in damaged:
            here = reasons.keys() & set(self._searchable_ids(info).tolist())
            held |= here
            drop += [] if here else [info]
        for info in drop if len(held) < len(reasons) else []:
            with suppress(FileNotFoundError):
                (self.root / DAMAGED).mkdir(exist_ok=True)
                directory(self.root, info).rename(self.root / DAMAGED / info.name)
        self.catalog.commit(Change(drop_segments=drop))
        for seq, reason in sorted(reasons.items()):
            state = "may be wrong" if seq in held else "is lost"
            yield Problem(rows[seq].item.uri, f"its vector {state}: {reason}")

    def _encode(self, kind: Kind, seqs: Ids) -> dict[int, str]:
        """Give items a new vector each; -> the numbers of those that have none now, and why."""
        if not len(seqs):
            return {}
        if unfit := self._unfit_encoder():
            return dict.fromkeys(seqs.tolist(), unfit)
        reasons: dict[int, str] = {}
        tiling = tiling_of(self.catalog.settings.get("tiles"))
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
        with suppress(*UNREADABLE, RuntimeError, MemoryError):
            segment = Segment(directory(self.root, info))
            ids = np.array(segment.ids)
            if segment.index.dim == self.catalog.settings["dim"] and (np.diff(ids) > 0).all():
                return ids
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
