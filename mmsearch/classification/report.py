"""How well a classifier does on labelled items: a confusion matrix, and figures for each label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mmsearch.classification.things import Floats
from mmsearch.records import Ids

NONE = "(none)"
_BINS = 10


@dataclass(frozen=True)
class Decided:
    """label: None for none of them; confidence: how likely that is right, 0 to 1."""

    label: str | None
    confidence: float


def decide(labels: Sequence[str], probabilities: Floats, least: float = 0.0) -> list[Decided]:
    """The likeliest of the labels and of none, for each row of [n, labels]; none, too, where the
    likeliest label is below `least`."""
    found = []
    for row in probabilities:
        best, rest = int(row.argmax()), max(0.0, 1.0 - float(row.sum()))
        share = float(row[best])
        if rest > share or share < least:
            found.append(Decided(None, rest if rest > share else 1 - share))
        else:
            found.append(Decided(labels[best], share))
    return found


@dataclass(frozen=True)
class OfLabel:
    """Figures of one label; support: how many items have it."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Report:
    """accuracy: the share that is right; balanced: the mean recall of the labels; error: how far
    confidence is from the share that is right, on average (expected calibration error);
    confusion: int64 [true, found], rows and columns as `names`; the last may be NONE, as a row
    for items that are known to fit none."""

    names: list[str]
    confusion: Ids
    labels: list[OfLabel]
    accuracy: float
    balanced: float
    macro_f1: float
    error: float
    items: int

    def to_json(self) -> dict[str, Any]:
        return {"items": self.items, "accuracy": self.accuracy, "balanced_accuracy": self.balanced,
                "macro_f1": self.macro_f1, "calibration_error": self.error,
                "labels": [asdict(one) for one in self.labels],
                "confusion": {"labels": self.names, "matrix": self.confusion.tolist()}}


def report_of(true: Sequence[str], decided: Sequence[Decided]) -> Report:
    """true: the labels that items have; decided: what was found."""
    found = [NONE if one.label is None else one.label for one in decided]
    names = sorted({*true, *found} - {NONE}) + ([NONE] if NONE in {*true, *found} else [])
    place = {name: n for n, name in enumerate(names)}
    confusion = np.zeros((len(names), len(names)), np.int64)
    np.add.at(confusion, ([place[one] for one in true], [place[one] for one in found]), 1)
    hits, support = confusion.diagonal(), confusion.sum(1)
    precision = hits / np.maximum(confusion.sum(0), 1)
    recall = hits / np.maximum(support, 1)
    f1 = 2 * hits / np.maximum(confusion.sum(0) + support, 1)
    there = support > 0
    right = np.array([a == b for a, b in zip(true, found, strict=True)])
    return Report(
        names, confusion,
        [OfLabel(name, float(precision[n]), float(recall[n]), float(f1[n]), int(support[n]))
         for n, name in enumerate(names) if name != NONE],
        float(right.mean()), float(recall[there].mean()), float(f1[there].mean()),
        calibration_error(right, np.array([one.confidence for one in decided])), len(right))


def calibration_error(right: Any, confidence: Floats) -> float:
    """Of bins of a tenth: the difference of confidence and share of right ones, by their size."""
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    return float(sum(abs(right[bins == n].mean() - confidence[bins == n].mean())
                     * (bins == n).mean() for n in np.unique(bins)))
