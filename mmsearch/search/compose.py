"""A query of several texts and images, wanted and unwanted, becomes one unit vector."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mmsearch.encoders import Encoder, encode_queries
from mmsearch.errors import MediaError, UsageError
from mmsearch.fragments import named
from mmsearch.media import Crop
from mmsearch.records import Vectors
from mmsearch.search.query import Asked, Query, several
from mmsearch.sources import locate

if TYPE_CHECKING:
    from PIL.Image import Image

@dataclass(frozen=True, eq=False)
class Embedded:
    """An example that is given as its vector (float32 [dim]), of which the length does not matter.
    """

    vector: Any


Example: TypeAlias = Any
"""See `Query.image`."""
Stored: TypeAlias = Callable[[os.PathLike[str] | str], Vectors | None]


def composed(encoder: Encoder, query: Query, stored: Stored) -> Asked:
    """The weighted sum of the embeddings of the texts and images of a query, less those of what it
    keeps away from, at unit length: scores stay cosines.

    stored: the vector of a file that has been encoded before, if there is one.

    Raises:
        UsageError: weights that are no numbers, parts that cancel out, what is no picture, or a
            crop that reaches beyond its own.
        MediaError: an image cannot be decoded.
    """
    texts, images = several(query.text), several(query.image)
    without, without_images = several(query.without), several(query.without_image)
    negative = len(without) + len(without_images)
    factors = np.array([*_weights(query), *[-1.0] * negative], np.float32)
    if not np.isfinite(factors).all() or not factors.any():
        raise UsageError("weights must be finite numbers, and not all zero")

    def image_vectors(examples: Sequence[Example]) -> list[Vectors]:
        return [image_vector(encoder, example, stored) for example in examples]

    wanted, unwanted = image_vectors(images), image_vectors(without_images)
    # What a shell hands over need not be UTF-8.
    words = [text.encode("utf-8", "replace").decode() for text in (*texts, *without)]

    def total(of_words: Vectors) -> Vectors:
        rows = [*of_words[: len(texts)], *wanted, *of_words[len(texts):], *unwanted]
        found: Vectors = (factors / np.abs(factors).max()) @ np.stack(rows)
        if float(np.linalg.norm(found)) < 1e-6:
            raise UsageError("the parts of this query cancel each other out")
        return unit(found, encoder.dim)

    for_pictures, for_texts = encode_queries(encoder, words)
    pictures = total(for_pictures)
    return Asked(pictures, pictures if for_texts is for_pictures else total(for_texts))


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


def image_vector(encoder: Encoder, example: Example, stored: Stored) -> Vectors:
    if isinstance(example, Embedded):
        return unit(example.vector, encoder.dim)
    if isinstance(example, str | os.PathLike) and (known := stored(example)) is not None:
        return known
    if isinstance(example, Crop):  # of the whole picture: scaled down, pixels would be others
        picture = example.cut(_picture(example.image, None))
    else:
        picture = _picture(example, encoder.min_side)
    vector: Vectors = encoder.encode_images([picture])[0]
    return vector


def _picture(example: Example, min_side: int | None) -> Image:
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
