"""What each process of test_joint.py computes, and leaves in a folder."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mmsearch.training.gradient_cache import cached_backward
from mmsearch.training.joint import Joint, joined
from mmsearch.training.losses import Contrast, matches

PICTURE = np.array([0, 0, 1, 2, 3, 3, 4, 5, 6, 6, 6])
"""Of each caption; seven pictures do not go into two."""


def gradients(joint: Joint) -> dict[str, torch.Tensor]:
    """Of a joint batch of seven pictures and their captions, in float64, by name; and the loss."""
    torch.manual_seed(0)
    see, read = (nn.Sequential(nn.Linear(9, 12), nn.Tanh(), nn.Linear(12, 5)).double()
                 for _ in range(2))
    contrast = Contrast("infonce", 0.1, 0.25).double()
    images, texts = torch.rand(7, 9).double(), torch.rand(len(PICTURE), 9).double()
    positive, negative = matches(torch.from_numpy(PICTURE), torch.arange(len(PICTURE)), 7)
    mine = joint.share(np.arange(7))
    chunks = [list(rows.split(2)) for rows in (
        images[torch.from_numpy(mine)], texts[torch.from_numpy(np.isin(PICTURE, mine))])]
    loss = cached_backward(
        [(lambda x: nn.functional.normalize(see(x), dim=-1), chunks[0]),
         (lambda x: nn.functional.normalize(read(x), dim=-1), chunks[1])],
        lambda seen, said: contrast(seen, said, positive, negative), joint)
    joint.add_gradients([*see.parameters(), *read.parameters()], contrast.parameters())
    every = nn.ModuleDict({"see": see, "read": read, "contrast": contrast})
    return {"loss": loss} | {name: one.grad for name, one in every.named_parameters()
                             if one.grad is not None}


if __name__ == "__main__":
    with joined(torch.device("cpu")) as joint:
        torch.save(gradients(joint), Path(sys.argv[1]) / f"{joint.rank}.pt")
