"""How likely a hit is a match, and not merely the least bad of nothing: a number from 0 to 1.

A cosine alone does not say that: what is high for one model, or for words, is low for another, or
for pictures. So a hit's cosine c is compared with those of the same query to things known to be
foreign: the fifty pictures that ship with the package and their captions, encoded once by the
collection's own model (the *calibration set*). With m the mean cosine of the query to the
collection (an even sample of it, pooled with that set, which is all there is while a collection is
small), s the deviation of its cosines over the set (less the highest tenth, for the set may hold an
answer) and n the number of rows searched, since the best of many is high by chance:

    u = (1 - m) / s * artanh((c - m) / (1 - m))
    relevance = 1 / (1 + exp(-(A + B sqrt(u) + C sqrt(2 ln n))))

That is the test normalisation of speaker verification (T-norm; Auckenthaler et al. 2000, "Score
normalization for text-independent speaker verification systems") with impostors from outside.
Fisher's artanh (1915) lets a cosine of 1 mean certainty, and leaves low ones as they are;
sqrt(2 ln n) is about the highest of n standard normal values; the logistic is Platt's (1999). A
direction that all vectors of a model share changes neither (c - m) / (1 - m) nor u. Impostors from
the collection itself (z-norm) do worse: what it has much of widens its own distribution.
What is asked for with its like needs other A, B and C than what is asked for across.
`bench/relevance.py` fits them and measures all this; docs/relevance.md has the figures.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import get_ident
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from mmsearch.encoders import BUILTIN_DIR, Encoder, cache_directory
from mmsearch.records import Vectors

Floats: TypeAlias = npt.NDArray[np.float64]
SHIPPED = BUILTIN_DIR / "calibration.json"
PICTURES = Path(__file__).parent.parent / "demo"
_IMAGES, _TEXTS = 50, 100
ACROSS = (-3.88, 3.61, -1.52)
WITHIN = (-3.06, 2.68, -1.35)
"""A, B and C where words ask for pictures or pictures for words, and where like asks for like, for
which cosines have a longer tail; fitted to pairs with and without an answer, to train splits of
Flickr8k and clip art alone, by `bench/relevance.py --fit`."""
SAMPLED = 256
"""Rows of a collection that stand for all when the mean is taken: it is then known to s / 16."""


@dataclass(frozen=True)
class Calibration:
    """What a model makes of the pictures that ship with the package (float32 [50, dim]) and of
    their captions (float32 [100, dim])."""

    images: Vectors
    texts: Vectors

    def to_json(self) -> dict[str, str]:
        """As float16 in base64, 2 bytes a number: some 150 kB."""
        return {name: base64.b64encode(rows.astype("<f2").tobytes()).decode()
                for name, rows in vars(self).items()}

    @classmethod
    def of(cls, written: dict[str, str], dim: int) -> Calibration:
        """The opposite of `to_json`."""
        return cls(**{name: np.frombuffer(base64.b64decode(rows), "<f2").astype(np.float32)
                      .reshape(-1, dim) for name, rows in written.items()})


def calibration_of(encoder: str, written: dict[str, str] | None, dim: int) -> Calibration | None:
    """The calibration that a collection keeps, or that ships with the built-in model, if either is.

    encoder: the name of the collection's model; another's calibration says nothing.
    """
    if written is None:
        shipped: dict[str, str] = json.loads(SHIPPED.read_text("utf-8"))
        if shipped.pop("encoder") != encoder:
            return None
        written = shipped
    return Calibration.of(written, dim)


def kept_calibration(encoder: Encoder) -> Calibration:
    """`make_calibration`, once for each model on this machine: a large one takes seconds for it."""
    known_as = re.sub(r"[^A-Za-z0-9.@-]+", "-", encoder.name)
    path = cache_directory() / "calibrations" / f"{known_as}.json"
    if (kept := _read_calibration(path, encoder)) is not None:
        return kept
    calibration = make_calibration(encoder)
    with suppress(OSError):  # a cache that cannot be written costs those seconds again
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}-{get_ident()}")
        part.write_text(json.dumps({"encoder": encoder.name, **calibration.to_json()}), "utf-8")
        part.replace(path)
    return calibration


def _read_calibration(path: Path, encoder: Encoder) -> Calibration | None:
    """What is in a file, if it is whole and this model's: a collection keeps what it is given."""
    try:
        written = json.loads(path.read_text("utf-8"))
        name = written.pop("encoder")
        found = Calibration.of(written, encoder.dim)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    if name != encoder.name or (len(found.images), len(found.texts)) != (_IMAGES, _TEXTS):
        return None
    rows = np.concatenate([found.images, found.texts])
    is_whole = np.isfinite(rows).all() and (np.abs((rows * rows).sum(1) - 1) < 0.02).all()
    return found if is_whole else None


def make_calibration(encoder: Encoder) -> Calibration:
    """Encode the shipped pictures and captions: half a second with a small model on two cores."""
    from mmsearch.media import decode

    lines = (PICTURES / "captions.jsonl").read_text("utf-8").splitlines()
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    pictures = [decode(PICTURES / row["image"], min_side=encoder.min_side).image for row in rows]
    return Calibration(encoder.encode_images(pictures),
                 encoder.encode_texts([text for row in rows for text in row["captions"]]))


def relevance_of(scores: Sequence[float], query: Vectors, foreign: Vectors, sample: Vectors,
              rows: int, like: float = 0.5) -> Floats:
    """The relevance of hits, float64 [hits], never falling as the score rises.

    scores: their cosines to `query`, a unit vector, float32 [dim].
    foreign: the calibration's vectors of their kind, float32 [r, dim].
    sample: an even sample of what was searched, float32 [m, dim]; rows: how many those are in all.
    like: what share of the query is of the hits' own kind, 0 to 1: 1 for a picture that asks for
        pictures; a half where that is not known.
    """
    scale = scale_of(query, foreign, sample)
    coefficients = like * np.array(WITHIN) + (1 - like) * np.array(ACROSS)
    return probability(above(np.asarray(scores, np.float64), *scale), rows, coefficients)


class Scale(NamedTuple):
    """The mean of a query's cosines to what is foreign to it, and their deviation."""

    centre: float
    spread: float


def scale_of(query: Vectors, foreign: Vectors, sample: Vectors) -> Scale:
    """See `relevance_of`."""
    known = np.sort(foreign @ query).astype(np.float64)
    centre = (known.sum() + (sample @ query).sum()) / (len(known) + len(sample))
    return Scale(float(centre), max(float(known[: len(known) * 9 // 10].std()), 1e-6))


def above(scores: Floats, centre: float | Floats, spread: float | Floats) -> Floats:
    """u at the top of this file: how many deviations the scores are above what is foreign."""
    room = np.maximum(1 - np.asarray(centre), 1e-6)
    share = np.clip((scores - centre) / room, -0.99999, 0.99999)  # float16 rows: 1 is hardly exact
    found: Floats = room / np.maximum(spread, 1e-6) * np.arctanh(share)
    return found


def features(heights: Floats, rows: int | npt.NDArray[Any]) -> Floats:
    """What B and C are multiplied with, float64 [..., 2]; heights: u; rows: n, at least 1."""
    best = np.sqrt(2 * np.log(np.maximum(rows, 1)))
    return np.stack(np.broadcast_arrays(np.sqrt(np.maximum(heights, 0)), best), axis=-1)


def probability(heights: Floats, rows: int | npt.NDArray[Any],
                coefficients: Sequence[float] | Floats) -> Floats:
    """The logistic at the top of this file, of the shape of `heights`."""
    logit = coefficients[0] + features(heights, rows) @ np.asarray(coefficients[1:])
    found: Floats = 1 / (1 + np.exp(-logit))
    return found
