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
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mmsearch import upkeep
from mmsearch.catalog import Catalog, Change, Row
from mmsearch.compose import composed, share_of_images, unit
from mmsearch.encoders import BUILTIN, Encoder, absolute_name, load_encoder
from mmsearch.errors import (
    CollectionDamaged,
    CollectionError,
    CollectionNotFound,
    EncoderMismatch,
    UsageError,
)
from mmsearch.filters import parse_where
from mmsearch.ingest import Built, Shard, build_shard
from mmsearch.lock import writer_lock
from mmsearch.opened import Opened
from mmsearch.plan import Planner, Work, vanished
from mmsearch.records import Find, Hit, Ids, Item, Kind, Neighbors, Vectors
from mmsearch.relevance import Ruler, make_ruler, ruler_of
from mmsearch.searching import KINDS, Query, nearest, search
from mmsearch.sources import Scan, Skipped, fingerprint_of, path_to_uri

CATALOG = "catalog.db"
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

    def __init__(self, path: Path, model: str | None = None) -> None:
        _refuse_odd_name(path)
        self.path = path
        self._catalog = Catalog(path / CATALOG)
        if "encoder" not in self._catalog.settings:  # killed before `create` was through
            raise CollectionNotFound(f"{path} holds no collection")
        self.model = model or str(self._catalog.settings.get("model", BUILTIN))
        self._opened = Opened(path)
        self._ruler: Ruler | None = None

    @classmethod
    def open(cls, path: Path | str, *, model: str | None = None) -> Collection:
        """Open a collection that exists.

        model: the encoder for queries; by default the one the collection was made with.

        Raises:
            CollectionNotFound: there is none at `path`.
            CollectionDamaged: its catalog cannot be read.
        """
        return cls(Path(path), model)

    @classmethod
    def create(cls, path: Path | str, *, model: str = BUILTIN) -> Collection:
        """Make an empty collection at `path`, or open the one that is there.

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
        collection = cls(root, model)
        _ = collection.encoder
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
            if _ruler_of(catalog) is None:  # how like a match a score is differs between models
                catalog.put_settings({"ruler": make_ruler(self.encoder).to_json()})
            opened = Opened(self.path)
            opened.refresh(catalog.segments())
            planner = Planner(catalog, opened.vector)
            first_seq = int(catalog.settings["next_seq"])
            work = Work(self.path, self.model, planner, first_seq)
            shards = work.shards(items, progress)
            local = partial(build_shard, tick=progress)
            for built in map(local, shards) if run is None else run(build_shard, shards):
                catalog.commit(work.change(built))
                opened.refresh(catalog.segments())
                report.skipped += built.skipped
                report.encode_seconds += built.encode_seconds
            catalog.commit(Change(update=work.updates()))
            drop = [] if scan is None else self._ids(
                vanished(catalog, scan, planner.seen, first_seq))
            catalog.commit(Change(drop=drop))
            upkeep.tidy(self.path, catalog)
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
        """Merge the segments of each kind into one, drop dead rows, renew approximate indexes."""
        with self._writing() as catalog:
            upkeep.compact(self.path, catalog)

    # -- reading ---------------------------------------------------------------------------------

    def search(self, *, text: str | Sequence[str] = (), image: Any = (),
               vector: Vectors | None = None, without: Sequence[str] = (),
               without_image: Any = (), weights: Sequence[float] = (), k: int = 10,
               where: str | Sequence[str] = (), find: Find = "image",
               collapse: bool = True, min_score: float | None = None) -> list[Hit]:
        """The k items nearest to a query, best first; scores are cosines, each hit's `relevance`
        says how likely it is a match.

        Args:
            text, image: one or several; images are paths, bytes or PIL pictures.
            vector: float32 [dim], a query embedded elsewhere by the same model.
            without, without_image: texts and images to keep away from.
            weights: one for each of the texts and then the images (default 1).
            where: conditions on metadata, see `mmsearch.filters`.
            find: what to look for: images, texts, or both.
            collapse: one hit a group (a photo and its captions), the best.
            min_score: leave out hits of a lower relevance, 0 to 1 (0.5: rather a match than not).

        Raises:
            UsageError: no query, k < 1, a condition that cannot be read, or min_score where
                there is no relevance yet.
            EncoderMismatch: the collection was made by another model.
        """
        if k < 1:
            raise UsageError(f"-k must be at least 1, not {k}")
        if find not in KINDS:
            raise UsageError(f"find must be one of {', '.join(KINDS)}, not {find!r}")
        if min_score is not None and not 0 <= min_score <= 1:
            raise UsageError(f"min_score must be from 0 to 1, not {min_score}")
        condition = parse_where(_several(where)) if where else None
        if vector is not None:
            query, pictures = unit(vector, int(self._catalog.settings["dim"])), 0.5
        else:
            texts, images = _several(text), _several(image)
            query = self.embed(texts, images, _several(without), _several(without_image), weights)
            pictures = share_of_images(len(texts), len(images), weights)
        asked = Query(query, find, k, condition, collapse, pictures, min_score)
        ruler = self._ruler = self._ruler or _ruler_of(self._catalog)
        if ruler is None and min_score is not None:
            raise UsageError(f"{self.path} cannot tell yet how relevant a hit is; run `mmsearch "
                             f"index PATH -i {self.path}` once more")
        return self._retrying(lambda: search(self._catalog, self._opened, asked, ruler))

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

    def info(self) -> dict[str, Any]:
        """What is in the collection: counts, model, size on disk, index kinds."""
        with self._catalog.snapshot():
            return upkeep.info(self.path, self._catalog)

    def verify(self) -> list[str]:
        """Check every checksum and count; -> one line a problem, none if all is sound."""
        with self._catalog.snapshot():
            return upkeep.verify(self.path, self._catalog)

    # -- inside ----------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[Catalog]:
        with writer_lock(self.path):
            catalog = Catalog(self.path / CATALOG, write=True)
            try:
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

    def _retrying(self, read: Callable[[], T]) -> T:
        """Read from one snapshot; again from a newer one if a merge removed a file meanwhile."""
        for _ in range(5):
            try:
                with self._catalog.snapshot():
                    self._opened.refresh(self._catalog.segments())
                    return read()
            except FileNotFoundError as error:
                missing = error
        raise self._missing(missing)

    def _missing(self, error: FileNotFoundError) -> CollectionDamaged:
        return CollectionDamaged(f"{error.filename or error} is missing; run `mmsearch verify -i "
                                 f"{self.path}`")

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


def _ruler_of(catalog: Catalog) -> Ruler | None:
    settings = catalog.settings
    return ruler_of(settings["encoder"], catalog.setting("ruler"), int(settings["dim"]))


def _refuse_odd_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"the name of the index directory must be UTF-8: {str(path)!r}") from error


def _several(one_or_more: Any) -> Sequence[Any]:
    return one_or_more if isinstance(one_or_more, list | tuple) else [one_or_more]
