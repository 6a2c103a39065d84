"""Why recall is what it is, on the demo pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import DEMO

from mmsearch import Collection
from mmsearch.evaluation.diagnosis import Calibration, Diagnosis
from mmsearch.evaluation.pairs import load_pairs
from mmsearch.evaluation.retrieval import Evaluation, How, evaluate_collection


@pytest.fixture(scope="module")
def evaluation(demo_index: Path) -> Evaluation:
    with Collection.open(demo_index) as collection:
        return evaluate_collection(collection, load_pairs(DEMO / "captions.jsonl"),
                                   How(diagnose=True))


@pytest.fixture(scope="module")
def diagnosis(evaluation: Evaluation) -> Diagnosis:
    assert evaluation.diagnosis is not None
    return evaluation.diagnosis


def test_failures_are_the_queries_that_rank_worst(evaluation: Evaluation, diagnosis: Diagnosis,
                                                  demo_index: Path) -> None:
    way = evaluation.report.text_to_image
    (worst, *others) = diagnosis.failures["text_to_image"]
    assert worst.rank == way.ranks.best.max() + 1
    assert worst.rank >= others[0].rank > 1
    assert worst.instead[0][1] >= worst.instead[1][1] > worst.score
    hits = Collection.open(demo_index).search(text=worst.query.text, k=worst.rank,
                                               captions=False)
    assert [item.uri for item, _ in worst.instead] == [hit.item.uri for hit in hits[:3]]
    assert worst.expected.uri == hits[-1].item.uri
    assert len({one.expected.uri for one in (worst, *others)}) == len(others) + 1


def test_failures_of_pictures_have_captions(diagnosis: Diagnosis) -> None:
    for failure in diagnosis.failures["image_to_text"]:
        assert (failure.query.kind, failure.expected.kind) == ("image", "text")
        assert failure.expected.text not in [item.text for item, _ in failure.instead]


def test_scores_of_answers_are_higher(diagnosis: Diagnosis) -> None:
    widths = np.diff(diagnosis.edges)
    middles = diagnosis.edges[:-1] + widths / 2
    for density in (diagnosis.matches, diagnosis.others):
        assert (density * widths).sum() == pytest.approx(1)
    assert (diagnosis.matches * middles).sum() > 2 * (diagnosis.others * middles).sum()


def test_relevance_gap_and_latency(evaluation: Evaluation, diagnosis: Diagnosis) -> None:
    found = diagnosis.calibration
    assert found is not None
    assert sum(found.hits) == evaluation.report.text_to_image.queries
    right = sum(n * share for n, share in zip(found.hits, found.right, strict=True))
    assert right / sum(found.hits) == pytest.approx(evaluation.report.text_to_image.recall[1])
    assert 0 < diagnosis.gap < 2
    assert set(diagnosis.latency) == {"decode a picture", "encode a picture", "encode a text",
                                      "search 50 pictures"}
    assert all(value > 0 for value in diagnosis.latency.values())
    assert evaluation.to_json()["modality_gap"] == diagnosis.gap


def test_the_calibration_error_is_the_mean_distance_from_what_was_right() -> None:
    assert Calibration([0.1, 0.8], [0.3, 0.8], [30, 10]).ece == pytest.approx(0.2 * 30 / 40)
