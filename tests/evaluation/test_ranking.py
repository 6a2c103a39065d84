"""Exact ranks against counting, one query and one item at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from mmsearch.evaluation import ranking


@st.composite
def judged_vectors(draw):
    """Queries, a gallery with many ties and some vectors that are no numbers, and answers."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    queries, gallery = draw(st.integers(1, 5)), draw(st.integers(1, 12))
    vectors = generator.integers(-2, 3, (queries + gallery, 3)).astype(np.float32)
    vectors[generator.random(len(vectors)) < draw(st.sampled_from([0, 0.2]))] = np.nan
    column = st.lists(st.integers(0, gallery - 1), min_size=1, max_size=gallery + 2)
    return vectors[:queries], vectors[queries:], [np.array(draw(column)) for _ in range(queries)]


def counted(scores, relevant):
    """0-based ranks of the relevant; among equals, and where there is no number, they come last."""
    wanted = {int(column) for column in relevant}

    def key(column):
        score = float(scores[column])
        if np.isnan(score):
            score = -np.inf if column in wanted else np.inf
        return -score, column in wanted

    order = sorted(range(len(scores)), key=key)
    return [rank for rank, column in enumerate(order) if column in wanted]


@settings(max_examples=50)
@given(judged_vectors(), st.integers(1, 5), st.integers(1, 7))
def test_ranks_are_places_in_the_order_whatever_the_blocks(judged, rows, columns):
    queries, gallery, relevant = judged
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_QUERIES", rows)
        patch.setattr(ranking, "_ITEMS", columns)
        found = ranking.exact_ranks(queries, gallery, relevant)
    expected = [counted(row, one) for row, one in zip(queries @ gallery.T, relevant, strict=True)]
    assert found.flat.tolist() == [rank for one in expected for rank in one]
    assert found.sizes.tolist() == [len(one) for one in expected]


def test_a_copy_ties_wherever_it_lies():
    """Sums in float32 depend on the shape of a block; what is the same must not come out apart."""
    generator = np.random.default_rng(0)
    one = generator.standard_normal((50, 384)).astype(np.float32)
    one /= np.linalg.norm(one, axis=1, keepdims=True)
    gallery = np.concatenate([one, one, one[:7]])
    ranks = ranking.exact_ranks(one, gallery, list(np.arange(50)[:, None]))
    assert ranks.flat.tolist() == [2] * 7 + [1] * 43


@pytest.mark.parametrize(("relevant", "message"), [
    ([np.array([], int)], "no relevant"), ([np.array([3])], "outside the gallery of 3"),
    ([np.array([0])] * 2, "for 2 of 1 queries")])
def test_wrong_calls_say_what_is_wrong(relevant, message):
    with pytest.raises(ValueError, match=message):
        ranking.exact_ranks(np.eye(3, dtype=np.float32)[:1], np.eye(3, dtype=np.float32), relevant)
