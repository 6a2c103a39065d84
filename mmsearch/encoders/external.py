"""The encoder of vectors that were made elsewhere: known by name, perhaps not available here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.encoders.load import load_encoder
from mmsearch.encoders.protocol import Encoder
from mmsearch.errors import EncoderMismatch, MissingExtra, ModelError
from mmsearch.records import Pixels, Vectors

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmsearch.encoders.protocol import Picture

EXTERNAL = "external:"
"""Begins the name of an encoder whose weights could not be looked at when its vectors came."""


class ExternalEncoder:
    """An `Encoder` that loads its model when it has to encode something, and not before.

    Args:
        model: what `load_encoder` may know it by; "" if it is not known which model it was.
        dim: the length of its vectors.
        made_by: its name with a content hash, where that is known.
    """

    batch, workers = 32, 1

    def __init__(self, model: str, dim: int, made_by: str = "") -> None:
        self.model, self.dim, self.made_by = model, dim, made_by
        self.name = EXTERNAL + (made_by or model)

    @classmethod
    def named(cls, name: str, model: str, dim: int) -> ExternalEncoder:
        """What a collection noted as its encoder."""
        made_by = name.removeprefix(EXTERNAL)
        return cls(model, dim, "" if made_by == model else made_by)

    def load(self) -> Encoder:
        """The model itself.

        Raises:
            ModelError: it cannot be loaded here, or it is not known which it is.
            EncoderMismatch: what is loaded by that name makes other vectors.
        """
        if not self.model:
            raise ModelError("the vectors of this collection were made elsewhere, by a model that "
                             "is not known; give it with --model")
        try:
            encoder = load_encoder(self.model)
        except (ModelError, MissingExtra) as error:
            raise ModelError(f"the vectors of this collection were made by {self.model}, which "
                             f"cannot be loaded here ({error})") from error
        if encoder.dim != self.dim or self.made_by not in ("", encoder.name):
            raise EncoderMismatch(
                f"the vectors of this collection ({self.dim} numbers) were made by "
                f"{self.made_by or self.model}, and {self.model} here is {encoder.name} "
                f"({encoder.dim} numbers), another model")
        return encoder

    @cached_property
    def _loaded(self) -> Encoder:
        """For a query: what to do without it is said, too."""
        try:
            return self.load()
        except ModelError as error:
            raise type(error)(
                f"{error}; search by vector (--vector FILE.npy, a query that the same model made) "
                "or by an indexed picture (--image)") from error

    @property
    def min_side(self) -> int:
        return self._loaded.min_side

    def prepare(self, image: Image) -> Pixels:
        return self._loaded.prepare(image)

    def encode_images(self, images: Sequence[Picture]) -> Vectors:
        return self._loaded.encode_images(images)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        if not texts:  # a query by pictures alone
            return np.zeros((0, self.dim), np.float32)
        return self._loaded.encode_texts(texts)


def ready(encoder: Encoder) -> Encoder:
    """The encoder itself, loaded.

    Raises:
        ModelError: it is not available: nothing can be encoded for this collection here.
    """
    if not isinstance(encoder, ExternalEncoder):
        return encoder
    try:
        return encoder.load()
    except ModelError as error:
        raise type(error)(f"{error}: only vectors (--vectors) can be added to it; index into "
                          "another directory (-i)") from error
