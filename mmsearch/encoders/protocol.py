"""What every encoder offers; see `encoders.load_encoder` for how one is found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from mmsearch.records import Pixels, Vectors

if TYPE_CHECKING:
    from PIL.Image import Image

    Picture: TypeAlias = Image | Pixels


class Encoder(Protocol):
    """What every encoder offers; all methods may be called from several threads.

    name: identifies the weights (a content hash is part of it): vectors are comparable only
        between encoders of the same name.
    dim: length of the vectors.
    min_side: pictures decoded at a reduced scale must keep this many pixels on the shorter side.
    batch: how many pictures a call encodes best; workers: how many such calls to run at once.
    """

    name: str
    dim: int
    batch: int
    workers: int

    @property
    def min_side(self) -> int: ...

    def prepare(self, image: Image) -> Pixels:
        """An RGB picture of any size -> what the image tower sees, uint8 [size, size, 3]."""

    def encode_images(self, images: Sequence[Picture]) -> Vectors:
        """Pictures, prepared (uint8 arrays) or not (PIL, RGB) -> float32 [n, dim], unit rows."""

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Texts -> float32 [n, dim], unit rows."""


def encode_queries(encoder: Encoder, texts: Sequence[str], *, spelling: bool = True
                   ) -> tuple[Vectors, Vectors]:
    """Texts as queries for pictures, and for texts: float32 [n, dim] each, unit rows; the very same
    array where an encoder does not tell them apart.

    spelling: whether an encoder that can puts misspelt words right.
    """
    if (encode := getattr(encoder, "encode_queries", None)) is None:
        return (plain := encoder.encode_texts(texts)), plain
    found: tuple[Vectors, Vectors] = encode(texts, spelling=spelling)
    return found


def spelled(encoder: Encoder, text: str) -> str:
    """A query as an encoder takes it: with misspelt words put right, if it does that."""
    return str(getattr(encoder, "corrected", str)(text))


def stacked(encoder: Encoder, images: Sequence[Picture]) -> Pixels:
    """Prepared and unprepared pictures -> one batch, uint8 [n, size, size, 3]."""
    return np.stack([im if isinstance(im, np.ndarray) else encoder.prepare(im) for im in images])
