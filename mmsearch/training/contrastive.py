"""Contrastive training of heads on features, with a checkpoint after every epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mmsearch.records import Ids, Vectors
from mmsearch.training.closed_form import f32, moments
from mmsearch.training.config import EpochReport, TrainConfig
from mmsearch.training.features import Features
from mmsearch.training.heads import Head, Heads, save_whole, unit
from mmsearch.training.validation import Recall, recall

if TYPE_CHECKING:
    import torch


class HeadParameters:
    """One head as torch parameters that act on standardised features, where Adam works best."""

    def __init__(self, head: Head, features: Vectors) -> None:
        """features: unit rows, which say what standard is."""
        import torch

        self.mean, self.spread = (f32(a) for a in moments([features]))
        self.weight = torch.tensor(head.weight * self.spread, requires_grad=True)
        self.bias = torch.tensor(head.bias + head.weight @ self.mean, requires_grad=True)
        self.parameters = [self.weight, self.bias]

    def __call__(self, features: torch.Tensor, dropout: float) -> torch.Tensor:
        """Unit rows -> unit rows."""
        import torch
        from torch.nn import functional

        x = (features - torch.from_numpy(self.mean)) / torch.from_numpy(self.spread)
        x = functional.dropout(x, dropout)
        return functional.normalize(x @ self.weight.T + self.bias, dim=-1)

    def head(self) -> Head:
        weight = self.weight.detach().numpy() / self.spread
        return Head(f32(weight), f32(self.bias.detach().numpy() - weight @ self.mean))


class Best(NamedTuple):
    """The heads that found most on the validation pairs, after which epoch (0 is the start), and
    the share of what was trained in them."""

    heads: Heads
    epoch: int
    share: float
    recall: Recall


def fit(start: Heads, data: Features, val: Features, config: TrainConfig, work: Path,
        on_epoch: Callable[[EpochReport], None] | None = None) -> Best:
    """Symmetric InfoNCE from `start`; -> the best heads on `val`."""
    import torch

    images, texts = np.stack([unit(view) for view in data.images]), unit(data.texts)
    sides = [HeadParameters(start.image, images.reshape(-1, images.shape[-1])),
             HeadParameters(start.text, texts)]
    sharpness = torch.tensor(-np.log(config.temperature), dtype=torch.float32, requires_grad=True)
    parameters = [p for side in sides for p in side.parameters] + [sharpness]
    optimizer = torch.optim.AdamW(parameters, lr=config.lr, weight_decay=0.0)

    best = Best(start, 0, 0.0, recall(start, val))
    checkpoint = work / "checkpoint.pt"
    done = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        with torch.no_grad():
            for parameter, value in zip(parameters, state["parameters"], strict=True):
                parameter.copy_(value)
        optimizer.load_state_dict(state["optimizer"])
        heads = Heads.of({name: t.numpy() for name, t in state["best"].items()})
        best = Best(heads, state["best_epoch"], state["best_share"], recall(heads, val))
        done = state["epoch"]
    elif on_epoch:
        on_epoch(EpochReport(0, config.epochs, float("nan"), best.recall))

    for epoch in range(done + 1, config.epochs + 1):
        loss = _epoch(epoch, sides, sharpness, optimizer, images, texts, data, config)
        trained = Heads(sides[0].head(), sides[1].head())
        for share in (0.25, 0.5, 0.75, 1.0):
            blended = start.blend(trained, share)
            found = recall(blended, val)
            if found.total > best.recall.total:
                best = Best(blended, epoch, share, found)
        if on_epoch:
            on_epoch(EpochReport(epoch, config.epochs, loss, found))
        state = {"epoch": epoch, "parameters": [p.detach() for p in parameters],
                 "optimizer": optimizer.state_dict(), "best_epoch": best.epoch,
                 "best_share": best.share,
                 "best": {n: torch.tensor(t) for n, t in best.heads.tensors().items()}}
        save_whole(checkpoint, partial(torch.save, state))
    return best


def _epoch(epoch: int, sides: list[HeadParameters], sharpness: torch.Tensor,
           optimizer: torch.optim.Optimizer, images: Vectors, texts: Vectors, data: Features,
           config: TrainConfig) -> float:
    """Every picture once, with one of its captions and one of its views; -> the mean loss."""
    import torch

    # All chance in an epoch comes from (seed, epoch), so a resumed run repeats it exactly.
    random = np.random.default_rng([config.seed, epoch])
    captions = one_caption_each(data.owner, images.shape[1], random)
    plan = list(batches(data.group, config.batch_size, random))
    losses: list[float] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(random.integers(2**31)))
        for number, batch in enumerate(plan):
            share_done = (epoch - 1 + number / len(plan)) / config.epochs
            for group in optimizer.param_groups:
                group["lr"] = config.lr * min(1.0, 20 * share_done + 0.05) * 0.5 * (
                    1 + math.cos(math.pi * share_done))
            view = random.integers(len(images), size=len(batch))
            text = captions[batch]
            seen = sides[0](torch.from_numpy(images[view, batch]), config.dropout)
            read = sides[1](torch.from_numpy(texts[text]), 0.0)
            same = torch.from_numpy(data.same[text][:, None] == data.same[text][None])
            loss = info_nce(seen, read, sharpness, same)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
    return float(np.mean(losses))


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


def one_caption_each(owner: Ids, pictures: int, random: np.random.Generator) -> Ids:
    shuffled = random.permutation(len(owner))
    chosen = np.zeros(pictures, np.int64)
    chosen[owner[shuffled]] = shuffled  # the last one written stays
    return chosen


def batches(group: Ids, size: int, random: np.random.Generator) -> Iterator[Ids]:
    """All pictures in batches of about `size`, each from one group; small groups are joined."""
    counts = np.bincount(group)
    group = np.where(counts[group] < size // 2, -1, group)
    found: list[Ids] = []
    for one in np.unique(group):
        members = random.permutation(np.flatnonzero(group == one))
        found += np.array_split(members, max(1, round(len(members) / size)))
    yield from (found[i] for i in random.permutation(len(found)))
