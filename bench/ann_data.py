"""What `ann.py` searches: vectors, queries, and the true neighbours of each query."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from clipvectors import ClipVectors

from mmsearch.records import Ids, Vectors

K = 10
QUERIES = 1000
BLOCK = 16_384
TEXTS = {"text": (0, QUERIES), "tuning": (QUERIES, 2 * QUERIES),
         "items": (2 * QUERIES, 4 * QUERIES)}
"""Which of the generator's texts are asked (and scored), which the peers are tuned on, and which a
collection holds as items, for the engine to tune itself on. They do not overlap."""

Mask = np.ndarray[Any, np.dtype[np.bool_]]
Allow = Callable[[int, int], Mask]
"""Rows [start, stop) -> bool [queries, stop - start], or [1, stop - start] for all queries."""


@dataclass(frozen=True)
class Data:
    """The first `size` vectors of the generator with `seed`; what costs time is kept in `cache`."""

    cache: Path
    size: int
    dim: int = 512
    seed: int = 0

    @property
    def made(self) -> ClipVectors:
        return ClipVectors(self.seed, self.dim)

    @property
    def path(self) -> Path:
        return self.cache / "ann" / f"{self.made.key}-{self.size}"

    def blocks(self) -> Iterator[Vectors]:
        """The vectors, float32 [BLOCK, dim] at a time."""
        made = self.made
        for start in range(0, self.size, BLOCK):
            yield made.images(start, min(start + BLOCK, self.size))

    def queries(self, which: str) -> Vectors:
        """float32 [n, dim]: "image" (held-out images), or one of TEXTS."""
        def make() -> Vectors:
            if which == "image":
                return self.made.held_out(0, QUERIES)
            return self.made.texts(*TEXTS[which])

        return _kept(self.path / f"queries-{which}.npy", make)

    def truth(self, which: str) -> Ids:
        """int64 [n, K]: the nearest vectors of each query by exact float32 search."""
        names = ("text", "tuning", "image")
        if not (self.path / f"truth-{which}.npy").exists():  # all at once: making vectors costs
            found = self.exact(np.concatenate([self.queries(name) for name in names]))
            for name, rows in zip(names, np.split(found, len(names)), strict=True):
                _kept(self.path / f"truth-{name}.npy", lambda rows=rows: rows)  # type: ignore[misc]
        return np.load(self.path / f"truth-{which}.npy")

    def exact(self, queries: Vectors, allow: Allow | None = None) -> Ids:
        """int64 [n, K], best first, by exact float32 search; -1 where fewer rows are allowed."""
        scores = np.full((len(queries), K), -np.inf, np.float32)
        ids = np.full((len(queries), K), -1, np.int64)
        start = 0
        for block in self.blocks():
            near = queries @ block.T
            if allow is not None:
                near[np.broadcast_to(~allow(start, start + len(block)), near.shape)] = -np.inf
            best = np.argpartition(-near, min(K, near.shape[1] - 1), axis=1)[:, :K]
            scores = np.hstack([scores, np.take_along_axis(near, best, axis=1)])
            ids = np.hstack([ids, best + start])
            order = np.argsort(-scores, axis=1, kind="stable")[:, :K]
            scores = np.take_along_axis(scores, order, axis=1)
            ids = np.take_along_axis(ids, order, axis=1)
            start += len(block)
        return np.where(np.isfinite(scores), ids, -1)


def recall(found: Ids, truth: Ids) -> float:
    """The share of the true neighbours that were found; rows of `truth` may end in -1."""
    hits = sum(len(set(a[a >= 0]) & set(b[b >= 0])) for a, b in zip(found, truth, strict=True))
    return hits / max(int((truth >= 0).sum()), 1)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def _kept(path: Path, make: Callable[[], Any]) -> Any:
    """What `make` returns, from the file at `path` if it is there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npy")
        np.save(partial, make())
        partial.rename(path)
    return np.load(path)
