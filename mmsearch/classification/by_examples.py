"""Labels learned from examples: a linear probe, or the nearest mean of a class.

Which, and how strongly the probe is regularised, is chosen by cross-validation, as is the
temperature that makes its probabilities honest (Guo et al. 2017, "On Calibration of Modern Neural
Networks"). Features are centred on the mean of the examples and brought to length 1 first (Wang et
al. 2019, "SimpleShot").
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmsearch.classification.choices import Features
from mmsearch.classification.things import Floats, Things
from mmsearch.errors import MissingExtra, UsageError
from mmsearch.records import Ids, Vectors

STRENGTHS = (0.01, 0.1, 1.0, 10.0)
"""Of the probe: scikit-learn's C, the less the more it is regularised."""
FOLDS = 5
MEANS = "nearest mean"
SHARPNESS = 10.0
"""Logits of the nearest mean are cosines times this, before any temperature."""
_TEMPERATURES = np.geomspace(0.05, 20, 61)


@dataclass(frozen=True)
class Method:
    """strength: of the probe; None for the nearest mean."""

    strength: float | None = None

    def __str__(self) -> str:
        return MEANS if self.strength is None else f"linear probe, C = {self.strength:g}"


@dataclass(frozen=True)
class FewShot:
    """A classifier made of examples, and how well it did on those that it had not seen.

    guesses: float64 [examples, labels], the probabilities of each example by a classifier that was
    made without it; None where no label has two examples, which leaves nothing to try it on.
    """

    labels: list[str]
    features: Features
    method: Method
    temperature: float
    centre: Vectors
    weights: Vectors
    bias: Vectors
    guesses: Floats | None = field(default=None, repr=False)

    def probabilities(self, things: Things) -> Floats:
        """float64 [n, labels], rows that sum to 1."""
        x = centred(things.features(self.features), self.centre)
        return softmax((x @ self.weights.T + self.bias) / self.temperature)


def few_shot(things: Things, labels: Sequence[str], features: Features = "image", *,
             methods: Sequence[Method] | None = None, seed: int = 0,
             progress: Callable[[int], None] = lambda done: None) -> FewShot:
    """Learn from examples with labels, one a thing.

    methods: what is tried, by default the nearest mean and the probe at STRENGTHS. Where
        fewer than two examples of a label cannot be tried, it is the nearest mean.

    Raises:
        UsageError: fewer than two different labels.
        MissingExtra: scikit-learn is not installed.
    """
    names = sorted(set(labels))
    if len(names) < 2:
        raise UsageError(f"examples of two labels or more are needed, not of {len(names)}"
                         + (f" ({names[0]!r})" if names else ""))
    y = np.array([names.index(one) for one in labels], np.int64)
    raw = things.features(features)
    centre = raw.mean(0, keepdims=True)
    x = centred(raw, centre)
    tried = [Method(), *map(Method, STRENGTHS)] if methods is None else [*methods]
    folds = in_folds(y, seed)
    best, guesses, temperature = Method(), None, 1.0
    if folds is None and methods:
        best = tried[0]
    if folds is not None:
        held = np.bincount(y)[y] > 1  # what has one example alone cannot be found without it
        outcomes = []
        for method in tried:
            logits = without_own_fold(x, y, len(names), folds, method)
            warmth = temperature_of(logits[held], y[held])
            right = float((logits[held].argmax(1) == y[held]).mean())
            outcomes.append((right, -loss(logits[held] / warmth, y[held]), method, warmth, logits))
            progress(1)
        _, _, best, temperature, logits = max(outcomes, key=lambda one: one[:2])
        guesses = softmax(logits / temperature)
    weights, bias = fitted(x, y, len(names), best)
    return FewShot(names, features, best, temperature, centre, weights, bias, guesses)


def centred(features: Vectors, centre: Vectors) -> Vectors:
    """float32 [n, d], unit rows."""
    x = features - centre
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    found: Vectors = (x / np.maximum(lengths, 1e-6)).astype(np.float32)
    return found


def fitted(x: Vectors, y: Ids, labels: int, method: Method) -> tuple[Vectors, Vectors]:
    """weights [labels, d] and bias [labels]: logits are x @ weights.T + bias. A label without any
    example has a bias that no other falls below."""
    if method.strength is None:
        means = np.stack([x[y == n].mean(0) if (y == n).any() else np.zeros(x.shape[1])
                          for n in range(labels)])
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-6)
        weights, bias = SHARPNESS * means, np.zeros(labels)
        bias[np.bincount(y, minlength=labels) == 0] = -100
        return weights.astype(np.float32), bias.astype(np.float32)
    scale = np.float32(np.sqrt(x.shape[1]))  # values of a deviation of about 1
    probe = _probe(x * scale, y, method.strength)
    weights, bias = np.zeros((labels, x.shape[1])), np.full(labels, -100.0)
    if len(probe.classes_) == 2:  # scikit-learn has one row for two classes
        weights[probe.classes_] = np.stack([-probe.coef_[0], probe.coef_[0]]) / 2
        bias[probe.classes_] = np.array([-probe.intercept_[0], probe.intercept_[0]]) / 2
    else:
        weights[probe.classes_], bias[probe.classes_] = probe.coef_, probe.intercept_
    return (weights * scale).astype(np.float32), bias.astype(np.float32)


def _probe(x: Vectors, y: Ids, strength: float) -> Any:
    try:
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise MissingExtra("learning labels from examples", "classify",
                           "give the labels as words: --labels") from error
    # Threads wait for each other 70 times longer than they work; a label with one example is fine.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return LogisticRegression(C=strength, max_iter=300, tol=1e-3).fit(x, y)


def in_folds(y: Ids, seed: int) -> Ids | None:
    """The fold of each example, int64 [n], each label spread evenly over them; None where no label
    has two examples."""
    counts = np.bincount(y)
    if counts.max() < 2:
        return None
    folds = np.zeros(len(y), np.int64)
    shuffled = np.random.default_rng(seed).permutation(len(y))
    start = 0
    for n in range(len(counts)):
        mine = shuffled[y[shuffled] == n]
        folds[mine] = (np.arange(len(mine)) + start) % FOLDS
        start += len(mine)
    return folds


def without_own_fold(x: Vectors, y: Ids, labels: int, folds: Ids, method: Method) -> Floats:
    """Logits of each example by a classifier made of the other folds: float64 [n, labels]."""
    logits = np.full((len(x), labels), -100.0)
    for fold in np.unique(folds):
        own, others = folds == fold, folds != fold
        if len(left := np.unique(y[others])) == 1:
            logits[own, left[0]] = 0.0
        else:
            weights, bias = fitted(x[others], y[others], labels, method)
            logits[own] = x[own] @ weights.T + bias
    return logits


def temperature_of(logits: Floats, y: Ids) -> float:
    """What logits have to be divided by for their softmax to say how often it is right."""
    losses = [loss(logits / warmth, y) for warmth in _TEMPERATURES]
    return float(_TEMPERATURES[int(np.argmin(losses))])


def loss(logits: Floats, y: Ids) -> float:
    """The mean negative logarithm of the probability of what is right."""
    shares = softmax(logits)[np.arange(len(y)), y]
    return float(-np.log(np.maximum(shares, 1e-12)).mean())


def softmax(logits: Floats | Vectors) -> Floats:
    shares = np.exp((logits - logits.max(1, keepdims=True)).astype(np.float64))
    found: Floats = shares / shares.sum(1, keepdims=True)
    return found
