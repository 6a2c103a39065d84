"""How well a model finds a picture by its caption, and a caption by its picture.

Ground truth is any manifest of pictures and captions (see `sources.manifests`), Karpathy's
``dataset_coco.json`` and ``dataset_flickr8k.json`` among them. What counts as found:

- text to image: each caption is a query, and only its own picture answers it, even where another
  picture has the very same caption;
- image to text: each picture that has captions is a query, and any of its captions among the first
  k answers it, as the field counts it.

Pictures without captions stay in the gallery as distractors.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmsearch import metrics
from mmsearch.errors import UsageError
from mmsearch.records import Ids, Vectors
from mmsearch.sources import MANIFEST_SUFFIXES, BadRow, Row, locate, read_rows

_BLOCK_SCORES = 1 << 24
"""Scores held at a time: 64 MB, whatever the size of the gallery."""


@dataclass(frozen=True, slots=True)
class Pair:
    """image: an absolute path; captions: in the order of the file, repeats kept, or none;
    languages: of each caption, by the column `lang`, or none if the file has no such."""

    image: Path
    captions: tuple[str, ...]
    split: str = ""
    languages: tuple[str, ...] = ()


def load_pairs(path: Path, *, split: str | None = None) -> list[Pair]:
    """The pictures of a manifest with their captions, in order of first appearance.

    Rows of the same picture and split become one pair. A picture is looked for beside the manifest,
    then in ``images/`` there. Without `split`, pairs of every split come back.

    UsageError: the file cannot be read, a row is broken or its picture is not there (with the
    line), there is no such split (with those there are), or no captions at all.
    """
    if path.suffix.lower() not in MANIFEST_SUFFIXES:
        known = " ".join(sorted(MANIFEST_SUFFIXES))
        raise UsageError(f"{path}: expected a file of images and captions, one of {known}")
    captions: dict[tuple[str, str], list[tuple[str, str]]] = {}
    others: set[str] = set()
    for row in _good_rows(path):
        name = str(row.meta.get("split", ""))
        if split is not None and name != split:
            others.add(name)
            continue
        key = (_find_image(path, row), name)
        language = str(row.meta.get("lang", ""))
        captions.setdefault(key, []).extend((text, language) for text in row.captions)
    if split is not None and not captions:
        found = ", ".join(sorted(filter(None, others))) or "no splits at all"
        raise UsageError(f"{path}: no rows of split {split!r}; the file has {found}")
    if not any(captions.values()):
        raise UsageError(f"{path}: no captions; expected a column named caption or captions")
    return [Pair(Path(image), tuple(text for text, _ in found), name,
                 tuple(language for _, language in found) if any(one[1] for one in found) else ())
            for (image, name), found in captions.items()]


def flatten(pairs: Sequence[Pair]) -> tuple[list[str], Ids]:
    """All captions in order, and for each the position of its picture: int64 [captions]."""
    captions = [caption for pair in pairs for caption in pair.captions]
    sizes = [len(pair.captions) for pair in pairs]
    return captions, np.repeat(np.arange(len(pairs), dtype=np.int64), sizes)


@dataclass(frozen=True, slots=True)
class Direction:
    """One way of searching; recall and its 95 % bootstrap intervals are fractions by k.

    extras: measures of its own, image to text: "map" and "ndcg@<largest k>".
    """

    queries: int
    gallery: int
    recall: dict[int, float]
    intervals: dict[int, tuple[float, float]]
    mrr: float
    median_rank: int
    extras: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        values: dict[str, Any] = {"queries": self.queries, "gallery": self.gallery}
        for k, recall in self.recall.items():
            values[f"recall@{k}"] = recall
            values[f"recall@{k}_ci95"] = list(self.intervals[k])
        return values | {"mrr": self.mrr, "median_rank": self.median_rank} | self.extras


@dataclass(frozen=True, slots=True)
class Report:
    text_to_image: Direction
    image_to_text: Direction

    def to_json(self) -> dict[str, Any]:
        return {
            "text_to_image": self.text_to_image.to_json(),
            "image_to_text": self.image_to_text.to_json(),
        }


def measure(
    image_vectors: Vectors,
    text_vectors: Vectors,
    caption_image: Ids,
    *,
    queries: Vectors | None = None,
    ks: Sequence[int] = (1, 5, 10),
    seed: int = 0,
) -> Report:
    """Retrieval both ways by dot product, exactly.

    image_vectors: float32 [n, d]; text_vectors: float32 [m, d]; caption_image: int64 [m], the row
    of the picture that each caption belongs to. Ties count against the model (`mmsearch.metrics`),
    so two copies of a picture cannot both be found first.
    queries: the texts as queries for pictures, if the model tells them apart from indexed ones.
    seed: of the bootstrap, which draws pictures together with all their captions.

    UsageError: a k below 1.
    """
    if min(ks) < 1:
        raise UsageError(f"-k must be at least 1, not {min(ks)}")
    captioned, captions_each = np.unique(caption_image, return_counts=True)
    by_image = np.argsort(caption_image, kind="stable")
    captions_of = np.split(by_image, np.cumsum(captions_each)[:-1])

    ranks = [
        metrics.best_ranks(scores, list(caption_image[rows, np.newaxis]))
        for rows, scores in _blocks(text_vectors if queries is None else queries, image_vectors)
    ]
    text_to_image = _direction(
        np.concatenate(ranks), len(image_vectors), groups=caption_image, ks=ks, seed=seed, extras={}
    )

    deepest = max(ks)
    ranks, precisions, gains = [], [], []
    for rows, scores in _blocks(image_vectors[captioned], text_vectors):
        relevant = captions_of[rows]
        ranks.append(metrics.best_ranks(scores, relevant))
        precisions.append(metrics.average_precisions(scores, relevant))
        gains.append(metrics.ndcg_at(scores, relevant, deepest))
    extras = {
        "map": float(np.concatenate(precisions).mean()),
        f"ndcg@{deepest}": float(np.concatenate(gains).mean()),
    }
    image_to_text = _direction(
        np.concatenate(ranks), len(text_vectors), groups=None, ks=ks, seed=seed, extras=extras
    )
    return Report(text_to_image, image_to_text)


def _direction(
    ranks: Ids,
    gallery: int,
    *,
    groups: Ids | None,
    ks: Sequence[int],
    seed: int,
    extras: dict[str, float],
) -> Direction:
    return Direction(
        queries=len(ranks),
        gallery=gallery,
        recall={k: metrics.recall_at(ranks, k) for k in ks},
        intervals={
            k: metrics.bootstrap_interval(metrics.hits_at(ranks, k), groups=groups, seed=seed)
            for k in ks
        },
        mrr=metrics.mrr(ranks),
        median_rank=metrics.median_rank(ranks),
        extras=extras,
    )


def _blocks(queries: Vectors, gallery: Vectors) -> Iterator[tuple[slice, Vectors]]:
    """Which queries, and their scores float32 [those, gallery], a bounded number at a time."""
    step = max(1, _BLOCK_SCORES // len(gallery))
    for start in range(0, len(queries), step):
        rows = slice(start, start + step)
        yield rows, queries[rows] @ gallery.T


def _good_rows(path: Path) -> Iterator[Row]:
    try:
        for row in read_rows(path):
            if isinstance(row, BadRow):
                raise UsageError(f"{path}:{row.line}: {row.reason}")
            yield row
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path} cannot be read: {reason}") from error


def _find_image(manifest: Path, row: Row) -> str:
    if row.image is None:
        raise UsageError(f"{manifest}:{row.line}: a caption without an image")
    for candidate in (manifest.parent / row.image, manifest.parent / "images" / row.image):
        try:
            # Not Path.resolve: a collection knows a file by the name of the link, too.
            found = locate.as_on_disk(os.path.abspath(candidate))  # noqa: PTH100
            if Path(found).is_file():
                return found
        except (OSError, ValueError):  # a name that no file can have
            continue
    name = row.image.encode("utf-8", "replace").decode()
    raise UsageError(f"{manifest}:{row.line}: image not found: {name}")
