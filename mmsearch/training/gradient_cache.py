"""Gradient caching (GradCache, Gao et al. 2021): batches that do not fit into memory.

A contrastive loss needs the vectors of the whole batch at once, but not what the encoders keep for
their gradients. So everything is encoded twice: first without gradients, for the loss and its
gradient by the vectors; then chunk by chunk with gradients, which are added up. The result is that
of the whole batch, up to rounding, unless an encoder mixes rows (batch norm in training mode).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

Side = tuple[Callable[[Any], torch.Tensor], Sequence[Any]]
"""An encoder, and its inputs in chunks; the vectors of the chunks together are the batch."""


def cached_backward(sides: Sequence[Side], loss: Callable[..., torch.Tensor]) -> torch.Tensor:
    """`loss(*vectors of each side)`, its gradients added to all parameters; -> the loss, detached.

    Chance (dropout) draws the same both times, on CPUs and GPUs.
    """
    states: list[list[Any]] = []
    vectors: list[list[torch.Tensor]] = []
    with torch.no_grad():
        for encode, chunks in sides:
            states.append([])
            vectors.append([])
            for chunk in chunks:
                states[-1].append(_chance())
                vectors[-1].append(encode(chunk))
    leaves = [torch.cat(side).requires_grad_() for side in vectors]
    value = loss(*leaves)
    value.backward()  # type: ignore[no-untyped-call]
    after = _chance()
    for (encode, chunks), before, made, leaf in zip(sides, states, vectors, leaves, strict=True):
        assert leaf.grad is not None
        slopes = torch.split(leaf.grad, [len(one) for one in made])
        for chunk, state, slope in zip(chunks, before, slopes, strict=True):
            _restore(state)
            torch.autograd.backward(encode(chunk), slope)
    _restore(after)
    return value.detach()


def _chance() -> tuple[torch.Tensor, list[torch.Tensor]]:
    return torch.get_rng_state(), torch.cuda.get_rng_state_all()


def _restore(state: tuple[torch.Tensor, list[torch.Tensor]]) -> None:
    torch.set_rng_state(state[0])
    torch.cuda.set_rng_state_all(state[1])
