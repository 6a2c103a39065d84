"""Groups of items that look alike, and a name for each from a vocabulary."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmsearch.classification.by_words import ZeroShot, zero_shot
from mmsearch.classification.labels import Label
from mmsearch.classification.things import Floats, Things
from mmsearch.encoders import Encoder
from mmsearch.errors import MissingExtra, UsageError
from mmsearch.records import Ids, Vectors

MOST = 200
"""Clusters."""
_ALTERNATIVES = 3
_COMMON = 2 / 3
"""How much of what all items have in common counts against a word."""
_SAMPLE = 20_000
"""Items that the centres of more than that are found on."""


@dataclass(frozen=True)
class Cluster:
    """name: the word of the vocabulary that sets its items apart from all others; also: the next
    ones; confidence: how likely the name is right for one of its items, on average (as a label
    among the names of all clusters); items: their numbers, nearest to the centre first."""

    name: str
    also: list[str]
    confidence: float
    items: list[int]


def cluster(vectors: Vectors, count: int | None = None, seed: int = 0) -> tuple[Ids, Vectors]:
    """The cluster of each item, int64 [n], largest first, and their centres, float32 [clusters,
    dim]: k-means (scikit-learn's).

    count: of clusters; by default 1.5 times the number of items to the power of 0.4, 40 at most:
        7 of 50 items, 24 of 1,000.

    Raises:
        UsageError: a count below 2 or above MOST.
        MissingExtra: scikit-learn is not installed.
    """
    if count is not None and not 2 <= count <= MOST:
        raise UsageError(f"--clusters takes a number from 2 to {MOST}, not {count}")
    try:
        from sklearn.cluster import KMeans
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise MissingExtra("a map", "map") from error
    wanted = count or min(40, max(2, round(1.5 * len(vectors) ** 0.4)))
    wanted = min(wanted, len(np.unique(vectors, axis=0)) if len(vectors) <= MOST else wanted)
    random = np.random.default_rng(seed)
    sample = vectors if len(vectors) <= _SAMPLE else vectors[
        np.sort(random.choice(len(vectors), _SAMPLE, replace=False))]
    with threadpool_limits(1), warnings.catch_warnings():  # as in by_examples
        warnings.simplefilter("ignore")  # copies leave fewer clusters than it was asked for
        found = KMeans(wanted, n_init=1, random_state=seed).fit(sample)
        centres: Vectors = found.cluster_centers_.astype(np.float32)
        of = _nearest(vectors, centres)
    sizes = np.bincount(of, minlength=wanted)
    order = np.argsort(-sizes, kind="stable")[: int((sizes > 0).sum())]
    place = np.zeros(wanted, np.int64)
    place[order] = np.arange(len(order))
    return place[of], centres[order]


def _nearest(vectors: Vectors, centres: Vectors) -> Ids:
    """By Euclidean distance; rows are of length 1."""
    half = (centres * centres).sum(1) / 2
    parts = [(vectors[at : at + 8192] @ centres.T - half).argmax(1)
             for at in range(0, len(vectors), 8192)]
    return np.concatenate(parts).astype(np.int64)


def named(things: Things, of: Ids, centres: Vectors, vocabulary: Sequence[Label],
          encoder: Encoder, *, progress: Callable[[int], None] = lambda done: None
          ) -> list[Cluster]:
    """The clusters of `cluster` with their names.

    A word counts by how near it is to a cluster, less what it has in common with all items; no two
    clusters have the same name, while there are words.
    """
    words = zero_shot(encoder, vocabulary, progress=progress)
    apart = (centres - _COMMON * things.images.mean(0)) @ words.images.T
    names = _one_each(apart)
    sure = _confidences(words, names, things, of)
    found = []
    for n, name in enumerate(names):
        also = [m for m in np.argsort(-apart[n])[: _ALTERNATIVES + 1] if m != name]
        mine = np.flatnonzero(of == n)
        near = np.argsort(-(things.images[mine] @ centres[n]), kind="stable")
        found.append(Cluster(words.labels[name], [words.labels[m] for m in also[:_ALTERNATIVES]],
                             sure[n], mine[near].tolist()))
    return found


def _one_each(fits: Any) -> list[int]:
    """A word for each cluster: the best pair of all first, no word twice unless there are too few.
    """
    clusters, words = fits.shape
    names = [int(row.argmax()) for row in fits]
    if clusters > words:
        return names
    taken: set[int] = set()
    for n in sorted(range(clusters), key=lambda n: -fits[n].max()):
        names[n] = next(int(m) for m in np.argsort(-fits[n]) if int(m) not in taken)
        taken.add(names[n])
    return names


def _confidences(words: ZeroShot, names: Sequence[int], things: Things, of: Ids) -> list[float]:
    """Of each cluster's name, among the names of all and none of them."""
    among = ZeroShot([words.labels[n] for n in names], words.images[names], words.texts[names],
                     words.foreign)
    shares: Floats = among.probabilities(things)
    mine = shares[np.arange(len(of)), of]
    return [float(mine[of == n].mean()) for n in range(len(names))]
