"""A memory of names: what a query is called is moved towards what the image tower sees under it.

A small text tower learned sentences; of most names (koala, accordion) it has never seen a picture.
The memory has a key for every name, the text tower's features of it, and a value, the direction in
which pictures of it lie. A query attends to the keys that it is like; one that is like none of them
stays where it is. What the values are made of: docs/names.md, `tools/build_names.py`.

Only queries for pictures are moved: pictures and captions are indexed as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmsearch.records import Ids, Vectors

_CALLED = re.compile(
    r"\s*(?:an? |the )?(?:photo(?:graph)?|picture|image)s? of (?:an? |the )?", re.IGNORECASE)

_ATTENDED = 16
"""Names that a query attends to: of more, the share is nothing."""


def called(text: str) -> str:
    """What is asked for: "a photo of a koala" is called koala."""
    return text[match.end():] or text if (match := _CALLED.match(text)) else text


class Names:
    """The table of a model directory, memory-mapped: a row is a `word`, the `key`, int8 [F], and
    the `value`, float16 [dim], of length 1 at most.

    keys: other features of the same names, [n, F]; `moved` then takes these.
    settings: "strength", how far a query that is a name is moved, in lengths of its own vector;
        "sharpness", attention is exp(likeness / sharpness), a likeness is a cosine to a key;
        "least", the likeness from which on a query is moved, the further the more it is like.
    """

    def __init__(self, path: Path, settings: Mapping[str, float],
                 keys: Vectors | None = None) -> None:
        self.table = np.load(path, mmap_mode="r")
        self.settings = settings
        self.keys = (self.table["key"] if keys is None else keys).astype(np.float32)
        self.lengths = np.sqrt(np.einsum("nf,nf->n", self.keys, self.keys))
        if not _ATTENDED < len(self.table) == len(self.keys) or not self.lengths.all():
            raise ValueError("not a table of names")

    def moved(self, vectors: Vectors, features: Vectors) -> Vectors:
        """Query vectors, float32 [n, dim], by the text tower's features [n, F] of their names."""
        lengths = np.linalg.norm(features, axis=1, keepdims=True) * self.lengths
        likeness = features @ self.keys.T / lengths
        nearest = np.argpartition(-likeness, _ATTENDED, axis=1)[:, :_ATTENDED]
        out: Vectors = vectors.copy()
        for n in np.flatnonzero(likeness.max(1) > self.settings["least"]):
            out[n] += self._value(likeness[n, nearest[n]], nearest[n])
            out[n] /= np.linalg.norm(out[n])
        return out

    def _value(self, likeness: Vectors, rows: Ids) -> Vectors:
        best, least = likeness.max(), self.settings["least"]
        share = np.exp((likeness - best) / self.settings["sharpness"])
        share *= self.settings["strength"] * (best - least) / (1 - least) / share.sum()
        found: Vectors = share @ self.table["value"][rows].astype(np.float32)
        return found
