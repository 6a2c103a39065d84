"""Against hubs: some pictures are near to every text, and come up whatever is asked for.

How near an item is to the other kind in general is the mean of its cosines to the ten nearest of
4,096 texts (for a picture) or pictures (for a text) of the training data. Half of that, as far as
it is above what is usual, is taken from the cosine of a text t and a picture x (cross-domain
similarity local scaling: Conneau et al. 2018, Word Translation Without Parallel Data, equation 2;
with texts from elsewhere: Bogolin et al. 2022, Cross Modal Retrieval with Querybank Normalisation):

    score = t . x - a near(x) - a near(t)

That is still one product of two vectors: of the directions of the space the two in which vectors
differ least are given up, and hold

                  first axis     second axis
    picture       c near(x)      -a / c
    text          -a / c         c near(t)

so all that searches vectors searches these. Vectors that were made without are compared as before.
What it gives: docs/hubness.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from mmsearch.errors import ModelError
from mmsearch.records import Vectors

_ROWS, _COLUMNS = 4, 160
"""A product of so small matrices stays in one thread of BLAS (OpenBLAS: below 2^18 steps). More
would wait for the cores on which other pictures are encoded: a run took 30 % longer."""


class Hubness:
    """The file of a model directory: "axes", float32 [2, dim]; "texts" and "pictures", int8
    [n, dim]; "usual", float32 [2]: how near texts, and pictures, are on average.

    settings: "neighbours", how many of the nearest count; "weight" is a, "scale" is c.
    """

    def __init__(self, path: Path, settings: Mapping[str, float]) -> None:
        self._path = path
        self._axes, self._usual = self._read("axes"), self._read("usual")
        self._neighbours = int(settings["neighbours"])
        self._scale = float(settings["scale"])
        self._weight = -float(settings["weight"]) / self._scale

    def pictures(self, vectors: Vectors) -> Vectors:
        """Unit rows, float32 [n, dim], as they are indexed."""
        return self._placed(vectors, self._near(vectors, self._texts) - self._usual[1], 0)

    def texts(self, vectors: Vectors) -> Vectors:
        """Unit rows, float32 [n, dim], as they are indexed."""
        return self._placed(vectors, self._near(vectors, self._pictures) - self._usual[0], 1)

    def queries(self, vectors: Vectors) -> Vectors:
        """Texts that ask: how near they are themselves changes no order, and is left out."""
        return self._placed(vectors, np.zeros(len(vectors), np.float32), 1)

    def _placed(self, vectors: Vectors, near: Vectors, axis: int) -> Vectors:
        out: Vectors = vectors - (vectors @ self._axes.T) @ self._axes
        out += self._scale * near[:, None] * self._axes[axis] + self._weight * self._axes[1 - axis]
        out /= np.linalg.norm(out, axis=1, keepdims=True)
        return out

    def _near(self, vectors: Vectors, others: Vectors) -> Vectors:
        """Mean cosine to the nearest of the others, float32 [n]."""
        near = np.empty(len(vectors), np.float32)
        cosines = np.empty((_ROWS, len(others)), np.float32)
        for at in range(0, len(vectors), _ROWS):
            some = vectors[at : at + _ROWS]
            for column in range(0, len(others), _COLUMNS):
                part = others[column : column + _COLUMNS]
                np.matmul(some, part.T, out=cosines[: len(some), column : column + len(part)])
            highest = np.partition(cosines[: len(some)], -self._neighbours)[:, -self._neighbours:]
            near[at : at + len(some)] = highest.mean(1)
        return near

    @cached_property
    def _texts(self) -> Vectors:
        return _unit(self._read("texts"))

    @cached_property
    def _pictures(self) -> Vectors:
        return _unit(self._read("pictures"))

    def _read(self, part: str) -> Any:
        """Of the file opened anew: processes that were forked would share its position."""
        try:
            with np.load(self._path) as file:
                return file[part]
        except (OSError, EOFError, ValueError, LookupError, BadZipFile) as error:
            raise ModelError(f"{self._path} cannot be loaded ({error}); reinstall mmsearch, or "
                             "point --model at a sound model directory") from error


def _unit(rows: Vectors) -> Vectors:
    wide = rows.astype(np.float32)
    unit: Vectors = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return unit
