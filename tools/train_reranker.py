"""How the reranker is trained: texts of a group of pictures that are hard to tell apart must find
their own, and pictures their texts, given what the two towers say already.

What the towers say of a pair comes from linear heads that were fitted without the pair (five
folds): the shipped heads know all these pairs by heart, and beside them nothing would be left to
learn. The towers stay as they are; pictures are seen in several random crops.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from reranker import GRID, Reranker
from torch import Tensor, nn
from torch.nn.functional import (
    adaptive_avg_pool2d,
    affine_grid,
    conv2d,
    cross_entropy,
    grid_sample,
    normalize,
    pad,
)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
AMP = torch.bfloat16 if DEVICE == "cuda" else torch.float32
FIRST = 50
TOKENS = 26
"""Longer captions are cut in training."""


@dataclass
class Texts:
    """states: float16 [m, T, 384]; lengths: int [m]; embeddings: float32 [m, 384]; owner: int [m],
    the picture of each."""

    states: Any
    lengths: Any
    embeddings: Any
    owner: Any

    def on_device(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """States, mask (of one token more: the whole text is the first), embeddings, owner."""
        states, lengths, embeddings, owner = (
            torch.as_tensor(one).to(DEVICE) for one in
            (self.states, self.lengths, self.embeddings, self.owner))
        mask = torch.arange(states.shape[1] + 1, device=DEVICE)[None] <= lengths[:, None]
        return states, mask, embeddings, owner


@dataclass
class Train:
    """pictures: uint8 [n, 260, 260, 3]; embeddings: float32 [n, 384]; features: float32 [n, F] and
    text_features [m, 384], those of the towers; same: int [m], equal where captions are."""

    pictures: Any
    embeddings: Any
    features: Any
    texts: Texts
    text_features: Any
    same: Any


@dataclass
class Val:
    """stages: float16 [n, 81, 680], raw; scores: float32 [m, n], and of pictures for texts
    `back` [n, m], of the whole model."""

    name: str
    stages: Any
    embeddings: Any
    texts: Texts
    scores: Any
    back: Any


@dataclass
class Settings:
    d: int = 256
    layers: int = 3
    heads: int = 4
    drop: float = 0.1
    group: int = 32
    groups: int = 4
    hard: float = 2.0
    lr: float = 5e-4
    decay: float = 0.1
    masked: float = 0.1
    views: int = 6
    least_area: float = 0.5
    ema: float = 0.999
    given: bool = True
    seconds: float = 300.0
    marks: int = 8
    seed: int = 0


# -- the image tower, in torch ---------------------------------------------------------------------


class Tower:
    """The convolutions of `towers.fold_batch_norms`, without the head: pictures to stages."""

    def __init__(self, convolutions: list[tuple[Any, Any]], stages: list[tuple[int, ...]]) -> None:
        self.stages = stages
        self.layers = [
            (torch.as_tensor(weight).to(DEVICE, AMP).contiguous(memory_format=torch.channels_last),
             torch.as_tensor(bias).to(DEVICE, AMP)) for weight, bias in convolutions]

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Tensor:
        """Pixels 0 to 255, [n, 3, 260, 260] -> float32 [n, 81, 680]."""
        layers, kept = iter(self.layers), []
        x = ((pixels - 127) / 128).to(AMP).contiguous(memory_format=torch.channels_last)

        def convolve(x: Tensor, kernel: int, stride: int, each: bool, relu6: bool) -> Tensor:
            weight, bias = next(layers)
            total = max((math.ceil(x.shape[-1] / stride) - 1) * stride + kernel - x.shape[-1], 0)
            x = pad(x, (total // 2, total - total // 2) * 2)
            x = conv2d(x, weight, bias, stride=stride, groups=weight.shape[0] if each else 1)
            return x.clamp(0, 6) if relu6 else x

        x = convolve(x, 3, 2, False, True)
        for blocks, kernel, first_stride, expansion in self.stages:
            for block in range(blocks):
                inner = convolve(x, 1, 1, False, True) if expansion > 1 else x
                inner = convolve(inner, kernel, 1 if block else first_stride, True, True)
                inner = convolve(inner, 1, 1, False, False)
                x = inner + x if block else inner
            kept.append(x.float())
        return places_of(kept[6], kept[5], kept[4])


def places_of(s7: Tensor, s6: Tensor, s5: Tensor) -> Tensor:
    """Stages [n, channels, side, side] -> [n, 81, 680]."""
    stages = torch.cat([s7, s6, adaptive_avg_pool2d(s5, GRID)], 1)
    return stages.flatten(2).transpose(1, 2)


def cropped(pixels: Tensor, least_area: float, source: torch.Generator) -> Tensor:
    """Random crops, mirrored or not, [n, 3, 260, 260]."""
    def random(low: float, high: float) -> Tensor:
        return torch.rand(len(pixels), generator=source, device=DEVICE) * (high - low) + low

    size, shape = random(least_area, 1).sqrt(), torch.exp(random(-0.2, 0.2))
    wide, high = (size * shape.sqrt()).clamp(max=1), (size / shape.sqrt()).clamp(max=1)
    corner = torch.zeros(len(pixels), 2, 3, device=DEVICE)
    corner[:, 0, 0] = wide * (random(-1, 1).sign())
    corner[:, 0, 2], corner[:, 1, 2] = random(-1, 1) * (1 - wide), random(-1, 1) * (1 - high)
    corner[:, 1, 1] = high
    grid = affine_grid(corner, list(pixels.shape), align_corners=False)
    return grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)


# -- what the towers say of pairs that their heads have not seen -----------------------------------


def out_of_fold(data: Train, folds: int = 5, epochs: int = 14) -> tuple[Tensor, Tensor]:
    """Unit vectors of all pictures and texts, each from heads that were fitted without its pair:
    ridge regression to whitened texts, then InfoNCE."""
    images, texts = (normalize(torch.as_tensor(rows).float().to(DEVICE), dim=-1)
                     for rows in (data.features, data.text_features))
    owner = torch.as_tensor(data.texts.owner).to(DEVICE)
    fold = torch.as_tensor(np.random.default_rng(0).integers(0, folds, len(images))).to(DEVICE)
    found = tuple(torch.zeros(len(rows), 384, device=DEVICE) for rows in (images, texts))
    for number in range(folds):
        out = fold == number
        image, text = fitted(images, texts, owner, ~out, epochs)
        with torch.no_grad():
            found[0][out], found[1][out[owner]] = image(images[out]), text(texts[out[owner]])
    return found[0], found[1]


def fitted(images: Tensor, texts: Tensor, owner: Tensor, those: Tensor, epochs: int
           ) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    place = torch.cumsum(those, 0) - 1
    own = place[owner[those[owner]]]
    images, texts = images[those], texts[those[owner]]
    mean, spread, middle = images.mean(0), images.std(0) + 1e-6, texts.mean(0)
    values, axes = torch.linalg.eigh((texts - middle).T @ (texts - middle) / len(texts))
    whiten = axes * values.clamp(min=1e-8) ** -0.375
    aim = torch.zeros(len(images), 384, device=DEVICE)
    aim = normalize(aim.index_add_(0, own, normalize((texts - middle) @ whiten, dim=-1)), dim=-1)
    z = (images - mean) / spread
    ridge = torch.linalg.solve(z.T @ z + 6000 * torch.eye(z.shape[1], device=DEVICE),
                               z.T @ (aim - aim.mean(0)))
    w, b, t, scale = (one.clone().requires_grad_() for one in
                      (ridge, aim.mean(0), whiten, torch.tensor(3.0, device=DEVICE)))

    def image(rows: Tensor) -> Tensor:
        return normalize((rows - mean) / spread @ w + b, dim=-1)

    def text(rows: Tensor) -> Tensor:
        return normalize((rows - middle) @ t, dim=-1)

    optimizer = torch.optim.AdamW([w, b, t, scale], lr=1e-3, weight_decay=0.1)
    count = torch.bincount(own, minlength=len(images))
    start, batch = torch.cumsum(count, 0) - count, min(1024, len(images))
    steps = epochs * max(1, len(images) // batch)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 1e-3 * (1 - step / steps)
        rows = torch.randperm(len(images), device=DEVICE)[:batch]
        captions = start[rows] + (torch.rand(batch, device=DEVICE) * count[rows]).long()
        loss = both_ways((image(images[rows]) @ text(texts[captions]).T * scale.exp())[None])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return image, text


def both_ways(scores: Tensor) -> Tensor:
    """Symmetric InfoNCE of groups: [groups, n, n], the diagonals are right."""
    right = torch.arange(scores.shape[1], device=scores.device).repeat(len(scores))
    return (cross_entropy(scores.flatten(0, 1), right)
            + cross_entropy(scores.transpose(1, 2).flatten(0, 1), right)) / 2


# -- training --------------------------------------------------------------------------------------


def fit(data: Train, val: list[Val], tower: Tower, given: tuple[Tensor, Tensor], how: Settings,
        say: Callable[[str], None] = print) -> tuple[Reranker, Tensor, Tensor, dict[str, Any]]:
    """-> the best of what was seen on the first of `val`, the means and deviations of stages, and
    recall by set and weight."""
    torch.manual_seed(how.seed)
    torch.set_float32_matmul_precision("high")
    rng = np.random.default_rng(how.seed)
    views, mean, std = seen(data.pictures, tower, how)
    states, mask, texts, _ = data.texts.on_device()
    same, images = (torch.as_tensor(one).to(DEVICE) for one in (data.same, data.embeddings))
    count = np.bincount(np.asarray(data.texts.owner), minlength=len(images))
    start = np.cumsum(count) - count
    net = Reranker(how.d, how.layers, how.heads, how.drop).to(DEVICE)
    scale = nn.Parameter(torch.tensor(3.0, device=DEVICE))
    weights = list(net.parameters())
    optimizer = torch.optim.AdamW(
        [{"params": [w for w in weights if w.ndim > 1], "weight_decay": how.decay},
         {"params": [*(w for w in weights if w.ndim < 2), scale], "weight_decay": 0.0}],
        lr=how.lr, betas=(0.9, 0.98))
    mean_net = deepcopy(net).requires_grad_(False)
    best: tuple[float, Any, Any] = (-1.0, None, None)
    began, mark, losses = time.time(), 1, []
    for step, rows in enumerate(batches(images, rng, how)):
        spent = min((time.time() - began) / how.seconds, 1)
        for group in optimizer.param_groups:
            warm, cosine = min(1, (step + 1) / 300), 0.5 + 0.5 * math.cos(math.pi * spent)
            group["lr"] = how.lr * warm * cosine
        those = torch.as_tensor(rows, device=DEVICE)
        captions = torch.as_tensor(start[rows] + rng.integers(0, count[rows]), device=DEVICE)
        view = torch.as_tensor(rng.integers(0, how.views, len(rows)), device=DEVICE)
        shape = how.groups, how.group
        with torch.autocast(DEVICE, torch.bfloat16, enabled=DEVICE == "cuda"):
            keep = torch.rand(len(rows), TOKENS, device=DEVICE) >= how.masked
            keep[:, 0] = True
            shown = (mask[captions, :TOKENS] & keep).view(shape[0], 1, shape[1], -1)
            tokens = net.tokens(states[captions, :TOKENS - 1].float(), texts[captions])
            tokens = tokens.view(shape[0], 1, *shape[1:], *tokens.shape[1:])
            odds = net.pairs(
                tokens.expand(-1, shape[1], -1, -1, -1).flatten(0, 1),
                net.places(views[view, those].float(), images[those]),
                shown.expand(-1, shape[1], -1, -1).flatten(0, 1)).float().view(*shape, shape[1])
        if how.given:
            image, text = (part[at].view(*shape, -1) for part, at in
                           zip(given, (those, captions), strict=True))
            odds = odds + scale.exp() * (image @ text.transpose(1, 2))
        words = same[captions].view(shape)
        equal = words[:, :, None] == words[:, None]
        loss = both_ways(odds.masked_fill(
            equal & ~torch.eye(shape[1], dtype=torch.bool, device=DEVICE), -1e4))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        keep_share = min(how.ema, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(mean_net.parameters()), [w.detach() for w in weights],
                             1 - keep_share)
        if step % 20 == 0:
            losses.append(loss.item())
        if spent >= mark / how.marks:
            mark += 1
            result = {one.name: measured(mean_net, one, mean, std) for one in val}
            weight, top = max(result[val[0].name].items(), key=lambda row: sum(row[1][:3]))
            say(f"step {step}, {spent:.0%}: loss {np.mean(losses[-50:]):.3f}, scale "
                f"{float(scale.detach().exp()):.1f}, {val[0].name} at weight {weight}: {top}")
            if sum(top[:3]) > best[0]:
                best = sum(top[:3]), deepcopy(mean_net), result
            if spent >= 1:
                break
    return best[1], mean, std, best[2]


def seen(pictures: Any, tower: Tower, how: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """Stages of all pictures, whole and in crops, standardised, float16 [views, n, 81, 680]; the
    means and deviations that did it."""
    source = torch.Generator(device=DEVICE).manual_seed(how.seed)
    first = tower(torch.as_tensor(np.ascontiguousarray(pictures[::max(1, len(pictures) // 1000)]))
                  .to(DEVICE).permute(0, 3, 1, 2).float())
    mean, std = first.mean((0, 1)), first.std((0, 1)) + 1e-3
    found = torch.empty(how.views, len(pictures), *first.shape[1:], dtype=torch.float16,
                        device=DEVICE)
    for at in range(0, len(pictures), 256):
        pixels = torch.as_tensor(np.ascontiguousarray(pictures[at:at + 256])).to(DEVICE)
        pixels = pixels.permute(0, 3, 1, 2).float()
        for view in range(how.views):
            crop = cropped(pixels, how.least_area, source) if view else pixels
            found[view, at:at + 256] = ((tower(crop) - mean) / std).half()
    return found, mean, std


def batches(images: Tensor, rng: np.random.Generator, how: Settings) -> Iterator[Any]:
    """Rows of pictures, in groups that are much alike, other ones in each round, without end: all
    are split in two again and again along the line between two of them, with some noise."""
    size = how.groups * how.group
    while True:
        leaves, stack = [], [np.arange(len(images))]
        while stack:
            part = stack.pop()
            if len(part) <= how.group:
                leaves.append(part)
                continue
            rows = images[torch.as_tensor(part, device=images.device)]
            one, other = rng.choice(len(part), 2, replace=False)
            score = (rows @ (rows[one] - rows[other])).cpu().numpy()
            score = score / (score.std() + 1e-6) + rng.normal(0, 1 / how.hard, len(part))
            half = (len(part) // how.group + 1) // 2 * how.group
            order = np.argsort(score)
            stack += [part[order[:half]], part[order[half:]]]
        rng.shuffle(leaves)
        rows = np.concatenate([leaf for leaf in leaves if len(leaf) == how.group])
        for at in range(0, len(rows) - size + 1, size):
            yield rows[at:at + size]


@torch.no_grad()
def measured(net: Reranker, val: Val, mean: Tensor, std: Tensor) -> dict[float, list[float]]:
    """R@1/5/10 of pictures by texts, then of texts by pictures, for weights beside the cosine."""
    net.eval()
    states, mask, embeddings, owner = val.texts.on_device()
    scores, back = (torch.as_tensor(one).float().to(DEVICE) for one in (val.scores, val.back))
    with torch.autocast(DEVICE, torch.bfloat16, enabled=DEVICE == "cuda"):
        stages = (torch.as_tensor(val.stages).to(DEVICE).float() - mean) / std
        places = net.places(stages, torch.as_tensor(val.embeddings).to(DEVICE))

        def odds(texts: Tensor, images: Tensor) -> Tensor:
            """Of texts [B, S] for pictures [B]."""
            flat = texts.flatten()
            tokens = net.tokens(states[flat].float(), embeddings[flat])
            return net.pairs(tokens.view(*texts.shape, *tokens.shape[1:]), places[images],
                             mask[flat].view(*texts.shape, -1)).float()

        near, heard = (one.topk(min(FIRST, one.shape[1]), 1).indices for one in (scores, back))
        every, those = torch.arange(len(scores), device=DEVICE), torch.arange(len(back),
                                                                              device=DEVICE)
        forth = torch.cat([
            odds(every[at:at + 64].repeat_interleave(near.shape[1])[:, None],
                 near[at:at + 64].flatten()).view(-1, near.shape[1])
            for at in range(0, len(scores), 64)])
        again = torch.cat([odds(heard[at:at + 16], those[at:at + 16])
                           for at in range(0, len(back), 16)])
    found = {}
    for weight in (0.0, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04):
        found[weight] = [*recalls(scores.gather(1, near) + weight * forth, near == owner[:, None]),
                         *recalls(back.gather(1, heard) + weight * again,
                                  owner[heard] == those[:, None])]
    net.train()
    return found


def recalls(scores: Tensor, right: Tensor) -> list[float]:
    best = torch.where(right, scores, -1e9).amax(1)
    rank = (scores > best[:, None]).sum(1)
    return [round(100 * float((right.any(1) & (rank < k)).float().mean()), 1) for k in (1, 5, 10)]
