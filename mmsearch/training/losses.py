"""Contrastive losses: what a batch of pictures and captions says about their vectors.

`scores` are cosines over the temperature, [pictures, captions]. `positive` marks the captions of a
picture, of which there may be several. `negative` marks what is wrong to find; what is neither
(a caption with the words of another picture's) teaches nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from mmsearch.training.config import Loss

FAR = -1e4
"""The score of what does not count; its exponential is 0."""
SIGMOID_BIAS = -10.0
"""Where the bias starts (Zhai et al. 2023): nearly all pairs of a batch are wrong."""


def info_nce(scores: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor,
             hardness: float = 0.0) -> torch.Tensor:
    """Symmetric InfoNCE: which caption is this picture's, and which picture is this caption's?

    Several positives are averaged outside the logarithm (Khosla et al. 2020). With `hardness`,
    negatives count by exp(hardness * score), 1 on average (Robinson et al. 2021).
    """
    return (_one_way(scores, positive, negative, hardness)
            + _one_way(scores.T, positive.T, negative.T, hardness)) / 2


def _one_way(scores: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor,
             hardness: float) -> torch.Tensor:
    against = scores
    if hardness:
        hard = (hardness * scores).masked_fill(~negative, FAR)
        wrongs = negative.sum(1, keepdim=True, dtype=scores.dtype)
        mean = hard.logsumexp(1, keepdim=True) - wrongs.clamp(min=1).log()
        against = torch.where(negative, scores + hard - mean, scores)
    all_ = against.masked_fill(~(positive | negative), FAR).logsumexp(1, keepdim=True)
    wrong = (all_ - scores).masked_fill(~positive, 0.0)
    return (wrong.sum(1) / positive.sum(1)).mean()


def sigmoid_loss(scores: torch.Tensor, positive: torch.Tensor,
                 negative: torch.Tensor) -> torch.Tensor:
    """SigLIP: is this caption this picture's, asked of every pair by itself; the sum over all
    pairs for each one that is right. scores: with the bias in them."""
    right = functional.logsigmoid(scores).masked_fill(~positive, 0.0).sum()
    wrong = functional.logsigmoid(-scores).masked_fill(~negative, 0.0).sum()
    return -(right + wrong) / positive.sum()


class Contrast(nn.Module):
    """A loss of unit rows with the numbers in it that are learned: the temperature, and the bias
    of the sigmoid."""

    def __init__(self, loss: Loss, temperature: float, hardness: float = 0.0) -> None:
        super().__init__()
        self.loss, self.hardness = loss, hardness
        self.sharpness = nn.Parameter(torch.tensor(-math.log(temperature)))
        """The logarithm of one over the temperature, which is 0.01 at least."""
        if loss == "siglip":
            self.bias = nn.Parameter(torch.tensor(SIGMOID_BIAS))

    def forward(self, images: torch.Tensor, texts: torch.Tensor, positive: torch.Tensor,
                negative: torch.Tensor) -> torch.Tensor:
        scores = self.sharpness.clamp(max=math.log(100)).exp() * images @ texts.T
        if self.loss == "siglip":
            return sigmoid_loss(scores + self.bias, positive, negative)
        return info_nce(scores, positive, negative, self.hardness)


def matches(picture: torch.Tensor, words: torch.Tensor, pictures: int
            ) -> tuple[torch.Tensor, torch.Tensor]:
    """What is right and what is wrong in a batch; -> positive, negative: bool [pictures, captions].

    picture: int64 [captions], the picture that each is of; words: int64 [captions], equal where
    two captions are the same words. Those of another picture that say what one's own says are
    neither right nor wrong.
    """
    _, word = torch.unique(words, return_inverse=True)
    said = torch.zeros(pictures, len(word), dtype=torch.bool)
    said[picture, word] = True
    positive = picture[None] == torch.arange(pictures)[:, None]
    return positive, ~said[:, word] & ~positive
