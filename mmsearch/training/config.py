"""What a training run is told, and what it tells after each epoch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmsearch.errors import UsageError
from mmsearch.training.validation import Recall


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """base: "builtin" or a model directory, whose towers are kept.
    val: pairs to choose the best epoch on; default: split "val" of the pairs, else a tenth of them.
    start: "ridge" starts from a closed-form fit to these pairs alone; "base" keeps the base's text
        head and fits the change of its image head, which suits a few hundred pairs better.
    ridge: weight of the closed form's penalty, per training picture.
    whiten: 0 leaves the text features as they are, 1 makes all their directions equally long.
    dropout: share of the features hidden at each step.
    """

    base: str = "builtin"
    val: Path | None = None
    epochs: int = 20
    batch_size: int = 512
    lr: float = 1e-4
    seed: int = 0
    resume: bool = False
    start: str = "base"
    ridge: float = 1.0
    whiten: float = 0.75
    dropout: float = 0.3
    temperature: float = 0.05

    def __post_init__(self) -> None:
        if self.epochs < 0 or self.batch_size < 2:
            raise UsageError("epochs must be at least 0 and the batch size at least 2")
        if not 0 < self.lr < 1 or not 0 <= self.dropout < 1 or self.ridge <= 0:
            raise UsageError("expected 0 < lr < 1, 0 <= dropout < 1 and ridge > 0")
        if self.start not in ("base", "ridge"):
            raise UsageError(f"start must be 'base' or 'ridge', not {self.start!r}")


@dataclass(frozen=True, slots=True)
class EpochReport:
    """epoch: 0 is the closed-form start (loss is then nan); recall is on the validation pairs."""

    epoch: int
    epochs: int
    loss: float
    recall: Recall
