"""A query of several texts and images, wanted and unwanted, becomes one unit vector; many queries
at once, since a model is faster for many."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from mmsearch.encoders import Encoder, encode_queries
from mmsearch.errors import MediaError, MmsearchError, UsageError
from mmsearch.fragments import named
from mmsearch.media import Crop
from mmsearch.records import Vectors
from mmsearch.search.names import Names
from mmsearch.search.query import Asked, Query, several
from mmsearch.sources import locate

if TYPE_CHECKING:
    from PIL.Image import Image

@dataclass(frozen=True, eq=False)
class Embedded:
    """An example that is given as its vector (float32 [dim]), of which the length does not matter.
    """

    vector: Any


KEPT_AWAY = 0.15
"""How much all pictures that are kept away count together, beside all that is looked for (Rocchio
1971, "Relevance feedback in information retrieval": gamma). They are often much like what is looked
for, and at full weight take that away, too; chosen by bench/feedback.py."""
Example: TypeAlias = Any
"""See `Query.image`."""
Stored: TypeAlias = Callable[[os.PathLike[str] | str], Vectors | None]


class How(NamedTuple):
    """What `Query` says of how its texts are encoded."""

    multilingual: bool | None
    spelling: bool


class TextVectors:
    """Texts that were asked before, with their vectors: those used last. For many threads."""

    def __init__(self, most: int = 4096) -> None:
        self.most, self.hits, self.misses = most, 0, 0
        self._known: OrderedDict[tuple[str, How, str], tuple[Vectors, Vectors]] = OrderedDict()
        self._lock = Lock()

    def of(self, encoder: Encoder, how: How, texts: Iterable[str]
           ) -> dict[str, tuple[Vectors, Vectors]]:
        """Of each text, the vector for pictures and that for texts, float32 [dim] each; the very
        same array where the encoder does not tell them apart.

        encoder: as `encoders.for_queries` gives it for `how.multilingual`.
        """
        found: dict[str, tuple[Vectors, Vectors]] = {}
        with self._lock:
            for text in dict.fromkeys(texts):
                key = encoder.name, how, text
                if key in self._known:
                    self._known.move_to_end(key)
                found[text] = self._known.get(key, _UNKNOWN)
        new = [text for text, known in found.items() if known is _UNKNOWN]
        self.hits, self.misses = self.hits + len(found) - len(new), self.misses + len(new)
        if new:
            pictures, plain = encode_queries(encoder, new, spelling=how.spelling)
            for text, one, other in zip(new, pictures, plain, strict=True):
                found[text] = (one, one if plain is pictures else other)
        with self._lock:
            for text in new:
                self._known[encoder.name, how, text] = found[text]
            while len(self._known) > self.most:
                self._known.popitem(last=False)
        return found


_UNKNOWN = np.zeros(0, np.float32), np.zeros(0, np.float32)


def asked_of(queries: Sequence[Query], dim: int, encoder: Callable[[bool | None], Encoder],
             stored: Stored, texts: TextVectors, names: Names | None = None
             ) -> list[Asked | MmsearchError | None]:
    """The vectors of each query, or what is wrong with it; None if it matches words alone.

    encoder: what encodes queries, see `encoders.for_queries`.
    stored: the vector of a file that has been encoded before, if there is one.
    names: those that were taught.
    """
    found: list[Asked | MmsearchError | None] = [None] * len(queries)
    alike: dict[How, list[int]] = {}
    for n, query in enumerate(queries):
        try:
            if query.vector is not None:
                found[n] = Asked(*[unit(query.vector, dim)] * 2)
            elif query.mode != "text":
                alike.setdefault(_how(query), []).append(n)
        except UsageError as error:
            found[n] = error
    for how, those in alike.items():
        try:
            together = composed(encoder(how.multilingual), [queries[n] for n in those], stored,
                                texts, names)
        except MmsearchError as error:  # of the model
            together = [error] * len(those)
        for n, one in zip(those, together, strict=True):
            found[n] = one
    return found


def _how(query: Query) -> How:
    return How(query.multilingual, query.spelling)


class _Parts(NamedTuple):
    """A query taken apart. examples: vectors, and pictures that are to become such; the first
    `wanted` of them, and of the texts, are looked for, the rest kept away from."""

    query: Query
    factors: Vectors
    texts: list[str]
    examples: list[Vectors | Image]
    texts_wanted: int
    wanted: int


def composed(encoder: Encoder, queries: Sequence[Query], stored: Stored, texts: TextVectors,
             names: Names | None = None) -> list[Asked | MmsearchError]:
    """Of each query the weighted sum of the embeddings of its texts and images, less those of what
    it keeps away from (see `KEPT_AWAY`), at unit length: scores stay cosines. All that is new is
    encoded at once.
    What is wrong with one query is in its place:

    UsageError: weights that are no numbers, parts that cancel out, what is no picture, or a crop
        that reaches beyond its own.
    MediaError: an image cannot be decoded.

    encoder: for these queries, which agree in `How`.
    stored: the vector of a file that has been encoded before, if there is one.
    """
    taken: list[_Parts | MmsearchError] = []
    for query in queries:
        try:
            taken.append(_parts(encoder, query, stored))
        except MmsearchError as error:
            taken.append(error)
    parts = [one for one in taken if isinstance(one, _Parts)]
    if not parts:
        return [one for one in taken if isinstance(one, MmsearchError)]
    words = [text for one in parts for text in one.texts]
    known = texts.of(encoder, _how(queries[0]), names.wordings(words) if names else words)
    if names:
        known = names.moved(words, known)
    pictures = [example for one in parts for example in one.examples
                if not isinstance(example, np.ndarray)]
    encoded = iter(encoder.encode_images(pictures) if pictures else ())
    found: list[Asked | MmsearchError] = []
    for one in taken:
        if isinstance(one, MmsearchError):
            found.append(one)
            continue
        rows = [example if isinstance(example, np.ndarray) else next(encoded)
                for example in one.examples]
        try:
            found.append(_sum(one, [known[text] for text in one.texts], rows))
        except UsageError as error:
            found.append(error)
    return found


def _parts(encoder: Encoder, query: Query, stored: Stored) -> _Parts:
    texts, images = several(query.text), several(query.image)
    without, without_images = several(query.without), several(query.without_image)
    weights = _weights(query)
    away = -KEPT_AWAY * sum(map(abs, weights)) / max(len(without_images), 1)
    factors = np.array([*weights, *[-1.0] * len(without), *[away] * len(without_images)],
                       np.float32)
    if not np.isfinite(factors).all() or not factors.any():
        raise UsageError("weights must be finite numbers, and not all zero")
    # What a shell hands over need not be UTF-8.
    words = [text.encode("utf-8", "replace").decode() for text in (*texts, *without)]
    examples = [_example(encoder, one, stored) for one in (*images, *without_images)]
    return _Parts(query, factors, words, examples, len(texts), len(images))


def _sum(parts: _Parts, texts: Sequence[tuple[Vectors, Vectors]], examples: Sequence[Vectors]
         ) -> Asked:
    first, wanted = parts.texts_wanted, parts.wanted

    def total(of_texts: Sequence[Vectors]) -> Vectors:
        rows = np.stack([*of_texts[:first], *examples[:wanted], *of_texts[first:],
                         *examples[wanted:]])
        found: Vectors = (parts.factors / np.abs(parts.factors).max()) @ rows
        if float(np.linalg.norm(found)) < 1e-6:
            raise UsageError("the parts of this query cancel each other out")
        return unit(found, rows.shape[1])

    pictures = total([one for one, _ in texts])
    same = all(one is other for one, other in texts)
    return Asked(pictures, pictures if same else total([other for _, other in texts]))


def share_of_images(query: Query) -> float:
    """How much of a query is images, by weight: 0 (words alone) to 1; a half if not known."""
    if query.vector is not None:
        return 0.5
    sizes = [abs(weight) for weight in _weights(query)]
    return sum(sizes[len(several(query.text)):]) / sum(sizes)


def _weights(query: Query) -> Sequence[float]:
    parts = len(several(query.text)) + len(several(query.image))
    return query.weights if len(query.weights) else [1.0] * parts


def unit(vector: Any, dim: int) -> Vectors:
    """A query vector from anywhere, at unit length: float32 [dim].

    Raises:
        UsageError: another length, not finite, or all zero.
    """
    query = np.asarray(vector, np.float32)
    length = np.linalg.norm(query)
    if query.shape != (dim,) or not np.isfinite(length) or length == 0:
        raise UsageError(f"a query vector must be {dim} finite numbers, not all zero")
    scaled: Vectors = query / length
    return scaled


def _example(encoder: Encoder, example: Example, stored: Stored) -> Vectors | Image:
    """The vector of an example where it is known, else its picture."""
    if isinstance(example, Embedded):
        return unit(example.vector, encoder.dim)
    if isinstance(example, str | os.PathLike) and (known := stored(example)) is not None:
        return known
    if isinstance(example, Crop):  # of the whole picture: scaled down, pixels would be others
        return example.cut(example_picture(example.image, None))
    return example_picture(example, encoder.min_side)


def example_picture(example: Example, min_side: int | None) -> Image:
    """RGB, upright; min_side: as for `media.decode`.

    Raises:
        UsageError, MediaError: see `composed`.
    """
    from mmsearch.media import frames, given

    if not isinstance(example, str | os.PathLike):
        return given(example, min_side)
    if isinstance(example, str) and example.startswith("file:///"):
        from urllib.request import url2pathname  # 20 ms

        example = url2pathname(example.removeprefix("file://"))
    uri = locate.uri_of(example)
    part = named(uri) if locate.is_removed(uri) else None
    file = part.file if part else uri
    if locate.is_removed(file):
        raise UsageError(f"{example} does not exist")
    try:
        source = locate.source(file)
        if (part is None or part.region) and frames.holds_several(source):
            name = part.file if part else example
            raise UsageError(f"{name} holds many pictures; give one of them: {name}#t=12.5 for the "
                             "frame at 12.5 s, or #page=3 for a page")
        return frames.read_part(source, part, min_side)
    except MediaError as error:
        raise MediaError(f"{example}: {error}") from error
