"""Two systems that answered the same queries: what they differ by, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mmsearch import metrics
from mmsearch.errors import UsageError
from mmsearch.evaluation.recall import Direction, Report, per_query
from mmsearch.metrics import Ranks

_NOT_FOUND = 10**12


@dataclass(frozen=True, slots=True)
class Difference:
    """Of a mean over queries: the second system's less the first's, its 95 % interval, and p: how
    likely luck alone would make it as large (see `metrics.paired_bootstrap`)."""

    difference: float
    ci95: tuple[float, float]
    p: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare(first: Report, second: Report, *, ks: Sequence[int], seed: int = 0
            ) -> dict[str, dict[str, Difference]]:
    """By direction and measure, for the directions that both have.

    UsageError: they did not answer the same queries.
    """
    return {name: _compared(way, second.directions[name], ks, seed)
            for name, way in first.directions.items() if name in second.directions}


@dataclass(frozen=True, slots=True)
class Moved:
    """A query whose first answer is elsewhere with the second system; ranks from 1."""

    query: int
    before: int
    after: int


def moved(first: Direction, second: Direction, most: int) -> tuple[list[Moved], list[Moved]]:
    """The queries that the second system answers so much worse, and so much better, by the ratio of
    their ranks; of each picture one."""
    before, after = first.ranks.best + 1, second.ranks.best + 1
    ratio = np.log(after / before)
    found: tuple[list[Moved], list[Moved]] = ([], [])
    for side, sign in zip(found, (1, -1), strict=True):
        groups: set[int] = set()
        for place in np.argsort(-sign * ratio, kind="stable"):
            if sign * ratio[place] <= 0 or len(side) == most:
                break
            if (group := int(first.groups[place])) not in groups:
                groups.add(group)
                side.append(Moved(int(first.asked[place]), int(before[place]), int(after[place])))
    return found


def _compared(first: Direction, second: Direction, ks: Sequence[int], seed: int
              ) -> dict[str, Difference]:
    if not np.array_equal(first.asked, second.asked):
        raise UsageError("only what answered the same queries can be compared; were pictures left "
                         "out in one of them?")
    depth = min((way.depth for way in (first, second) if way.depth is not None), default=None)
    ours, theirs = (per_query(_within(way.ranks, depth), ks) for way in (first, second))
    by_name = {name: theirs[name] - values for name, values in ours.items()}
    each = np.stack(list(by_name.values()), axis=1)
    found = metrics.paired_bootstrap(each, groups=first.groups, seed=seed)
    return {name: Difference(float(mean), (low, high), p) for name, mean, (low, high, p)
            in zip(by_name, each.mean(axis=0), found, strict=True)}


def _within(ranks: Ranks, depth: int | None) -> Ranks:
    """Ranks of which those behind `depth` are as good as not found: what only one system knows must
    not make a difference."""
    if depth is None:
        return ranks
    return Ranks(np.where(ranks.flat < depth, ranks.flat, _NOT_FOUND + ranks.places), ranks.starts)
