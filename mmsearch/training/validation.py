"""Recall of heads on validation pairs: how an epoch is chosen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmsearch.metrics import best_ranks, recall_at
from mmsearch.records import Ids, Vectors
from mmsearch.training.features import Features
from mmsearch.training.heads import Heads


@dataclass(frozen=True, slots=True)
class Recall:
    """Recall at 1, 5 and 10, fractions, for `gallery` pictures."""

    text_to_image: tuple[float, float, float]
    image_to_text: tuple[float, float, float]
    gallery: int

    @property
    def total(self) -> float:
        return sum(self.text_to_image) + sum(self.image_to_text)


def recall(heads: Heads, data: Features) -> Recall:
    """Recall of both directions among `data`, of its first view."""
    return recall_of(heads.image(data.images[0]), heads.text(data.texts), data.owner)


def recall_of(images: Vectors, texts: Vectors, owner: Ids) -> Recall:
    """Recall of both directions among unit rows. owner: int64 [texts], the picture of each."""
    scores = texts @ images.T
    by_text = best_ranks(scores, list(owner[:, None]))
    captions = np.split(np.argsort(owner, kind="stable"), np.cumsum(np.bincount(owner))[:-1])
    by_image = best_ranks(np.ascontiguousarray(scores.T), captions)

    def at(ranks: Ids) -> tuple[float, float, float]:
        return recall_at(ranks, 1), recall_at(ranks, 5), recall_at(ranks, 10)

    return Recall(at(by_text), at(by_image), len(images))


def modality_gap(heads: Heads, data: Features) -> float:
    return gap_of(heads.image(data.images[0]), heads.text(data.texts))


def gap_of(images: Vectors, texts: Vectors) -> float:
    """The distance of the centres of pictures and captions (Liang et al. 2022)."""
    return float(np.linalg.norm(images.mean(axis=0) - texts.mean(axis=0)))
