"""Every metric against a slow oracle that follows its definition word by word."""

from __future__ import annotations

import math

import ir_measures
import numpy as np
import pytest
from hypothesis import given, strategies as st

from mmsearch import metrics


@st.composite
def judged_scores(draw):
    """Scores with many ties, some not a number, and relevant columns with repeats."""
    queries, gallery = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    score = st.sampled_from([-1.0, 0.0, 0.25, 0.5, math.nan, math.inf])
    row = st.lists(score, min_size=gallery, max_size=gallery)
    column = st.lists(st.integers(0, gallery - 1), min_size=1, max_size=gallery + 2)
    scores = np.array([draw(row) for _ in range(queries)], dtype=np.float32)
    return scores, [np.array(draw(column)) for _ in range(queries)]


def ordering(row, relevant):
    """Columns, best first; among equals the irrelevant first."""

    def key(column):
        score, wanted = float(row[column]), column in set(relevant.tolist())
        if math.isnan(score):
            score = -math.inf if wanted else math.inf
        return (-score, wanted)

    return sorted(range(len(row)), key=key)


@given(judged_scores())
def test_best_rank_is_the_place_of_the_first_relevant_item(judged):
    scores, relevant = judged
    expected = [
        min(ordering(row, wanted).index(column) for column in wanted.tolist())
        for row, wanted in zip(scores, relevant, strict=True)
    ]
    assert metrics.best_ranks(scores, relevant).tolist() == expected


@st.composite
def ranks_of_queries(draw):
    """For each query the ranks of its relevant items, in any order."""
    ranks = st.lists(st.integers(0, 30), min_size=1, max_size=8, unique=True)
    return [np.array(row) for row in draw(st.lists(ranks, min_size=1, max_size=6))]


@given(ranks_of_queries(), st.integers(1, 12))
def test_metrics_of_several_positives_follow_their_definitions(rows, k):
    ranks = metrics.Ranks.of(rows)
    found = [metrics.average_precisions(ranks), metrics.average_precisions_at_r(ranks),
             metrics.r_precisions(ranks), metrics.ndcg_at(ranks, k)]
    for row, values in zip(rows, zip(*found, strict=True), strict=True):
        gains = [int(place in row) for place in range(31)]
        total = len(row)
        precisions = [sum(gains[: place + 1]) / (place + 1) for place in range(31)]

        def dcg(gains):
            return sum(gain / math.log2(place + 2) for place, gain in enumerate(gains[:k]))

        assert values == pytest.approx((
            sum(p * g for p, g in zip(precisions, gains, strict=True)) / total,
            sum(p * g for p, g in zip(precisions[:total], gains, strict=False)) / total,
            precisions[total - 1],
            dcg(gains) / dcg(sorted(gains, reverse=True)),
        ))
    assert ranks.best.tolist() == [min(row) for row in rows]


MEASURES = {"AP": metrics.average_precisions, "Rprec": metrics.r_precisions,
            "RR": lambda ranks: metrics.reciprocal_ranks(ranks.best),
            "nDCG@10": lambda ranks: metrics.ndcg_at(ranks, 10),
            "Success@5": lambda ranks: metrics.hits_at(ranks.best, 5)}


def test_metrics_agree_with_trec_eval():
    """ir-measures asks trec_eval, the yardstick of the field since 1992."""
    generator = np.random.default_rng(0)
    rows = [generator.choice(100, size=generator.integers(1, 30), replace=False)
            for _ in range(200)]
    qrels = [ir_measures.Qrel(str(query), str(item), 1)
             for query, row in enumerate(rows) for item in row]
    run = [ir_measures.ScoredDoc(str(query), str(item), -item)
           for query in range(len(rows)) for item in range(100)]
    ranks = metrics.Ranks.of(rows)
    for name, measure in MEASURES.items():
        asked = ir_measures.parse_measure(name)
        of_query = {int(one.query_id): one.value
                    for one in ir_measures.iter_calc([asked], qrels, run)}
        expected = [of_query[query] for query in range(len(rows))]
        assert measure(ranks) == pytest.approx(expected), name


@given(st.lists(st.integers(0, 40), min_size=1), st.integers(1, 50))
def test_summaries_of_ranks(ranks, k):
    given_ranks = np.array(ranks)
    assert metrics.recall_at(given_ranks, k) == pytest.approx(
        len([rank for rank in ranks if rank < k]) / len(ranks)
    )
    assert metrics.reciprocal_ranks(given_ranks).mean() == pytest.approx(
        sum(1 / (rank + 1) for rank in ranks) / len(ranks)
    )
    in_order = sorted(rank + 1 for rank in ranks)
    middle = (in_order[(len(ranks) - 1) // 2] + in_order[len(ranks) // 2]) // 2
    assert metrics.median_rank(given_ranks) == middle


@given(
    st.lists(st.lists(st.integers(-1, 9), min_size=4, max_size=4), min_size=1, max_size=4),
    st.randoms(use_true_random=False),
    st.integers(1, 6),
)
def test_ann_recall_is_the_shared_part_of_the_neighbours(exact, random, k):
    found = [[random.randint(-1, 9) for _ in range(4)] for _ in exact]
    shares = []
    for found_row, exact_row in zip(found, exact, strict=True):
        truth = set(exact_row[:k]) - {-1}
        shares.append(len(truth & set(found_row[:k])) / len(truth) if truth else 1.0)
    assert metrics.ann_recall(np.array(found), np.array(exact), k) == pytest.approx(
        sum(shares) / len(shares)
    )


def test_scores_are_left_as_they_were():
    scores = np.array([[math.nan, 0.5, math.nan]], dtype=np.float32)
    before = scores.copy()
    metrics.best_ranks(scores, [np.array([0])])
    np.testing.assert_array_equal(scores, before)


def test_the_interval_covers_the_true_mean_as_often_as_it_says():
    generator = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        draws = (generator.random(200) < 0.3).astype(float)
        low, high = metrics.bootstrap_interval(draws, seed=trial, samples=300)
        covered += low <= 0.3 <= high
    assert 0.90 <= covered / 200 <= 0.99


def test_copies_of_a_query_do_not_narrow_the_interval_of_its_group():
    values = (np.random.default_rng(2).random(300) < 0.5).astype(float)
    alone = metrics.bootstrap_interval(values)
    groups = np.repeat(np.arange(300), 5)
    assert metrics.bootstrap_interval(np.repeat(values, 5), groups=groups) == pytest.approx(alone)
    low, high = metrics.bootstrap_interval(np.repeat(values, 5))
    assert high - low < 0.6 * (alone[1] - alone[0])


def test_groups_of_unequal_size_weigh_by_their_queries():
    values, groups = np.array([1.0, 1.0, 1.0, 0.0]), np.array([7, 7, 7, 2])
    assert metrics.bootstrap_interval(values, groups=groups, level=0.98) == (0.0, 1.0)
    low, high = metrics.bootstrap_interval(values, groups=groups, level=0.2)
    assert low == high == 0.75


def test_the_seed_decides_the_interval():
    values = np.random.default_rng(3).random(50)
    assert metrics.bootstrap_interval(values, seed=4) == metrics.bootstrap_interval(values, seed=4)
    assert metrics.bootstrap_interval(values, seed=4) != metrics.bootstrap_interval(values, seed=5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.best_ranks(np.zeros((1, 3)), [np.array([], int)]), "no relevant item"),
        (lambda: metrics.best_ranks(np.zeros((1, 3)), [np.array([3])]), "outside the gallery of 3"),
        (lambda: metrics.best_ranks(np.zeros((2, 3)), [np.array([1])]), "for 1 queries"),
        (lambda: metrics.recall_at(np.array([1]), 0), "at least 1"),
        (lambda: metrics.recall_at(np.array([], int), 5), "no queries"),
        (lambda: metrics.ndcg_at(metrics.Ranks.of([np.array([1])]), 0), "at least 1"),
        (lambda: metrics.Ranks.of([np.array([1]), np.array([], int)]), "query 1 has no relevant"),
        (lambda: metrics.Ranks.of([]), "no queries"),
        (lambda: metrics.bootstrap_interval(np.ones(2), groups=np.ones(1, int)), "1 groups for 2"),
        (lambda: metrics.bootstrap_interval(np.ones(2), level=95), "between 0 and 1"),
        (lambda: metrics.ann_recall(np.ones((1, 2), int), np.ones((1, 2), int), 0), "at least 1"),
        (lambda: metrics.ann_recall(np.ones((1, 2), int), np.ones((2, 2), int), 1), "1 found rows"),
    ],
)
def test_wrong_calls_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
