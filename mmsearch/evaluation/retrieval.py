"""Recall of a model on pairs, or of a collection as it stands, through the engine itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from mmsearch import metrics
from mmsearch.collection import Collection
from mmsearch.encoders import BUILTIN, encode_queries, for_queries
from mmsearch.errors import MmsearchError, UsageError
from mmsearch.evaluation.diagnosis import Diagnosis, Measured, diagnose
from mmsearch.evaluation.pairs import Pair
from mmsearch.evaluation.recall import Direction, Report, direction, measure
from mmsearch.evaluation.truth import Captions, captions_of, one_per_picture
from mmsearch.records import Ids, Item, Vectors
from mmsearch.search import Query
from mmsearch.sources import Skipped

_ANN_QUERIES = 1000
_TOGETHER = 64
"""Searches at a time."""
DEPTH = 100


@dataclass(frozen=True, kw_only=True)
class How:
    """How pairs are evaluated.

    multilingual: as in `Query`; merge, positives: as in `truth.captions_of`;
    ks: of recall@k; seed: of the intervals;
    diagnose: also find out why, which takes some seconds;
    search: parts of a `Query`, such as its mode. With any, pictures are searched as
        `Collection.search` does it, and captions are not searched at all;
    depth: how many results of such a search are looked through: what comes later counts as not
        found.
    """

    multilingual: bool | None = None
    merge: bool = False
    positives: Sequence[Path] = ()
    ks: Sequence[int] = (1, 5, 10)
    seed: int = 0
    diagnose: bool = False
    search: Mapping[str, Any] = field(default_factory=dict)
    depth: int = DEPTH

    def __post_init__(self) -> None:
        if min(self.ks) < 1:
            raise UsageError(f"-k must be at least 1, not {min(self.ks)}")
        if self.depth < 1:
            raise UsageError(f"--depth must be at least 1, not {self.depth}")


@dataclass(frozen=True)
class Evaluation:
    """report: both ways of searching; model: as it was asked for; encoder: its name;
    multilingual: whether all captions, English ones too, went through the encoder of other
    languages; skipped: pictures that could not be decoded, so are in no figure;
    ann: recall of the approximate index against exact search, by k, None where the collection has
    none; languages: the report of each, where the pairs name several; diagnosis: if asked for."""

    report: Report
    model: str
    encoder: str
    multilingual: bool
    skipped: list[Skipped]
    ann: dict[str, float] | None = None
    languages: dict[str, Report] = field(default_factory=dict)
    diagnosis: Diagnosis | None = None

    def to_json(self) -> dict[str, Any]:
        values = {**self.report.to_json(), "encoder": self.encoder,
                  "multilingual": self.multilingual,
                  "skipped": [[s.path, s.reason] for s in self.skipped]}
        if self.languages:
            values["languages"] = {name: one.to_json() for name, one in self.languages.items()}
        if self.diagnosis is not None:
            values |= self.diagnosis.to_json()
        return values if self.ann is None else {**values, "ann_vs_exact": self.ann}


def evaluate_model(pairs: Sequence[Pair], how: How = How(), *, model: str = BUILTIN,
                   progress: Callable[[int], None] = lambda done: None) -> Evaluation:
    """Encode the pairs as indexing and querying would, and search them among themselves."""
    captions_of(pairs, merge=how.merge, positives=how.positives)  # or an error after all encoding
    with TemporaryDirectory(prefix="mmsearch-eval-") as directory:
        collection = Collection.create(Path(directory) / "index", model=model, recall=1,
                                       rerank=bool(how.search.get("rerank")) or None)
        skipped = collection.add(map(_picture, pairs), progress=progress).skipped
        failed = {one.path for one in skipped}
        done = evaluate_collection(
            collection, [pair for pair in pairs if pair.uri not in failed], how,
            progress=progress)
        collection.close()
    return replace(done, skipped=skipped)


def evaluate_collection(collection: Collection, pairs: Sequence[Pair], how: How = How(), *,
                        progress: Callable[[int], None] = lambda done: None) -> Evaluation:
    """Search for the captions of pairs among all pictures of a collection, and the other way round.

    Raises:
        UsageError: a picture of the pairs is not in the collection, or none has a caption.
    """
    pairs = one_per_picture(pairs)
    captions = captions_of(pairs, merge=how.merge, positives=how.positives)
    if not captions.texts:
        raise UsageError("nothing to evaluate: no caption has a picture that can be read")
    rows, images = collection.vectors("image")
    row_of = {row.item.uri: n for n, row in enumerate(rows)}
    uris = [pair.uri for pair in pairs]
    if missing := [uri for uri in uris if uri not in row_of]:
        raise UsageError(f"{len(missing)} of {len(uris)} pictures are not in {collection.path} "
                         f"(first: {missing[0]}); index them first")
    multilingual = bool(how.multilingual)
    if how.search:
        found = _searched(collection, captions, uris, len(rows), how, progress)
        return Evaluation(Report(found, None), collection.model, collection.encoder.name,
                          multilingual, [])
    encoder = for_queries(collection.encoder, how.multilingual)
    steps = [encode_queries(encoder, captions.texts[at : at + 256])
             for at in _steps(len(captions.texts), 256, progress)]
    queries, texts = (np.concatenate(part) for part in zip(*steps, strict=True))
    places = np.array([row_of[uri] for uri in uris], np.int64)

    measured = partial(measure, images, rows=places, ks=how.ks, seed=how.seed)
    report = measured(texts, captions.truth, queries=queries)
    languages, names = np.array(captions.languages), sorted({*captions.languages} - {""})
    by_language = {name: measured(texts[kept], captions.truth.only(kept), queries=queries[kept])
                   for name in names for kept in [languages == name]} if len(names) > 1 else {}
    diagnosis = diagnose(
        collection, Measured([row.item for row in rows], images, queries, texts, captions, places),
        report, multilingual=how.multilingual, seed=how.seed) if how.diagnose else None
    return Evaluation(
        report, collection.model, encoder.name, multilingual, [], _ann(collection, queries, how.ks),
        by_language, diagnosis)


def _picture(pair: Pair) -> Item:
    return Item(pair.uri, "image", group=pair.uri)


def _searched(collection: Collection, captions: Captions, uris: Sequence[str], gallery: int,
              how: How, progress: Callable[[int], None]) -> Direction:
    """Text to image, as searches of the collection find it among their first results."""
    truth, ranks = captions.truth, []
    asked = truth.text_queries
    depth = min(max(how.depth, *how.ks), gallery)
    for at in _steps(len(asked), _TOGETHER, progress):
        these = asked[at : at + _TOGETHER]
        found = collection.search_many([
            Query(**{"multilingual": how.multilingual, **how.search}, text=captions.texts[n],
                  k=depth)
            for n in these])
        for n, hits in zip(these, found, strict=True):
            if isinstance(hits, MmsearchError):
                raise hits
            place = {hit.item.uri: rank for rank, hit in enumerate(hits)}
            ranks.append(np.array([place.get(uris[image], gallery + more)
                                   for more, image in enumerate(truth.images_of[n])]))
    return direction(metrics.Ranks.of(ranks), gallery, asked=asked, groups=truth.groups[asked],
                     ks=how.ks, seed=how.seed, depth=depth)


def _ann(collection: Collection, texts: Vectors, ks: Sequence[int]) -> dict[str, float] | None:
    if "image" not in collection.info()["approximate"]:
        return None
    queries, k = texts[:: max(1, len(texts) // _ANN_QUERIES)], max(ks)
    found: Ids = collection.nearest(queries, k).ids
    truth: Ids = collection.nearest(queries, k, exact=True).ids
    return {f"recall@{k}": metrics.ann_recall(found, truth, k) for k in ks}


def _steps(total: int, step: int, progress: Callable[[int], None]) -> Iterator[int]:
    for at in range(0, total, step):
        yield at
        progress(min(step, total - at))
