"""One run in several processes, as torchrun starts them: each encodes its share of a batch, and all
compute the loss of the whole batch, whose gradients are added up."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import distributed, nn

from mmsearch.records import Ids


class Joint:
    """The processes of a run: `rank` of `size`."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    def share(self, rows: Ids) -> Ids:
        """Those of a batch that this process encodes; all shares in order are the batch."""
        return np.array_split(rows, self.size)[self.rank]

    def gathered(self, rows: torch.Tensor) -> tuple[torch.Tensor, slice]:
        """The rows of all processes, in order of rank, and where this one's are; no gradients."""
        if self.size == 1:
            return rows, slice(0, len(rows))
        counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(self.size)]
        distributed.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
        most = max(int(count) for count in counts)
        padded = torch.zeros(most, *rows.shape[1:], dtype=rows.dtype, device=rows.device)
        padded[: len(rows)] = rows
        every = [torch.empty_like(padded) for _ in range(self.size)]
        distributed.all_gather(every, padded)
        begin = sum(int(count) for count in counts[: self.rank])
        return (torch.cat([one[: int(count)] for one, count in zip(every, counts, strict=True)]),
                slice(begin, begin + len(rows)))

    def add_gradients(self, shared: Iterable[nn.Parameter], whole: Iterable[nn.Parameter]) -> None:
        """shared: gradients are of this process's rows, and are added up; whole: they are of the
        batch already, and are made the same to the last bit."""
        if self.size > 1:
            for parameters, parts in ((shared, 1), (whole, self.size)):
                for one in parameters:
                    one.grad = torch.zeros_like(one) if one.grad is None else one.grad / parts
                    distributed.all_reduce(one.grad)

    def wait(self) -> None:
        if self.size > 1:
            distributed.barrier()


ALONE = Joint()


@contextmanager
def joined(device: torch.device) -> Iterator[Joint]:
    """The processes that torchrun started, connected; or this one alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Joint(distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()
