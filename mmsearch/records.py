"""Frozen values that travel between the layers; no behaviour beyond themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Kind: TypeAlias = Literal["image", "text", "frame"]
Find: TypeAlias = Literal["image", "text", "any"]
Vectors: TypeAlias = npt.NDArray[np.float32]
"""float32, one row an item; unit length wherever they come from an encoder."""
Ids: TypeAlias = npt.NDArray[np.int64]
Pixels: TypeAlias = npt.NDArray[np.uint8]
"""uint8 [height, width, 3], RGB."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that can be found.

    uri: an absolute path for a file; ``path#L3`` for line 3 of a text file; ``path#caption2`` for
        the second caption of an image.
    group: rows that belong together (a photo and its captions) share it; results show one of them.
    meta: JSON-able values: manifest columns, and after decoding width, height, taken, camera.
    fingerprint: ``size:mtime_ns`` of the file behind it, or ``text:<hash>`` for text given inline.
    """

    uri: str
    kind: Kind
    text: str = ""
    group: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """One result: `score` is the cosine between query and item, -1 to 1.

    relevance: how likely it is a match, 0 to 1, whatever the model and the kind of query (see
        `mmsearch.relevance`); None where the collection has nothing to tell that by.
    """

    id: int
    score: float
    item: Item
    relevance: float | None = None


class Neighbors(NamedTuple):
    """scores float32 [nq, k], best first, and ids int64 [nq, k]; id -1 means no match."""

    scores: Vectors
    ids: Ids


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """What to build: `kind` is a row of the table in `mmsearch.indexes`."""

    kind: Literal["exact", "ivf-rabitq"] = "exact"
    nlist: int = 0


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """A directory of a collection as the catalog knows it.

    role: "vectors" for a segment (below ``segments/``), "ann" for an approximate index over the
        segments of its kind whose rows are all numbered up to `last`.
    last: the highest sequence number in it.
    sha256: of its ``segment.json``, which has those of the other files.
    """

    name: str
    role: Literal["vectors", "ann"]
    kind: Kind
    rows: int
    bytes: int
    last: int
    sha256: str
