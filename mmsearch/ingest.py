"""Items become vectors: read, decode in threads, encode in batches, write one segment.

`build_shard` is self-contained and picklable: no catalog, no lock, so that it can run anywhere.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from mmsearch import places
from mmsearch.encoders import Encoder, load_encoder
from mmsearch.errors import MediaError
from mmsearch.records import Item, Kind, Pixels, SegmentInfo, Vectors
from mmsearch.segments import write_segment
from mmsearch.sources import Skipped

T = TypeVar("T")
U = TypeVar("U")
LOOK_AHEAD = 32
"""Decoded pictures waiting, at most: memory stays the same whatever the number of files."""
TEXTS = 256
"""Texts between two reports of progress."""


class Ready(NamedTuple):
    """An item whose vector is known already: a copy of a file that was encoded before."""

    item: Item
    hash: str
    vector: Vectors


@dataclass(frozen=True)
class Shard:
    """Work for one segment: items of one kind, numbered from `first_seq`."""

    root: Path
    name: str
    kind: Kind
    first_seq: int
    items: tuple[Item, ...]
    model: str
    ready: tuple[Ready, ...] = ()
    threads: int = 0
    """Decoding threads; 0 is one a core."""


@dataclass
class Built:
    """What became of a shard: its segment (None if nothing could be encoded), the items in the
    order of its rows, and what was skipped."""

    segment: SegmentInfo | None = None
    rows: list[tuple[int, Item, str]] = field(default_factory=list)
    """(seq, item, hash)"""
    skipped: list[Skipped] = field(default_factory=list)
    encode_seconds: float = 0.0
    """Time spent in the encoder, summed over the threads that call it."""


class _Prepared(NamedTuple):
    item: Item
    hash: str
    pixels: Pixels


def build_shard(shard: Shard, tick: Callable[[int], None] = lambda done: None) -> Built:
    """Encode a shard's items and write them as one segment.

    tick: called with the number of items done since the last call.

    Raises:
        ModelError: the encoder cannot be loaded.
        OSError: the segment cannot be written (a full disk, say).
    """
    built = Built()
    vectors: list[Vectors] = [ready.vector[None] for ready in shard.ready]
    rows = [(ready.item, ready.hash) for ready in shard.ready]
    if shard.items:
        encoder = load_encoder(shard.model)
        encode = _encode_texts if shard.kind == "text" else _encode_images
        for part, embeddings in encode(encoder, shard, built, tick):
            rows.extend(part)
            vectors.append(embeddings)
    built.rows = [(shard.first_seq + n, item, hash) for n, (item, hash) in enumerate(rows)]
    if rows:
        ids = np.arange(shard.first_seq, shard.first_seq + len(rows), dtype=np.int64)
        matrix = np.concatenate(vectors)
        built.segment = write_segment(shard.root, shard.name, shard.kind, ids,
                                      lambda: iter([matrix]))
    return built


_Encoded = Iterator[tuple[list[tuple[Item, str]], Vectors]]


def _encode_images(encoder: Encoder, shard: Shard, built: Built,
                   tick: Callable[[int], None]) -> _Encoded:
    """Decoding and encoding side by side, each in threads of its own, in the order given."""
    def encode(batch: list[_Prepared]) -> tuple[Vectors, float]:
        start = time.perf_counter()
        embeddings = encoder.encode_images([one.pixels for one in batch])
        return embeddings, time.perf_counter() - start

    def prepared() -> Iterator[_Prepared]:
        for item, future in _ahead(decoders, partial(_prepare, encoder),
                                   places.ahead(shard.items), LOOK_AHEAD):
            try:
                yield future.result()
            except MediaError as error:
                built.skipped.append(Skipped(item.uri, str(error)))
                tick(1)

    with (ThreadPoolExecutor(shard.threads or os.cpu_count() or 1, "decode") as decoders,
          ThreadPoolExecutor(encoder.workers, "encode") as encoders):
        batches = _batched(prepared(), encoder.batch)
        for batch, future in _ahead(encoders, encode, batches, encoder.workers + 1):
            embeddings, seconds = future.result()
            built.encode_seconds += seconds
            tick(len(batch))
            yield [(one.item, one.hash) for one in batch], embeddings


def _encode_texts(encoder: Encoder, shard: Shard, built: Built,
                  tick: Callable[[int], None]) -> _Encoded:
    for at in range(0, len(shard.items), TEXTS):
        batch = shard.items[at : at + TEXTS]
        start = time.perf_counter()
        embeddings = encoder.encode_texts([item.text for item in batch])
        built.encode_seconds += time.perf_counter() - start
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


def _prepare(encoder: Encoder, item: Item) -> _Prepared:
    from mmsearch.media import decode

    data, fingerprint = places.read(item.uri)
    picture = decode(data, min_side=encoder.min_side)
    meta = {**picture.meta, "size": len(data), **item.meta}
    described = replace(item, meta=meta, fingerprint=fingerprint)
    return _Prepared(described, content_hash(data), encoder.prepare(picture.image))


def content_hash(data: bytes) -> str:
    """What tells one content from another: BLAKE2b, 128 bits, in hexadecimal."""
    return blake2b(data, digest_size=16).hexdigest()


def _batched(rows: Iterable[_Prepared], size: int) -> Iterator[list[_Prepared]]:
    batch: list[_Prepared] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
