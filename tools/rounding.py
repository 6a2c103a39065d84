"""Rounding to eight bits in which every weight makes up for the errors of those before it.

What counts is the error of a product on real activations, which their second moments give (the
method is known as GPTQ). Pairs of weights keep the rule of `mmsearch.encoders.int8`.
"""

from __future__ import annotations

import numpy as np
import torch

from mmsearch.encoders.int8 import PAIR

SHARES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)  # of the scale that holds all weights
DAMPING = 0.003  # of the mean square of an activation, so that what is rare counts as well
PART = 1 << 16


def moments(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """x [..., K, n], y [..., N, n] -> means of both; second moments about them, [..., K, K],
    damped, and [..., K, N]; and by how much they are damped."""
    count = x.shape[-1]
    means = [torch.stack([part.double().sum(-1) for part in v.split(PART, -1)]).sum(0) / count
             for v in (x, y)]  # fmt: skip
    gram = torch.zeros(*x.shape[:-1], x.shape[-2], dtype=torch.float64)
    cross = torch.zeros(*x.shape[:-1], y.shape[-2], dtype=torch.float64)
    for a, b in zip(x.split(PART, -1), y.split(PART, -1), strict=True):
        a = a - means[0][..., None].float()
        gram += (a @ a.mT).double() / count
        cross += (a @ (b - means[1][..., None].float()).mT).double() / count
    more = DAMPING * gram.diagonal(dim1=-2, dim2=-1).mean(-1).clamp(min=1e-9)[..., None, None]
    return *means, gram + more * torch.eye(gram.shape[-1]), cross, more


def compensated(
    weight: torch.Tensor, gram: torch.Tensor, least: torch.Tensor | float = 0, *, pairs: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """weight [..., K, N], second moments [..., K, K] -> whole numbers and scales [..., 1, N], of at
    least `least`; `pairs`: whether neighbours along K keep the rule."""
    weight = weight.float()
    errors = torch.linalg.cholesky(torch.linalg.inv(gram), upper=True).float()
    whole = weight.abs().amax(-2, keepdim=True) / 127
    if pairs:
        even = torch.nn.functional.pad(weight, (0, 0, 0, weight.shape[-2] % 2))
        two = even.unflatten(-2, (-1, 2))
        for sign in (1, -1):
            sums = (two * sign).clamp(min=0).sum(-2).amax(-2, keepdim=True)
            whole = torch.maximum(whole, sums / PAIR)
    whole = torch.where(whole > 0, whole, 1.0)
    best, scale, lowest = torch.zeros_like(weight), whole, torch.full_like(whole, torch.inf)
    for share in SHARES:
        tried = torch.maximum(whole * share, torch.as_tensor(least, dtype=torch.float32))
        values, cost = _in_turn(weight.clone(), errors, tried, pairs)
        better = cost < lowest
        best, scale = torch.where(better, values, best), torch.where(better, tried, scale)
        lowest = torch.where(better, cost, lowest)
    return best, scale


def _in_turn(
    weight: torch.Tensor, errors: torch.Tensor, scale: torch.Tensor, pairs: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Round row after row, and move what is left over to the rows to come."""
    values, cost = torch.empty_like(weight), torch.zeros_like(scale)
    for k in range(weight.shape[-2]):
        row = weight[..., k : k + 1, :] / scale
        low, high = torch.full_like(row, -127), torch.full_like(row, 127)
        if pairs and k % 2:
            other = values[..., k - 1 : k, :]
            low = torch.where(other < 0, -PAIR - other, low).clamp(min=-127)
            high = torch.where(other > 0, PAIR - other, high).clamp(max=127)
        elif pairs and k + 1 < weight.shape[-2]:  # half of what is over comes from each
            other = weight[..., k + 1 : k + 2, :] / scale
            over = ((row + other).abs() - PAIR).clamp(min=0) * (row * other > 0)
            row = row - row.sign() * over / 2
        values[..., k : k + 1, :] = row.round().clamp(low, high)
        left = weight[..., k : k + 1, :] - values[..., k : k + 1, :] * scale
        left = left / errors[..., k : k + 1, k : k + 1]
        cost += left.square()
        weight[..., k + 1 :, :] -= errors[..., k, k + 1 :, None] * left
    return values, cost


def quantized(x: torch.Tensor, scale: np.float32, zero: np.uint8) -> torch.Tensor:
    """x as it is once it has been rounded to 0 to 255."""
    step, origin = float(scale), float(zero)
    return (x / step).round_().add_(origin).clamp_(0, 255).sub_(origin).mul_(step)


def step_of(low: float, high: float) -> tuple[np.float32, np.uint8]:
    """Scale and zero of activations in that range, which has 0 in it."""
    scale = np.float32((high - low) / 255)
    return scale, np.uint8(np.clip(np.rint(-low / scale), 0, 255))
