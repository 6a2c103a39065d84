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

from mmsearch.training.joint import ALONE, Joint

Side = tuple[Callable[[Any], torch.Tensor], Sequence[Any]]
"""An encoder, and its inputs in chunks; the vectors of the chunks together are the batch."""


def cached_backward(sides: Sequence[Side], loss: Callable[..., torch.Tensor],
                    joint: Joint = ALONE) -> torch.Tensor:
    """`loss(*vectors of each side)`, its gradients added to all parameters; -> the loss, detached.

    Chance (dropout) draws the same both times, on CPUs and GPUs. A side of one chunk is encoded
    once. Where several processes have a share of the batch each, the loss is that of all vectors,
    and the gradients are those of this process's rows.
    """
    states: list[list[list[torch.Tensor]]] = []
    vectors: list[list[torch.Tensor]] = []
    for encode, chunks in sides:
        states.append([])
        vectors.append([])
        for chunk in chunks:
            states[-1].append(_chance())
            with torch.set_grad_enabled(len(chunks) == 1):
                vectors[-1].append(encode(chunk))
    leaves, mine = zip(*(joint.gathered(torch.cat(side).detach()) for side in vectors), strict=True)
    for leaf in leaves:
        leaf.requires_grad_()
    value = loss(*leaves)
    value.backward()  # type: ignore[no-untyped-call]
    after = _chance()
    for (encode, chunks), before, made, leaf, own in zip(sides, states, vectors, leaves, mine,
                                                         strict=True):
        assert leaf.grad is not None
        slopes = torch.split(leaf.grad[own], [len(one) for one in made])
        for chunk, state, rows, slope in zip(chunks, before, made, slopes, strict=True):
            if len(chunks) > 1:
                _restore(state)
                rows = encode(chunk)
            torch.autograd.backward(rows, slope)
    _restore(after)
    return value.detach()


def _chance() -> list[torch.Tensor]:
    """What random numbers come next on the CPU and on this process's GPU."""
    on_gpu = [torch.cuda.get_rng_state()] if torch.cuda.is_available() else []
    return [torch.get_rng_state(), *on_gpu]


def _restore(state: list[torch.Tensor]) -> None:
    torch.set_rng_state(state[0])
    for on_gpu in state[1:]:
        torch.cuda.set_rng_state(on_gpu)
