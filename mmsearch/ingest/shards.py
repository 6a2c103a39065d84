"""Items become vectors: read, decode in threads, encode in batches, write one segment.

`build_shard` is self-contained and picklable: no catalog, no lock, so that it can run anywhere.

What a file holds, `ingest.prepare` finds out: the numbers that a shard may use are reserved for the
most that it can give.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from mmsearch.encoders import Encoder, load_encoder, reranker_of
from mmsearch.errors import MediaError, MmsearchError
from mmsearch.fragments import file_uri
from mmsearch.ingest.hashes import content_hash
from mmsearch.media import NO_TILES, Grid, like_their_pictures
from mmsearch.metadata import PIXEL_FIELDS, is_label
from mmsearch.records import Item, Kind, SegmentInfo, Vectors
from mmsearch.sources import Described, Skipped, described, locate, unread_fingerprint
from mmsearch.stages import Spent, Stages
from mmsearch.storage import segment_name, write_segment

if TYPE_CHECKING:
    from mmsearch.ingest.prepare import Prepared

T = TypeVar("T")
U = TypeVar("U")
LOOK_AHEAD = 32
"""Decoded pictures waiting, at most: memory stays the same whatever the number of files."""
TEXTS = 256
"""Texts between two reports of progress."""
Keep: TypeAlias = Callable[[list[tuple[str, bytes]]], None]
"""Takes what the reranker looks at of pictures, by the hashes of their contents."""


class Ready(NamedTuple):
    """An item whose vector is known already: a text, or a picture that was encoded before and is
    described anew, since it was copied or what lies beside it changed.

    decoded: the metadata that decoding the picture gave then.
    """

    item: Item
    hash: str
    vector: Vectors
    decoded: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Shard:
    """Work for one segment: items of one kind, or files, numbered from `first_seq`; and for one
    segment of each other kind that comes of the files."""

    root: Path
    name: str
    kind: Kind
    first_seq: int
    items: tuple[Item, ...]
    model: str
    ready: tuple[Ready, ...] = ()
    threads: int = 0
    """Decoding threads; 0 is one a core."""
    grid: Grid = NO_TILES
    """What pictures are cut into, beside the whole."""


@dataclass
class Built:
    """What became of a shard: a segment for each kind of item, the items in the order of their
    rows, and what was skipped."""

    segments: list[SegmentInfo] = field(default_factory=list)
    rows: list[tuple[int, Item, str]] = field(default_factory=list)
    """(seq, item, hash)"""
    skipped: list[Skipped] = field(default_factory=list)
    damaged: list[Skipped] = field(default_factory=list)
    """Pictures that are not whole, and what is missing."""
    described: set[str] = field(default_factory=set)
    """uris of the pictures whose captions, from inside and beside, are all in `captions`."""
    captions: list[Ready] = field(default_factory=list)
    stages: dict[str, Spent] = field(default_factory=dict)


def build_shard(shard: Shard, tick: Callable[[int], None] = lambda done: None,
                keep: Keep | None = None) -> Built:
    """Encode a shard's items and write them as one segment a kind.

    tick: called with the number of items done since the last call.
    keep: only for models that have a reranker.

    Raises:
        ModelError: the encoder cannot be loaded.
        OSError: the segment cannot be written (a full disk, say).
    """
    built, stages = Built(), Stages()
    captions: list[Item] = []
    vectors: list[Vectors] = [ready.vector[None] for ready in shard.ready]
    rows = like_their_pictures([(_described_anew(ready, built, captions), ready.hash)
                                for ready in shard.ready])
    for part, embeddings in _encode(captions, built, shard, stages, tick, keep):
        rows.extend(part)
        vectors.append(embeddings)
    if captions:
        beside = replace(shard, items=tuple(captions))
        for part, embeddings in _encode_texts(load_encoder(shard.model), beside, stages):
            built.captions += [Ready(*row, vector) for row, vector in zip(part, embeddings,
                                                                          strict=True)]
    if rows:
        with stages.at("write"):
            _write(shard, rows, np.concatenate(vectors), built)
    built.stages = stages.spent
    return built


def encode_shard(shard: Shard, tick: Callable[[int], None]
                 ) -> tuple[list[tuple[Item, str]], Vectors, list[Skipped]]:
    """A shard's items with their hashes, their vectors, and what was skipped; nothing is written,
    and captions that pictures bring are left out."""
    built, rows, vectors = Built(), list[tuple[Item, str]](), list[Vectors]()
    for part, embeddings in _encode([], built, shard, Stages(), tick):
        rows.extend(part)
        vectors.append(embeddings)
    return rows, np.concatenate(vectors) if vectors else np.zeros((0, 0), np.float32), built.skipped


def _write(shard: Shard, rows: list[tuple[Item, str]], matrix: Vectors, built: Built) -> None:
    """Number the rows, those of one kind after the other (pictures before their tiles, so that of
    equals the whole comes first), and write a segment for each kind."""
    first = shard.first_seq
    for kind in sorted({item.kind for item, _ in rows}, key=lambda kind: (kind != "image", kind)):
        at = [n for n, (item, _) in enumerate(rows) if item.kind == kind]
        ids = np.arange(first, first + len(at), dtype=np.int64)
        name = shard.name if kind == shard.kind else segment_name(kind, first, int(ids[-1]))
        built.segments.append(write_segment(shard.root, name, kind, ids,
                                            partial(iter, [matrix[at]])))
        built.rows += [(first + n, *rows[row]) for n, row in enumerate(at)]
        first += len(at)


_Encoded = Iterator[tuple[list[tuple[Item, str]], Vectors]]


def _encode(captions: list[Item], built: Built, shard: Shard, stages: Stages,
            tick: Callable[[int], None], keep: Keep | None = None) -> _Encoded:
    if not shard.items:
        return
    encoder = load_encoder(shard.model)
    if shard.kind == "text":
        yield from _encode_texts(encoder, shard, stages, tick)
    else:
        yield from _encode_images(captions, built, encoder, shard, stages, tick, keep)


def _encode_images(captions: list[Item], built: Built, encoder: Encoder, shard: Shard,
                   stages: Stages, tick: Callable[[int], None], keep: Keep | None) -> _Encoded:
    """Decoding and encoding side by side, each in threads of its own, in the order given.

    captions: grows by those of the pictures, which are still to be encoded.
    """
    # They bring Pillow, which a query in words has no use for.
    from mmsearch.ingest.prepare import Preparer
    from mmsearch.media import reason_of

    prepare = Preparer(encoder, stages, shard.grid).of
    reranker = reranker_of(encoder) if keep else None
    texts: list[Item] = []

    def encode(batch: list[Prepared]) -> tuple[Vectors, list[bytes]]:
        with stages.at("encode"):
            pixels = [one.pixels for one in batch if one.pixels is not None]
            return reranker.encode_images(pixels) if reranker else (
                encoder.encode_images(pixels), [])

    def prepared() -> Iterator[Prepared]:
        for item, future in _ahead(decoders, prepare, locate.ahead(shard.items), look_ahead(shard)):
            try:
                for one in future.result():
                    if one.pixels is None:
                        texts.append(_taken(one.about, built, captions))
                    else:
                        yield one
            except MediaError as error:
                built.skipped.append(Skipped.because(item.uri, error))
            except MmsearchError:  # of the model: no matter of this file
                raise
            except Exception as error:  # what nobody foresaw must not cost all other files
                built.skipped.append(Skipped(item.uri, reason_of(error, "file")))
            tick(1)

    with (ThreadPoolExecutor(shard.threads or os.cpu_count() or 1, "decode") as decoders,
          ThreadPoolExecutor(encoder.workers, "encode") as encoders):
        rows = prepared()
        batches = iter(lambda: list(islice(rows, encoder.batch)), [])
        for batch, future in _ahead(encoders, encode, batches, encoder.workers + 1):
            vectors, places = future.result()
            if keep and places:
                keep([(one.hash, seen) for one, seen in zip(batch, places, strict=True)])
            yield [(_taken(one.about, built, captions), one.hash) for one in batch], vectors
    yield from _encode_texts(encoder, replace(shard, items=tuple(texts)), stages)


def _taken(about: Described, built: Built, captions: list[Item]) -> Item:
    built.described.add(file_uri(about.item))
    built.skipped += about.skipped
    if about.item.kind == "image" and "damaged" in about.item.meta:
        built.damaged.append(Skipped(about.item.uri, str(about.item.meta["damaged"])))
    captions += about.captions
    return about.item


def _described_anew(ready: Ready, built: Built, captions: list[Item]) -> Item:
    """The item of a picture with a known vector, as its file and those beside it are now; texts,
    frames and pages stay as they are."""
    from mmsearch.media import read_metadata

    if ready.item.kind != "image":
        return ready.item
    try:
        found = read_metadata(locate.source(ready.item.uri))
    except MediaError as error:
        built.skipped.append(Skipped.because(ready.item.uri, error))
        return replace(ready.item, meta={**ready.decoded, **ready.item.meta},
                       fingerprint=unread_fingerprint(ready.item.fingerprint))
    pixels = {*PIXEL_FIELDS, "size"}
    known = {name: value for name, value in ready.decoded.items()
             if name in pixels or is_label(name)}
    return _taken(described(ready.item, {**known, **found.meta}, found.captions), built, captions)


def _encode_texts(encoder: Encoder, shard: Shard, stages: Stages,
                  tick: Callable[[int], None] = lambda done: None) -> _Encoded:
    for at in range(0, len(shard.items), TEXTS):
        batch = shard.items[at : at + TEXTS]
        with stages.at("encode"):
            embeddings = encoder.encode_texts([item.text for item in batch])
        tick(len(batch))
        yield [(item, content_hash(item.text.encode())) for item in batch], embeddings


def _ahead(pool: ThreadPoolExecutor, work: Callable[[T], U], inputs: Iterable[T],
           limit: int) -> Iterator[tuple[T, Future[U]]]:
    """Inputs with their futures in order, never more than `limit` of them under way."""
    waiting: deque[tuple[T, Future[U]]] = deque()
    for one in inputs:
        waiting.append((one, pool.submit(work, one)))
        if len(waiting) >= limit:
            yield waiting.popleft()
    yield from waiting


def look_ahead(shard: Shard) -> int:
    """How many files are decoded ahead: fewer where each gives more pictures."""
    fewer = LOOK_AHEAD // (1 + shard.grid.tiles // 4)
    return min(max(fewer, 2 * (os.cpu_count() or 1)), LOOK_AHEAD)
