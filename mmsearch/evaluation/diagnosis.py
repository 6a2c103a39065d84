"""Why recall is what it is: the worst queries, scores of matches and others, how far relevance can
be trusted, how far pictures and texts lie apart, and how long a search takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from mmsearch.collection import Collection
from mmsearch.encoders import Encoder
from mmsearch.errors import MmsearchError
from mmsearch.evaluation.recall import Report
from mmsearch.evaluation.truth import Captions
from mmsearch.metrics import Floats
from mmsearch.records import Ids, Item, Vectors
from mmsearch.search import Query

FAILURES = 8
"""Of each direction."""
INSTEAD = 3
_OTHERS, _BINS = 40, 40
_JUDGED, _TOGETHER, _TIMED, _TIMED_PICTURES = 1000, 64, 30, 16
"""Captions that are drawn for all but failures; searches at a time; searches and pictures that are
timed one by one."""


@dataclass(frozen=True)
class Measured:
    """What was searched: pictures and their vectors, the texts as queries and as they are indexed,
    what answers what, and the row of each picture of it."""

    items: Sequence[Item]
    images: Vectors
    queries: Vectors
    texts: Vectors
    captions: Captions
    rows: Ids


@dataclass(frozen=True)
class Failure:
    """A query of which the best answer ranks far behind; rank: from 1; score: of that answer;
    instead: the first results, with their scores."""

    query: Item
    expected: Item
    rank: int
    score: float
    instead: list[tuple[Item, float]]


@dataclass(frozen=True)
class Calibration:
    """For ten steps of relevance the mean relevance of the first hits, the share of them that were
    right, and how many there were; ece: the expected calibration error, the mean distance of the
    first two."""

    relevance: list[float]
    right: list[float]
    hits: list[int]

    @property
    def ece(self) -> float:
        apart = np.abs(np.array(self.relevance) - self.right)
        return float((apart * self.hits).sum() / sum(self.hits))


@dataclass(frozen=True)
class Diagnosis:
    """failures: by direction, the worst first.
    edges: float64 [bins + 1], of the scores of text to image; matches, others: float64 [bins], the
    density of the scores of answers and of other pictures.
    calibration: None where the collection has no relevance.
    gap: the distance of the centroid of the pictures from that of the queries (Liang et al. 2022).
    latency: milliseconds, medians, by what takes them.
    measured: what was searched.
    """

    failures: dict[str, list[Failure]]
    edges: Floats
    matches: Floats
    others: Floats
    calibration: Calibration | None
    gap: float
    latency: dict[str, float]
    measured: Measured

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"modality_gap": self.gap, "latency_ms": self.latency}
        if self.calibration is not None:
            found["calibration"] = {**vars(self.calibration), "ece": self.calibration.ece}
        return found


def diagnose(collection: Collection, measured: Measured, report: Report, *,
             multilingual: bool | None, seed: int) -> Diagnosis:
    """Of a collection that is still open; multilingual: as in `Query`; seed: of what is drawn."""
    truth, rows = measured.captions.truth, measured.rows
    generator = np.random.default_rng(seed)
    asked = np.sort(generator.permutation(truth.text_queries)[:_JUDGED])
    own = np.concatenate([_scores(measured.queries[n], measured.images[rows[truth.images_of[n]]])
                          for n in asked])
    others = np.concatenate([_other_scores(measured, n, generator) for n in asked])
    edges = np.linspace(min(own.min(), others.min(initial=1)) - 1e-6,
                        max(own.max(), others.max(initial=-1)) + 1e-6, _BINS + 1)
    judged, latency = _searched(collection, measured, asked, multilingual)
    return Diagnosis(
        failures={"text_to_image": _text_failures(measured, report),
                  "image_to_text": _image_failures(measured, report)},
        edges=edges, matches=_density(own, edges), others=_density(others, edges),
        calibration=_calibration(judged),
        gap=float(np.linalg.norm(measured.images[rows].mean(axis=0)
                                 - measured.queries[asked].mean(axis=0))),
        latency=_picture_latency(collection.encoder, [
            measured.items[row] for row in rows[:_TIMED_PICTURES]]) | latency,
        measured=measured)


def _density(scores: Vectors, edges: Floats) -> Floats:
    counts, _ = np.histogram(scores, edges)
    found: Floats = counts / max(1, counts.sum()) / np.diff(edges)
    return found


def _scores(query: Vectors, items: Vectors) -> Vectors:
    found: Vectors = items @ query
    return found


def _other_scores(measured: Measured, query: int, generator: np.random.Generator) -> Vectors:
    """Of some pictures that do not answer a caption."""
    drawn = generator.integers(len(measured.images), size=_OTHERS)
    answers = measured.rows[measured.captions.truth.images_of[query]]
    return _scores(measured.queries[query], measured.images[drawn[~np.isin(drawn, answers)]])


def _text_failures(measured: Measured, report: Report) -> list[Failure]:
    """One caption a picture: several fail for the same reason."""
    truth, way = measured.captions.truth, report.text_to_image
    found: dict[int, Failure] = {}
    for place in np.argsort(-way.ranks.best, kind="stable"):
        query = way.asked[place]
        if (group := int(truth.groups[query])) in found or not way.ranks.best[place]:
            continue
        scores = _scores(measured.queries[query], measured.images)
        answers = measured.rows[truth.images_of[query]]
        found[group] = _failure(
            Item("", "text", measured.captions.texts[query]), scores, answers,
            int(way.ranks.best[place]) + 1, measured.items)
        if len(found) == FAILURES:
            break
    return list(found.values())


def _image_failures(measured: Measured, report: Report) -> list[Failure]:
    way = report.image_to_text
    if way is None:
        return []
    texts = [Item("", "text", text) for text in measured.captions.texts]
    return [_failure(measured.items[measured.rows[picture]],
                     _scores(measured.images[measured.rows[picture]], measured.texts),
                     measured.captions.truth.captions_of[picture],
                     int(way.ranks.best[place]) + 1, texts)
            for place, picture in ((n, way.asked[n])
                                   for n in np.argsort(-way.ranks.best, kind="stable")[:FAILURES])
            if way.ranks.best[place]]


def _failure(query: Item, scores: Vectors, answers: Ids, rank: int, items: Sequence[Item]
             ) -> Failure:
    best = answers[np.argmax(scores[answers])]
    first = [n for n in np.argsort(-scores, kind="stable")[: INSTEAD + len(answers)]
             if n not in answers][:INSTEAD]
    return Failure(query, items[best], rank, float(scores[best]),
                   [(items[n], float(scores[n])) for n in first])


def _searched(collection: Collection, measured: Measured, asked: Ids, multilingual: bool | None
              ) -> tuple[list[tuple[float, bool]], dict[str, float]]:
    """Searches as they are: relevance of the first hits and whether they were right, and how long
    one takes."""
    truth = measured.captions.truth
    queries = [Query(text=measured.captions.texts[n], k=1, multilingual=multilingual,
                     captions=False) for n in asked]
    took: dict[str, list[float]] = {"encode": [], "search": []}
    collection.search_many(queries[:1])  # what is loaded for the first is not the time of each
    for query in queries[1 : _TIMED + 1] or queries:
        collection.search_many([query], took=lambda stage, seconds: took[stage].append(seconds))
    timed = {"encode a text": 1000 * median(took["encode"]),
             f"search {len(measured.images):,} pictures": 1000 * median(took["search"])}
    judged = []
    for at in range(0, len(queries), _TOGETHER):
        found = collection.search_many(queries[at : at + _TOGETHER])
        for n, hits in zip(asked[at : at + _TOGETHER], found, strict=True):
            if isinstance(hits, MmsearchError):
                raise hits
            right = {measured.items[row].uri for row in measured.rows[truth.images_of[n]]}
            judged += [(hit.relevance, hit.item.uri in right) for hit in hits
                       if hit.relevance is not None]
    return judged, timed


def _calibration(judged: Sequence[tuple[float, bool]]) -> Calibration | None:
    if not judged:
        return None
    relevance, right = np.array(judged, np.float64).T
    step = np.minimum((relevance * 10).astype(np.int64), 9)
    steps = np.unique(step)
    return Calibration([float(relevance[step == one].mean()) for one in steps],
                       [float(right[step == one].mean()) for one in steps],
                       [int((step == one).sum()) for one in steps])


def _picture_latency(encoder: Encoder, items: Sequence[Item]) -> dict[str, float]:
    """Of pictures that can still be read."""
    from mmsearch.media import read_part
    from mmsearch.sources import locate

    decoding, encoding = [], []
    for item in items:
        try:
            start = time.perf_counter()
            image = read_part(locate.source(item.uri), None, encoder.min_side)
            decoded = time.perf_counter()
            encoder.encode_images([image])
        except MmsearchError:
            continue
        decoding.append(decoded - start)
        encoding.append(time.perf_counter() - decoded)
    return {"decode a picture": 1000 * median(decoding),
            "encode a picture": 1000 * median(encoding)} if decoding else {}
