"""Contrastive training of heads on features, with a checkpoint after every epoch."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mmsearch.records import Ids, Vectors
from mmsearch.training.adversary import ModalityJudge, ramp
from mmsearch.training.closed_form import f32, moments
from mmsearch.training.config import EpochReport, TrainConfig
from mmsearch.training.features import Features
from mmsearch.training.gradient_cache import cached_backward
from mmsearch.training.heads import Head, Heads, save_whole, unit
from mmsearch.training.losses import Contrast, matches
from mmsearch.training.validation import Recall, modality_gap, recall

SHARES = (0.25, 0.5, 0.75)
"""Of what was trained, in blends with the start."""


class TrainedHead(nn.Module):
    """One head in torch, that acts on standardised features, where Adam works best."""

    mean: torch.Tensor
    spread: torch.Tensor

    def __init__(self, head: Head, features: Vectors) -> None:
        """features: unit rows, which say what standard is."""
        super().__init__()
        mean, spread = (f32(a) for a in moments([features]))
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("spread", torch.from_numpy(spread))
        self.weight = nn.Parameter(torch.tensor(head.weight * spread))
        self.bias = nn.Parameter(torch.tensor(head.bias + head.weight @ mean))

    def forward(self, features: torch.Tensor, dropout: float) -> torch.Tensor:
        """Unit rows -> unit rows."""
        x = functional.dropout((features - self.mean) / self.spread, dropout)
        return functional.normalize(x @ self.weight.T + self.bias, dim=-1)

    def head(self) -> Head:
        weight = self.weight.detach().numpy() / self.spread.numpy()
        return Head(f32(weight), f32(self.bias.detach().numpy() - weight @ self.mean.numpy()))


class Trained(nn.Module):
    """All that is learned: both heads, the numbers of the loss, and the judge of modalities."""

    def __init__(self, start: Heads, images: Vectors, texts: Vectors, config: TrainConfig) -> None:
        super().__init__()
        self.image = TrainedHead(start.image, images.reshape(-1, images.shape[-1]))
        self.text = TrainedHead(start.text, texts)
        self.contrast = Contrast(config.loss, config.temperature, config.hard_negatives)
        self.judge = ModalityJudge(len(start.image.bias)) if config.adversarial else None

    def heads(self) -> Heads:
        return Heads(self.image.head(), self.text.head())


class Best(NamedTuple):
    """The heads that found most on the validation pairs, after which epoch (0 is the start), and
    the share of what was trained in them."""

    heads: Heads
    epoch: int
    share: float
    recall: Recall


def fit(start: Heads, data: Features, val: Features, config: TrainConfig, work: Path,
        on_epoch: Callable[[EpochReport], None] | None = None) -> Best:
    """Train from `start`; -> the best heads on `val`. The log is `work`/log.jsonl."""
    images, texts = np.stack([unit(view) for view in data.images]), unit(data.texts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = Trained(start, images, texts, config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=0.0)
    mean = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(  # type: ignore[no-untyped-call]
        config.ema)) if config.ema else None
    parts: dict[str, Any] = {"model": model, "optimizer": optimizer, "mean": mean}

    best, log = Best(start, 0, 0.0, recall(start, val)), list[dict[str, Any]]()
    checkpoint = work / "checkpoint.pt"
    done = 0

    def tell(report: EpochReport) -> None:
        log.append(report.line())
        text = "".join(json.dumps(line) + "\n" for line in log).encode()
        save_whole(work / "log.jsonl", lambda file: file.write(text))
        if on_epoch:
            on_epoch(report)

    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        for name, part in parts.items():
            if part:
                part.load_state_dict(state[name])
        heads = Heads.of({name: t.numpy() for name, t in state["best"].items()})
        best = Best(heads, state["best_epoch"], state["best_share"], recall(heads, val))
        done, log = state["epoch"], state["log"]
    else:
        tell(EpochReport(0, config.epochs, float("nan"), best.recall, modality_gap(start, val)))

    for epoch in range(done + 1, config.epochs + 1):
        if config.patience and epoch - best.epoch > config.patience:
            break
        began = time.perf_counter()
        loss = _epoch(epoch, model, mean, optimizer, images, texts, data, config)
        trained = cast(Trained, mean.module if mean else model).heads()
        for share in (*(SHARES if config.blend else ()), 1.0):
            blended = start.blend(trained, share)
            found = recall(blended, val)
            if found.total > best.recall.total:
                best = Best(blended, epoch, share, found)
        tell(EpochReport(epoch, config.epochs, loss, found, modality_gap(trained, val),
                         optimizer.param_groups[0]["lr"], time.perf_counter() - began))
        state = {name: part.state_dict() for name, part in parts.items() if part} | {
            "epoch": epoch, "log": log, "best_epoch": best.epoch, "best_share": best.share,
            "best": {n: torch.tensor(t) for n, t in best.heads.tensors().items()}}
        save_whole(checkpoint, partial(torch.save, state))
    return best


def _epoch(epoch: int, model: Trained, mean: AveragedModel | None,
           optimizer: torch.optim.Optimizer, images: Vectors, texts: Vectors, data: Features,
           config: TrainConfig) -> float:
    """Every picture once, with some of its captions and one of its views; -> the mean loss."""
    # All chance in an epoch comes from (seed, epoch), so a resumed run repeats it exactly.
    random = np.random.default_rng([config.seed, epoch])
    captions = captions_each(data.owner, images.shape[1], config.captions, random)
    plan = list(batches(data.group, config.batch_size, random))
    losses: list[float] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(random.integers(2**31)))
        for number, batch in enumerate(plan):
            done = (epoch - 1 + number / len(plan)) / config.epochs
            for group in optimizer.param_groups:
                group["lr"] = config.lr * rate(done, config.warmup)
            view = random.integers(len(images), size=len(batch))
            picture, place = np.nonzero(captions[batch] >= 0)
            text = captions[batch][picture, place]
            optimizer.zero_grad()
            loss = _backward(model, config, torch.from_numpy(images[view, batch]),
                             torch.from_numpy(texts[text]),
                             *matches(torch.from_numpy(picture),
                                      torch.from_numpy(data.same[text]), len(batch)), done)
            optimizer.step()
            if mean:
                mean.update_parameters(model)
            losses.append(loss.item())
    return float(np.mean(losses))


def _backward(model: Trained, config: TrainConfig, images: torch.Tensor, texts: torch.Tensor,
              positive: torch.Tensor, negative: torch.Tensor, done: float) -> torch.Tensor:
    """The gradients of a batch; -> its loss, that of the judge not counted."""
    told: list[torch.Tensor] = []

    def loss(seen: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = model.contrast(seen, said, positive, negative)
        told.append(value.detach())
        if model.judge:
            value = value + model.judge(seen, said, config.adversarial * ramp(done))
        return value

    see, read = partial(model.image, dropout=config.dropout), partial(model.text, dropout=0.0)
    if config.chunk:
        chunks = [[side[at : at + config.chunk] for at in range(0, len(side), config.chunk)]
                  for side in (images, texts)]
        cached_backward([(see, chunks[0]), (read, chunks[1])], loss)
    else:
        loss(see(images), read(texts)).backward()  # type: ignore[no-untyped-call]
    return told[0]


def rate(done: float, warmup: float) -> float:
    """The learning rate at a share of the run, of its peak: a linear rise, then half a cosine."""
    rise = min(1.0, done / warmup + warmup) if warmup else 1.0
    return rise * 0.5 * (1 + math.cos(math.pi * done))


def captions_each(owner: Ids, pictures: int, most: int, random: np.random.Generator) -> Ids:
    """Captions of each picture, drawn at random: int64 [pictures, most], -1 where it has fewer."""
    shuffled = random.permutation(len(owner))[::-1]
    order = shuffled[np.argsort(owner[shuffled], kind="stable")]
    counts = np.bincount(owner, minlength=pictures)
    place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    order, place = order[place < most], place[place < most]
    chosen = np.full((pictures, most), -1, np.int64)
    chosen[owner[order], place] = order
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
