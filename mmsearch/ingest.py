"""Items become vectors: read, decode in threads, encode in batches, write one segment.

`build_shard` is self-contained and picklable: no catalog, no lock, so that it can run anywhere.

A file may give several items (see `mmsearch.frames`): only decoding tells how many, and of which
kinds. The numbers that a shard may use are reserved for the most that it can give.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from mmsearch.encoders import Encoder, load_encoder
from mmsearch.errors import MediaError
from mmsearch.fragments import MOST, part_of, room
from mmsearch.records import Item, Kind, Pixels, SegmentInfo, Vectors
from mmsearch.segments import segment_name, write_segment
from mmsearch.sources import Skipped, fingerprint_of, uri_to_path

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
    expand: bool = True
    """Whether a file may give several items; if not, an animation is its first frame."""


@dataclass
class Built:
    """What became of a shard: a segment for each kind of item, the items in the order of their
    rows, and what was skipped."""

    segments: list[SegmentInfo] = field(default_factory=list)
    rows: list[tuple[int, Item, str]] = field(default_factory=list)
    """(seq, item, hash)"""
    skipped: list[Skipped] = field(default_factory=list)
    encode_seconds: float = 0.0
    """Time spent in the encoder, summed over the threads that call it."""


class _Prepared(NamedTuple):
    """A picture ready to be encoded; or, without pixels, a text that came with one."""

    item: Item
    hash: str
    pixels: Pixels | None


def build_shard(shard: Shard, tick: Callable[[int], None] = lambda done: None) -> Built:
    """Encode a shard's items and write them as one segment a kind.

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
    if rows:
        _write(shard, rows, np.concatenate(vectors), built)
    return built


def _write(shard: Shard, rows: list[tuple[Item, str]], matrix: Vectors, built: Built) -> None:
    """Number the rows, those of one kind after the other, and write a segment for each kind."""
    first = shard.first_seq
    for kind in sorted({item.kind for item, _ in rows}):
        at = [n for n, (item, _) in enumerate(rows) if item.kind == kind]
        ids = np.arange(first, first + len(at), dtype=np.int64)
        name = shard.name if kind == shard.kind else segment_name(kind, first, int(ids[-1]))
        built.segments.append(write_segment(shard.root, name, kind, ids,
                                            partial(iter, [matrix[at]])))
        built.rows += [(first + n, *rows[row]) for n, row in enumerate(at)]
        first += len(at)


_Encoded = Iterator[tuple[list[tuple[Item, str]], Vectors]]


def _encode_images(encoder: Encoder, shard: Shard, built: Built,
                   tick: Callable[[int], None]) -> _Encoded:
    """Decoding and encoding side by side, each in threads of its own, in the order given."""
    prepare = partial(_prepare, encoder, shard.expand)
    texts: list[Item] = []

    def encode(batch: list[_Prepared]) -> tuple[Vectors, float]:
        start = time.perf_counter()
        embeddings = encoder.encode_images([one.pixels for one in batch if one.pixels is not None])
        return embeddings, time.perf_counter() - start

    def prepared() -> Iterator[_Prepared]:
        for item, future in _ahead(decoders, prepare, shard.items, LOOK_AHEAD):
            try:
                for one in future.result():
                    if one.pixels is None:
                        texts.append(one.item)
                    else:
                        yield one
            except MediaError as error:
                built.skipped.append(Skipped(item.uri, str(error)))
            tick(1)

    with (ThreadPoolExecutor(shard.threads or os.cpu_count() or 1, "decode") as decoders,
          ThreadPoolExecutor(encoder.workers, "encode") as encoders):
        batches = _batched(prepared(), encoder.batch)
        for batch, future in _ahead(encoders, encode, batches, encoder.workers + 1):
            embeddings, seconds = future.result()
            built.encode_seconds += seconds
            yield [(one.item, one.hash) for one in batch], embeddings
    yield from _encode_texts(encoder, replace(shard, items=tuple(texts)), built, lambda done: None)


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


def _prepare(encoder: Encoder, expand: bool, item: Item) -> Iterable[_Prepared]:
    """The picture in a file; or several, which are then decoded as they are drawn."""
    from mmsearch import frames
    from mmsearch.media import decode

    part = part_of(item)
    path = uri_to_path(item.uri if part is None else part.file)
    if part is not None:  # its vector was lost
        hash, fingerprint = file_hash(path)
        pixels = encoder.prepare(frames.picture(path, part, encoder.min_side))
        return [_Prepared(replace(item, fingerprint=fingerprint), part_hash(hash, item), pixels)]
    if expand and frames.holds_several(path):
        if room(item) == 1:
            raise MediaError("a video or a document that is named like a picture; rename it")
        return _parts(encoder, item, path, *file_hash(path))
    data, fingerprint = read_file(path)
    if expand and room(item) > 1 and frames.moves(data):
        return _parts(encoder, item, data, content_hash(data), fingerprint)
    picture = decode(data, min_side=encoder.min_side)
    meta = {**picture.meta, "size": len(data), **item.meta}
    described = replace(item, meta=meta, fingerprint=fingerprint)
    return [_Prepared(described, content_hash(data), encoder.prepare(picture.image))]


def _parts(encoder: Encoder, file: Item, source: Path | bytes, hash: str, fingerprint: str
           ) -> Iterator[_Prepared]:
    """What a file that holds several pictures gives, in its group; MediaError, after what could be
    read, says what could not be."""
    from mmsearch import frames

    size = int(fingerprint.partition(":")[0])
    for frame in frames.read(source, encoder.min_side, MOST):
        meta = {**frame.meta, "size": size, **file.meta}
        kind: Kind = "text" if frame.image is None else "frame"
        item = Item(f"{file.uri}#{frame.fragment}", kind, frame.text, file.uri, meta, fingerprint)
        pixels = None if frame.image is None else encoder.prepare(frame.image)
        yield _Prepared(item, part_hash(hash, item), pixels)


def read_file(path: Path) -> tuple[bytes, str]:
    """A file's bytes and the fingerprint that goes with them (``size:mtime_ns``).

    Raises:
        MediaError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            return file.read(), fingerprint_of(state)
    except OSError as error:
        raise MediaError(f"cannot be read: {error.strerror}") from error


def file_hash(path: Path) -> tuple[str, str]:
    """The `content_hash` of a file, which may be larger than memory, and its fingerprint.

    Raises:
        MediaError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            fingerprint = fingerprint_of(os.fstat(file.fileno()))
            return file_digest(file, partial(blake2b, digest_size=16)).hexdigest(), fingerprint
    except OSError as error:
        raise MediaError(f"cannot be read: {error.strerror}") from error


def part_hash(hash: str, item: Item) -> str:
    """What is stored as the hash of a part: that of its file, and which part it is."""
    return f"{hash}#{item.uri.rpartition('#')[2]}"


def hash_of_file(hash: str) -> str:
    """The inverse: the hash of the file that a stored hash is of, or of a part of."""
    return hash.partition("#")[0]


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
