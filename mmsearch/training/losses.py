"""The contrastive loss."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def info_nce(images: torch.Tensor, texts: torch.Tensor, sharpness: torch.Tensor,
             same: torch.Tensor) -> torch.Tensor:
    """Symmetric InfoNCE of unit rows, row n of each a pair; the temperature is learned.

    sharpness: the logarithm of one over the temperature, 100 at most.
    same: bool [n, n], captions of the same words, which are no mistake to learn from.
    """
    import torch
    from torch.nn import functional

    scores = sharpness.clamp(max=math.log(100)).exp() * images @ texts.T
    scores = scores.masked_fill(same.fill_diagonal_(False), -1e4)
    target = torch.arange(len(images))
    return (functional.cross_entropy(scores, target)
            + functional.cross_entropy(scores.T, target)) / 2
