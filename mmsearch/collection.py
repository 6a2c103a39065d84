"""The handle: one collection on disk, with the verbs of the command line.

    collection = Collection.create("indexes/default")
    collection.add(iter_items([Path("photos")], scan=Scan()))
    for hit in collection.search(text="a dog on the beach", k=5):
        print(hit.score, hit.item.uri)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mmsearch import upkeep
from mmsearch.catalog import CATALOG, Catalog, Change, Row
from mmsearch.compose import composed, unit
from mmsearch.encoders import BUILTIN, Encoder, absolute_name, load_encoder
from mmsearch.errors import (
    CollectionDamaged,
    CollectionError,
    CollectionNotFound,
    EncoderMismatch,
    UsageError,
)
from mmsearch.filters import parse_where
from mmsearch.indexes import Device, choose_spec
from mmsearch.ingest import Built, Shard, build_shard
from mmsearch.lock import writer_lock
from mmsearch.opened import Opened
from mmsearch.plan import Planner, Work, vanished
from mmsearch.records import (
    Find,
    Fusion,
    Hit,
    Ids,
    Item,
    Kind,
    Mode,
    Neighbors,
    Problem,
    SegmentInfo,
    Vectors,
)
from mmsearch.searching import KINDS, TEXT_WEIGHT, Query, nearest, search
from mmsearch.sources import Scan, Skipped, fingerprint_of, path_to_uri
from mmsearch.verifying import verify

if TYPE_CHECKING:
    from mmsearch.duplicates import Duplicates

T = TypeVar("T")
Run = Callable[[Callable[[Shard], Built], Iterable[Shard]], Iterable[Built]]


@dataclass
class AddReport:
    """What `Collection.add` did, in numbers of items; `skipped` says why for each."""

    added: int = 0
    replaced: int = 0
    updated: int = 0
    unchanged: int = 0
    moved: int = 0
    copied: int = 0
    removed: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    encode_seconds: float = 0.0


class Collection:
    """An open collection. Reading never locks and never writes; `refresh` is automatic."""

    def __init__(self, path: Path, model: str | None = None, device: Device = "cpu") -> None:
        _refuse_odd_name(path)
        self.path = path
        self._catalog = Catalog(path / CATALOG)
        if "encoder" not in self._catalog.settings:  # killed before `create` was through
            raise CollectionNotFound(f"{path} holds no collection")
        self.model = model or str(self._catalog.settings.get("model", BUILTIN))
        self.device = device
        self._opened = Opened(path, device)

    @classmethod
    def open(cls, path: Path | str, *, model: str | None = None,
             device: Device = "cpu") -> Collection:
        """Open a collection that exists.

        model: the encoder for queries; by default the one the collection was made with.
        device: where vectors are searched and indexes built: "cpu", "cuda", or "auto", which warns
            and falls back to the CPU where no GPU can hold them.

        Raises:
            CollectionNotFound: there is none at `path`.
            CollectionDamaged: its catalog cannot be read.
        """
        return cls(Path(path), model, device)

    @classmethod
    def create(cls, path: Path | str, *, model: str = BUILTIN, recall: float | None = None,
               kind: str | None = None, device: Device = "cpu") -> Collection:
        """Make an empty collection at `path`, or open the one that is there.

        recall, kind: see `configure`.

        Raises:
            EncoderMismatch: the one that is there was made by another model.
            UsageError: `path` holds other files.
        """
        root, model = Path(path), absolute_name(model)
        encoder = load_encoder(model)
        upkeep.refuse_foreign(root, CATALOG)  # before the lock, which leaves a file
        with writer_lock(root):
            upkeep.refuse_foreign(root, CATALOG)
            catalog = Catalog(root / CATALOG, write=True)
            if "encoder" not in catalog.settings:
                catalog.put_settings({"encoder": encoder.name, "dim": encoder.dim, "model": model})
            catalog.close()
        collection = cls(root, model, device)
        _ = collection.encoder
        collection.configure(recall=recall, kind=kind)
        return collection

    @property
    def encoder(self) -> Encoder:
        """The encoder of this collection, loaded when first asked for."""
        encoder = load_encoder(self.model)
        made_by = self._catalog.settings.get("encoder")
        if encoder.name != made_by:
            raise EncoderMismatch(
                f"{self.path} was made with the model {made_by}, not with {encoder.name}; query it "
                "with that model, or index again into another directory (-i)")
        return encoder

    def configure(self, *, recall: float | None = None, kind: str | None = None) -> None:
        """Say how exact a large collection has to be; `add` and `compact` act on it.

        recall: recall@10 of approximate indexes, 1 for exact search whatever it costs.
        kind: of index, a row of `mmsearch.indexes.KINDS`, or "auto". None leaves what was said.

        Raises:
            UsageError: a recall outside of (0, 1], or no such kind.
        """
        wanted = {"recall": recall, "kind": kind}
        new = {name: value for name, value in wanted.items()
               if value is not None and self._catalog.settings.get(name) != value}
        if recall is not None and not 0 < recall <= 1:
            raise UsageError(f"recall must be above 0 and at most 1, not {recall}")
        if kind is not None:
            choose_spec(0, kind=kind)
        if new:
            with self._writing() as catalog:
                catalog.put_settings(new)
            self._catalog.settings.update(new)

    def close(self) -> None:
        self._catalog.close()

    # -- writing ---------------------------------------------------------------------------------

    def add(self, items: Iterable[Item], *, scan: Scan | None = None, run: Run | None = None,
            progress: Callable[[int], None] = lambda done: None) -> AddReport:
        """Bring the collection in step with `items`; what is unchanged is not read again.

        Every few thousand items, and at least every minute, what is done is committed.

        scan: what `iter_items` reports to; with it, items below its roots that did not come
            again are removed.
        run: where shards are built; `map` on a cluster, this process by default.
        progress: called with the number of items done since the last call.

        Raises:
            CollectionBusy: another process is writing.
            EncoderMismatch, ModelError, CollectionError: nothing that was committed is lost.
        """
        _ = self.encoder  # refuse another model before anything is locked or read
        report = AddReport()
        with self._writing() as catalog:
            opened = Opened(self.path)
            opened.refresh(catalog.segments())
            planner = Planner(catalog, opened.vector)
            first_seq = int(catalog.settings["next_seq"])
            work = Work(self.path, self.model, planner, first_seq)
            shards = work.shards(items, progress)
            local = partial(build_shard, tick=progress)
            for built in map(local, shards) if run is None else run(build_shard, shards):
                catalog.commit(work.change(built))
                upkeep.merge(self.path, catalog)  # in a long run, too, segments stay few
                opened.refresh(catalog.segments())
                report.skipped += built.skipped
                report.encode_seconds += built.encode_seconds
            catalog.commit(Change(update=work.updates()))
            drop = [] if scan is None else self._ids(
                vanished(catalog, scan, planner.seen, first_seq))
            catalog.commit(Change(drop=drop))
            upkeep.tidy(self.path, catalog, self.device)
        report.unchanged, report.updated, report.moved = (
            planner.unchanged, planner.updated, planner.moved)
        report.replaced, report.copied, report.removed = work.replaced, work.copied, len(drop)
        report.added = work.added - work.replaced - work.copied
        report.skipped = [*(scan.skipped if scan else []), *report.skipped]
        return report

    def delete(self, paths: Sequence[str] = (), *, where: Sequence[str] = ()) -> int:
        """Remove the items at or below `paths` (uris), and those that meet `where`; -> how many.

        With both, an item must satisfy both. The pictures themselves are not touched.
        """
        if not paths and not where:
            raise UsageError("say what to delete: a path, or a condition with --where")
        with self._writing() as catalog:
            rows = set(self._ids(catalog.below(paths))) if paths else None
            if where:
                matching = set(self._ids(catalog.rows(parse_where(where))))
                rows = matching if rows is None else rows & matching
            drop = sorted(rows or ())
            catalog.commit(Change(drop=drop))
        return len(drop)

    def compact(self) -> None:
        """Merge the segments of each kind into one, drop dead rows; build approximate indexes that
        are missing or out of date, and tune all of them anew."""
        with self._writing() as catalog:
            upkeep.compact(self.path, catalog, self.device)

    # -- reading ---------------------------------------------------------------------------------

    def search(self, *, text: str | Sequence[str] = (), image: Any = (),
               vector: Vectors | None = None, without: Sequence[str] = (),
               without_image: Any = (), weights: Sequence[float] = (), k: int = 10,
               where: str | Sequence[str] = (), find: Find = "image",
               collapse: bool | str = True, mode: Mode = "vector", offset: int = 0,
               after: str = "", diverse: float | None = None, fusion: Fusion = "weighted",
               text_weight: float | None = None) -> list[Hit]:
        """The k items nearest to a query, best first; see `Hit` for what the scores are.

        Args:
            text, image: one or several; images are paths, bytes or PIL pictures.
            vector: float32 [dim], a query embedded elsewhere by the same model.
            without, without_image: texts and images to keep away from.
            weights: one for each of the texts and then the images (default 1).
            where: conditions on metadata, see `mmsearch.filters`.
            find: what to look for: images, texts, or both.
            collapse: one hit a group (a photo and its captions), the best; False for all;
                "folder" or the name of a metadata column for one each.
            mode: "vector" compares meanings; "text" matches words in captions, file names, paths
                and metadata, without a model; "hybrid" does both.
            offset: so many hits are passed over; pages put together are one big search.
            after: the `cursor` of a hit: what follows it, right also when items were added.
            diverse: 0 to 1: hits that differ from each other, see `mmsearch.diverse`; pages fit
                together up to hit 20, from there to 100, to 500, and so on.
            fusion, text_weight: how hybrid adds the two up, see `mmsearch.merge`.

        Raises:
            UsageError: no query, k < 1, a condition that cannot be read, and the like.
            EncoderMismatch: the collection was made by another model.
            CollectionError: made by an older version and without full text (text, hybrid).
        """
        texts, without = _several(text), _several(without)
        if mode == "text" and (len(weights) or vector is not None or _several(image)
                               or _several(without_image)):
            raise UsageError("the mode text matches words alone: leave out images, vectors and "
                             "weights, or take the mode hybrid")
        query = Query(
            words=" ".join(texts), without=without, mode=mode, find=find, k=k, offset=offset,
            condition=parse_where(_several(where)) if where else None, collapse=collapse,
            after=after, diverse=diverse, fusion=fusion,
            text_weight=TEXT_WEIGHT if text_weight is None else text_weight)
        if vector is not None:
            query = replace(query, vector=unit(vector, int(self._catalog.settings["dim"])))
        elif mode != "text":
            query = replace(query, vector=self.embed(
                texts, _several(image), without, _several(without_image), weights))
        return self._retrying(lambda: search(self._catalog, self._opened, query),
                              vectors=mode != "text" or diverse is not None)

    def embed(self, texts: Sequence[str] = (), images: Sequence[Any] = (),
              without: Sequence[str] = (), without_images: Sequence[Any] = (),
              weights: Sequence[float] = ()) -> Vectors:
        """A composed query as one unit vector, float32 [dim]; see `mmsearch.compose`."""
        return composed(self.encoder, texts, images, without, without_images, weights,
                        self._stored)

    def nearest(self, queries: Vectors, k: int, *, find: Find = "image",
                allowed: Ids | None = None, exact: bool = False) -> Neighbors:
        """The k nearest rows of a batch of unit queries (float32 [nq, dim]), as sequence numbers;
        rows of deleted items may be among them (`search` leaves them out)."""
        return self._retrying(
            lambda: nearest(self._opened, queries, k, KINDS[find], allowed, exact))

    def vectors(self, kind: Kind) -> tuple[list[Row], Vectors]:
        """All live items of a kind and their vectors, float32 [n, dim], in the same order."""
        def read() -> tuple[list[Row], Vectors]:
            rows = sorted(self._catalog.rows(None, [kind]), key=lambda row: row.seq)
            seqs = np.array([row.seq for row in rows], np.int64)
            return rows, self._opened.gather(seqs, kind, int(self._catalog.settings["dim"]))

        return self._retrying(read)

    def count(self, *, where: str | Sequence[str] = (), find: Find = "image") -> int:
        """The number of items that meet the conditions."""
        condition = parse_where(_several(where)) if where else None
        with self._catalog.snapshot():
            return len(self._catalog.select(condition, KINDS[find]))

    def duplicates(self, *, exact: bool = False, threshold: float = 0.8,
                   where: str | Sequence[str] = (), k: int | None = None,
                   progress: Callable[[int], None] = lambda done: None) -> Duplicates:
        """Groups of the same picture, largest first; nothing is deleted or written.

        Args:
            exact: only files of the same content; nothing is decoded.
            threshold: how much of the detail of two pictures must agree, 0 to 1.
            where: only among items that meet these conditions.
            k: so many groups at most.
            progress: called with the number of pictures done since the last call.

        Raises:
            UsageError: a threshold or number out of range, or a condition that cannot be read.
        """
        from mmsearch.duplicates import find_duplicates  # loads Pillow, which a search does not

        condition = parse_where(_several(where)) if where else None
        return find_duplicates(
            lambda work: self._retrying(lambda: work(self._catalog, self._opened)),
            condition, exact=exact, threshold=threshold, k=k, progress=progress)

    def info(self) -> dict[str, Any]:
        """What is in the collection: counts, model, size on disk, index kinds."""
        with self._catalog.snapshot():
            return upkeep.info(self.path, self._catalog)

    def verify(self) -> list[Problem]:
        """Check every checksum and count; -> nothing if all is sound."""
        return verify(self.path)

    def repair(self, tick: Callable[[int], None] = lambda done: None) -> list[Problem]:
        """Mend what can be mended (see `mmsearch.repairing`); -> what was found, mended or not.

        tick: called with the number of items encoded again since the last call.
        """
        from mmsearch.repairing import repair

        return repair(self.path, self.model, tick)

    # -- inside ----------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[Catalog]:
        with writer_lock(self.path):
            catalog = Catalog(self.path / CATALOG, write=True)
            try:
                catalog.refuse_altered()
                upkeep.remove_garbage(self.path, catalog)
                yield catalog
            except FileNotFoundError as error:
                raise self._missing(error) from error
            except OSError as error:
                raise CollectionError(f"{self.path} cannot be written ({error.strerror}); what was "
                                      "committed is kept: free space or fix it, run again") \
                    from error
            finally:
                catalog.close()

    def _retrying(self, read: Callable[[], T], *, vectors: bool = True) -> T:
        """Read from one snapshot; again from a newer one if a merge removed a file meanwhile.

        A file goes only after the commit that makes it needless, so a newer snapshot does without
        it: if that names the same segments, the file is really missing.

        vectors: whether `read` needs any.
        """
        seen: list[SegmentInfo] | None = None
        while True:
            with self._catalog.snapshot():
                infos = self._catalog.segments()
                try:
                    if vectors:
                        self._opened.refresh(infos)
                    return read()
                except FileNotFoundError as error:
                    if infos == seen:
                        raise self._missing(error) from error
                    seen = infos

    def _missing(self, error: FileNotFoundError) -> CollectionDamaged:
        return CollectionDamaged(f"{error.filename or error} is missing; run `mmsearch verify "
                                 f"--repair -i {self.path}`")

    def _stored(self, path: Path) -> Vectors | None:
        """The vector of a file that is indexed as it is now: no need to encode it again."""
        def read() -> Vectors | None:
            uri = path_to_uri(os.path.abspath(path))  # noqa: PTH100 (keeps the name of a link)
            row = self._catalog.find(uri, "image")
            if row is None or row.item.fingerprint != fingerprint_of(path.stat()):
                return None
            return self._opened.vector(row.seq)

        with suppress(OSError):  # what is wrong with the file is said where it is decoded
            path.stat()
            return self._retrying(read)
        return None

    @staticmethod
    def _ids(rows: Iterable[Row]) -> list[int]:
        return [row.id for row in rows]


def _refuse_odd_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"the name of the index directory must be UTF-8: {str(path)!r}") from error


def _several(one_or_more: Any) -> Sequence[Any]:
    return one_or_more if isinstance(one_or_more, list | tuple) else [one_or_more]
