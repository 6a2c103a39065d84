"""Looking into a collection without a query: what is in it, and what can be asked of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from mmsearch.collection.feedback import Feedback
from mmsearch.collection.pool import Connection
from mmsearch.errors import MmsearchError
from mmsearch.metadata import CONTAINER_FIELDS, FIELDS
from mmsearch.records import Hit, Item, Kind, Vectors
from mmsearch.search import KINDS, Calibration, Find, Query, calibration_of, several
from mmsearch.storage import (
    COLUMNS,
    Catalog,
    Condition,
    Facet,
    Page,
    Row,
    Wanted,
    parse_where,
    stored_places,
)

if TYPE_CHECKING:
    from mmsearch.search import Duplicates

T = TypeVar("T")


class Taught(NamedTuple):
    """A name, a word for what it is or "", and where its pictures came from: uris."""

    name: str
    is_a: str
    pictures: list[str]


class Browsing(ABC):
    """The half of `Reader` that needs no model."""

    path: Path

    @abstractmethod
    def _retrying(self, read: Callable[[Connection], T], *, vectors: bool = True) -> T: ...

    @abstractmethod
    def search_many(self, queries: Sequence[Query]) -> list[list[Hit] | MmsearchError]: ...

    def _read(self, read: Callable[[Connection], T]) -> T:
        """From one snapshot, without vectors."""
        return self._retrying(read, vectors=False)

    def vectors(self, kind: Kind, *, where: str | Sequence[str] = ()
                ) -> tuple[list[Row], Vectors]:
        """All live items of a kind that meet the conditions and their vectors, float32 [n, dim], in
        the same order."""
        def read(one: Connection) -> tuple[list[Row], Vectors]:
            rows = sorted(one.catalog.rows(condition_of(where), [kind]), key=lambda row: row.seq)
            seqs = np.array([row.seq for row in rows], np.int64)
            return rows, one.opened.gather(seqs, kind, int(one.catalog.settings["dim"]))

        return self._retrying(read)

    def count(self, *, where: str | Sequence[str] = (), find: Find = "image") -> int:
        """The number of items that meet the conditions."""
        return self._read(lambda one: len(
            one.catalog.select(condition_of(where), KINDS[find])))

    def columns(self) -> list[str]:
        """The names of all metadata that an item has: what conditions may name besides
        `storage.conditions.COLUMNS`."""
        return self._read(lambda one: sorted(one.catalog.meta_types(None, KINDS["any"])))

    def check_fields(self, where: str | Sequence[str]) -> None:
        """Tell a misspelt field from a condition that nothing meets.

        Raises:
            MmsearchError: the conditions name a field that no item has, and that is none of the
                documented ones, which any collection may lack.
        """
        columns = self.columns()
        known = CONTAINER_FIELDS.union(columns, FIELDS)
        if unknown := sorted(parse_where(where).columns - known):
            raise MmsearchError(f"no item has the field {' or '.join(map(repr, unknown))}; the "
                                f"fields are {', '.join(dict.fromkeys([*COLUMNS, *columns]))}")

    def holds(self, uris: Sequence[str]) -> bool:
        """Whether anything at or below `uris` is indexed."""
        return self._read(lambda one: any(True for _ in one.catalog.named(uris)))

    def taught(self) -> list[Taught]:
        """The names that were taught."""
        rows = self._read(lambda one: one.catalog.taught())
        return [Taught(name, is_a, [row.uri for row in rows if row.name == name])
                for name, is_a in dict.fromkeys((row.name, row.is_a) for row in rows)]

    def info(self) -> dict[str, Any]:
        """What is in the collection: counts, model, size on disk, index kinds."""
        from mmsearch.ingest import upkeep

        return self._read(lambda one: upkeep.info(self.path, one.catalog))

    def counts(self) -> dict[str, int]:
        """The number of items of each kind that there is any of."""
        return self._read(lambda one: one.catalog.counts())

    # -- files and parts of files ----------------------------------------------------------------

    def rows(self, ids: Iterable[int]) -> dict[int, Row]:
        """Items by their ids (as `Hit.id`); what is not there is left out."""
        wanted = [*ids]
        return self._read(lambda one: one.catalog.by_id(wanted))

    def _stored_places(self, made_by: str, ids: Iterable[int]) -> dict[int, bytes]:
        """What a reranker looks at of items, by their ids, as far as it is stored."""
        rows = self.rows(ids)
        stored = stored_places(self.path, made_by, {row.hash for row in rows.values()})
        return {id: stored[row.hash] for id, row in rows.items() if row.hash in stored}

    def of_uris(self, uris: Iterable[str]) -> list[Row]:
        """The pictures and frames with these uris, as far as there are such."""
        wanted = [*uris]
        return self._read(lambda one: [row for kind in KINDS["image"]
                                       for row in one.catalog.known(wanted, kind).values()])

    def of_files(self, uris: Iterable[str]) -> list[Row]:
        """Of each file its picture, or its first frame or page."""
        wanted = [*uris]
        return self._read(lambda one: list({
            row.item.group: row for row in sorted(
                one.catalog.first_of(wanted, ("frame", "image")), key=lambda row: row.item.kind)
        }.values()))

    def stamp(self) -> tuple[Any, ...]:
        """Another one when something was added or removed."""
        return self._read(lambda one: (one.catalog.setting("next_seq"),
                                       *one.catalog.counts().items()))

    def vector(self, row: Row) -> Vectors | None:
        """The stored vector of an item, float32 [dim]; None if it has none, or another by now."""
        def read(one: Connection) -> Vectors | None:
            try:
                return one.opened.vector(row.seq, row.item.kind)
            except KeyError:
                return None

        return self._retrying(read)

    def similar(self, id: int, *, k: int = 10, where: str | Sequence[str] = (),
                min_score: float | None = None) -> list[Hit]:
        """What looks like an item, best first, without that one: pictures, as `search` finds them.

        id: as `Hit.id`.

        Raises:
            ItemNotFound: there is no such item.
            UsageError: as `search`.
        """
        session = self.feedback(where=where, min_score=min_score)
        session.like(id)
        return session.next(k)

    def feedback(self, *, text: str | Sequence[str] = (), image: Any = (), without_image: Any = (),
                 where: str | Sequence[str] = (), min_score: float | None = None,
                 diverse: float | None = None) -> Feedback:
        """A search that is told which of its results are right, and finds more of these; see
        `collection.feedback`. The parts are those of `Query`."""
        return Feedback(self, text=text, image=image, without_image=without_image, where=where,
                        min_score=min_score, diverse=diverse)

    def duplicates(self, *, exact: bool = False, threshold: float = 0.8,
                   where: str | Sequence[str] = (), k: int | None = None,
                   progress: Callable[[int], None] = lambda done: None) -> Duplicates:
        """Groups of the same picture, largest first; nothing is deleted or written.

        Args:
            exact: only files of the same content; nothing is decoded.
            threshold: how much of the detail of two pictures must agree, 0 to 1.
            where: only among items that meet these conditions.
            k: at most this many groups.
            progress: called with the number of pictures done since the last call.

        Raises:
            UsageError: a threshold or number out of range, or a condition that cannot be read.
        """
        from mmsearch.search import find_duplicates

        return find_duplicates(
            lambda work: self._retrying(lambda one: work(one.catalog, one.opened)),
            condition_of(where), exact=exact, threshold=threshold, k=k, progress=progress)

    def group(self, item: Item) -> list[Row]:
        """All items that belong together with one, itself among them: captions, frames, pages,
        tiles."""
        return self._read(lambda one: one.catalog.group(item.group))

    def beside(self, items: Iterable[Item]) -> list[Row]:
        """Of the group of each item, its picture and its first text, where there are such."""
        groups = {item.group for item in items}
        return self._read(lambda one: one.catalog.first_of(groups, ("image", "text")))

    def page(self, wanted: Wanted, *, where: str | Sequence[str] = ()) -> Page:
        """Files, newest first, a page at a time."""
        return self._read(lambda one: one.catalog.page(condition_of(where), wanted))

    def facets(self, *, where: str | Sequence[str] = ()) -> list[Facet]:
        """What files can be filtered by, with counts and the conditions for it."""
        return self._read(lambda one: one.catalog.facets(condition_of(where)))


def calibration_in(catalog: Catalog) -> Calibration | None:
    """What tells how relevant a hit is, for the model of a collection; None if nothing does yet."""
    settings = catalog.settings
    return calibration_of(settings["encoder"], catalog.setting("ruler"), int(settings["dim"]))


def condition_of(where: str | Sequence[str]) -> Condition | None:
    return parse_where(several(where)) if where else None
