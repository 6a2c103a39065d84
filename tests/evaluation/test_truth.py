"""What answers what."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mmsearch.errors import UsageError
from mmsearch.evaluation.pairs import Pair
from mmsearch.evaluation.truth import captions_of, one_per_picture


def plain(rows):
    return [row.tolist() for row in rows]


PAIRS = [Pair(Path("/a.jpg"), ("a dog", "a pet"), id="9", caption_ids=("1", "2")),
         Pair(Path("/b.jpg"), (), id="8"),
         Pair(Path("/c.jpg"), ("a dog",), id="7", caption_ids=("3",))]


def test_by_default_a_caption_is_answered_by_its_own_picture():
    found = captions_of(PAIRS)
    assert found.texts == ["a dog", "a pet", "a dog"]
    assert plain(found.truth.images_of) == [[0], [0], [2]]
    assert plain(found.truth.captions_of) == [[0, 1], [], [2]]
    assert found.truth.image_queries.tolist() == [0, 2]


def test_equal_captions_can_be_one_query():
    found = captions_of(PAIRS, merge=True)
    assert found.texts == ["a dog", "a pet"]
    assert plain(found.truth.images_of) == [[0, 2], [0]]
    assert plain(found.truth.captions_of) == [[0, 1], [], [0]]


def test_captions_of_another_language_are_other_captions():
    pairs = [Pair(Path("/a.jpg"), ("gift", "gift"), languages=("en", "de"))]
    assert captions_of(pairs, merge=True).languages == ["en", "de"]


def test_files_of_several_positives(tmp_path):
    by_text, by_image = tmp_path / "caption_to_image.json", tmp_path / "image_to_caption.json"
    by_text.write_text(json.dumps({"1": [9, 8], "3": []}))
    by_image.write_text(json.dumps({"7": [1, 3]}))
    truth = captions_of(PAIRS, positives=[by_text]).truth
    assert plain(truth.images_of) == [[0, 1], [], []]
    assert truth.text_queries.tolist() == [0]
    assert plain(truth.captions_of) == [[0, 1], [], [2]]
    truth = captions_of(PAIRS, positives=[by_text, by_image]).truth
    assert plain(truth.captions_of) == [[], [], [0, 2]]


@pytest.mark.parametrize(("text", "message"), [
    ('{"1": [9, 6]}', "1 of its ids are not in the pairs .first: 6.*--split"),
    ("{", "invalid JSON"), ("[1]", "expected answers by query"), (None, "cannot be read")])
def test_a_file_that_does_not_fit_is_refused(tmp_path, text, message):
    path = tmp_path / "positives.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=message):
        captions_of(PAIRS, positives=[path])


def test_pairs_without_ids_cannot_have_a_file_of_positives(tmp_path):
    (tmp_path / "p.json").write_text('{"1": [9]}')
    with pytest.raises(UsageError, match="the pairs have none; expected cocoid and sentids"):
        captions_of([Pair(Path("/a.jpg"), ("x",))], positives=[tmp_path / "p.json"])


def test_numbers_of_some_captions():
    truth = captions_of(PAIRS).truth
    some = truth.only(np.array([False, True, True]))
    assert plain(some.images_of) == [[0], [2]]
    assert plain(some.captions_of) == [[0], [], [1]]


def test_a_picture_of_two_splits_is_one():
    again = Pair(Path("/a.jpg"), ("a cur",), "val", ("en",))
    first, second, third = one_per_picture([*PAIRS, again])
    assert (second, third) == (PAIRS[1], PAIRS[2])
    assert first.captions == ("a dog", "a pet", "a cur")
    assert (first.languages, first.caption_ids) == (("", "", "en"), ("1", "2", ""))
