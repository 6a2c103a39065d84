"""Fine-tune MiniLM-L6 against the image tower as it is: the same InfoNCE, further back.

The heads alone cannot teach the text tower which words one can see. A small learning rate, dropout
and few epochs keep it close to where it was; what it brings is measured by `build_model.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from towers import MINILM_HEADS, MINILM_LAYERS, MINILM_WIDTH

from mmsearch.training.contrastive import TrainedHead, batches, captions_each
from mmsearch.training.features import Features
from mmsearch.training.heads import Heads, unit

LONGEST = 64  # tokens; captions beyond are cut in training only


@dataclass(frozen=True)
class TuneConfig:
    epochs: int = 5
    batch_size: int = 256
    text_lr: float = 6e-5
    head_lr: float = 1e-4
    feature_dropout: float = 0.2
    text_dropout: float = 0.1
    weight_decay: float = 0.01
    temperature: float = 0.05
    seed: int = 0


class MiniLM(nn.Module):
    """The tower of `towers.text_tower` in torch, with dropout; the token table stays fixed."""

    def __init__(self, weights: dict[str, np.ndarray], dropout: float) -> None:
        super().__init__()
        self.names = [
            n for n in weights if "encoder." in n or "LayerNorm" in n or "position_emb" in n
        ]
        self.tuned = nn.ParameterList([nn.Parameter(torch.tensor(weights[n])) for n in self.names])
        self.place = {name: i for i, name in enumerate(self.names)}
        # The runtime's table is float16, so training sees the same rounding.
        table = weights["embeddings.word_embeddings.weight"].astype(np.float16)
        self.table = torch.from_numpy(table.astype(np.float32))
        self.kind = torch.from_numpy(weights["embeddings.token_type_embeddings.weight"][0].copy())
        self.dropout = dropout

    def weight(self, name: str) -> torch.Tensor:
        return self.tuned[self.place[name]]

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        rows, length = ids.shape
        positions = self.weight("embeddings.position_embeddings.weight")[:length]
        x = self.drop(self.norm(self.table[ids] + positions + self.kind, "embeddings.LayerNorm"))
        visible = mask.bool()[:, None, None, :]
        for layer in range(MINILM_LAYERS):
            at = f"encoder.layer.{layer}"
            query, key, value = (
                self.dense(x, f"{at}.attention.self.{part}")
                .view(rows, length, MINILM_HEADS, MINILM_WIDTH // MINILM_HEADS)
                .transpose(1, 2)
                for part in ("query", "key", "value")
            )
            mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=visible)
            mixed = mixed.transpose(1, 2).reshape(rows, length, MINILM_WIDTH)
            mixed = self.drop(self.dense(mixed, f"{at}.attention.output.dense"))
            x = self.norm(mixed + x, f"{at}.attention.output.LayerNorm")
            inner = functional.gelu(self.dense(x, f"{at}.intermediate.dense"))
            inner = self.drop(self.dense(inner, f"{at}.output.dense"))
            x = self.norm(inner + x, f"{at}.output.LayerNorm")
        real = mask[..., None]
        return (x * real).sum(1) / real.sum(1)

    def dense(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.linear(x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias"))

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        scale, shift = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return functional.layer_norm(x.float(), (MINILM_WIDTH,), scale, shift, 1e-12)

    def drop(self, x: torch.Tensor) -> torch.Tensor:
        return functional.dropout(x, self.dropout, self.training)


def tune(
    minilm: dict[str, np.ndarray],
    heads: Heads,
    data: Features,
    tokens: Sequence[Sequence[int]],
    config: TuneConfig,
    log: Callable[[str], None],
) -> tuple[dict[str, np.ndarray], Heads]:
    """-> MiniLM's weights by name and both heads after training them together.

    tokens: ids of the captions behind `data.texts`, in their order.
    """
    torch.manual_seed(config.seed)
    random = np.random.default_rng(config.seed)
    text_tower = MiniLM(minilm, config.text_dropout).train()
    images = unit(data.images)
    image_head = TrainedHead(heads.image, images.reshape(-1, images.shape[-1]))
    text_head = TrainedHead(heads.text, unit(data.texts))
    sharpness = torch.tensor(-np.log(config.temperature), dtype=torch.float32, requires_grad=True)
    groups: list[dict[str, Any]] = [
        {"params": [*image_head.parameters(), *text_head.parameters(), sharpness],
         "peak": config.head_lr},
        {"params": list(text_tower.parameters()), "peak": config.text_lr},
    ]  # fmt: skip
    optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay)

    plan = list(_plan(data, config, random))
    losses = []
    for step, (epoch, batch, text) in enumerate(plan):
        done = step / len(plan)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * min(1.0, 20 * done + 0.02) * _cosine(done)
        seen = torch.from_numpy(images[random.integers(len(images), size=len(batch)), batch])
        # bfloat16 is what makes this minutes instead of an hour on a CPU that has it.
        with torch.autocast("cpu", torch.bfloat16):
            said = text_tower(*_padded([tokens[i][:LONGEST] for i in text]))
        scores = sharpness.clamp(max=4.6).exp() * (
            image_head(seen, config.feature_dropout)
            @ text_head(functional.normalize(said.float(), dim=-1), 0.0).T
        )
        twins = torch.from_numpy(data.same[text][:, None] == data.same[text][None])
        scores = scores.masked_fill(twins.fill_diagonal_(False), -1e4)
        target = torch.arange(len(batch))
        loss = (
            functional.cross_entropy(scores, target) + functional.cross_entropy(scores.T, target)
        ) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step + 1 == len(plan) or plan[step + 1][0] != epoch:
            log(f"text tower, epoch {epoch + 1}: loss {np.mean(losses):.3f}")
            losses = []
    tuned = dict(minilm)
    for name, value in zip(text_tower.names, text_tower.tuned, strict=True):
        tuned[name] = value.detach().numpy()
    return tuned, Heads(image_head.head(), text_head.head())


def as_torch_sees_it(minilm: dict[str, np.ndarray], tokens: Sequence[Sequence[int]]) -> np.ndarray:
    """The tower's features of token rows, by torch: what the ONNX graph is checked against."""
    with torch.no_grad():
        return MiniLM(minilm, 0.0).eval()(*_padded(tokens)).numpy()


def _plan(
    data: Features, config: TuneConfig, random: np.random.Generator
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(epoch, pictures, one caption of each) for every step."""
    for epoch in range(config.epochs):
        captions = captions_each(data.owner, data.images.shape[1], 1, random)[:, 0]
        for batch in batches(data.group, config.batch_size, random):
            yield epoch, batch, captions[batch]


def _cosine(done: float) -> float:
    return float(0.5 * (1 + np.cos(np.pi * done)))


def _padded(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    mask = torch.zeros(ids.shape)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = 1
    return ids, mask
