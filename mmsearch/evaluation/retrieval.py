"""Recall of a model on pairs, or of a collection as it stands, through the engine itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from mmsearch import metrics
from mmsearch.collection import Collection
from mmsearch.encoders import BUILTIN, encode_queries, for_queries
from mmsearch.errors import UsageError
from mmsearch.evaluation.pairs import Pair
from mmsearch.evaluation.recall import Report, measure
from mmsearch.evaluation.truth import captions_of
from mmsearch.records import Ids, Item, Vectors
from mmsearch.sources import Skipped
from mmsearch.uris import path_to_uri

_ANN_QUERIES = 1000


@dataclass(frozen=True)
class Evaluation:
    """report: both ways of searching, exactly; encoder: its name; multilingual: whether all
    captions, English ones too, went through the encoder of other languages; skipped: pictures that
    could not be decoded, so are in no figure; ann: recall of the approximate index against exact
    search, by k, None where the collection has none; languages: the report of each, where the pairs
    name several."""

    report: Report
    encoder: str
    multilingual: bool
    skipped: list[Skipped]
    ann: dict[str, float] | None = None
    languages: dict[str, Report] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        values = {**self.report.to_json(), "encoder": self.encoder,
                  "multilingual": self.multilingual,
                  "skipped": [[s.path, s.reason] for s in self.skipped]}
        if self.languages:
            values["languages"] = {name: one.to_json() for name, one in self.languages.items()}
        return values if self.ann is None else {**values, "ann_vs_exact": self.ann}


def evaluate_model(pairs: Sequence[Pair], *, model: str = BUILTIN,
                   multilingual: bool | None = None, merge: bool = False,
                   positives: Sequence[Path] = (), ks: Sequence[int] = (1, 5, 10), seed: int = 0,
                   progress: Callable[[int], None] = lambda done: None) -> Evaluation:
    """Encode the pairs as indexing and querying would, and search them among themselves."""
    with TemporaryDirectory(prefix="mmsearch-eval-") as directory:
        collection = Collection.create(Path(directory) / "index", model=model, recall=1)
        skipped = collection.add(map(_picture, pairs), progress=progress).skipped
        failed = {one.path for one in skipped}
        done = evaluate_collection(
            collection, [pair for pair in pairs if path_to_uri(pair.image) not in failed],
            multilingual=multilingual, merge=merge, positives=positives, ks=ks, seed=seed,
            progress=progress)
        collection.close()
    return replace(done, skipped=skipped)


def evaluate_collection(collection: Collection, pairs: Sequence[Pair], *,
                        multilingual: bool | None = None, merge: bool = False,
                        positives: Sequence[Path] = (), ks: Sequence[int] = (1, 5, 10),
                        seed: int = 0,
                        progress: Callable[[int], None] = lambda done: None) -> Evaluation:
    """Search for the captions of pairs among all pictures of a collection, and the other way round.

    multilingual: as in `Query`; merge, positives: as in `captions_of`.

    Raises:
        UsageError: a picture of the pairs is not in the collection, or none has a caption.
    """
    rows, images = collection.vectors("image")
    image_of = {row.item.uri: n for n, row in enumerate(rows)}
    uris = [path_to_uri(pair.image) for pair in pairs]
    if missing := [uri for uri in uris if uri not in image_of]:
        raise UsageError(f"{len(missing)} of {len(uris)} pictures are not in {collection.path} "
                         f"(first: {missing[0]}); index them first")
    captions = captions_of(pairs, merge=merge, positives=positives)
    if not captions.texts:
        raise UsageError("nothing to evaluate: no caption has a picture that can be read")
    encoder = for_queries(collection.encoder, multilingual)
    steps = [encode_queries(encoder, captions.texts[at : at + 256])
             for at in _steps(len(captions.texts), 256, progress)]
    queries, texts = (np.concatenate(part) for part in zip(*steps, strict=True))
    truth = captions.truth.at(np.array([image_of[uri] for uri in uris], np.int64), len(images))
    language = np.array(captions.languages)
    names = sorted({*captions.languages} - {""})
    languages = {name: measure(images, texts[language == name], truth.only(language == name),
                               queries=queries[language == name], ks=ks, seed=seed)
                 for name in names} if len(names) > 1 else {}
    return Evaluation(measure(images, texts, truth, queries=queries, ks=ks, seed=seed),
                      encoder.name, bool(multilingual), [], _ann(collection, queries, ks),
                      languages)


def _picture(pair: Pair) -> Item:
    uri = path_to_uri(pair.image)
    return Item(uri, "image", group=uri)


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
