"""Where training starts: heads in closed form, from whitened text and ridge regression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mmsearch.records import Vectors
from mmsearch.training.features import Features
from mmsearch.training.heads import Head, Heads, unit

RIDGE = 1.0
"""Weight of the penalty, per training picture."""
WHITEN = 0.75
"""0 would leave the text features as they are, 1 make all their directions equally long."""


def closed_form_heads(data: Features, base: Heads | None = None) -> Heads:
    """Heads without a single step of descent.

    Text: centred and softly whitened, so that rare distinctions count as much as common ones.
    Image: ridge regression from standardised features to the mean vector of the captions. With
    `base`, its text head stays and the regression is of what its image head still gets wrong.
    """
    return starts(data, base, (1.0,))[0]


def starts(data: Features, base: Heads | None, shares: Sequence[float]) -> list[Heads]:
    """The heads of `base`, and of what they get wrong so large a share made good in closed form."""
    text = base.text if base else _whitening(unit(data.texts))
    wanted = np.zeros((data.images.shape[1], text.weight.shape[0]))
    np.add.at(wanted, data.owner, text(data.texts))
    wanted /= np.bincount(data.owner, minlength=len(wanted))[:, None]

    views = [unit(view) for view in data.images]
    mean, spread = moments(views)
    known: list[npt.NDArray[Any]] = [np.zeros_like(wanted) for _ in views]
    before = Head(np.zeros((wanted.shape[1], len(mean)), np.float32),
                  np.zeros(wanted.shape[1], np.float32))
    if base:
        raw = [view @ base.image.weight.T + base.image.bias for view in views]
        # A head's scale means nothing; the one that fits best makes the two comparable.
        scale = sum(float((r * wanted).sum()) for r in raw) / sum(float((r * r).sum()) for r in raw)
        before = Head(base.image.weight * scale, base.image.bias * scale)
        known = [r * scale for r in raw]
    gram = np.eye(len(mean)) * RIDGE * len(wanted)
    cross = np.zeros((len(mean), wanted.shape[1]))
    for view, done in zip(views, known, strict=True):
        x = (view - mean) / spread
        gram += x.T @ x / len(views)
        cross += x.T @ (wanted - done) / len(views)
    weight = (np.linalg.solve(gram, cross) / spread[:, None]).T
    change = Head(f32(weight), f32(-weight @ mean))
    return [Heads(Head(before.weight + share * change.weight, before.bias + share * change.bias),
                  text) for share in shares]


def _whitening(texts: Vectors) -> Head:
    mean = texts.mean(0, dtype=np.float64)
    values, axes = np.linalg.eigh(np.cov((texts - mean).T, bias=True))
    # The floor keeps directions in which a small set hardly varies from being blown up.
    weight = (axes * np.maximum(values, 0.03 * values[-1]) ** (-WHITEN / 2)).T
    return Head(f32(weight), f32(-weight @ mean))


def f32(values: npt.NDArray[Any]) -> Vectors:
    return np.asarray(values, np.float32)


def moments(
    views: Sequence[Vectors],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and standard deviation of every feature over all views."""
    mean = np.mean([view.mean(0, dtype=np.float64) for view in views], axis=0)
    spread = np.sqrt(np.mean([view.var(0, dtype=np.float64) for view in views], axis=0))
    return np.asarray(mean), np.maximum(spread, 1e-6)
