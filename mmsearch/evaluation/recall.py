"""How well a model finds a picture by its caption, and a caption by its picture.

- text to image: each caption is a query, and the pictures that answer it are to be found;
- image to text: each picture that has captions is a query, and its captions are.

What answers what, `evaluation.truth` says. recall@k is how often any of the answers is among the
first k, as the field counts it; mAP@R and R-Precision count all of them. Pictures without captions
stay in the gallery as distractors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmsearch import metrics
from mmsearch.errors import UsageError
from mmsearch.evaluation.ranking import exact_ranks
from mmsearch.evaluation.truth import Truth
from mmsearch.metrics import Floats, Ranks
from mmsearch.records import Ids, Vectors


@dataclass(frozen=True, slots=True)
class Direction:
    """One way of searching: means over its queries, fractions but for the median rank.

    recall and intervals (95 %, bootstrap): by k; measures: the others, by name;
    several: whether any query has more than one answer;
    ranks: of all answers to each query; depth: of how many results they are known, None: of all;
    asked: which captions or pictures the queries are, int64
    [queries]; groups: which queries are drawn together, int64 [queries].
    """

    queries: int
    gallery: int
    recall: dict[int, float]
    intervals: dict[int, tuple[float, float]]
    median_rank: int
    measures: dict[str, float]
    several: bool
    ranks: Ranks = field(compare=False)
    asked: Ids = field(compare=False)
    groups: Ids = field(compare=False)
    depth: int | None = None

    def to_json(self) -> dict[str, Any]:
        values: dict[str, Any] = {"queries": self.queries, "gallery": self.gallery}
        for k, recall in self.recall.items():
            values[f"recall@{k}"] = recall
            values[f"recall@{k}_ci95"] = list(self.intervals[k])
        if self.depth is not None:
            values["depth"] = self.depth
        return {**values, **self.measures, "median_rank": self.median_rank}


@dataclass(frozen=True, slots=True)
class Report:
    """Both ways of searching, or the only one that was measured."""

    text_to_image: Direction
    image_to_text: Direction | None

    @property
    def directions(self) -> dict[str, Direction]:
        """Those measured, by their names in JSON."""
        ways = {"text_to_image": self.text_to_image, "image_to_text": self.image_to_text}
        return {name: way for name, way in ways.items() if way is not None}

    def to_json(self) -> dict[str, Any]:
        return {name: way.to_json() for name, way in self.directions.items()}


def measure(
    image_vectors: Vectors,
    text_vectors: Vectors,
    truth: Truth,
    *,
    rows: Ids | None = None,
    queries: Vectors | None = None,
    ks: Sequence[int] = (1, 5, 10),
    seed: int = 0,
) -> Report:
    """Retrieval both ways by dot product, exactly.

    image_vectors: float32 [n, d]; text_vectors: float32 [m, d]; both of unit length.
    truth: of the captions, numbered as text_vectors, and of pictures, numbered as `rows`: which
    rows of image_vectors they are, int64 [pictures]; without it, all in the same order.
    Ties count against the model (`mmsearch.metrics`), so two copies of a picture cannot both be
    found first.
    queries: the texts as queries for pictures, if the model tells them apart from indexed ones.
    seed: of the bootstrap, which draws pictures together with all their captions.

    UsageError: no query in one of the directions.
    """
    by_text, by_image = truth.text_queries, truth.image_queries
    if not (len(by_text) and len(by_image)):
        raise UsageError("nothing to evaluate: no caption has a picture")
    texts = text_vectors if queries is None else queries
    rows = np.arange(len(image_vectors)) if rows is None else rows
    found = exact_ranks(texts[by_text], image_vectors,
                        [rows[truth.images_of[n]] for n in by_text])
    text_to_image = direction(found, len(image_vectors), asked=by_text, ks=ks, seed=seed,
                              groups=truth.groups[by_text])
    found = exact_ranks(image_vectors[rows[by_image]], text_vectors,
                        [truth.captions_of[n] for n in by_image])
    return Report(text_to_image, direction(found, len(text_vectors), asked=by_image, ks=ks,
                                           seed=seed, groups=by_image))


def direction(ranks: Ranks, gallery: int, *, asked: Ids, groups: Ids, ks: Sequence[int],
              seed: int, depth: int | None = None) -> Direction:
    """What ranks amount to; the arguments as in `Direction`."""
    each = per_query(ranks, ks)
    recall = {k: each.pop(f"recall@{k}") for k in ks}
    drawn = metrics.bootstrap_means(np.stack(list(recall.values()), axis=1), groups=groups,
                                    seed=seed)
    return Direction(
        queries=len(asked), gallery=gallery,
        recall={k: float(hits.mean()) for k, hits in recall.items()},
        intervals={k: metrics.interval(means) for k, means in zip(ks, drawn.T, strict=True)},
        median_rank=metrics.median_rank(ranks.best),
        measures={name: float(values.mean()) for name, values in each.items()},
        several=len(ranks.flat) > len(asked), ranks=ranks, asked=asked, groups=groups,
        depth=depth)


def per_query(ranks: Ranks, ks: Sequence[int]) -> dict[str, Floats]:
    """Every measure that is a mean over queries, float64 [queries] each, by its name."""
    deepest = max(ks)
    return {f"recall@{k}": metrics.hits_at(ranks.best, k) for k in ks} | {
        "mrr": metrics.reciprocal_ranks(ranks.best),
        "map@r": metrics.average_precisions_at_r(ranks),
        "r_precision": metrics.r_precisions(ranks),
        "map": metrics.average_precisions(ranks),
        f"ndcg@{deepest}": metrics.ndcg_at(ranks, deepest),
    }
