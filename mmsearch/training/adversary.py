"""Adversarial alignment of modalities (Ganin & Lempitsky 2015): a judge learns to tell vectors of
pictures from those of captions, and the heads learn to leave it nothing to tell them by."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional


class _Reversal(torch.autograd.Function):
    """The same going forward; going back, the gradient times minus `strength`."""

    @staticmethod
    def forward(context: Any, rows: torch.Tensor, strength: float) -> torch.Tensor:
        context.strength = strength
        return rows.view_as(rows)

    @staticmethod
    def backward(context: Any, slope: torch.Tensor) -> Any:
        return -context.strength * slope, None


class ModalityJudge(nn.Module):
    """A small network from a vector to how much it looks like a picture's."""

    def __init__(self, dim: int, width: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(dim, width), nn.ReLU(), nn.Linear(width, 1))
        self.scale = math.sqrt(dim)  # of unit rows, so that their parts are about 1

    def forward(self, images: torch.Tensor, texts: torch.Tensor, strength: float) -> torch.Tensor:
        """Its loss (0.693 is a guess), both modalities counting the same; what comes back through
        it makes the judge better, and the vectors worse for it by `strength`."""
        found = [functional.binary_cross_entropy_with_logits(
            said, torch.full_like(said, float(of == 0)))
            for of, rows in enumerate((images, texts))
            for said in [self.layers(self.scale * _Reversal.apply(rows, strength))]]
        return (found[0] + found[1]) / 2


def ramp(done: float) -> float:
    """How strong at which share of the run: from 0 to 1, so that the judge learns first."""
    return 2 / (1 + math.exp(-10 * done)) - 1
