"""Names to choose a model by: `--model good`. `choices.csv` has what each stands for.

    download_mb          four bytes a parameter, as float32 has it: computed, not looked up
    memory_mb            the peak with both towers in float32 (MiB): SOURCE
    recall, recall_others   the mean of recall@1, 5 and 10 on Crossmodal-3600, words to images, in
                         per cent: in English; the mean over Arabic, Greek, Hebrew, Hindi and
                         Hungarian: SOURCE
    pictures_per_second  on two cores, by the CPU time for one: bench/towers.py
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from mmsearch.encoders.precision import split_precision

SOURCE = ("docs/docs/features/searching.md of https://github.com/immich-app/immich, as of commit "
          "01a09bb")


@dataclass(frozen=True)
class Choice:
    """None where nobody published or measured it."""

    name: str
    model: str
    licence: str
    download_mb: float | None
    memory_mb: float | None
    recall: float | None
    recall_others: float | None
    pictures_per_second: float | None
    source: str = field(default=SOURCE, init=False)


@cache
def choices() -> dict[str, Choice]:
    """By name, in the order in which to look at them."""
    with Path(__file__).with_name("choices.csv").open(encoding="utf-8", newline="") as file:
        return {name: Choice(name, model, licence, *(
            float(figure) if figure else None for figure in figures))
            for name, model, licence, *figures in list(csv.reader(file))[1:]}


def chosen(name: str) -> str:
    """The model that a name stands for, in the same precision; any other name is itself, and so is
    one of a model's directory."""
    model, precision = split_precision(name)
    if "/" in model or model not in choices() or Path(model, "model.json").is_file():
        return name
    return choices()[model].model + precision
