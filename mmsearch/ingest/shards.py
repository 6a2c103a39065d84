"""Items become vectors: read, decode in threads, encode in batches, write one segment.

`build_shard` is self-contained and picklable: no catalog, no lock, so that it can run anywhere.

A file may give several items (see `media.frames` and `media.tiles`): only decoding tells how
many, and of which kinds. The numbers that a shard may use are reserved for the most that it can
give.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b, file_digest
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from mmsearch.encoders import Encoder, load_encoder
from mmsearch.errors import MediaError, MmsearchError
from mmsearch.fragments import MOST, Part, file_uri, is_named_container, part_of, room
from mmsearch.media import NO_TILES, Grid, decode_side, like_their_pictures, tile_item, tiles_of
from mmsearch.metadata import PIXELS, Said
from mmsearch.records import Item, Kind, Pixels, SegmentInfo, Vectors
from mmsearch.sources import Described, Skipped, described, locate, unread, with_those_of
from mmsearch.stages import Spent, Stages
from mmsearch.storage import segment_name, write_segment
from mmsearch.uris import fingerprint_of

T = TypeVar("T")
U = TypeVar("U")
LOOK_AHEAD = 32
"""Decoded pictures waiting, at most: memory stays the same whatever the number of files."""
TEXTS = 256
"""Texts between two reports of progress."""


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
    expand: bool = True
    """Whether a file may give several items; if not, an animation is its first frame."""
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
    described: set[str] = field(default_factory=set)
    """uris of the pictures whose captions, from inside and beside, are all in `captions`."""
    captions: list[Ready] = field(default_factory=list)
    stages: dict[str, Spent] = field(default_factory=dict)


class _Prepared(NamedTuple):
    """A picture ready to be encoded; or, without pixels, a text that came with one."""

    about: Described
    hash: str
    pixels: Pixels | None


def build_shard(shard: Shard, tick: Callable[[int], None] = lambda done: None) -> Built:
    """Encode a shard's items and write them as one segment a kind.

    tick: called with the number of items done since the last call.

    Raises:
        ModelError: the encoder cannot be loaded.
        OSError: the segment cannot be written (a full disk, say).
    """
    built, stages = Built(), Stages()
    captions: list[Item] = []
    vectors: list[Vectors] = [ready.vector[None] for ready in shard.ready]
    rows = like_their_pictures([(_described_anew(ready, built, captions), ready.hash)
                                for ready in shard.ready])
    if shard.items:
        encode = _encode_texts if shard.kind == "text" else partial(_encode_images, captions,
                                                                    built)
        for part, embeddings in encode(load_encoder(shard.model), shard, stages, tick):
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


def _encode_images(captions: list[Item], built: Built, encoder: Encoder, shard: Shard,
                   stages: Stages, tick: Callable[[int], None]) -> _Encoded:
    """Decoding and encoding side by side, each in threads of its own, in the order given.

    captions: grows by those of the pictures, which are still to be encoded.
    """
    from mmsearch.media import reason_of

    prepare = partial(_prepare, encoder, stages, shard)
    texts: list[Item] = []

    def encode(batch: list[_Prepared]) -> Vectors:
        with stages.at("encode"):
            return encoder.encode_images([one.pixels for one in batch if one.pixels is not None])

    def prepared() -> Iterator[_Prepared]:
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
        batches = _batched(prepared(), encoder.batch)
        for batch, future in _ahead(encoders, encode, batches, encoder.workers + 1):
            yield ([(_taken(one.about, built, captions), one.hash) for one in batch],
                   future.result())
    yield from _encode_texts(encoder, replace(shard, items=tuple(texts)), stages)


def _taken(about: Described, built: Built, captions: list[Item]) -> Item:
    built.described.add(file_uri(about.item))
    built.skipped += about.skipped
    captions += about.captions
    return about.item


def _described_anew(ready: Ready, built: Built, captions: list[Item]) -> Item:
    """The item of a picture with a known vector, as its file and those beside it are now; texts,
    frames and pages stay as they are."""
    from mmsearch.media import said_in

    if ready.item.kind != "image":
        return ready.item
    try:
        said = said_in(locate.source(ready.item.uri))
    except MediaError as error:
        built.skipped.append(Skipped.because(ready.item.uri, error))
        return replace(ready.item, meta={**ready.decoded, **ready.item.meta},
                       fingerprint=unread(ready.item.fingerprint))
    known = {name: value for name, value in ready.decoded.items() if name in {*PIXELS, "size"}}
    return _taken(described(ready.item, {**known, **said.meta}, said.captions), built, captions)


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


def _prepare(encoder: Encoder, stages: Stages, shard: Shard, item: Item) -> Iterable[_Prepared]:
    """What is in a file, read and decoded now, or as it is drawn."""
    if (part := part_of(item)) is not None:  # its vector was lost
        return [_part(encoder, stages, part, item)]
    if is_named_container(item) and locate.is_large(item):  # or dozens of these fill the memory
        return chain.from_iterable(map(partial(_pictures, encoder, stages, shard), [item]))
    return _pictures(encoder, stages, shard, item)


def _pictures(encoder: Encoder, stages: Stages, shard: Shard, item: Item) -> Iterable[_Prepared]:
    """The picture in a file, and its tiles; or several, which are then decoded as they are
    drawn."""
    from mmsearch.media import colours, decode, frames

    path = locate.own_file(item.uri)
    with stages.at("read"):
        if shard.expand and path is not None and frames.holds_several(path):
            if room(item) == 1:
                raise MediaError("a video or a document that is named like a picture; rename it")
            return _parts(encoder, stages, item, path, *file_hash(path))
        data, fingerprint = locate.read(item.uri)
        hash = content_hash(data)
    if shard.expand and room(item) > 1 and (
            frames.moves(data) or (path is None and frames.holds_several(data))):
        return _parts(encoder, stages, item, data, hash, fingerprint)
    with stages.at("decode"):
        largest = decode_side(encoder.min_side, next(iter(shard.grid.regions()), None))
        picture = decode(data, min_side=largest)
        seen = {"colour": colours(picture.image), "size": len(data)}
        item = replace(item, fingerprint=with_those_of(fingerprint, item.fingerprint))
        about = described(item, {**picture.meta, **seen}, picture.captions)
    with stages.at("prepare"):
        found = [_Prepared(about, hash, encoder.prepare(picture.image))]
        for fragment, image in tiles_of(picture.image, shard.grid,
                                        (picture.width, picture.height), encoder.min_side):
            tile = tile_item(about.item, fragment, colours(image))
            found.append(_Prepared(Described(tile), part_hash(hash, tile), encoder.prepare(image)))
    return found


def _part(encoder: Encoder, stages: Stages, part: Part, item: Item) -> _Prepared:
    """One of the pictures in a file, once more."""
    from mmsearch.media import frames

    with stages.at("decode"):
        hash, fingerprint = hash_at(part.file)
        shown = frames.picture(locate.source(part.file), part, encoder.min_side)
        return _Prepared(Described(replace(item, fingerprint=fingerprint)), part_hash(hash, item),
                         encoder.prepare(shown))


def _parts(encoder: Encoder, stages: Stages, file: Item, source: Path | bytes, hash: str,
           fingerprint: str) -> Iterator[_Prepared]:
    """What a file that holds several pictures gives, in its group, the first with all captions.

    source: the bytes of an animation or of what has no file of its own, else the path. MediaError,
    after what could be read, says what could not be.
    """
    from mmsearch.media import colours, frames, said_in

    said, size = Said(), fingerprint.partition(":")[0]
    if isinstance(source, bytes):
        size = str(len(source))
        with suppress(MediaError):  # a video
            said = said_in(source)
    seen = {**said.meta, "size": int(size)}
    file = replace(file, fingerprint=with_those_of(fingerprint, file.fingerprint))
    about: Described | None = None
    for frame in stages.each("decode", frames.read(source, encoder.min_side, MOST)):
        first = about is None
        about = about or described(file, {**frame.meta, **seen}, said.captions)
        colour = {} if frame.image is None else {"colour": colours(frame.image)}
        item = Item(f"{file.uri}#{frame.fragment}", "text" if frame.image is None else "frame",
                    frame.text, file.uri, {**about.item.meta, **colour, **file.meta},
                    about.item.fingerprint)
        with stages.at("prepare"):
            pixels = None if frame.image is None else encoder.prepare(frame.image)
        yield _Prepared(about._replace(item=item) if first else Described(item),
                        part_hash(hash, item), pixels)


def hash_at(uri: str) -> tuple[str, str]:
    """The `content_hash` of what is at an address, and its fingerprint; a file may be larger than
    memory.

    Raises:
        MediaError: it cannot be read.
    """
    if (path := locate.own_file(uri)) is not None:
        return file_hash(path)
    data, fingerprint = locate.read(uri)
    return content_hash(data), fingerprint


def file_hash(path: Path) -> tuple[str, str]:
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
