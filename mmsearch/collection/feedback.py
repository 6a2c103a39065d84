"""Relevance feedback: more like these, less like those.

    session = collection.feedback(text="a dog")
    for hit in session.next(10):
        session.like(hit.id) if right(hit) else session.dislike(hit.id)
    session.next(10)        # others, nearer to what was liked

A round asks for the texts and the mean of all pictures that are right, less a little of the mean of
those that are wrong (`search.compose.KEPT_AWAY`): Rocchio 1971, "Relevance feedback in information
retrieval". What it gives, and that a classifier trained on the spot gives no more: docs/similar.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from mmsearch.errors import ItemNotFound, MmsearchError, UsageError
from mmsearch.records import Hit, Item, Vectors
from mmsearch.search import Embedded, Query, several
from mmsearch.sources import uri_of
from mmsearch.storage import Row


class Searched(Protocol):
    """What feedback needs of a collection."""

    def rows(self, ids: Iterable[int]) -> dict[int, Row]: ...

    def vector(self, row: Row) -> Vectors | None: ...

    def search_many(self, queries: Sequence[Query]) -> list[list[Hit] | MmsearchError]: ...


class Feedback:
    """A search that goes on. Nothing is shown twice, nor what it began with.

    text, image, without_image: what it begins with, as in `Query`; what is liked and disliked
        later is added to the pictures. The other parts are those of `Query`, too.
    """

    def __init__(self, collection: Searched, *, text: str | Sequence[str] = (), image: Any = (),
                 without_image: Any = (), where: str | Sequence[str] = (),
                 min_score: float | None = None, diverse: float | None = None) -> None:
        self._collection, self._texts = collection, several(text)
        self._images, self._others = several(image), several(without_image)
        self._where, self._min_score, self._diverse = where, min_score, diverse
        self._judged: dict[int, tuple[bool, Vectors]] = {}
        self._seen = {uri_of(one) for one in (*self._images, *self._others)
                      if isinstance(one, str | os.PathLike)}

    def like(self, *ids: int) -> None:
        """Items (by `Hit.id`) that are right.

        Raises:
            ItemNotFound: there is no such item.
            UsageError: it has no vector.
        """
        self._judge(ids, True)

    def dislike(self, *ids: int) -> None:
        """Items that are wrong; raises as `like`."""
        self._judge(ids, False)

    def next(self, k: int = 10) -> list[Hit]:
        """The next k results, best first, of those that were not shown yet.

        Raises:
            UsageError: there is neither a text, nor a picture, nor anything that was liked.
        """
        liked, disliked = ([Embedded(vector) for good, vector in self._judged.values()
                            if good is wanted] for wanted in (True, False))
        images = [*self._images, *liked]
        query = Query(
            text=self._texts, image=images, without_image=[*self._others, *disliked],
            weights=[1.0] * len(self._texts) + [1 / len(images)] * len(images) if images else (),
            k=k + len(self._seen), where=self._where, min_score=self._min_score,
            diverse=self._diverse)
        (found,) = self._collection.search_many([query])
        if isinstance(found, MmsearchError):
            raise found
        new = [hit for hit in found if not _names(hit.item) & self._seen][:k]
        self._seen.update(*(_names(hit.item) for hit in new))
        return new

    def _judge(self, ids: Sequence[int], good: bool) -> None:
        rows = self._collection.rows(ids)
        for id in ids:
            if (row := rows.get(id)) is None:
                raise ItemNotFound(f"there is no item {id} in this collection")
            if (vector := self._collection.vector(row)) is None:
                raise UsageError(f"item {id} has no vector yet; index its file again")
            self._judged[id] = good, vector
            self._seen |= _names(row.item)


def _names(item: Item) -> set[str]:
    """What an item is known by: its own uri, and that of its group, of which one is shown."""
    return {item.uri, item.group or item.uri}
