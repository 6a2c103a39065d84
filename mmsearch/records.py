"""Frozen values that travel between the layers; no behaviour beyond themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["image", "text", "frame"]
if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vectors: TypeAlias = npt.NDArray[np.float32]
    """float32, one row an item; unit length wherever they come from an encoder."""
    Ids: TypeAlias = npt.NDArray[np.int64]
    Pixels: TypeAlias = npt.NDArray[np.uint8]
    """uint8 [height, width, 3], RGB."""
else:  # a query that a server answers does without NumPy, which takes 0.1 s to load
    Vectors = Ids = Pixels = Any


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that can be found.

    uri: an absolute path for a file; ``path#L3`` for line 3 of a text file; ``path#caption2`` for
        the second caption of an image, ``path#embedded1`` for one that is inside of it;
        ``path#t=12.5``, ``path#page=3`` and ``path#xywh=percent:0,0,55,55`` for a frame of a video,
        a page of a document and a tile of a picture (see `mmsearch.fragments`); for other
        addresses see `mmsearch.uris`.
    group: rows that belong together (a photo and its captions) share it; results show one of them.
    meta: JSON-able values: manifest columns, and after decoding those of `metadata.fields.FIELDS`.
    fingerprint: ``size:mtime_ns`` of the file behind it, with those of the files that describe it
        (`sources.sidecars`), or ``text:<hash>`` for text given inline; what tells that it is
        unchanged, wherever it is (see `sources.locate`).
    """

    uri: str
    kind: Kind
    text: str = ""
    group: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """One result.

    score: what it was ranked by: the cosine (with rerank, and what the closer look adds), with mode
        text BM25, with mode hybrid both, fused.
    cosine: between query and item, -1 to 1, raised or lowered by the captions of a picture where
        these count; None if it was found by its words alone.
    bm25: how well its words match, above 0; None if it was found by its vector alone.
    cursor: for `after`, with mode vector: what follows this hit.
    relevance: how likely it is a match, 0 to 1, whatever the model and the kind of query (see
        `search.relevance`); None where the collection has nothing to tell that by.
    """

    id: int
    score: float
    item: Item
    cosine: float | None = None
    bm25: float | None = None
    cursor: str = ""
    relevance: float | None = None


class Neighbors(NamedTuple):
    """scores float32 [nq, k], best first, and ids int64 [nq, k]; id -1 means no match."""

    scores: Vectors
    ids: Ids


class Matches(NamedTuple):
    """As `Neighbors`, of what words found. whole: whether these have all words, or only some."""

    scores: Vectors
    ids: Ids
    whole: bool = True


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """What to build: `kind` is a row of `indexes.kinds.KINDS`.

    nlist: inverted lists; m: neighbours of a node in a graph; ef_construction: candidates looked
    at when a node is put into it.
    """

    kind: str = "exact"
    nlist: int = 0
    m: int = 32
    ef_construction: int = 80


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard an approximate index is searched.

    width: lists visited (nprobe) or nodes kept in view (efSearch); rescored: candidates scored
    exactly, 0 where the index's own scores are exact.
    """

    width: int
    rescored: int = 0


@dataclass(frozen=True, slots=True)
class Tuning:
    """What an index was tuned to and what that gave.

    target, recall: recall@10 asked for, and measured on queries that it was not tuned on.
    queries: how many those were; source: where they came from, in words.
    milliseconds: median of one query in one thread, candidates and rescoring.
    """

    effort: Effort
    target: float
    recall: float
    queries: int
    source: str
    milliseconds: float


class Problem(NamedTuple):
    """Something that is not as it was written: in which file, what, and whether a repair has put
    it right."""

    file: str
    reason: str
    fixed: bool = False

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}"


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
