"""Two systems that answered the same queries: what they differ by, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mmsearch import metrics
from mmsearch.errors import UsageError
from mmsearch.evaluation.recall import Direction, Report, per_query


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


def _compared(first: Direction, second: Direction, ks: Sequence[int], seed: int
              ) -> dict[str, Difference]:
    if not np.array_equal(first.asked, second.asked):
        raise UsageError("only what answered the same queries can be compared; were pictures left "
                         "out in one of them?")
    theirs = per_query(second.ranks, ks)
    by_name = {name: theirs[name] - values for name, values in per_query(first.ranks, ks).items()}
    each = np.stack(list(by_name.values()), axis=1)
    found = metrics.paired_bootstrap(each, groups=first.groups, seed=seed)
    return {name: Difference(float(mean), (low, high), p) for name, mean, (low, high, p)
            in zip(by_name, each.mean(axis=0), found, strict=True)}
