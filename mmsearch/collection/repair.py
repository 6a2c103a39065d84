"""Putting right what `mmsearch verify` finds: what follows from something sound is made again, and
the vectors of a damaged segment are encoded again (docs/format.md has the table).

The rest is reported. An item whose vector is lost stays in the catalog, marked so that the next
`mmsearch index` that comes by reads it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import get_args

from mmsearch.collection.reader import Reader
from mmsearch.encoders import BUILTIN, load_encoder, ready
from mmsearch.errors import MmsearchError
from mmsearch.ingest import LARGEST, Shard, build_shard, upkeep
from mmsearch.media import tiling_of
from mmsearch.records import Ids, Kind, Problem, SegmentInfo
from mmsearch.storage import (
    CATALOG,
    UNREADABLE,
    Catalog,
    Change,
    Segment,
    check_catalog,
    check_places,
    directory,
    find_problems,
    remove_places,
    salvage_catalog,
    salvage_segment,
    segment_name,
    verify_directory,
    without_vector,
    writer_lock,
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
            found += find_problems(root)
        if check_places(root):  # `mmsearch index` makes it again
            remove_places(root)
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
        for info in self._damaged():
            salvage_segment(self.root, self.catalog, info)
        upkeep.remove_garbage(self.root, self.catalog)  # of which some may be of use
        damaged = self._damaged()
        self.catalog.commit(Change(drop_segments=[i for i in damaged if i.role != "vectors"]))
        for kind in get_args(Kind):
            yield from self._renew_vectors(kind, [
                info for info in damaged if (info.kind, info.role) == (kind, "vectors")])
        upkeep.remove_garbage(self.root, self.catalog)
        upkeep.renew_anns(self.root, self.catalog)

    def _damaged(self) -> list[SegmentInfo]:
        return [info for info in self.catalog.segments()
                if verify_directory(directory(self.root, info), info)]

    def _renew_vectors(self, kind: Kind, damaged: list[SegmentInfo]) -> Iterator[Problem]:
        """Encode again what no sound segment of a kind holds, and let go of the damaged ones; but
        one that can still be searched stays while there are items that cannot be encoded."""
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
        left = self.catalog.fetch(self._lacking(kind, damaged))
        self.catalog.forget(row.id for row in left.values())
        self.catalog.commit(Change(drop_segments=[
            info for info in damaged if not (left and self._opens(info))]))

    def _lacking(self, kind: Kind, damaged: Iterable[SegmentInfo]) -> Ids:
        sound = [info for info in self.catalog.segments() if info not in damaged]
        return without_vector(self.root, self.catalog, kind, sound)

    def _opens(self, info: SegmentInfo) -> bool:
        with suppress(*UNREADABLE, RuntimeError, MemoryError):
            dim = Segment(directory(self.root, info)).index.dim
            return bool(dim == self.catalog.settings["dim"])
        return False

    def _encode(self, kind: Kind, seqs: Ids) -> Iterator[Problem]:
        """Give items a new vector each; -> those that have none now, or of another content. Their
        rows stay as they are, by which the next run over the sources finds what has changed."""
        old = {row.item.uri: row for row in self.catalog.fetch(seqs).values()}
        first = int(self.catalog.settings["next_seq"])
        name = segment_name(kind, first, first + len(old) - 1)
        built = build_shard(Shard(self.root, name, kind, first,
                                  tuple(row.item for row in old.values()), self.model), self.tick)
        new = [(seq, old[item.uri], hash) for seq, item, hash in built.rows if item.uri in old]
        self.catalog.commit(Change(put=[(seq, row.item, row.hash) for seq, row, _ in new],
                                   add_segments=built.segments))
        tiling = tiling_of(self.catalog.settings.get("tiles"))
        self.catalog.forget(row.id for row in old.values() if tiling.is_behind(row.item, row.seq))
        same = {row.item.uri for _, row, hash in new if row.hash in (hash, "")}
        reasons = {one.path: one.reason for one in built.skipped}
        for uri in sorted(old.keys() - same):
            yield Problem(uri, (
                f"its vector is lost or may be wrong: the file {reasons[uri]}; put it back and "
                "index it again, or delete it from the index") if uri in reasons else
                "the file has changed; index it again")
