"""The collection that `index` and `watch` fill, and how they tell what they did."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsearch.cli.options import Device, Precision, with_precision
from mmsearch.cli.terminal import say, say_extras, say_skipped

if TYPE_CHECKING:
    from mmsearch.collection import AddReport, Collection

_M_ARENA_MAX = -8  # of malloc.h


@dataclass(frozen=True)
class Target:
    """Where a collection is, and what it is made with or set to from now on; None leaves what it
    is, see `Collection.configure`."""

    directory: Path
    model: str | None = None
    precision: Precision | None = None
    recall: float | None = None
    kind: str | None = None
    tiles: str | None = None
    rerank: bool | None = None
    device: Device = "cpu"

    def exists(self) -> bool:
        return (self.directory / "catalog.db").exists()

    def open(self) -> Collection:
        """Open the collection, or make it."""
        from mmsearch.collection import Collection
        from mmsearch.errors import CollectionNotFound

        try:
            found = Collection.open(self.directory, model=self.model, device=self.device)
            if self.precision is not None:
                model = with_precision(found.model, self.precision)
                found = Collection.open(self.directory, model=model, device=self.device)
        except CollectionNotFound:
            model = with_precision(self.model or "builtin", self.precision)
            found = Collection.create(self.directory, model=model, rerank=self.rerank,
                                      device=self.device)
        found.configure(recall=self.recall, kind=self.kind, tiles=self.tiles, rerank=self.rerank)
        return found


def share_one_heap() -> None:
    """Keep glibc from giving each thread a heap of its own. What large pictures leave scattered
    over those is never given back; with one heap, indexing takes an eighth less memory and no more
    time."""
    import ctypes
    import os
    from contextlib import suppress

    if sys.platform == "linux" and "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def facts_of(report: AddReport) -> dict[str, Any]:
    """A report as JSON has it."""
    stages = {name: spent._asdict() for name, spent in report.stages.items()}
    return asdict(report) | {"stages": stages}


def say_report(report: AddReport, facts: dict[str, Any], when: str = "") -> None:
    """What was done, as "added 2, items 14, skipped 0", and what was not."""
    say_skipped(report.damaged, word="damaged")
    say_skipped(report.skipped)
    if report.more_skipped:
        say(f"skipped {report.more_skipped} more")
    numbers = {name: value for name, value in facts.items() if isinstance(value, int) and value}
    numbers["skipped"] = len(report.skipped) + numbers.pop("more_skipped", 0)
    print(when + ", ".join(f"{name} {value}" for name, value in numbers.items()), flush=True)
    say_extras(report.skipped)
