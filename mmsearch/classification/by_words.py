"""Labels as words alone: a softmax over how well each label fits an item.

How well, is counted in deviations of the cosines of that item to texts that are foreign to it (the
captions of the calibration set, see `search.relevance`; less the highest tenth, for one may fit),
so that it holds for a model whose cosines are larger or smaller than another's:

    u = (c - m) / s,    p(label) = exp(u) / (exp(b) + sum over labels of exp(u))
    b = FITS + sqrt(2 ln labels)

What is left of the probability is that of "none of these": sqrt(2 ln n) is about the highest of n
standard normal values, so b is what the best of so many labels that do not fit reaches by chance,
and FITS more. `bench/classify.py --fit` compares values of FITS, and steeper and flatter softmaxes;
these are near the best on splits val of product photos and of pictures of ImageNet's names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mmsearch.classification.choices import Features
from mmsearch.classification.labels import Label
from mmsearch.classification.things import Floats, Things
from mmsearch.encoders import Encoder, encode_queries
from mmsearch.records import Ids, Vectors
from mmsearch.search import calibration_of, kept_calibration

FITS = 1.0
_BLOCK, _TEXTS = 8192, 256


@dataclass(frozen=True)
class ZeroShot:
    """labels: their names; images, texts: what they say, for pictures and for texts, float32
    [labels, dim], unit rows; foreign: texts about something else, float32 [m, dim]."""

    labels: list[str]
    images: Vectors
    texts: Vectors
    foreign: Vectors
    features: Features = "image"
    always: bool = False

    def probabilities(self, things: Things) -> Floats:
        """float64 [n, labels]; what a row lacks to 1 is that of none of them (of `always`: 0)."""
        sides = {"image": [(things.images, self.images)], "text": [(things.texts, self.texts)]}
        sides["fused"] = sides["image"] + sides["text"]
        total = np.zeros((len(things.rows), len(self.labels)))
        weight = np.zeros((len(things.rows), 1))
        for vectors, words in sides[self.features]:
            there = vectors.any(1, keepdims=True)  # a picture without a caption says half of it
            total += np.where(there, heights(vectors, words, self.foreign), 0)
            weight += there
        return open_softmax(total / np.maximum(weight, 1), always=self.always)


def heights(vectors: Vectors, words: Vectors, foreign: Vectors) -> Floats:
    """u at the top of this file, float64 [n, labels]."""
    found = np.empty((len(vectors), len(words)))
    for at in range(0, len(vectors), _BLOCK):
        rows = vectors[at : at + _BLOCK]
        known = np.sort(rows @ foreign.T, axis=1)[:, : len(foreign) * 9 // 10]
        spread = np.maximum(known.std(1, keepdims=True), 1e-6)
        found[at : at + _BLOCK] = (rows @ words.T - known.mean(1, keepdims=True)) / spread
    return found


def open_softmax(heights: Floats, *, fits: float = FITS, always: bool = False) -> Floats:
    """float64 [n, labels], of n by labels heights; of `always`, without what stands for none."""
    labels = heights.shape[1]
    none = np.full((len(heights), 1), fits + np.sqrt(2 * np.log(labels)))
    logits = heights if always else np.concatenate([heights, none], axis=1)
    shares = np.exp(logits - logits.max(1, keepdims=True))
    found: Floats = (shares / shares.sum(1, keepdims=True))[:, :labels]
    return found


def zero_shot(encoder: Encoder, labels: Sequence[Label], features: Features = "image", *,
              always: bool = False, progress: Callable[[int], None] = lambda done: None
              ) -> ZeroShot:
    """always: every item gets one of the labels, however little it fits; progress: is told of the
    prompts that are encoded."""
    prompts = [prompt for label in labels for prompt in label.prompts]
    parts = []
    for at in range(0, len(prompts), _TEXTS):
        parts.append(encode_queries(encoder, prompts[at : at + _TEXTS]))
        progress(len(prompts[at : at + _TEXTS]))
    of = np.repeat(np.arange(len(labels)), [len(label.prompts) for label in labels])
    images, texts = (_means(np.concatenate(side), of) for side in zip(*parts, strict=True))
    known = calibration_of(encoder.name, None, encoder.dim) or kept_calibration(encoder)
    return ZeroShot([label.name for label in labels], images, texts, known.texts, features, always)


def _means(vectors: Vectors, of: Ids) -> Vectors:
    """The mean of the rows of each label, at length 1; of: int64 [rows], ascending."""
    sums: Vectors = np.add.reduceat(vectors, np.flatnonzero(np.diff(of, prepend=-1)), axis=0)
    sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-6)
    return sums.astype(np.float32)
