"""Reading a collection: opening it, searching it, saying what is in it. Nothing is written."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar

from mmsearch.collection.browsing import Browsing, calibration_in, condition_of
from mmsearch.collection.pool import Connection, Pool, refuse_odd_name, usable
from mmsearch.encoders import (
    BUILTIN,
    EXTERNAL,
    Encoder,
    ExternalEncoder,
    for_queries,
    load_encoder,
    spelled,
)
from mmsearch.errors import (
    CollectionDamaged,
    EncoderMismatch,
    MediaError,
    MmsearchError,
    no_collection,
)
from mmsearch.indexes import Device
from mmsearch.records import Hit, Ids, Neighbors, Problem, SegmentInfo, Vectors
from mmsearch.search import (
    KINDS,
    Asked,
    Calibration,
    Find,
    Names,
    Places,
    Prepared,
    Query,
    TextVectors,
    asked_of,
    candidates,
    nearest,
    reranked,
    search_many,
    several,
    share_of_images,
    takes_parts_of,
)
from mmsearch.sources import locate
from mmsearch.storage import Catalog, Condition, TaughtPicture
from mmsearch.uris import is_unchanged

if TYPE_CHECKING:
    from mmsearch.collection.export import Exported, Format


T = TypeVar("T")
Took: TypeAlias = Callable[[str, float], None]
_LOADING = Lock()
"""A model is loaded once, however many threads ask for it first."""


class Reader(Browsing):
    """An open collection, for reading; what others commit meanwhile is seen at the next call.

    Threads may share one, also across a fork; `close` it, or use it as a context manager.
    """

    def __init__(self, path: Path, model: str | None = None, device: Device = "cpu") -> None:
        refuse_odd_name(path)
        self.path = path
        self.device = usable(device)
        self._pool = Pool(path, self.device)
        with self._pool.connection() as connection:
            self._settings = connection.catalog.settings
        if "encoder" not in self._settings:  # killed before `create` was through
            self.close()
            raise no_collection(path)
        self._model = model
        self._calibration: tuple[str, Calibration] | None = None
        """With the encoder that it is for."""
        self._names: tuple[list[TaughtPicture], Names | None] = [], None
        self.texts, self._places = TextVectors(), Places(self._stored_places)
        """Those asked for last."""

    @classmethod
    def open(cls, path: Path | str, *, model: str | None = None,
             device: Device = "cpu") -> Self:
        """Open a collection that exists.

        model: the encoder for queries; by default the one the collection was made with.
        device: where vectors are searched and indexes built: "cpu", "cuda", or "auto", which warns
            and falls back to the CPU where no GPU can hold them.

        Raises:
            CollectionNotFound: there is none at `path`.
            CollectionDamaged: its catalog cannot be read.
            GpuUnavailable, MissingExtra: with "cuda", where no GPU can be used.
        """
        return cls(Path(path), model, device)

    @property
    def model(self) -> str:
        """What queries are encoded with: what was given, or the collection's own."""
        return self._named(self._settings)

    @property
    def encoder(self) -> Encoder:
        """The encoder of this collection, loaded when first asked for."""
        return self._encoder(self._settings)

    def _named(self, settings: dict[str, Any]) -> str:
        return self._model or str(settings.get("model", BUILTIN))

    def _encoder(self, settings: dict[str, Any]) -> Encoder:
        """settings: those of one moment, since another model may be put in at any."""
        made_by, model = settings["encoder"], self._named(settings)
        if made_by.startswith(EXTERNAL) and model == settings.get("model"):
            return ExternalEncoder.named(made_by, model, settings["dim"])
        with _LOADING:
            encoder = load_encoder(model)
        if encoder.name != made_by:
            raise EncoderMismatch(
                f"{self.path} was made with the model {made_by}, not with {encoder.name}; leave "
                "out --model, or index again into another directory (-i), or encode this one again "
                f"with all that it knows: mmsearch reindex -i {self.path} --model {model}")
        return encoder

    def close(self) -> None:
        """Let go of all files, from any thread, as often as one likes; what is asked afterwards
        raises CollectionError."""
        self._pool.close()

    def __enter__(self) -> Self:
        self._pool.check_open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- searching -------------------------------------------------------------------------------

    @takes_parts_of(Query)
    def search(self, query: Query) -> list[Hit]:
        """The k items nearest to a query, best first; see `Hit` for what the scores are, and
        `Query` for what can be asked.

            collection.search(text="a dog", k=5)
            collection.search(Query(text="a dog"), offset=10)

        Raises:
            UsageError: no query, k < 1, a condition that cannot be read, and the like.
            EncoderMismatch: the collection was made by another model.
            CollectionError: made by an older version and without full text (text, hybrid).
        """
        (found,) = self.search_many([query])
        if isinstance(found, MmsearchError):
            raise found
        return found

    def search_many(self, queries: Sequence[Query], *, took: Took = lambda stage, seconds: None
                    ) -> list[list[Hit] | MmsearchError]:
        """What `search` finds for each query; what it would raise is in the place of its hits.
        Together they take far less time than one by one: the model encodes them at once, and each
        stored vector is read once.

        took: is told the seconds spent in "encode" and in "search".
        """
        plain = [candidates(query) if query.rerank else query for query in queries]
        while (found := self._search(plain, took)) is None:
            pass  # another model was put in between, for which they have to be encoded again
        return [reranked(self.encoder, query, hits, self._places) if query.rerank else hits
                for query, hits in zip(queries, found, strict=True)]

    def _search(self, queries: Sequence[Query], took: Took
                ) -> list[list[Hit] | MmsearchError] | None:
        """None: the vectors are another model's by now than what the queries were encoded with."""
        settings, start = self._settings, time.perf_counter()
        vectors = self._asked(queries, settings)
        took("encode", time.perf_counter() - start)
        found: dict[int, list[Hit] | MmsearchError] = {}
        ready: list[tuple[int, Condition | None, Asked | None]] = []
        for n, asked in enumerate(vectors):
            try:
                if isinstance(asked, MmsearchError):
                    raise asked
                ready.append((n, condition_of(queries[n].where), asked))
            except MmsearchError as error:
                found[n] = error
        by_vector = any(asked is not None for _, _, asked in ready)

        def read(one: Connection) -> list[list[Hit] | MmsearchError] | None:
            if by_vector and one.catalog.settings["encoder"] != settings["encoder"]:
                return None
            calibration = self._calibrated(one.catalog) if by_vector else None
            return search_many(one.catalog, one.opened, [
                Prepared(queries[n], asked, condition, share_of_images(queries[n]),
                         None if asked is None else calibration)
                for n, condition, asked in ready])

        if ready:
            start = time.perf_counter()
            hits = self._retrying(read, vectors=by_vector or any(
                queries[n].diverse is not None for n, _, _ in ready))
            took("search", time.perf_counter() - start)
            if hits is None:
                return None
            found |= {n: one for (n, _, _), one in zip(ready, hits, strict=True)}
        return [found[n] for n in range(len(queries))]

    def _calibrated(self, catalog: Catalog) -> Calibration | None:
        made_by = catalog.settings["encoder"]
        if self._calibration is None or self._calibration[0] != made_by:
            found = calibration_in(catalog)
            self._calibration = None if found is None else (made_by, found)
            return found
        return self._calibration[1]

    def _asked(self, queries: Sequence[Query], settings: dict[str, Any]
               ) -> list[Asked | MmsearchError | None]:
        return asked_of(queries, int(settings["dim"]), lambda multilingual: for_queries(
            self._encoder(settings), multilingual),
            partial(self._stored, settings["encoder"]), self.texts,
            self._taught_names(settings) if any(query.text or query.without for query in queries)
            else None)

    def _taught_names(self, settings: dict[str, Any]) -> Names | None:
        """Those taught by pictures that the encoder of `settings` has encoded."""
        def read(one: Connection) -> Names | None:
            if (taught := one.catalog.taught()) is not self._names[0]:
                mine = [name for name in taught if name.encoder == settings["encoder"]]
                calibration = self._calibrated(one.catalog) if mine else None
                self._names = taught, Names(mine, calibration) if calibration else None
            return self._names[1]

        return self._read(read)

    def corrected(self, query: Query) -> dict[str, str]:
        """The misspelt texts of a query, and as what they are taken; no name that was taught is."""
        texts = [*several(query.text), *several(query.without)] if query.mode != "text" else []
        if not texts or not query.spelling:
            return {}
        encoder, names = for_queries(self.encoder, query.multilingual), \
            self._taught_names(self._settings)
        change = partial(spelled, encoder)
        return {text: right for text in texts if (right := names.outside(text, change)
                                                  if names else change(text)) != text}

    def embed(self, texts: Sequence[str] = (), images: Sequence[Any] = (),
              without: Sequence[str] = (), without_images: Sequence[Any] = (),
              weights: Sequence[float] = (), multilingual: bool | None = None) -> Vectors:
        """A composed query for pictures as one unit vector, float32 [dim]; see `search.compose`."""
        (asked,) = self._asked([Query(
            text=texts, image=images, without=without, without_image=without_images,
            weights=weights, multilingual=multilingual)], self._settings)
        if isinstance(asked, MmsearchError):
            raise asked
        assert asked is not None
        return asked.pictures

    def nearest(self, queries: Vectors, k: int, *, find: Find = "image",
                allowed: Ids | None = None, exact: bool = False) -> Neighbors:
        """The k nearest rows of a batch of unit queries (float32 [nq, dim]), as sequence numbers;
        rows of deleted items may be among them (`search` leaves them out)."""
        return self._retrying(
            lambda one: nearest(one.opened, queries, k, KINDS[find], allowed, exact))

    def export(self, directory: Path | str, *, where: str | Sequence[str] = (),
               dtype: str = "float16", format: Format = "parquet",
               rows_per_file: int = 1_000_000, force: bool = False,
               progress: Callable[[int], None] = lambda done: None) -> Exported:
        """Write the items that meet `where` and their vectors as .npy and Parquet (or "jsonl"), for
        other tools and for `sources.vector_sets.find_vectors`; see `collection.export`.

        dtype: "float16", as stored, or "float32".
        force: replace an export that is there; without it, the directory must be empty.
        """
        from mmsearch.collection.export import Plan, export_items

        plan = Plan(Path(directory), dtype, format, rows_per_file,
                    condition_of(where), force)
        return self._retrying(lambda one: export_items(one.catalog, one.opened, plan, progress))

    def verify(self) -> list[Problem]:
        """Check every checksum and count; -> nothing if all is sound."""
        from mmsearch.storage import find_problems

        self._pool.check_open()
        return find_problems(self.path)

    # -- inside ----------------------------------------------------------------------------------

    def _retrying(self, read: Callable[[Connection], T], *, vectors: bool = True) -> T:
        """Read from one snapshot; again from a newer one if a merge removed a file meanwhile.

        A file goes only after the commit that makes it needless, so a newer snapshot does without
        it: if that names the same segments, the file is really missing.

        vectors: whether `read` needs any.
        """
        seen: list[SegmentInfo] | None = None
        with self._pool.connection() as one:
            while True:
                with one.catalog.snapshot():
                    try:
                        if vectors:
                            one.refresh()
                        else:
                            one.catalog.renew_settings()
                        self._follow(one.catalog.settings)
                        return read(one)
                    except FileNotFoundError as error:
                        one.version = None
                        infos = one.catalog.segments()
                        if infos == seen:
                            raise self._missing(error) from error
                        seen = infos

    def _follow(self, settings: dict[str, Any]) -> None:
        """Take over what others have set meanwhile: another model, say."""
        if "encoder" in settings:  # else its row was lost just now
            self._settings = settings

    def _missing(self, error: FileNotFoundError) -> CollectionDamaged:
        return CollectionDamaged(f"{error.filename or error} is missing; run `mmsearch verify "
                                 f"--repair -i {self.path}`")

    def _stored(self, made_by: str, name: os.PathLike[str] | str) -> Vectors | None:
        """The vector of a file that is indexed as it is now: no need to encode it again; or that
        came with its vector, whether the file is there or not.

        made_by: the encoder that has to have made it."""
        from mmsearch.sources import IMPORTED, own_fingerprint

        def read(one: Connection) -> Vectors | None:
            row = one.catalog.find(uri, "image")
            if row is None or one.catalog.settings["encoder"] != made_by or not (
                    row.item.fingerprint.startswith(IMPORTED) or locate.is_far(uri)
                    or is_unchanged(now, own_fingerprint(row.item.fingerprint))):
                return None
            return one.opened.vector(row.seq)

        uri, now = locate.uri_of(name), ""
        with suppress(MediaError):  # what is wrong with the file is said by its decoder
            now = locate.fingerprint(uri)
        return self._retrying(read)
