"""Learning inverted lists: spherical k-means on a sample, in two levels where lists are many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mmsearch.indexes._faiss import load_faiss
from mmsearch.records import Vectors

TRAIN_ROWS_PER_LIST = 64
ITERATIONS = 10
TWO_LEVELS_FROM = 8192
"""With so many lists, plain k-means would take half an hour and more on a few cores."""


def train_lists(index: Any, blocks: Callable[[], Iterator[Vectors]], rows: int) -> None:
    """Train a FAISS IVF index (perhaps behind a rotation) on an even sample of its rows."""
    faiss = load_faiss()
    ivf = faiss.extract_index_ivf(index)
    train_rows = sample(blocks(), rows, ivf.nlist * TRAIN_ROWS_PER_LIST)
    ivf.cp.spherical, ivf.cp.niter = True, ITERATIONS
    if ivf.nlist >= TWO_LEVELS_FROM:
        moved = train_rows
        if isinstance(index, faiss.IndexPreTransform):
            rotation = index.chain.at(0)
            rotation.train(train_rows)
            moved = rotation.apply(train_rows)
        ivf.quantizer.add(two_level_centroids(moved, ivf.nlist))  # FAISS then leaves them alone
        train_rows = train_rows[:: max(1, len(train_rows) // 65_536)]
    index.train(np.ascontiguousarray(train_rows))


def two_level_centroids(vectors: Vectors, nlist: int) -> Vectors:
    """float32 [nlist, d]: k-means in √nlist clusters, then in each for its share of the lists.

    Costs 2/√nlist of plain k-means, for lists that are a little less even.
    """
    coarse = _kmeans(vectors, round(nlist**0.5))
    _, labels = coarse.index.search(vectors, 1)
    members = [np.flatnonzero(labels[:, 0] == n) for n in range(coarse.k)]
    shares = _shares([len(rows) for rows in members], nlist)
    return np.concatenate([_kmeans(vectors[rows], share).centroids
                           for rows, share in zip(members, shares, strict=True) if share])


def _kmeans(vectors: Vectors, k: int) -> Any:
    faiss = load_faiss()
    found = faiss.Kmeans(vectors.shape[1], k, niter=ITERATIONS, spherical=True, seed=0,
                         min_points_per_centroid=1, max_points_per_centroid=256)
    found.train(np.ascontiguousarray(vectors))
    return found


def _shares(sizes: list[int], total: int) -> list[int]:
    """`total` in parts proportional to `sizes`, none larger than its size."""
    exact = np.array(sizes) * total / sum(sizes)
    parts = np.minimum(np.floor(exact).astype(int), sizes)
    for n in np.argsort(parts - exact)[: total - parts.sum()]:
        parts[n] += 1
    return [int(part) for part in parts]


def sample(blocks: Iterator[Vectors], rows: int, wanted: int) -> Vectors:
    """About `wanted` of the rows, evenly spread, so that no stretch of them is left out.

    rows: exactly how many there are.
    """
    step = max(1, rows // wanted)
    found, at, filled = np.zeros((0, 0), np.float32), 0, 0
    for block in blocks:
        if not at:
            found = np.empty((-(-rows // step), block.shape[1]), np.float32)
        part = block[(-at) % step :: step]  # copied: a view would keep all the blocks in memory
        found[filled : filled + len(part)] = part
        filled, at = filled + len(part), at + len(block)
    return found
