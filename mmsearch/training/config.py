"""What a training run is told, and what it tells after each epoch."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from mmsearch.errors import UsageError
from mmsearch.training.validation import Recall

Loss = Literal["infonce", "siglip"]
Precision = Literal["auto", "fp32", "bf16"]
UNSET = -1
"""Of a number: what suits what is tuned."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """base: "builtin", a model directory, or with extra `openclip` any open_clip model.
    tune: "heads", "last:N" (and the last N blocks of each tower), "lora" or "full".
    val: pairs to choose the best epoch on; default: split "val" of the pairs, else a tenth of them.
    dropout: share of the features hidden at each step.
    captions: of each picture in a batch, all of which are right.
    hard_negatives: beta of Robinson et al. 2021; 0 counts all negatives the same.
    adversarial: weight of the modality judge.
    chunk: rows that are encoded together, with gradient caching; 0: the whole batch.
    accumulate: batches to a step of the optimizer.
    precision: of what towers compute; "auto": bf16 on a GPU.
    rank: of what LoRA adds to each weight.
    blend: whether weights between start and end are tried on the validation pairs (WiSE-FT).
    warmup: share of the run in which the learning rate rises.
    ema: decay of the moving average of the weights, which is what is kept; 0: the last weights.
    patience: epochs without a better recall after which the run ends; 0: never.
    """

    base: str = "builtin"
    val: Path | None = None
    tune: str = "heads"
    epochs: int = UNSET
    batch_size: int = UNSET
    lr: float = UNSET
    seed: int = 0
    resume: bool = False
    dropout: float = 0.3
    temperature: float = 0.05
    loss: Loss = "infonce"
    captions: int = 1
    hard_negatives: float = 0.0
    adversarial: float = 0.0
    chunk: int = 0
    accumulate: int = 1
    precision: Precision = "auto"
    rank: int = 16
    blend: bool = True
    warmup: float = 0.05
    ema: float = 0.0
    patience: int = 0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"heads|last:[1-9]\d*|lora|full", self.tune):
            raise UsageError(f"cannot tune {self.tune!r}; take heads, last:N with a number of "
                             "blocks, lora or full")
        heads = self.tune == "heads"
        for name, suits in (("epochs", 20 if heads else 5), ("batch_size", 512 if heads else 64),
                            ("lr", 1e-4 if heads or self.tune == "lora" else 1e-5)):
            if getattr(self, name) == UNSET:
                object.__setattr__(self, name, suits)
        if self.epochs < 0 or self.batch_size < 2:
            raise UsageError("epochs must be at least 0 and the batch size at least 2")
        if not 0 < self.lr < 1 or not 0 <= self.dropout < 1:
            raise UsageError("the learning rate must be above 0 and below 1, the dropout at least "
                             "0 and below 1")
        if self.loss not in get_args(Loss):
            raise UsageError(f"there is no loss {self.loss}; take {' or '.join(get_args(Loss))}")
        if self.captions < 1 or self.chunk < 0 or self.patience < 0:
            raise UsageError("captions must be at least 1, chunk and patience at least 0")
        if self.accumulate < 1 or self.rank < 1:
            raise UsageError("accumulate and rank must be at least 1")
        if self.precision not in get_args(Precision):
            raise UsageError(f"there is no precision {self.precision}; take fp32 or bf16")
        if not 0 <= self.warmup < 1 or not 0 <= self.ema < 1:
            raise UsageError("warmup and ema must be at least 0 and below 1")
        if not 0 <= self.hard_negatives <= 2 or not 0 <= self.adversarial <= 100:
            raise UsageError("hard negatives must be between 0 and 2, adversarial between 0 and "
                             "100")
        if self.hard_negatives and self.loss != "infonce":
            raise UsageError("hard negatives are weighted with the loss infonce only; leave out "
                             "one of the two")


@dataclass(frozen=True, slots=True)
class EpochReport:
    """epoch: 0 is the closed-form start (loss is then nan); recall is on the validation pairs.

    gap: the distance of the centres of pictures and captions there (Liang et al. 2022); lr: after
    the last step; seconds: that the epoch took.
    """

    epoch: int
    epochs: int
    loss: float
    recall: Recall
    gap: float = 0.0
    lr: float = 0.0
    seconds: float = 0.0

    def line(self) -> dict[str, Any]:
        """What the log says of it: recall at 1, 5 and 10."""
        return {"epoch": self.epoch, "loss": None if math.isnan(self.loss) else self.loss,
                "text_to_image": list(self.recall.text_to_image),
                "image_to_text": list(self.recall.image_to_text), "gallery": self.recall.gallery,
                "modality_gap": self.gap, "lr": self.lr, "seconds": round(self.seconds, 3)}
