"""Where the time of an index run goes.

    find      walking folders, and telling what is new or changed
    read      bytes from a disk or from afar, and their hash
    decode    bytes to RGB, with what they say of themselves
    prepare   RGB to what the model sees
    encode    the model; loading it is part of the first call
    write     segments
    commit    the catalog; merging segments, building and tuning indexes

Stages overlap: their seconds add up to more than the run took.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import NamedTuple, TypeVar

T = TypeVar("T")
NAMES = ("find", "read", "decode", "prepare", "encode", "write", "commit")
_BUSY = 0.8
"""From this share of the time on, what is busy holds up the rest."""


class Spent(NamedTuple):
    """seconds: that threads were in a stage, added up; cpu_seconds: what these threads computed
    meanwhile, not what others did on their behalf."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0


class Stages:
    """Time spent by stage; may be used from several threads."""

    def __init__(self) -> None:
        self.spent: dict[str, Spent] = {}
        self._lock = Lock()

    @contextmanager
    def at(self, stage: str) -> Iterator[None]:
        start, cpu = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self._put(stage, Spent(time.perf_counter() - start, time.thread_time() - cpu))

    def each(self, stage: str, values: Iterable[T]) -> Iterator[T]:
        """The same values; what it takes to draw them counts."""
        values = iter(values)
        try:
            while True:
                with self.at(stage):
                    value = next(values)
                yield value
        except StopIteration:
            return

    def add(self, spent: Mapping[str, Spent]) -> None:
        for stage, one in spent.items():
            self._put(stage, one)

    def _put(self, stage: str, one: Spent) -> None:
        with self._lock:
            before = self.spent.get(stage, Spent())
            self.spent[stage] = Spent(before.seconds + one.seconds,
                                      before.cpu_seconds + one.cpu_seconds)


def bound(spent: Mapping[str, Spent], seconds: float, cpu_seconds: float,
          cores: int = os.cpu_count() or 1) -> str:
    """What holds up a run that took `seconds` and, in all threads, `cpu_seconds`: a sentence."""
    stages = {name: one for name, one in spent.items() if one.seconds > 0}
    if not stages or seconds <= 0:
        return "nothing was done"
    share = cpu_seconds / seconds / cores
    most = max(stages, key=lambda name: stages[name].cpu_seconds)
    if share >= _BUSY:
        part = stages[most].cpu_seconds / cpu_seconds
        unseen = 1 - sum(one.cpu_seconds for one in stages.values()) / cpu_seconds
        where = (f"{most} ({part:.0%} of it)" if part >= unseen
                 else f"threads of the model's own, for encode ({unseen:.0%} of it)")
        return f"the CPU limits the run ({share:.0%} busy), most of all {where}"
    most = max(stages, key=lambda name: stages[name].seconds)
    within = min(stages[most].seconds / seconds, 1)
    verdict = "limits the run" if within >= _BUSY else "took longest, though nothing limits the run"
    return (f"{most} {verdict}: threads were in it {within:.0%} of the time, the CPU was "
            f"{share:.0%} busy")
