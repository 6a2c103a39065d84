"""The first results of a search in words, looked at more closely and put into a new order.

    score = cosine + weight * log odds

The log odds are those of the model's reranker (`encoders.reranker`), less their mean over all that
are looked at: what is not looked at stays comparable. Pictures are read again for it, unless what
is looked at was stored when they were indexed; those that cannot be read, or are not on this
machine, keep their score.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Lock
from typing import TypeAlias

import numpy as np

from mmsearch.encoders import Encoder, Reranker, for_queries, reads, reranker_of, spelled
from mmsearch.errors import MediaError, MmsearchError, UsageError
from mmsearch.records import Hit, Item, Pixels, Vectors
from mmsearch.search.compose import example_picture
from mmsearch.search.query import Query, several
from mmsearch.sources import locate

Stored: TypeAlias = Callable[[str, Iterable[int]], dict[int, bytes]]
"""What made them (`Reranker.made_by`), and ids of items -> the places that were stored, by id."""


class Places:
    """What is looked at of pictures, for many threads; what was last is kept, 21 kB a picture.

    stored: finds what was stored when they were indexed.
    """

    def __init__(self, stored: Stored = lambda made_by, ids: {}, most: int = 1000) -> None:
        self.stored, self.most = stored, most
        self._known: OrderedDict[tuple[str, str, str], bytes] = OrderedDict()
        self._lock = Lock()

    def of(self, reranker: Reranker, hits: Sequence[Hit]) -> dict[int, bytes]:
        """By their number in `hits`, those that were stored or can be read, packed."""
        keys = [(reranker.made_by, hit.item.uri, hit.item.fingerprint) for hit in hits]
        with self._lock:
            known = {n: self._known[key] for n, key in enumerate(keys) if key in self._known}
        if new := [n for n in range(len(hits)) if n not in known]:
            stored = self.stored(reranker.made_by, [hits[n].id for n in new])
            known |= {n: stored[hits[n].id] for n in new if hits[n].id in stored}
            known |= _read(reranker, {n: hits[n].item for n in new if n not in known})
        with self._lock:
            for n in known:
                self._known[keys[n]] = known[n]
                self._known.move_to_end(keys[n])
            while len(self._known) > self.most:
                self._known.popitem(last=False)
        return known


def _read(reranker: Reranker, items: dict[int, Item]) -> dict[int, bytes]:
    with ThreadPoolExecutor(reranker.encoder.workers) as pool:
        read = list(pool.map(lambda item: _picture(reranker, item), items.values()))
    pixels = {n: one for n, one in zip(items, read, strict=True) if one is not None}
    if not pixels:
        return {}
    return dict(zip(pixels, reranker.places(list(pixels.values())), strict=True))


def _picture(reranker: Reranker, item: Item) -> Pixels | None:
    if locate.is_far(item.uri):
        return None
    try:
        return reranker.encoder.prepare(example_picture(item.uri, reranker.encoder.min_side))
    except (MediaError, UsageError):  # it is no more, or no more what it was
        return None


def candidates(query: Query) -> Query:
    """The search whose results are put into a new order."""
    return replace(query, rerank=0, offset=0, k=max(query.rerank, query.offset + query.k))


def reranked(base: Encoder, query: Query, hits: list[Hit] | MmsearchError, places: Places
             ) -> list[Hit] | MmsearchError:
    """The results of a query, given those of `candidates`, or what is wrong with it. Texts that the
    reranker cannot read count nothing.

    base: the encoder of the collection.
    """
    if isinstance(hits, MmsearchError):
        return hits
    if (reranker := reranker_of(base)) is None:
        return UsageError(f"the model {base.name} has no reranker; leave out --rerank (rerank)")
    first, rest = hits[: query.rerank], hits[query.rerank :]
    if len(first) > 1 and (seen := places.of(reranker, first)):
        odds = _odds(for_queries(base, query.multilingual), reranker, query,
                     reranker.unpacked(list(seen.values())))
        moved = dict(zip(seen, (reranker.weight * (odds - odds.mean())).tolist(), strict=True))
        first = [replace(hit, score=hit.score + moved.get(n, 0.0)) for n, hit in enumerate(first)]
        first.sort(key=lambda hit: -hit.score)
    return [*first, *rest][query.offset : query.offset + query.k]


def _odds(encoder: Encoder, reranker: Reranker, query: Query, seen: Vectors) -> Vectors:
    """The weighted mean of what the texts of a query say of each picture."""
    texts = several(query.text)
    weights = np.array(list(query.weights) or [1.0] * len(texts), np.float32)
    found = np.zeros(len(seen), np.float32)
    for text, weight in zip(texts, weights / np.abs(weights).sum(), strict=True):
        if reads(encoder, text):
            found += weight * reranker.odds(
                spelled(encoder, text) if query.spelling else text, seen)
    return found
