"""Contrastive training of towers, or of parts of them, with a checkpoint after every epoch."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from mmsearch.records import Ids, Vectors
from mmsearch.training.adversary import ModalityJudge, ramp
from mmsearch.training.config import EpochReport, TrainConfig
from mmsearch.training.contrastive import SHARES, batches, captions_each, rate
from mmsearch.training.features import with_index
from mmsearch.training.gradient_cache import cached_backward
from mmsearch.training.heads import save_whole
from mmsearch.training.joint import Joint
from mmsearch.training.losses import Contrast, matches
from mmsearch.training.pictures import Pictures
from mmsearch.training.towers import Towers, choose
from mmsearch.training.validation import Recall, gap_of, recall_of

if TYPE_CHECKING:
    from mmsearch.evaluation import Pair

DECAY = 0.01
"""What matrices lose, times the learning rate, at each step (AdamW)."""
ENCODED = 32
"""Rows that are encoded together where no gradients are wanted."""

Weights = dict[str, torch.Tensor]


class Learned(nn.Module):
    """All that is trained: the towers, the numbers of the loss, and the judge of modalities."""

    def __init__(self, towers: Towers, dim: int, config: TrainConfig) -> None:
        super().__init__()
        self.towers = towers.module
        self.contrast = Contrast(config.loss, towers.temperature or config.temperature,
                                 config.hard_negatives)
        self.judge = ModalityJudge(dim) if config.adversarial else None

    def weights(self) -> dict[str, nn.Parameter]:
        return {name: one for name, one in self.named_parameters() if one.requires_grad}

    def put(self, weights: Weights) -> None:
        with torch.no_grad():
            for name, one in self.weights().items():
                one.copy_(weights[name])


class Tuned(NamedTuple):
    """What found most on the validation pairs, after which epoch (0 is the start), with which share
    of the way from the start; it is what the towers hold."""

    epoch: int
    share: float
    recall: Recall
    temperature: float


def tune(towers: Towers, pairs: Sequence[Pair], val: Sequence[Pair], config: TrainConfig,
         work: Path, joint: Joint, device: torch.device,
         on_epoch: Callable[[EpochReport], None] | None = None,
         progress: Callable[[int], None] = lambda done: None) -> Tuned:
    """Train what `config.tune` says of the towers; -> the best on `val`, which they then hold. The
    log is `work`/log.jsonl. progress: called with the number of pictures that are done more."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        dim = towers.read(towers.tokens(["a"])).shape[1]
        choose(towers, config)
        learned = Learned(towers, dim, config).to(device)
    run = _Run(towers, learned, config, joint, device, progress)
    weights = learned.weights()
    optimizer = torch.optim.AdamW([
        {"params": [one for one in weights.values() if one.ndim > 1], "weight_decay": DECAY},
        {"params": [one for one in weights.values() if one.ndim < 2], "weight_decay": 0.0}],
        lr=config.lr)
    start = _copied(weights)
    mean = _copied(weights) if config.ema else None
    kept, done = start, 0
    log: list[dict[str, Any]] = []
    checkpoint = work / "checkpoint.pt"

    def tell(report: EpochReport) -> None:
        log.append(report.line())
        if joint.rank == 0:
            text = "".join(json.dumps(line) + "\n" for line in log).encode()
            save_whole(work / "log.jsonl", lambda file: file.write(text))
            if on_epoch:
                on_epoch(report)

    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True, map_location=device)
        optimizer.load_state_dict(state["optimizer"])
        mean, done, log, kept = state["mean"], state["epoch"], state["log"], state["kept"]
        learned.put(kept)
        best = state["best_epoch"], run.measure(val)[0]
        learned.put(state["weights"])
        progress(done * (len(pairs) + len(val)))
    else:
        found, gap = run.measure(val)
        best = 0, found
        tell(EpochReport(0, config.epochs, float("nan"), found, gap))

    for epoch in range(done + 1, config.epochs + 1):
        if config.patience and epoch - best[0] > config.patience:
            break
        began = time.perf_counter()
        loss = _epoch(epoch, run, optimizer, mean, pairs)
        now = _copied(weights)
        learned.put(mean or now)
        found, gap = run.measure(val)
        if found.total > best[1].total:
            best, kept = (epoch, found), _copied(weights)
        learned.put(now)
        tell(EpochReport(epoch, config.epochs, loss, found, gap, optimizer.param_groups[0]["lr"],
                         time.perf_counter() - began))
        if joint.rank == 0:
            save_whole(checkpoint, partial(torch.save, {
                "weights": now, "optimizer": optimizer.state_dict(), "mean": mean, "epoch": epoch,
                "log": log, "best_epoch": best[0], "kept": kept}))
        joint.wait()

    shares = SHARES if config.blend and best[0] else ()
    tried = [(best[1], 1.0 if best[0] else 0.0)]
    for share in shares:
        learned.put(blended(start, kept, share))
        tried.append((run.measure(val)[0], share))
    most, share = max(tried, key=lambda one: one[0].total)
    learned.put(blended(start, kept, share) if share else start)
    return Tuned(best[0], share, most, float((-learned.contrast.sharpness.detach()).exp()))


def blended(start: Weights, end: Weights, share: float) -> Weights:
    """`share` of the way from start to end (WiSE-FT, Wortsman et al. 2022). Of LoRA's products,
    which begin at 0, one factor alone is scaled: so it is as if the products were."""
    return {name: one if ".lora_A." in name else torch.lerp(start[name], one, share)
            for name, one in end.items()}


def _copied(weights: dict[str, nn.Parameter]) -> Weights:
    return {name: one.detach().clone() for name, one in weights.items()}


class _Run(NamedTuple):
    towers: Towers
    learned: Learned
    config: TrainConfig
    joint: Joint
    device: torch.device
    progress: Callable[[int], None]

    def see(self, pixels: torch.Tensor) -> torch.Tensor:
        return self._unit(self.towers.see, pixels)

    def read(self, tokens: torch.Tensor) -> torch.Tensor:
        return self._unit(self.towers.read, tokens)

    def _unit(self, encode: Callable[[torch.Tensor], torch.Tensor], rows: torch.Tensor
              ) -> torch.Tensor:
        wanted = self.config.precision
        low = wanted == "bf16" or (wanted == "auto" and self.device.type == "cuda")
        with torch.autocast(self.device.type, torch.bfloat16, enabled=low):
            vectors = encode(rows.to(self.device))
        return functional.normalize(vectors if vectors.dtype == torch.float64 else vectors.float(),
                                    dim=-1)

    @torch.no_grad()
    def measure(self, val: Sequence[Pair]) -> tuple[Recall, float]:
        """Recall on the validation pairs and the modality gap; every process encodes its share."""
        texts = [caption for pair in val for caption in pair.captions]
        mine = self.joint.share(np.arange(len(val)))
        plan = [mine[at : at + ENCODED] for at in range(0, len(mine), ENCODED)]
        pictures = Pictures(val, self.towers.transform(False), self.towers.min_side)
        seen = []
        for rows in pictures.rows(plan, self.device):
            seen.append(self.see(rows))
            self.progress(len(rows) * self.joint.size)
        mine = self.joint.share(np.arange(len(texts)))
        read = [self.read(self.towers.tokens([texts[n] for n in mine[at : at + ENCODED]]))
                for at in range(0, len(mine), ENCODED)]
        images, said = (self._all(rows) for rows in (seen, read))
        owner = np.repeat(np.arange(len(val)), [len(pair.captions) for pair in val])
        return recall_of(images, said, owner), gap_of(images, said)

    def _all(self, rows: list[torch.Tensor]) -> Vectors:
        return np.asarray(self.joint.gathered(torch.cat(rows))[0].float().cpu().numpy())


def _epoch(epoch: int, run: _Run, optimizer: torch.optim.Optimizer, mean: Weights | None,
           pairs: Sequence[Pair]) -> float:
    """Every picture once, with some of its captions; -> the mean loss."""
    config, joint, weights = run.config, run.joint, run.learned.weights()
    texts = [caption for pair in pairs for caption in pair.captions]
    index = with_index(pairs, np.zeros((1, len(pairs), 0), np.float32),
                       np.zeros((len(texts), 0), np.float32))
    # All chance in an epoch comes from (seed, epoch), so a resumed run repeats it exactly.
    random = np.random.default_rng([config.seed, epoch])
    captions = captions_each(index.owner, len(pairs), config.captions, random)
    # A small folder may leave fewer pictures than there are processes.
    plan = [batch for batch in batches(index.group, config.batch_size, random)
            if len(batch) >= joint.size]
    pictures = Pictures(pairs, run.towers.transform(True), run.towers.min_side,
                        int(random.integers(2**31)))
    losses: list[float] = []
    with torch.random.fork_rng([run.device] if run.device.type == "cuda" else []):
        torch.manual_seed(int(random.integers(2**31)) + joint.rank)
        rows = pictures.rows([joint.share(batch) for batch in plan], run.device)
        for number, (batch, pixels) in enumerate(zip(plan, rows, strict=True)):
            done = (epoch - 1 + number / len(plan)) / config.epochs
            for group in optimizer.param_groups:
                group["lr"] = config.lr * rate(done, config.warmup)
            together = number - number % config.accumulate
            loss = _backward(run, batch, pixels, texts, captions[batch], index.same, done,
                             1 / min(config.accumulate, len(plan) - together))
            losses.append(loss)
            run.progress(len(batch))
            if (number + 1) % config.accumulate == 0 or number + 1 == len(plan):
                towers = [one for name, one in weights.items() if name.startswith("towers.")]
                rest = [one for name, one in weights.items() if not name.startswith("towers.")]
                joint.add_gradients(towers, rest)
                optimizer.step()
                optimizer.zero_grad()
                for name, one in (mean or {}).items():
                    one.lerp_(weights[name].detach(), 1 - config.ema)
    return float(np.mean(losses))


def _backward(run: _Run, batch: Ids, pixels: torch.Tensor, texts: Sequence[str], captions: Ids,
              same: Ids, done: float, weight: float) -> float:
    """The gradients of a batch, times `weight`; -> its loss, that of the judge not counted.

    pixels: of the pictures in this process's share; captions: int64 [batch, most], -1 for none.
    """
    learned, config, joint = run.learned, run.config, run.joint
    picture, place = np.nonzero(captions >= 0)
    text = captions[picture, place]
    positive, negative = (one.to(run.device) for one in matches(
        torch.from_numpy(picture), torch.from_numpy(same[text]), len(batch)))
    told: list[float] = []

    def loss(seen: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = learned.contrast(seen, said, positive, negative)
        told.append(value.item())
        if learned.judge:
            value = value + learned.judge(seen, said, config.adversarial * ramp(done))
        return value * weight

    mine = np.isin(picture, joint.share(np.arange(len(batch))))
    tokens = run.towers.tokens([texts[n] for n in text[mine]])
    chunks = [torch.split(side, config.chunk or len(side)) for side in (pixels, tokens)]
    cached_backward([(run.see, chunks[0]), (run.read, chunks[1])], loss, joint)
    return told[0]
