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
    dropout: share of the features hidden at each step.
    """

    base: str = "builtin"
    val: Path | None = None
    epochs: int = 20
    batch_size: int = 512
    lr: float = 1e-4
    seed: int = 0
    resume: bool = False
    dropout: float = 0.3
    temperature: float = 0.05

    def __post_init__(self) -> None:
        if self.epochs < 0 or self.batch_size < 2:
            raise UsageError("epochs must be at least 0 and the batch size at least 2")
        if not 0 < self.lr < 1 or not 0 <= self.dropout < 1:
            raise UsageError("the learning rate must be above 0 and below 1, the dropout at least "
                             "0 and below 1")


@dataclass(frozen=True, slots=True)
class EpochReport:
    """epoch: 0 is the closed-form start (loss is then nan); recall is on the validation pairs."""

    epoch: int
    epochs: int
    loss: float
    recall: Recall
