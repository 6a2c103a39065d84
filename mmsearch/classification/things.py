"""What is classified: items of a collection with the vectors of their pictures and texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from mmsearch.classification.choices import Features, Find
from mmsearch.errors import UsageError
from mmsearch.fragments import is_tile
from mmsearch.records import Kind, Vectors

if TYPE_CHECKING:
    from mmsearch.collection import Reader
    from mmsearch.storage import Row

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Things:
    """Rows, and float32 [n, dim] for each: the vector of its picture, and the mean of those of its
    texts; zeros where it has none."""

    rows: list[Row]
    images: Vectors
    texts: Vectors

    def features(self, which: Features) -> Vectors:
        """float32 [n, dim], or both beside each other, [n, 2 dim]."""
        return {"image": self.images, "text": self.texts,
                "fused": np.concatenate([self.images, self.texts], axis=1)}[which]

    def __getitem__(self, at: Sequence[int]) -> Things:
        return Things([self.rows[n] for n in at], self.images[at], self.texts[at])


def gather(collection: Reader, features: Features, *, find: Find = "image",
           where: str | Sequence[str] = ()) -> Things:
    """The pictures (frames and pages too), or the texts, that meet the conditions.

    With the features text, a picture without any text is left out.

    Raises:
        UsageError: texts have no features of pictures; a condition that cannot be read.
    """
    if find == "text":
        if features != "text":
            raise UsageError("texts have no picture; take --features text")
        rows, vectors = collection.vectors("text", where=where)
        return Things(rows, np.zeros_like(vectors), vectors)
    kinds: tuple[Kind, ...] = ("image", "frame")
    parts = [collection.vectors(kind, where=where) for kind in kinds]
    rows = [row for found, _ in parts for row in found]
    images = np.concatenate([vectors for _, vectors in parts])
    keep = [n for n, row in enumerate(rows) if not is_tile(row.item) and images[n].any()]
    rows, images = [rows[n] for n in keep], images[keep]
    texts = np.zeros_like(images)
    if features != "image":
        texts = of_groups(collection, [row.item.group for row in rows], images.shape[1])
    things = Things(rows, images, texts)
    return things[np.flatnonzero(texts.any(1)).tolist()] if features == "text" else things


def of_groups(collection: Reader, groups: Sequence[str], dim: int) -> Vectors:
    """The mean of the vectors of the texts in each group, of length 1; zeros where there are none.
    """
    found = np.zeros((len(groups), dim), np.float32)
    texts, vectors = collection.vectors("text")
    place = {group: n for n, group in enumerate(dict.fromkeys(groups))}
    mine = [(place[row.item.group], n) for n, row in enumerate(texts) if row.item.group in place]
    means = np.zeros((len(place), dim), np.float32)
    if mine:
        to, from_ = np.array(mine).T
        np.add.at(means, to, vectors[from_])
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    means /= np.where(lengths > 0, lengths, 1)
    found[:] = means[[place[group] for group in groups]] if groups else found
    return found
