"""Places in the plane for vectors, so that what is alike lies together: UMAP (McInnes et al. 2018).

Its neighbours come from exact search in the 64 directions of most variance: quicker than its own
approximate search, and the same every time.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from mmsearch.errors import MissingExtra
from mmsearch.indexes import build_index
from mmsearch.records import IndexSpec, Vectors

NEIGHBOURS, DIRECTIONS = 15, 64
_FEW = 8


def places_of(vectors: Vectors, seed: int = 0) -> Vectors:
    """float32 [n, 2], each from 0 to 1.

    Raises:
        MissingExtra: umap-learn is not installed.
    """
    main = directions(vectors)
    if len(vectors) < _FEW:  # too few to be neighbours
        return scaled(main[:, :2])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it tells those without TensorFlow so
            from umap import UMAP
    except ImportError as error:
        raise MissingExtra("a map", "map") from error
    count = min(NEIGHBOURS, len(vectors) - 1)
    knn: Any = neighbours(main, count)
    start = scaled(main[:, :2]) * 10
    start += np.random.default_rng(seed).normal(scale=1e-4, size=start.shape).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a seed takes one thread, no search index is kept
        made = UMAP(n_neighbors=count, metric="cosine", precomputed_knn=knn, init=start,
                    force_approximation_algorithm=True, random_state=seed)
        return filling(scaled(made.fit_transform(main)))


def directions(vectors: Vectors, count: int = DIRECTIONS) -> Vectors:
    """The principal components of rows, float32 [n, count or less, at least 2], at length 1."""
    centred = vectors - vectors.mean(0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    main: Vectors = np.ascontiguousarray(centred @ axes[:, ::-1][:, :count], np.float32)
    main /= np.maximum(np.linalg.norm(main, axis=1, keepdims=True), 1e-6)
    return main


def neighbours(rows: Vectors, count: int) -> tuple[Any, Any]:
    """The nearest rows of each (itself first) and their cosine distances, [n, count] each."""
    index = build_index(lambda: iter([rows]), IndexSpec("exact"))
    parts = [index.search(rows[at : at + 4096], count) for at in range(0, len(rows), 4096)]
    ids = np.concatenate([part.ids for part in parts])
    distances = np.maximum(1 - np.concatenate([part.scores for part in parts]), 0)
    itself = np.arange(len(rows))
    for n in np.flatnonzero(ids[:, 0] != itself):  # copies come in any order
        at = np.flatnonzero(ids[n] == n)
        ids[n, at[0] if len(at) else -1] = ids[n, 0]
        ids[n, 0] = n
    distances[:, 0] = 0
    return ids.astype(np.int32), distances.astype(np.float32)


def scaled(places: Any) -> Vectors:
    """Into the unit square, but for a few that lie far outside: these at its edge."""
    low, high = np.percentile(places, 0.1, axis=0), np.percentile(places, 99.9, axis=0)
    room = max(float((high - low).max()), 1e-6)
    middle = (low + high) / 2
    found: Vectors = np.clip((places - middle) / room * 0.96 + 0.5, 0, 1).astype(np.float32)
    return found


def filling(places: Vectors) -> Vectors:
    """Half of the way to where all places are used alike: UMAP leaves much empty between what is
    not alike."""
    ranks = np.argsort(np.argsort(places, axis=0, kind="stable"), axis=0, kind="stable")
    found: Vectors = ((places + ranks / max(len(places) - 1, 1)) / 2).astype(np.float32)
    return found
