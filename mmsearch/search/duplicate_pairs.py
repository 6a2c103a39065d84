"""Pairs that show the same picture: candidates by their stored vectors, confirmed by their pixels.

Candidates are decoded once for a first look (their thumbs are kept), and again only if that look
did not tell them apart and too many others were decoded since. Those that agree are decoded larger
for a closer look, and as they are if that look finds no difference and they have the same size:
they may have the same pixels.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from mmsearch.errors import MediaError
from mmsearch.ingest import content_hash
from mmsearch.media import Alike, Likeness, closeup, decode, perceptual, pixel_hash
from mmsearch.records import Ids, Kind, Vectors
from mmsearch.search.looks import nearest
from mmsearch.sources import Skipped, locate, own_fingerprint
from mmsearch.storage import Catalog, Opened, Row
from mmsearch.uris import is_unchanged

T = TypeVar("T")
KINDS: tuple[Kind, ...] = ("image",)
NEIGHBOURS, NEAREST_COSINE = 8, 0.65
"""So many nearest vectors of each picture are candidates, from this cosine on. A half-size copy of
a small photo may have 0.7, and two pairs of shoes 0.95: no cosine tells copies from look-alikes,
but a copy is among the nearest (`bench/dups.py` counts both)."""
_FAR_APART = 0.4
"""Thumbs (16 x 16) that correlate less, however turned, are not those of one picture."""
_BATCH = 128
_SKETCHES = 4096
"""Sketches kept (18 kB each); what is needed again later is decoded again."""
_CLOSEUPS, _CLOSEUP_BYTES = 16, 256 * 2**20
"""Pairs looked at closely at a time, and bytes of what is kept of their pictures for later pairs:
up to 4 MB each, 18 where nearly all is blank."""


class Read(Protocol):
    """Runs something on one state of a collection, again if that state goes away meanwhile."""

    def __call__(self, work: Callable[[Catalog, Opened], T], /) -> T: ...


class Pair(NamedTuple):
    """Two pictures by their place among all; one < other."""

    one: int
    other: int


class Contents:
    """The different contents of a collection, by their place: 0, 1, ... in the order of `seqs`,
    which has one sequence number for each, whatever number of files share it."""

    def __init__(self, read: Read, seqs: Ids, twins: Iterable[Ids]) -> None:
        self.read = read
        twins = list(twins)
        more = np.concatenate([np.zeros(0, np.int64), *(twin[1:] for twin in twins)])
        self.seqs: Ids = np.setdiff1d(seqs, more)
        self._twins = {self.place(int(twin[0])): twin for twin in twins}
        self.copied = set(self._twins)

    def place(self, seq: int) -> int:
        return int(np.searchsorted(self.seqs, seq))

    def rows(self, places: Sequence[int]) -> dict[int, list[Row]]:
        """All files of each content, the one to keep first; those no longer indexed left out."""
        seqs = {place: self._twins.get(place, self.seqs[place:place + 1]) for place in places}
        wanted = [int(seq) for several in seqs.values() for seq in several]
        rows = self.read(lambda catalog, _: catalog.fetch(wanted))
        return {place: sorted((rows[int(seq)] for seq in several if int(seq) in rows), key=rank)
                for place, several in seqs.items()}


def rank(row: Row) -> tuple[int, int, int, int, str]:
    """Sorts the picture to keep before the others."""
    size, modified, *_ = [*own_fingerprint(row.item.fingerprint).split(":"), ""]
    meta = row.item.meta
    pixels = int(meta.get("width") or 0) * int(meta.get("height") or 0)
    age = int(modified) if modified.isdigit() else 0
    return (-pixels, -int(size) if size.isdigit() else 0, age, len(row.item.uri), row.item.uri)


def candidates(contents: Contents) -> Iterator[tuple[int, list[Pair]]]:
    """Pairs of pictures of which one is among the nearest of the other, each once; with the number
    of pictures whose neighbours were looked up since the last ones."""
    seqs = contents.seqs
    nearest_of = np.full((len(seqs), NEIGHBOURS + 1), -1, np.int32)
    for start in range(0, len(seqs), _BATCH):
        mine = np.arange(start, min(start + _BATCH, len(seqs)))
        ids, scores = _neighbours(contents, seqs[mine])
        others = np.minimum(np.searchsorted(seqs, ids), len(seqs) - 1)
        near = (seqs[others] == ids) & (others != mine[:, None]) & (scores >= NEAREST_COSINE)
        nearest_of[mine] = np.where(near, others, -1)
        # Of two that are each among the other's nearest, the later one has the pair already.
        seen = (nearest_of[others] == mine[:, None, None]).any(2) & (others < mine[:, None])
        rows, columns = np.nonzero(near & ~seen)
        yield len(mine), [Pair(*sorted((int(mine[row]), int(others[row, column]))))
                          for row, column in zip(rows, columns, strict=True)]


def _neighbours(contents: Contents, seqs: Ids) -> tuple[Ids, Vectors]:
    """The nearest of each, and itself: int64 [n, k] sequence numbers, float32 [n, k] cosines."""
    def look_up(catalog: Catalog, opened: Opened) -> tuple[Ids, Vectors]:
        vectors = opened.gather(seqs, KINDS[0], int(catalog.settings["dim"]))
        whole = opened.rows(KINDS) == len(contents.seqs)
        allowed = None if whole else contents.seqs
        found = nearest(opened, vectors, NEIGHBOURS + 1, KINDS, allowed)
        return found.ids, found.scores

    return contents.read(look_up)


class Pictures:
    """Decodes pictures when first compared, and compares them.

    least: pairs that agree less at first sight are not looked at closely.
    """

    def __init__(self, contents: Contents, least: float) -> None:
        self.contents = contents
        self.least = least
        self.hashes: dict[int, str] = {}
        self._closeups: dict[int, closeup.Closeup | None] = {}
        self.failed: dict[int, Skipped] = {}
        self._thumbs = np.zeros((len(contents.seqs), perceptual.THUMB**2), np.uint8)
        self._decoded = np.zeros(len(contents.seqs), bool)
        self._sketches: dict[int, perceptual.Sketch] = {}

    def compare(self, pairs: Sequence[Pair]) -> dict[Pair, Likeness]:
        """How alike the pictures of each pair are; pairs with a picture that cannot be decoded,
        or that are far apart at first sight, are left out."""
        found: dict[Pair, Likeness] = {}
        for at in range(0, len(pairs), _SKETCHES // 2):
            found |= self._compare(pairs[at:at + _SKETCHES // 2])
        return found

    def _compare(self, pairs: Sequence[Pair]) -> dict[Pair, Likeness]:
        new = {place for pair in pairs for place in pair if not self._decoded[place]}
        sketches = self._load(new)
        pairs = [pair for pair in dict.fromkeys(pairs)
                 if pair.one not in self.failed and pair.other not in self.failed]
        pairs = self._not_far_apart(pairs)
        sketches |= self._load({place for pair in pairs for place in pair} - set(sketches))
        pairs = [pair for pair in pairs if pair.one in sketches and pair.other in sketches]
        parts = [pairs[at:at + 64] for at in range(0, len(pairs), 64)]

        def look(part: list[Pair]) -> list[Likeness]:
            return perceptual.compare([sketches[pair.other] for pair in part],
                           [sketches[pair.one] for pair in part])

        with ThreadPoolExecutor(os.cpu_count() or 1, "compare") as threads:
            likenesses = [one for part in threads.map(look, parts) for one in part]
        found = dict(zip(pairs, likenesses, strict=True))
        near = sorted(pair for pair in pairs if found[pair].score >= self.least)
        for at in range(0, len(near), _CLOSEUPS):
            part = near[at:at + _CLOSEUPS]
            found |= self._look_closely({pair: found[pair] for pair in part})
        return found

    def _look_closely(self, pairs: Mapping[Pair, Likeness]) -> dict[Pair, Likeness]:
        rows = self.contents.rows(sorted({place for pair in pairs for place in pair}))
        sizes = {place: _size(several) for place, several in rows.items()}
        with ThreadPoolExecutor(os.cpu_count() or 1, "look") as threads:
            def complete(known: dict[int, T], work: Callable[[Sequence[Row]], T],
                         pairs: Iterable[Pair]) -> None:
                wanted = sorted({place for pair in pairs for place in pair})
                places = [place for place in wanted if place not in known]
                known.update(zip(places, threads.map(work, [rows[one] for one in places]),
                                 strict=True))
                known.update({place: known.pop(place) for place in wanted})  # the latest used last

            complete(self._closeups, _closeup_of, pairs)

            def look(pair: Pair) -> tuple[Likeness, bool]:
                one, other = self._closeups[pair.one], self._closeups[pair.other]
                if one is None or other is None:  # gone since the first look
                    return Likeness(0.0, 0), False
                close = closeup.look(other, one, pairs[pair].turn)
                maybe = (sizes[pair.one] == sizes[pair.other]
                         and closeup.may_be_equal(one, other, close))
                return close._replace(score=min(close.score, pairs[pair].score)), maybe

            looked = dict(zip(pairs, threads.map(look, pairs), strict=True))
            maybe = [pair for pair, (_, may_be_equal) in looked.items() if may_be_equal]
            complete(self.hashes, _hash_of, maybe)
        kept = sum(one.bytes for one in self._closeups.values() if one)
        for place in list(self._closeups):
            if kept <= _CLOSEUP_BYTES:
                break
            gone = self._closeups.pop(place)
            kept -= gone.bytes if gone else 0
        equal = {pair for pair in maybe if self.hashes[pair.one]
                 and self.hashes[pair.one] == self.hashes[pair.other]}
        return {pair: Likeness(1.0, 0, Alike.EQUAL) if pair in equal else likeness
                for pair, (likeness, _) in looked.items()}

    def _not_far_apart(self, pairs: list[Pair]) -> list[Pair]:
        if not pairs:
            return []
        one, other = (self._thumbs[[pair[end] for pair in pairs]] for end in (0, 1))
        plain = (one.std(1) < 3) | (other.std(1) < 3)  # their correlation says nothing
        close = (perceptual.turned_correlations(one, other).max(1) >= _FAR_APART) | plain
        return [pair for pair, keep in zip(pairs, close, strict=True) if keep]

    def _load(self, places: Iterable[int]) -> dict[int, perceptual.Sketch]:
        """The sketches of those that can be decoded."""
        wanted = sorted(place for place in places if place not in self.failed)
        loaded = {place: self._sketches[place] for place in wanted if place in self._sketches}
        missing = [place for place in wanted if place not in loaded]
        rows = self.contents.rows(missing)
        with ThreadPoolExecutor(os.cpu_count() or 1, "decode") as threads:
            for place, result in zip(missing, threads.map(_sketch_of, rows.values()), strict=True):
                self._decoded[place] = True
                if isinstance(result, Skipped):
                    self.failed[place] = result
                    continue
                self._thumbs[place] = perceptual.thumb(result)
                self._sketches[place] = loaded[place] = result
        while len(self._sketches) > _SKETCHES:
            del self._sketches[next(iter(self._sketches))]
        return loaded


def _sketch_of(rows: Sequence[Row]) -> perceptual.Sketch | Skipped:
    """The sketch of a content, from the first of its files that still has it."""
    try:
        return _of_content(rows, lambda data: perceptual.sketch(
            decode(data, min_side=perceptual.SIDE).image))
    except MediaError as error:
        return Skipped.because(rows[-1].item.uri if rows else "", error)


def _closeup_of(rows: Sequence[Row]) -> closeup.Closeup | None:
    with suppress(MediaError):
        return _of_content(rows, lambda data: closeup.closeup(
            decode(data, min_side=closeup.SIDE).image))
    return None


def _hash_of(rows: Sequence[Row]) -> str:
    with suppress(MediaError):
        return _of_content(rows, pixel_hash)
    return ""


def _size(rows: Sequence[Row]) -> tuple[object, object]:
    meta = rows[0].item.meta if rows else {}
    return meta.get("width"), meta.get("height")


def _of_content(rows: Sequence[Row], make: Callable[[bytes], T]) -> T:
    """Something made of the bytes of the first file that still has the content.

    Raises:
        MediaError: none has; or it cannot be decoded.
    """
    problem = MediaError("no longer indexed")
    for row in rows:
        try:
            return make(same_content(row))
        except MediaError as error:
            problem = error
    raise problem


def same_content(row: Row) -> bytes:
    """The bytes of an item's file.

    Raises:
        MediaError: it cannot be read, or is not what was indexed.
    """
    data, fingerprint = locate.read(row.item.uri)
    if (not is_unchanged(fingerprint, own_fingerprint(row.item.fingerprint))
            and content_hash(data) != row.hash):
        raise MediaError("changed since it was indexed; run `mmsearch index` again")
    return data
