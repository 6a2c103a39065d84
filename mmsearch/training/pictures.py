"""Pictures of pairs as rows of pixels, decoded and augmented while the towers compute."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from mmsearch.errors import MediaError
from mmsearch.records import Ids

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmsearch.evaluation import Pair

Transform = Callable[["Image"], torch.Tensor]


class Pictures(Dataset[torch.Tensor]):
    """chance: what each row's augmentation is drawn from, besides its number; so a picture comes
    out the same in whichever process and order it is read."""

    def __init__(self, pairs: Sequence[Pair], transform: Transform, min_side: int,
                 chance: int = 0) -> None:
        self._pairs, self._transform = pairs, transform
        self._min_side, self._chance = min_side, chance

    def __getitem__(self, number: int) -> torch.Tensor:
        from mmsearch.media import decode

        image = decode(self._pairs[number].image, min_side=self._min_side).image
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(np.random.default_rng([self._chance, number]).integers(2**62)))
            return self._transform(image)

    def rows(self, plan: Sequence[Ids], device: torch.device) -> Iterator[torch.Tensor]:
        """[rows, 3, side, side] for each batch of numbers. On a GPU, processes of their own read
        ahead; on a CPU the towers need all cores."""
        on_gpu, ways = device.type == "cuda", multiprocessing.get_all_start_methods()
        readers = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        readers = min(16, readers) if on_gpu and "fork" in ways else 0
        loader = DataLoader(self, batch_sampler=[list(map(int, batch)) for batch in plan],
                            num_workers=readers, pin_memory=on_gpu,
                            multiprocessing_context="fork" if readers else None)
        return (rows.to(device, non_blocking=True) for rows in loader)


def readable(pairs: Sequence[Pair], min_side: int, skipped: dict[str, str]) -> list[Pair]:
    """The pairs whose pictures can be decoded; the others are named in `skipped`."""
    from mmsearch.media import decode

    def wrong(pair: Pair) -> str:
        try:
            decode(pair.image, min_side=min_side)
        except MediaError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(wrong, pairs))
    skipped.update({str(pair.image): why for pair, why in zip(pairs, found, strict=True) if why})
    return [pair for pair, why in zip(pairs, found, strict=True) if not why]
