"""Relevance: whether a hit is a match or the least bad of nothing, whatever the model."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import DEMO, Cli, add, unit_vectors
from hypothesis import given, strategies as st
from rich.console import Console

from mmsearch.cli import present
from mmsearch.cli.sheet import contact_sheet
from mmsearch.collection.collection import Collection
from mmsearch.encoders import BUILTIN, BUILTIN_DIR, load_encoder
from mmsearch.errors import UsageError
from mmsearch.records import Hit, Item
from mmsearch.search.relevance import (
    ACROSS,
    SHIPPED,
    WITHIN,
    Calibration,
    kept_calibration,
    make_calibration,
    probability,
    relevance_of,
)
from mmsearch.storage.open_segments import Opened
from mmsearch.storage.segments import write_segment
from mmsearch.training.heads import Head, Heads, read_heads, unit, write_model

NONSENSE = ["tax return form for 2019", "asdf qwerty zxcv", "a submarine"]
SHOWN = {"a cat": "cat.jpg", "a bicycle": "bicycle.jpg", "a bus": "bus.jpg"}


@pytest.fixture(scope="module")
def demo(demo_index: Path) -> Collection:
    return Collection.open(demo_index)


@pytest.fixture(scope="module")
def shifted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped pictures indexed by the built-in model with all vectors rotated and one direction
    added to each: the neighbours are almost the same, the cosines are not."""
    heads = read_heads(BUILTIN_DIR)
    encoder = load_encoder(BUILTIN)
    said = encoder.run_texts(["a cat", "a bridge"])[1]  # features: they tell a head's scale
    seen = encoder.run_images([_picture("cat.jpg"), _picture("bridge.jpg")])[1]
    dim = len(heads.text.bias)
    rotation, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((dim, dim)))
    constant = np.random.default_rng(1).standard_normal(dim)

    def moved(head: Head, length: float) -> Head:
        bias = rotation @ head.bias + constant / np.linalg.norm(constant) * length
        return Head(np.float32(rotation @ head.weight), np.float32(bias))

    def length(head: Head, features: np.ndarray) -> float:
        return float(np.linalg.norm(unit(features) @ head.weight.T + head.bias, axis=1).mean())

    out = tmp_path_factory.mktemp("model") / "shifted"
    write_model(BUILTIN_DIR, Heads(moved(heads.image, length(heads.image, seen)),
                                   moved(heads.text, length(heads.text, said))),
                out, name="shifted", source="a test")
    index = tmp_path_factory.mktemp("shifted") / "index"
    add(Collection.create(index, model=str(out)), DEMO)
    return index


def _picture(name: str):
    from mmsearch.media.decoding import decode

    return decode(DEMO / name).image


# -- the number ------------------------------------------------------------------------------------


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=20), st.integers(1, 10**7),
       st.floats(0, 1), st.integers(0, 5))
def test_it_never_falls_as_the_cosine_rises(scores, rows, like, seed):
    query, *foreign = unit_vectors(60, 16, seed)
    found = relevance_of(sorted(scores), query, np.stack(foreign[:50]), np.stack(foreign[50:]),
                         rows, like)
    assert ((found >= 0) & (found <= 1)).all()
    assert (np.diff(found) >= 0).all()


def test_it_falls_as_the_collection_grows_since_the_best_of_many_is_high_by_chance():
    for coefficients in (ACROSS, WITHIN):
        found = probability(np.full(4, 6.0), np.array([10, 1000, 10**5, 10**7]), coefficients)
        assert (np.diff(found) < 0).all()


def test_a_constant_collection_and_a_certain_hit_give_a_number():
    same = np.repeat(unit_vectors(1, 8), 50, axis=0)
    assert np.isfinite(relevance_of([1.0, 0.5], same[0], same, same, 50)).all()
    foreign = unit_vectors(50, 8)
    assert relevance_of([1.0], foreign[0], foreign, foreign, 50, 1)[0] > 0.95


def test_a_calibration_is_made_once_for_a_model(tmp_path, monkeypatch):
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path))
    encoder = load_encoder()
    made = kept_calibration(encoder)
    (kept,) = (tmp_path / "calibrations").iterdir()
    first = kept.stat().st_mtime_ns
    again = kept_calibration(encoder)
    assert kept.stat().st_mtime_ns == first
    assert np.abs(again.texts - made.texts).max() < 1e-3
    whole = json.loads(kept.read_text())
    empty = {**whole, "images": "", "texts": ""}
    wrong = {**whole, "texts": 1}
    zeros = {**whole, "images": "A" * len(whole["images"])}
    other = {**whole, "encoder": "another", "texts": whole["texts"][::-1]}
    for damaged in ({}, [], None, {**whole, "more": ""}, wrong, empty, zeros, other):
        kept.write_text(json.dumps(damaged))  # made anew
        assert np.allclose(kept_calibration(encoder).images, made.images, atol=1e-3)
        assert json.loads(kept.read_text()) == whole
    kept.write_text("{")
    kept_calibration(encoder)
    assert json.loads(kept.read_text()) == whole


def test_a_calibration_is_not_kept_where_nothing_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "file"))
    assert kept_calibration(load_encoder()).texts.shape[0] == 100


def test_the_shipped_calibration_is_what_the_built_in_model_makes_of_the_shipped_pictures():
    shipped = json.loads(SHIPPED.read_text())
    encoder = load_encoder(BUILTIN)
    assert shipped.pop("encoder") == encoder.name
    calibration, made = Calibration.of(shipped, encoder.dim), make_calibration(encoder)
    for old, new in ((calibration.images, made.images), (calibration.texts, made.texts)):
        assert old.shape == new.shape
        assert (old * new).sum(1).min() > 0.995


def test_a_sample_is_spread_over_all_segments(tmp_path: Path) -> None:
    opened, infos, rows = Opened(tmp_path), [], unit_vectors(700, 8)
    for first, last in ((0, 300), (300, 301), (301, 700)):
        ids = np.arange(first, last) + 1
        infos.append(write_segment(tmp_path, f"image-{first}", "image", ids,
                                   lambda f=first, n=last: iter([rows[f:n]])))
    opened.refresh(infos)
    places = []
    for row in opened.sample(["image"], 64):
        places.append(int(np.argmax(rows @ row)))
    assert len(set(places)) == len(places) == 64
    assert np.diff(sorted(places)).max() < 45
    assert len(opened.sample(["image"], 1000)) == 700


# -- searching -------------------------------------------------------------------------------------


def test_what_is_there_is_told_from_what_is_not(demo: Collection) -> None:
    for text, name in SHOWN.items():
        first, second = demo.search(text=text, k=2)
        assert Path(first.item.uri).name == name
        assert first.relevance > 0.5 > second.relevance
    for text in NONSENSE:
        assert demo.search(text=text, k=1)[0].relevance < 0.3


def test_relevance_follows_the_score_and_is_the_same_whatever_k(demo: Collection) -> None:
    hits = demo.search(text="a bird on a branch", k=20)
    values = [hit.relevance for hit in hits]
    assert values == sorted(values, reverse=True)
    assert demo.search(text="a bird on a branch", k=1)[0].relevance == pytest.approx(values[0])


def test_what_the_words_name_is_never_below_min_score(demo: Collection) -> None:
    hits = demo.search(text="lake.jpg", mode="hybrid", min_score=0.99)
    assert [Path(hit.item.uri).name for hit in hits][:1] == ["lake.jpg"]
    assert all(hit.bm25 is not None or hit.relevance >= 0.99 for hit in hits)
    unlike = [replace(hits[0], relevance=0.1), replace(hits[0], relevance=0.1, bm25=None)]
    page = contact_sheet(unlike, title="x")
    assert (page.count(">named<"), page.count(">10 %<")) == (1, 1)


def test_min_score_leaves_out_what_is_below(demo: Collection) -> None:
    hits = demo.search(text="a cat", k=20)
    kept = demo.search(text="a cat", k=20, min_score=0.5)
    assert [hit.id for hit in kept] == [hit.id for hit in hits if hit.relevance >= 0.5]
    assert 0 < len(kept) < 20
    assert demo.search(text=NONSENSE[0], min_score=0.5) == []
    assert len(demo.search(text="a cat", k=20, min_score=0)) == 20
    with pytest.raises(UsageError, match="0 to 1"):
        demo.search(text="a cat", min_score=50)


def test_a_picture_is_sure_of_itself_and_not_of_others(demo: Collection) -> None:
    first, second = demo.search(image=DEMO / "cat.jpg", k=2)
    assert first.relevance > 0.99
    assert second.relevance < 0.3


def test_texts_are_judged_too_and_both_kinds_at_once(demo: Collection) -> None:
    first, *_, last = demo.search(image=DEMO / "cat.jpg", find="text", k=20)
    assert "cat" in first.item.text
    assert first.relevance > 2 * last.relevance
    both = demo.search(text="a cat", find="any", collapse=False, k=10)
    assert {hit.item.kind for hit in both} == {"image", "text"}
    alone = {hit.id: hit for hit in demo.search(
        text="a cat", find="image", captions=False, k=10)}
    assert all(hit == alone[hit.id] for hit in both if hit.item.kind == "image")


def test_composed_and_ready_made_queries_have_a_relevance(demo: Collection) -> None:
    hits = [demo.search(text="a cat", without=["grass"], k=1)[0],
            demo.search(text="a cat", image=DEMO / "cat.jpg", weights=[1, 0.5], k=1)[0],
            demo.search(vector=demo.embed(texts=["a cat"]), k=1)[0]]
    assert {Path(hit.item.uri).name for hit in hits} == {"cat.jpg"}
    assert all(0.3 < hit.relevance <= 1 for hit in hits)


def test_a_filter_counts_as_a_smaller_gallery(demo: Collection) -> None:
    plain = demo.search(text="a cat", k=1)[0]
    filtered = demo.search(text="a cat", k=1, where='author="Stefan van der Walt"')[0]
    assert filtered.item == plain.item
    assert filtered.relevance >= plain.relevance


def test_one_picture_alone_has_a_relevance(tmp_path: Path) -> None:
    collection = Collection.create(tmp_path / "x")
    add(collection, DEMO / "cat.jpg")
    good, bad = (collection.search(text=text)[0] for text in ("a cat", "a bridge over a river"))
    assert good.relevance > 0.5 > bad.relevance


def test_another_models_scale_does_not_change_the_verdict(
        demo: Collection, shifted: Path) -> None:
    again = Collection.open(shifted)
    for text in [*SHOWN, *NONSENSE]:
        for captions in (False, True):
            ours, theirs = (one.search(text=text, k=1, captions=captions)[0]
                            for one in (demo, again))
            assert ours.item.uri == theirs.item.uri or text in NONSENSE
            assert captions or theirs.score > ours.score + 0.1
            assert (ours.relevance > 0.5) == (theirs.relevance > 0.5) == (text in SHOWN)
    assert again.search(text=NONSENSE[0], min_score=0.5) == []
    assert again.search(text="a cat", min_score=0.5)


def test_a_collection_from_before_says_so_and_is_brought_up_to_date(
        shifted: Path, tmp_path: Path) -> None:
    shutil.copytree(shifted, tmp_path / "x")
    with closing(sqlite3.connect(tmp_path / "x" / "catalog.db")) as database, database:
        assert database.execute("DELETE FROM settings WHERE key = 'ruler'").rowcount == 1
    old = Collection.open(tmp_path / "x")
    assert old.search(text="a cat", k=1)[0].relevance is None
    with pytest.raises(UsageError, match="mmsearch index"):
        old.search(text="a cat", min_score=0.5)
    add(Collection.open(tmp_path / "x"), DEMO / "wren.jpg")
    assert old.search(text="a cat", k=1)[0].relevance is not None  # a handle that was open


# -- what people and programs see ------------------------------------------------------------------


def hit(relevance: float | None, **item: str) -> Hit:
    return Hit(1, 0.25, Item(**{"uri": "/p/a.jpg", "kind": "image", **item}), relevance=relevance)


def test_lines_keep_rank_score_and_uri_in_front() -> None:
    words = hit(0.5, kind="text", text="a cat")
    assert present.hits_tsv([hit(0.98765), words]) == (
        "1\t0.2500\t/p/a.jpg\t\t0.9877\n2\t0.2500\t/p/a.jpg\ta cat\t0.5000\n")
    assert present.hits_tsv([replace(hit(1.0), relevance=None)]) == "1\t0.2500\t/p/a.jpg\n"


def test_tables_and_pages_show_per_cent() -> None:
    console = Console(width=100)
    with console.capture() as shown:
        console.print(present.hits_table([hit(0.9999), hit(None)]))
    assert "match" in shown.get()
    assert "99 %" in shown.get()
    with console.capture() as shown:
        console.print(present.hits_table([hit(None)]))
    assert "match" not in shown.get()
    assert ">99 %</span>" in contact_sheet([hit(0.9999)], title="x")
    assert "%</span>" not in contact_sheet([hit(None)], title="x")


def test_the_command_line(cli: Cli, demo_index: Path) -> None:
    def run(*args: object) -> list[dict[str, object]]:
        found: list[dict[str, object]] = json.loads(
            cli("query", *args, "-i", demo_index, "--json", check=True).stdout)
        return found

    hits = run("a cat", "-k", "5")
    assert [hit["relevance"] for hit in hits] == sorted(
        (hit["relevance"] for hit in hits), reverse=True)  # type: ignore[type-var]
    assert [hit["relevance"] >= 0.5 for hit in run("a cat", "--min-score", "0.5")] == [True]  # type: ignore[operator]
    done = cli("query", NONSENSE[0], "--min-score", "0.5", "-i", demo_index)
    assert (done.returncode, done.stdout) == (0, "")
    assert "lower --min-score" in done.stderr
    done = cli("query", "a cat", "--min-score", "50", "-i", demo_index)
    assert done.returncode == 2
    assert "--min-score" in done.stderr
