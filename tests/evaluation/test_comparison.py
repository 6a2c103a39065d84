"""Differences of two systems, and how sure they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mmsearch.errors import UsageError
from mmsearch.evaluation.comparison import compare, moved
from mmsearch.evaluation.recall import Report, measure
from mmsearch.evaluation.truth import Truth
from mmsearch.metrics import Ranks, paired_bootstrap


def by_permutation(differences, generator):
    """The oracle: if there were no difference, each query could as well have it the other way."""
    signs = generator.choice([-1, 1], (4000, len(differences)))
    means = (signs * differences).mean(axis=1)
    return (np.abs(means) >= abs(differences.mean()) - 1e-12).mean()


def test_p_is_that_of_a_permutation_test():
    generator = np.random.default_rng(0)
    for shift in (0, 0.02, 0.05, 0.1):
        wins = generator.choice([-1, 0, 1], 400, p=[0.15 - shift / 2, 0.7, 0.15 + shift / 2])
        ((_, _, p),) = paired_bootstrap(wins[:, None].astype(float))
        assert p == pytest.approx(by_permutation(wins, generator), abs=0.03)


def test_without_a_difference_p_is_below_a_level_as_often_as_the_level_says():
    generator = np.random.default_rng(1)
    values = generator.standard_normal((300, 200))
    found = np.array([p for *_, p in paired_bootstrap(values, samples=400)])
    assert 0.01 <= (found < 0.05).mean() <= 0.1
    assert 0.4 < (found < 0.5).mean() < 0.6


def test_queries_of_one_picture_are_drawn_together():
    """Five copies of each query say no more than one."""
    values = np.random.default_rng(2).normal(0.1, 1, 200)
    ((low, high, p),) = paired_bootstrap(values[:, None])
    groups = np.repeat(np.arange(200), 5)
    ((*within, same),) = paired_bootstrap(np.repeat(values, 5)[:, None], groups=groups)
    assert (within, same) == (pytest.approx([low, high]), pytest.approx(p))


def test_what_is_the_same_does_not_differ():
    ((low, high, p),) = paired_bootstrap(np.zeros((50, 1)))
    assert (low, high, p) == (0, 0, 1)


@pytest.mark.parametrize(("pictures", "p"), [(1, 1), (2, 0.5), (5, 1 / 16), (20, 1 / 5001)])
def test_a_few_pictures_prove_nothing(pictures, p):
    """Each of five captions is answered better: by luck, half of the ways to exchange systems."""
    groups = np.repeat(np.arange(pictures), 5)
    values = np.concatenate([np.ones(len(groups)), np.zeros(5)])[:, None]
    alone = paired_bootstrap(values[:-5], groups=groups)
    assert alone[0][2] == pytest.approx(p)
    *_, beside = paired_bootstrap(values, groups=np.append(groups, [pictures] * 5))[0]
    assert beside >= p * 0.999


def noisy(seed, noise):
    generator = np.random.default_rng(0)
    owners = np.repeat(np.arange(100), 2)
    images = generator.standard_normal((100, 16)).astype(np.float32)
    texts = images[owners] + noise * np.random.default_rng(seed).standard_normal((200, 16))
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (images, texts)]
    return measure(unit[0], unit[1].astype(np.float32), Truth.owned(owners, 100))


def test_a_better_system_differs_and_one_with_other_noise_does_not():
    one, same, better = noisy(1, 1.2), noisy(2, 1.2), noisy(3, 0.8)
    found = compare(one, better, ks=(1, 5, 10))["text_to_image"]
    recall = found["recall@1"]
    assert recall.difference == pytest.approx(
        better.text_to_image.recall[1] - one.text_to_image.recall[1])
    assert 0 < recall.ci95[0] < recall.difference < recall.ci95[1]
    assert recall.p < 0.01
    assert found["mrr"].p < 0.01
    assert compare(one, same, ks=(1,))["image_to_text"]["recall@1"].p > 0.05


def test_what_moved_most_comes_first_and_each_picture_once():
    one, other = noisy(1, 1.2).text_to_image, noisy(3, 1.2).text_to_image
    worse, better = moved(one, other, 5)
    assert [len(side) for side in (worse, better)] == [5, 5]
    for side, sign in ((worse, 1), (better, -1)):
        ratios = [sign * np.log(query.after / query.before) for query in side]
        assert ratios == sorted(ratios, reverse=True)
        assert min(ratios) > 0
        assert len({query.query // 2 for query in side}) == 5
    first = worse[0]
    assert (first.before, first.after) == (one.ranks.best[first.query] + 1,
                                           other.ranks.best[first.query] + 1)
    assert moved(one, one, 5) == ([], [])


def test_only_the_same_queries_are_compared():
    vectors = np.eye(4, dtype=np.float32)
    some = measure(vectors, vectors[:3], Truth.owned(np.arange(3), 4))
    every = measure(vectors, vectors, Truth.owned(np.arange(4), 4))
    with pytest.raises(UsageError, match="answered the same queries"):
        compare(some, every, ks=(1,))


def test_what_only_one_system_knows_makes_no_difference():
    """Searches know 100 results: ranks behind them must not count for what knows them all."""
    known = noisy(1, 3).text_to_image
    cut = np.where(known.ranks.flat < 20, known.ranks.flat, 1000)
    some = replace(known, ranks=Ranks(cut, known.ranks.starts), depth=20)
    assert not np.array_equal(cut, known.ranks.flat)
    found = compare(Report(known, None), Report(some, None), ks=(1, 10))["text_to_image"]
    assert {(one.difference, one.p) for one in found.values()} == {(0, 1)}
