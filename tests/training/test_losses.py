"""Losses against plain loops in float64, gradient caching against the whole batch."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from mmsearch.training.adversary import ModalityJudge
from mmsearch.training.contrastive import captions_each
from mmsearch.training.gradient_cache import cached_backward
from mmsearch.training.losses import Contrast, info_nce, matches, sigmoid_loss

Loss = Callable[..., torch.Tensor]
PICTURE = torch.tensor([0, 0, 1, 2, 2, 2, 3])
WORDS = torch.tensor([7, 8, 7, 9, 10, 11, 9])  # pictures 0 and 1 share a caption, 2 and 3 another


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    scores = torch.from_numpy(np.random.default_rng(seed).normal(0, 3, (4, 7)))
    return (scores.requires_grad_(), *matches(PICTURE, WORDS, 4))


def test_what_is_right_and_wrong_in_a_batch() -> None:
    positive, negative = matches(PICTURE, WORDS, 4)
    for picture in range(4):
        own = {int(w) for p, w in zip(PICTURE, WORDS, strict=True) if p == picture}
        for text in range(7):
            is_own = int(PICTURE[text]) == picture
            assert bool(positive[picture, text]) == is_own
            assert bool(negative[picture, text]) == (not is_own and int(WORDS[text]) not in own)


def plain_info_nce(scores: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor,
                   hardness: float) -> torch.Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for s, right, wrong in ((scores, positive, negative), (scores.T, positive.T, negative.T)):
        rows = torch.zeros((), dtype=torch.float64)
        for i in range(len(s)):
            others = [j for j in range(s.shape[1]) if wrong[i, j]]
            weights = [torch.exp(hardness * s[i, j]) for j in others]
            mean = sum(weights) / len(weights)
            below = sum(w / mean * torch.exp(s[i, j])
                        for w, j in zip(weights, others, strict=True))
            own = [j for j in range(s.shape[1]) if right[i, j]]
            below = below + sum(torch.exp(s[i, j]) for j in own)
            rows = rows + sum(-torch.log(torch.exp(s[i, j]) / below) for j in own) / len(own)
        total = total + rows / len(s)
    return total / 2


def plain_sigmoid(scores: torch.Tensor, positive: torch.Tensor,
                  negative: torch.Tensor) -> torch.Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for i in range(scores.shape[0]):
        for j in range(scores.shape[1]):
            if positive[i, j] or negative[i, j]:
                sign = 1 if positive[i, j] else -1
                total = total + torch.log(1 + torch.exp(-sign * scores[i, j]))
    return total / positive.sum()


CASES = [
    (info_nce, plain_info_nce, (0.0,)),
    (info_nce, plain_info_nce, (0.5,)),
    (info_nce, plain_info_nce, (1.5,)),
    (sigmoid_loss, plain_sigmoid, ()),
]


@pytest.mark.parametrize(("fast", "plain", "more"), CASES)
def test_a_loss_and_its_gradient_are_those_of_a_plain_loop(
    fast: Loss, plain: Loss, more: tuple[float, ...],
) -> None:
    scores, positive, negative = batch()
    value, expected = (one(scores, positive, negative, *more) for one in (fast, plain))
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    slope, wanted = (torch.autograd.grad(one, scores)[0] for one in (value, expected))
    torch.testing.assert_close(slope, wanted, rtol=1e-10, atol=1e-12)
    assert slope.abs().max() > 0.01
    ignored = ~(positive | negative)
    assert ignored.any()
    assert (slope[ignored] == 0).all()


@pytest.mark.parametrize(("fast", "plain", "more"), CASES)
def test_pictures_and_captions_may_change_sides(
    fast: Loss, plain: Loss, more: tuple[float, ...],
) -> None:
    scores, positive, negative = batch(1)
    assert fast(scores.T, positive.T, negative.T, *more).item() == pytest.approx(
        fast(scores, positive, negative, *more).item(), rel=1e-12)


def test_one_caption_each_is_the_cross_entropy_of_clip() -> None:
    scores = torch.randn(6, 6, dtype=torch.float64)
    rows = torch.arange(6)
    clip = (nn.functional.cross_entropy(scores, rows)
            + nn.functional.cross_entropy(scores.T, rows)) / 2
    assert info_nce(scores, *matches(rows, rows, 6)).item() == pytest.approx(clip.item(), rel=1e-12)


@pytest.mark.parametrize("hardness", [0.0, 1.0])
def test_a_batch_of_the_same_words_teaches_nothing(hardness: float) -> None:
    scores = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    positive, negative = matches(torch.arange(3), torch.zeros(3, dtype=torch.long), 3)
    value = info_nce(scores, positive, negative, hardness)
    value.backward()
    assert value.item() == 0
    assert (scores.grad == 0).all()


@pytest.mark.parametrize("loss", ["infonce", "siglip"])
def test_the_numbers_of_a_loss_are_learned(loss: str) -> None:
    """From rows that only the temperature and the bias can tell apart better."""
    contrast = Contrast(loss, 0.5)  # type: ignore[arg-type]
    rows = torch.nn.functional.normalize(torch.eye(8) + 0.2, dim=-1)
    sides = matches(torch.arange(8), torch.arange(8), 8)
    optimizer = torch.optim.Adam(contrast.parameters(), lr=0.05)
    losses = []
    for _ in range(200):
        value = contrast(rows, rows, *sides)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert losses[-1] < 0.1 * losses[0]
    assert contrast.sharpness.item() > -math.log(0.5) + 0.5


def test_captions_are_drawn_anew_and_each_once() -> None:
    owner = np.array([0, 2, 1, 0, 2, 2, 1, 0])
    drawn = [captions_each(owner, 3, 2, np.random.default_rng(seed)) for seed in range(30)]
    for chosen in drawn:
        for picture, row in enumerate(chosen):
            assert len(set(row)) == 2
            assert (owner[row] == picture).all()
    assert {int(i) for chosen in drawn for i in chosen.ravel()} == set(range(8))
    few = captions_each(owner, 3, 4, np.random.default_rng(0))
    assert (few >= 0).sum(1).tolist() == [3, 2, 3]
    assert {int(i) for i in few.ravel()} == {-1, *range(8)}


def towers(dropout: float = 0.0) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(3)
    made = [nn.Sequential(nn.Linear(10, 16), nn.GELU(), nn.Dropout(dropout), nn.Linear(16, 6))
            for _ in range(2)]
    return made[0].double(), made[1].double()


@pytest.mark.parametrize("chunk", [1, 4, 7, 100])
@pytest.mark.parametrize("loss", ["infonce", "siglip"])
def test_gradient_caching_gives_what_the_whole_batch_gives(loss: str, chunk: int) -> None:
    found = []
    pictures, texts = (torch.randn(n, 10, dtype=torch.float64) for n in (4, 7))
    for cached in (False, True):
        see, read = towers()
        contrast = Contrast(loss, 0.2, 0.5 if loss == "infonce" else 0).double()  # type: ignore
        judge = ModalityJudge(6).double()
        nn.init.constant_(judge.layers[0].weight, 0.1)
        nn.init.constant_(judge.layers[2].weight, 0.1)
        nn.init.zeros_(judge.layers[0].bias)
        nn.init.zeros_(judge.layers[2].bias)

        def score(a: torch.Tensor, b: torch.Tensor, contrast: nn.Module = contrast,
                  judge: nn.Module = judge) -> torch.Tensor:
            a, b = (nn.functional.normalize(side, dim=-1) for side in (a, b))
            return contrast(a, b, *matches(PICTURE, WORDS, 4)) + judge(a, b, 0.3)

        if cached:
            value = cached_backward([(see, pictures.split(chunk)), (read, texts.split(chunk))],
                                    score)
        else:
            value = score(see(pictures), read(texts))
            value.backward()
        found.append((value.item(), [p.grad for m in (see, read, contrast, judge)
                                     for p in m.parameters()]))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-12)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        assert one.abs().max() > 0
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-12)


def test_gradient_caching_drops_the_same_features_both_times() -> None:
    """Its gradients are those of the vectors that the loss saw, whatever dropout hid."""
    see, _ = towers(dropout=0.5)
    rows = torch.randn(9, 10, dtype=torch.float64)
    torch.manual_seed(11)
    expected = torch.cat([see(part) for part in rows.split(3)]).square().sum()
    wanted = torch.autograd.grad(expected, list(see.parameters()))
    after = torch.rand(1)
    torch.manual_seed(11)
    value = cached_backward([(see, rows.split(3))], lambda made: made.square().sum())
    assert torch.rand(1) == after
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    for parameter, slope in zip(see.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, slope, rtol=1e-9, atol=1e-12)


def test_the_judge_learns_and_its_gradient_comes_back_reversed() -> None:
    judge = ModalityJudge(5).double()
    rows = [torch.randn(6, 5, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    slopes = []
    for strength in (-1.0, 0.5):  # -1 reverses it back: the plain gradient
        judge.zero_grad()
        judge(*rows, strength).backward()
        slopes.append(([r.grad.clone() for r in rows], [p.grad.clone() for p in
                                                        judge.parameters()]))
        for side in rows:
            side.grad = None
    for plain, turned in zip(slopes[0][0], slopes[1][0], strict=True):
        torch.testing.assert_close(turned, -0.5 * plain)
    for plain, turned in zip(slopes[0][1], slopes[1][1], strict=True):
        torch.testing.assert_close(turned, plain)
