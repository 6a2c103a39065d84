"""The two networks of a model in torch, and which of their weights are trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from mmsearch.errors import MissingExtra
from mmsearch.training.config import TrainConfig

if TYPE_CHECKING:
    from PIL.Image import Image


class Towers(Protocol):
    """module: both networks, every weight of the model in them.
    temperature: what the model was trained with at the end, if it says so.
    min_side: pixels that are wanted of the shorter side of a picture.
    """

    module: nn.Module
    temperature: float | None
    min_side: int

    def transform(self, augment: bool) -> Callable[[Image], torch.Tensor]:
        """What makes one picture a row of `see`; with `augment`, by chance (that of torch)."""
        ...

    def tokens(self, texts: Sequence[str]) -> torch.Tensor:
        """Texts -> rows of `read`."""
        ...

    def see(self, pixels: torch.Tensor) -> torch.Tensor:
        """Rows of `transform` -> vectors of any length [n, dim]."""
        ...

    def read(self, tokens: torch.Tensor) -> torch.Tensor:
        """Rows of `tokens` -> vectors of any length [n, dim]."""
        ...

    def ends(self, blocks: int) -> Iterable[nn.Parameter]:
        """The heads, and the weights of the last blocks of each tower."""
        ...

    def write(self, out: Path, temperature: float, source: str) -> None:
        """A model directory with the weights of `module`, into a folder that is there."""
        ...


def choose(towers: Towers, config: TrainConfig) -> None:
    """Make what `config.tune` says trainable, and nothing else. Batch norms stay as they are, which
    chunks and small batches could not estimate."""
    towers.module.eval()
    for one in towers.module.parameters():
        one.requires_grad_(config.tune == "full")
    blocks = int(config.tune.partition(":")[2] or 0)
    if config.tune != "full":
        ends = list(towers.ends(blocks))
        if config.tune == "lora":
            _with_lora(towers, config.rank, {id(one) for one in ends})
        for one in ends:
            one.requires_grad_()


def _with_lora(towers: Towers, rank: int, but: set[int]) -> None:
    """Beside every matrix of the towers a product of two thin ones (Hu et al. 2021), 0 at first;
    but not beside those that are trained themselves."""
    try:
        from peft import LoraConfig
        from peft.tuners.lora import LoraModel
    except ImportError as error:
        raise MissingExtra("LoRA", "train") from error
    names = [name for name, module in towers.module.named_modules()
             if isinstance(module, nn.Linear | nn.MultiheadAttention)
             or (isinstance(module, nn.Conv2d) and module.groups == 1)]
    names = [name for name in names
             if id(getattr(towers.module.get_submodule(name), "weight", None)) not in but]
    inside = {f"{name}.out_proj" for name in names}  # attention has its own way with it
    rule = LoraConfig(r=rank, lora_alpha=2 * rank,
                      target_modules=[name for name in names if name not in inside])
    towers.module = LoraModel(towers.module, rule, "default")


def merge(towers: Towers) -> None:
    """What LoRA learned becomes part of the weights."""
    merge_and_unload: Any = getattr(towers.module, "merge_and_unload", None)
    if merge_and_unload:
        towers.module = merge_and_unload()
