"""What a collection's verbs report."""

from __future__ import annotations

from dataclasses import dataclass, field

from mmsearch.sources import Skipped
from mmsearch.stages import Spent


@dataclass
class AddReport:
    """What `Collection.add` did, in numbers of items; `skipped` says why for each."""

    added: int = 0
    replaced: int = 0
    updated: int = 0
    unchanged: int = 0
    moved: int = 0
    copied: int = 0
    removed: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    more_skipped: int = 0
    """Beyond those listed in `skipped`: of a file of vectors, only the first rows are."""
    damaged: list[Skipped] = field(default_factory=list)
    """Pictures that are indexed although something of them is missing, and what."""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Of this process."""
    stages: dict[str, Spent] = field(default_factory=dict)


@dataclass
class Reindexed:
    """What `Collection.reindex` did.

    switched: whether the collection is the new model's now; if not, `missing` says why.
    encoded: items that this run encoded; kept: those that an earlier run had.
    missing: items that could not be encoded again, and why.
    changed: files that are no longer what was indexed: their vectors are new, what else is known of
        them is as old as before, until they are indexed again.
    """

    encoder: str
    dim: int
    switched: bool = False
    encoded: int = 0
    kept: int = 0
    missing: list[Skipped] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    seconds: float = 0.0
