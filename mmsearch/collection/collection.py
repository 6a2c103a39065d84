"""The handle: one collection on disk, with the verbs of the command line.

    collection = Collection.create("indexes/default")
    collection.add(iter_items([Path("photos")], scan=Scan()))
    for hit in collection.search(text="a dog on the beach", k=5):
        print(hit.score, hit.item.uri)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np

from mmsearch.collection.browsing import calibration_in
from mmsearch.collection.configuring import Configuring
from mmsearch.collection.labelling import Labelling
from mmsearch.collection.making import make_collection
from mmsearch.collection.pool import usable
from mmsearch.collection.report import AddReport, Reindexed
from mmsearch.collection.teaching import Teaching
from mmsearch.encoders import BUILTIN, absolute_name, load_encoder, ready
from mmsearch.errors import (
    CollectionError,
    CollectionNotFound,
    UsageError,
)
from mmsearch.fragments import is_tile
from mmsearch.indexes import Device
from mmsearch.ingest import (
    Built,
    Planner,
    Shard,
    Work,
    build_shard,
    check_maker,
    check_reranker,
    drop_dead_places,
    import_vectors,
    items_vanished,
    known_fingerprint,
    maker,
    places_writer,
    remember,
    remembered,
    settle_captions,
    upkeep,
)
from mmsearch.media import tiling_of
from mmsearch.records import Item, Problem
from mmsearch.search import kept_calibration
from mmsearch.sources import Scan, VectorSet
from mmsearch.stages import Stages
from mmsearch.storage import (
    CATALOG,
    Catalog,
    Change,
    Opened,
    Row,
    parse_where,
    writer_lock,
)

Run = Callable[[Callable[[Shard], Built], Iterable[Shard]], Iterable[Built]]


class Collection(Configuring, Labelling, Teaching):
    """An open collection: what `collection.reader.Reader` does without a lock, and writing."""

    @classmethod
    def create(cls, path: Path | str, *, model: str = BUILTIN, recall: float | None = None,
               kind: str | None = None, rerank: bool | None = None,
               device: Device = "cpu") -> Collection:
        """Make an empty collection at `path`, or open the one that is there.

        recall, kind, rerank: see `configure`.

        Raises:
            EncoderMismatch: the one that is there was made by another model.
            UsageError: `path` holds other files; the model has no reranker.
        """
        model, device = absolute_name(model), usable(device)
        if rerank:
            check_reranker(load_encoder(model))
        make_collection(Path(path), load_encoder(model), model)
        collection = cls(Path(path), model, device)
        _ = collection.encoder
        collection.configure(recall=recall, kind=kind, rerank=rerank)
        return collection

    @classmethod
    def for_vectors(cls, path: Path | str, vectors: VectorSet, *, model: str = "",
                    device: Device = "cpu") -> Collection:
        """Make an empty collection for `add_vectors`, or open the one that is there.

        model: what made the vectors, available here or not; by default what their files say.

        Raises:
            EncoderMismatch: `model` makes vectors of another length.
            UsageError: `path` holds other files.
        """
        device = usable(device)
        with suppress(CollectionNotFound):
            return cls(Path(path), device=device)
        make_collection(Path(path), *maker(vectors, model))
        return cls(Path(path), device=device)

    # -- writing ---------------------------------------------------------------------------------

    def add(self, items: Iterable[Item], *, scan: Scan | None = None, run: Run | None = None,
            reread: bool = False, progress: Callable[[int], None] = lambda done: None) -> AddReport:
        """Bring the collection in step with `items`; what is unchanged is not read again.

        Every few thousand items, and at least every minute, what is done is committed; for the
        first time within seconds.

        scan: what `iter_items` reports to; with it, items below its roots that did not come
            again are removed.
        run: where shards are built; `map` on a cluster, this process by default.
        reread: whether pictures are read and encoded again though nothing tells of a change.
        progress: called with the number of items done since the last call.

        Raises:
            CollectionBusy: another process is writing.
            EncoderMismatch, ModelError, CollectionError: nothing that was committed is lost.
        """
        # Refuse another model, or one that is not available, before anything is locked or read.
        encoder = ready(self.encoder)
        report, stages = AddReport(), Stages()
        start, cpu = time.perf_counter(), time.process_time()
        with self._writing() as catalog, ExitStack() as stack:
            encoder = ready(self.encoder)  # the collection may have been given another meanwhile
            if encoder.name != catalog.settings["encoder"]:  # a name alone, until now
                catalog.put_settings({"encoder": encoder.name})
            if calibration_in(catalog) is None:  # each model has its own
                catalog.put_settings({"ruler": kept_calibration(encoder).to_json()})
            opened = Opened(self.path)
            opened.refresh(catalog.segments())
            planner = Planner(catalog, opened.vector, reread)
            kept = stack.enter_context(places_writer(self.path, catalog, encoder))
            if kept and run is None:
                planner.lacks = kept.lacks
            first_seq = int(catalog.settings["next_seq"])
            work = Work(self.path, self.model, planner, first_seq)
            if scan is not None:
                if not reread:
                    scan.remembered = partial(remembered, catalog)
                scan.known = partial(known_fingerprint, catalog)
            shards = stages.each("find", work.shards(items, progress))
            local = partial(build_shard, tick=progress, keep=kept.put if kept else None)
            for built in map(local, shards) if run is None else run(build_shard, shards):
                stages.add(built.stages)
                with stages.at("commit"):
                    if kept:
                        kept.commit()
                    catalog.commit(work.change(built))
                    upkeep.merge(self.path, catalog)  # in a long run, too, segments stay few
                    opened.refresh(catalog.segments())
                report.skipped += built.skipped
                report.damaged += built.damaged
            with stages.at("commit"):
                catalog.commit(Change(update=work.updates()))
            with stages.at("find"):
                gone = () if scan is None else \
                    items_vanished(catalog, scan, planner.seen, first_seq)
                drop = sorted({row.id for row in gone})  # one may lie below several roots
            with stages.at("commit"):
                catalog.commit(Change(drop=drop))
                settle_captions(work, first_seq)
                if scan is not None:
                    remember(catalog, scan, report.skipped)
                upkeep.tidy(self.path, catalog, self.device)
                if drop or work.replaced or work.removed:
                    drop_dead_places(self.path, catalog)
        report.unchanged, report.updated, report.moved = (
            planner.unchanged, planner.updated, planner.moved)
        report.replaced, report.copied = work.replaced, work.copied
        report.removed = work.removed + len(drop)
        report.added = work.added - work.replaced - work.copied
        report.skipped = [*(scan.skipped if scan else []), *report.skipped]
        report.stages, report.seconds = stages.spent, time.perf_counter() - start
        report.cpu_seconds = time.process_time() - cpu
        return report

    def in_step(self, items: Iterable[Item], scan: Scan) -> bool:
        """Whether `add` would change nothing; found without the lock, up to the first difference.
        """
        with self._pool.connection() as one:
            # The vectors of copies are not looked at: a copy is a difference.
            planner = Planner(one.catalog, lambda seq, kind: np.zeros(0, np.float32))
            for item in items:
                planner.take(item)
                if planner.plan.encode or planner.plan.ready or planner.plan.update:
                    return False
            return not any(items_vanished(one.catalog, scan, planner.seen,
                                          int(one.catalog.setting("next_seq"))))

    def add_vectors(self, vectors: VectorSet, *, model: str = "",
                    progress: Callable[[int], None] = lambda done: None) -> AddReport:
        """Bring the collection in step with vectors that were made elsewhere.

        Every half million rows or 512 MB are committed; a second run goes on from there. Memory
        stays the same whatever the size.

        vectors: from `sources.vector_sets.find_vectors`.
        model: which made them; may be left out where they say so, or where it is not known.
        progress: called with the number of rows done since the last call.

        Raises:
            CollectionBusy: another process is writing.
            EncoderMismatch: the collection's vectors were made by another model.
            UsageError: their length is another, or it is not known what made them.
        """
        check_maker(self.path, self._settings, vectors, model)
        with self._writing() as catalog:
            before = catalog.count(None)
            done = import_vectors(self.path, catalog, vectors, progress)
            added = catalog.count(None) + done.removed - before
            upkeep.tidy(self.path, catalog, self.device)
        return AddReport(added=added, replaced=done.put - added, updated=done.updated,
                         unchanged=done.unchanged, removed=done.removed, skipped=done.skipped,
                         more_skipped=done.left_out - len(done.skipped))

    def delete(self, paths: Sequence[str] = (), *, where: Sequence[str] = ()) -> int:
        """Remove the items at or below `paths` (uris), and those that meet `where`; -> how many.

        With both, an item must satisfy both. The pictures themselves are not touched.
        """
        if not paths and not where:
            raise UsageError("give what to delete: a path, or a condition with --where")
        with self._writing() as catalog:
            rows = {row.id for row in catalog.named(paths)} if paths else None
            if where:
                matching = set(_with_tiles(catalog, catalog.rows(parse_where(where))))
                rows = matching if rows is None else rows & matching
            drop = sorted(rows or ())
            catalog.commit(Change(drop=drop))
            drop_dead_places(self.path, catalog)
        return len(drop)

    def compact(self) -> None:
        """Merge the segments of each kind into one, drop dead rows; build approximate indexes that
        are missing or out of date, and tune all of them again."""
        with self._writing() as catalog:
            upkeep.compact(self.path, catalog, self.device)

    def reindex(self, model: str, *, allow_missing: bool = False,
                progress: Callable[[int], None] = lambda done: None) -> Reindexed:
        """Encode everything again with another model. Searches are answered from the old vectors
        until one commit puts the new ones in their place; what a run that is stopped has encoded,
        the next one has not to do again. See `collection.reindex`.

        allow_missing: switch even if some files cannot be read. Their items stay, without a vector,
            until `add` comes by their files. Without it, one such file keeps the old model.
        progress: called with the number of items done since the last call.

        Raises:
            CollectionBusy: another process is writing.
            ModelError, MissingExtra: the model cannot be loaded.
            UsageError: the vectors were made elsewhere.
        """
        from mmsearch.collection.reindex import Generation

        model = absolute_name(model)
        load_encoder(model)  # which may download it: nobody has to wait for that
        with self._writing() as catalog:
            done = Generation(self.path, catalog, model, self.device, progress).run(allow_missing)
            self._follow(catalog.settings)
        if done.switched:
            self._model = None
        return done

    # -- reading ---------------------------------------------------------------------------------

    def repair(self, tick: Callable[[int], None] = lambda done: None) -> list[Problem]:
        """Repair what can be (see `collection.repair`); -> what was found, and what is lost.

        tick: called with the number of items encoded again since the last call.
        """
        from mmsearch.collection.repair import repair_collection

        self._pool.check_open()
        return repair_collection(self.path, self.model, tick)

    # -- inside ----------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[Catalog]:
        self._pool.check_open()
        with writer_lock(self.path):
            catalog = Catalog(self.path / CATALOG, write=True)
            try:
                self._follow(catalog.settings)
                upkeep.remove_garbage(self.path, catalog)
                yield catalog
            except FileNotFoundError as error:
                raise self._missing(error) from error
            except OSError as error:
                raise CollectionError(f"{self.path} cannot be written ({error.strerror}); finished "
                                      "work is kept. Fix that (free space?) and run again") \
                    from error
            finally:
                catalog.close()


def _with_tiles(catalog: Catalog, rows: Iterable[Row]) -> Iterator[int]:
    """The ids of items, and those of the tiles of pictures: a tile is nothing by itself."""
    for row in rows:
        yield row.id
        if row.item.kind == "image" and tiling_of(catalog.settings.get("tiles")).grid.tiles:
            yield from (one.id for one in catalog.group(row.item.uri) if is_tile(one.item))
