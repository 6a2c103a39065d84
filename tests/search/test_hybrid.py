"""Words and vectors: what full text finds, how it stays in step, how two rankings become one."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from conftest import DEMO, Cli, add
from hypothesis import given, settings, strategies as st

from mmsearch import Collection
from mmsearch.errors import CollectionError, ModelError, UsageError
from mmsearch.indexes.fusion import reciprocal_rank, weighted_scores
from mmsearch.records import Item, Neighbors
from mmsearch.search.hybrid import fused
from mmsearch.search.looks import Prepared
from mmsearch.search.query import Query
from mmsearch.storage.catalog import Catalog, Change
from mmsearch.storage.filters import parse_where
from mmsearch.storage.fulltext import MOST_TERMS

IMAGE, TEXT, ANY = ("image", "frame"), ("text",), ("image", "frame", "text")


def listing(*items: Item) -> Catalog:
    """A catalog of items; the first has the sequence number 1."""
    catalog = Catalog(Path(":memory:"), write=True)
    catalog.commit(Change(put=[(seq, item, "") for seq, item in enumerate(items, 1)]))
    return catalog


def picture(uri: str, **meta: object) -> Item:
    return Item(uri, "image", group=uri, meta=meta)


def caption(uri: str, text: str, n: int = 1) -> Item:
    return Item(f"{uri}#caption{n}", "text", text, uri)


def found(catalog: Catalog, text: str, kinds: tuple[str, ...] = IMAGE, **more: object) -> list[int]:
    return catalog.match(text, 100, kinds=kinds, **more).ids[0].tolist()  # type: ignore[arg-type]


# -- what words find -----------------------------------------------------------------------------


NAMES = ["/p/IMG_2041.jpg", "/p/IMG2041.jpg", "/p/Scans/invoice-7.png", "/p/DSC00123.JPG",
         "/p/BeachHoliday/a.jpg", "/p/beach_holiday.jpg", "/p/Éclair.jpg", "/p/東京タワー.jpg",
         "/p/HTMLPage.png", "/p/693b08cb0e.jpg"]


@pytest.mark.parametrize(("query", "uris"), [
    ("IMG_2041", NAMES[:2]), ("img_2041.jpg", NAMES[:2]), ("IMG 2041", NAMES[:2]),
    ("2041", NAMES[:2]), ("IMG2041", NAMES[:2]), ("img_20", NAMES[:2]),
    ("invoice", NAMES[2:3]), ("invo", NAMES[2:3]), ("scans/invoice-7.png", NAMES[2:3]),
    ("DSC00123", NAMES[3:4]), ("00123", NAMES[3:4]), ("dsc 00123.jpg", NAMES[3:4]),
    ("beach holiday", NAMES[4:6]), ("BeachHoliday", NAMES[4:6]), ("holiday", NAMES[4:6]),
    ("eclair", NAMES[6:7]), ("ÉCLAIR.JPG", NAMES[6:7]), ("東京", NAMES[7:8]),
    ("タワー", NAMES[7:8]), ("html page", NAMES[8:9]), ("693b08cb0e", NAMES[9:]),
])
def test_a_file_is_found_by_its_name_however_it_is_spelled(query: str, uris: list[str]) -> None:
    catalog = listing(*map(picture, NAMES))
    rows = catalog.fetch(found(catalog, query))
    assert {row.item.uri for row in rows.values()} == set(uris)


def test_metadata_is_found_by_its_values_alone() -> None:
    catalog = listing(
        picture("/p/1.jpg", title="Invoice\nNo. 77", camera="Canon EOS 5D", tags=["red", "fox"]),
        picture("/p/2.jpg", title="nothing", year=2041, file="/p/ledger.txt"))
    for query in ("invoice", "no", "77", "canon eos", "fox", "5D"):
        assert found(catalog, query) == [1], query
    assert found(catalog, "2041") == [2]
    for query in ("title", "tags", "ledger"):
        assert found(catalog, query) == [], query


def test_the_name_weighs_more_than_the_text_and_the_folder_least() -> None:
    catalog = listing(picture("/fox/1.jpg"), picture("/p/2.jpg", note="fox"),
                      picture("/p/fox.jpg"), *(picture(f"/p/x{n}.jpg") for n in range(9)))
    assert found(catalog, "fox") == [3, 2, 1]


def test_a_caption_brings_its_picture_and_no_other_caption() -> None:
    catalog = listing(picture("/p/1.jpg"), picture("/p/2.jpg"), caption("/p/1.jpg", "a red fox"),
                      caption("/p/1.jpg", "an animal", 2), caption("/p/2.jpg", "a dog"))
    assert found(catalog, "fox") == [1]
    assert found(catalog, "fox", TEXT) == [3]
    assert found(catalog, "fox", ANY) == [1, 3]
    assert set(found(catalog, "1.jpg", TEXT)) == {3, 4}


def test_all_terms_before_any_and_the_rare_before_the_common() -> None:
    catalog = listing(*(picture(f"/p/{n}.jpg") for n in range(1, 9)),
                      *(caption(f"/p/{n}.jpg", text) for n, text in enumerate([
                          "a dog and a ball", "a dog", "the ball", "a cat", "a a a", "a tree",
                          "some trees", "a bird"], 1)))
    assert found(catalog, "dog ball") == [1]
    assert found(catalog, "dog zebra") == [2, 1]  # shorter texts first
    assert found(catalog, "a zebra") != []
    assert found(catalog, "a zebra", least=0.8) == []
    assert found(catalog, "a dog zebra", least=0.4) == [2, 1]
    assert found(catalog, "tree") == [6, 7]  # as it is spelled, then what begins with it


def test_to_hybrid_a_long_text_has_words_that_are_close_together() -> None:
    page = ["nothing of note"] * 20
    catalog = listing(
        picture("/p/1.jpg"), picture("/p/2.jpg"), picture("/p/manual.jpg"), picture("/p/4.jpg"),
        caption("/p/1.jpg", ". ".join(["a dog sleeps", *page, "a red ball"])),
        caption("/p/2.jpg", ". ".join([*page, "a dog with its red ball", *page])),
        caption("/p/manual.jpg", ". ".join([*page, "a dog", *page, "a balloon"])),
        caption("/p/4.jpg", "dog"))

    def whole(text: str, kinds: tuple[str, ...] = IMAGE) -> list[int]:
        match = catalog.match(text, 10, kinds=kinds, least=0.8)  # type: ignore[arg-type]
        return match.ids[0].tolist() if match.whole else []

    assert found(catalog, "dog red ball") == [1, 2]
    assert whole("dog red ball") == [2]
    assert whole("red dog") == [2]
    assert whole("manual dog ball") == [3]  # the name of the file is close to all of the page
    assert whole("sleeps ball") == []
    assert whole("dog red ball", TEXT) == [6]
    assert whole("sleeps ball", TEXT) == []


def test_conditions_and_what_is_not_wanted_apply_to_what_is_found() -> None:
    catalog = listing(
        picture("/p/1.jpg", year=2020), picture("/p/2.jpg", year=2021),
        picture("/p/3.jpg", year=2021), caption("/p/1.jpg", "a fox"), caption("/p/2.jpg", "a fox"),
        caption("/p/3.jpg", "a fox"), caption("/p/3.jpg", "snow on trees", 2))
    assert found(catalog, "fox", where=parse_where(["year = 2021"])) == [2, 3]
    assert found(catalog, "fox", without=["snow"]) == [1, 2]
    assert found(catalog, "fox", without=["snow trees", "2.jpg"]) == [1]
    assert found(catalog, "fox", without=["snow desert", "!", "sno"]) == [1, 2, 3]
    assert found(catalog, "fox", TEXT, without=["snow"]) == [4, 5, 6]


SYNTAX = ['"', '""', "'", "*", "^", ":", "(", ")", "{", "}", "-", "+", ",", ";", "\\", "/", "\0",
          "\ud800", "AND", "OR", "NOT", "NEAR", "NEAR(a b, 2)", "uri:a", "words :", "a*", "^a",
          "items_fts", "%", "?", "--", "é", "東", "a", "1"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(SYNTAX) | st.text(max_size=5), max_size=12), st.booleans())
def test_whatever_is_typed_is_no_syntax(parts: list[str], spaced: bool) -> None:
    catalog = listing(picture("/p/a1.jpg"), caption("/p/a1.jpg", "near and not or"))
    text = (" " if spaced else "").join(parts)
    assert set(found(catalog, text)) <= {1}
    assert set(found(catalog, text, least=0.8)) <= {1}
    assert set(found(catalog, "a1", without=[text])) <= {1}
    catalog.close()


def test_a_book_is_no_query_too_long() -> None:
    catalog = listing(picture("/p/w7.jpg"))
    assert found(catalog, " ".join(f"w{n}" for n in range(5000))) == [1]
    assert found(catalog, " ".join(f"w{n}" for n in range(5000)), least=0.8) == []
    assert found(catalog, " ".join(f"v{n}" for n in range(MOST_TERMS)) + " w7") == []
    assert found(catalog, "x" * 100_000) == []


# -- kept in step --------------------------------------------------------------------------------


WORDS = ["fox", "dog", "IMG2041", "snow"]
step = st.tuples(st.sampled_from(["put", "update", "drop"]), st.integers(0, 5),
                 st.sampled_from(WORDS))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(step, max_size=5), max_size=6))
def test_the_full_text_is_that_of_the_items_whatever_happens(
        history: list[list[tuple[str, int, str]]]) -> None:
    catalog = Catalog(Path(":memory:"), write=True)
    seq = 0
    for steps in history:
        ids = [row.id for row in catalog.rows()]
        change = Change()
        for what, n, word in steps:
            seq += 1
            if what == "put" and not change.update:
                change.put.append((seq, Item(f"/p/{n}.jpg", "image", word, meta={"n": n}), ""))
            elif ids and what == "update" and not change.put:
                # To a path of its own: what moves meets nobody.
                moved = Item(f"/q/{seq}.jpg", "image", word, meta={"n": n})
                change.update.append((ids[n % len(ids)], moved))
            elif ids and what == "drop":
                change.drop.append(ids[n % len(ids)])
        catalog.commit(change)
        assert listed(catalog)
        for word in (*WORDS, "2041", "0.jpg", "q", "3"):
            text = found(catalog, word)
            catalog.relist()
            assert text == found(catalog, word)
        for word in ("fox", "dog", "snow"):
            assert set(found(catalog, word)) == {
                row.seq for row in catalog.rows() if word in row.item.text}
    catalog.close()


def test_an_update_and_a_put_that_meet_are_listed_once() -> None:
    catalog = listing(Item("/p/a.jpg", "image", "fox"), Item("/p/b.jpg", "image", "dog"))
    first, second = (row.id for row in catalog.rows())
    catalog.commit(Change(drop=[second], update=[(first, Item("/p/b.jpg", "image", "fox"))],
                          put=[(3, Item("/p/b.jpg", "image", "snow"), "")]))
    assert [found(catalog, word) for word in ("fox", "dog", "a.jpg", "snow")] == [[], [], [], [3]]
    assert listed(catalog)


def listed(catalog: Catalog) -> bool:
    """Whether the full text is whole and has every item."""
    catalog._conn.execute("INSERT INTO items_fts (items_fts) VALUES ('integrity-check')")
    (count,), = catalog._conn.execute("SELECT count(*) FROM items_fts_docsize")
    return bool(count == catalog.count(None))


def outdate(path: Path) -> None:
    """Make a catalog what the first version wrote: without full text."""
    with sqlite3.connect(path) as db:
        db.executescript("DROP VIEW items_text; DROP TABLE items_fts; ALTER TABLE items DROP COLUMN"
                         " words; DELETE FROM _sqlite_migrations WHERE name = 'full_text'")
    db.close()


def test_full_text_that_misses_an_item_is_noticed_and_made_anew(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog.db", write=True)
    catalog.commit(Change(put=[(1, picture("/p/IMG1.jpg"), "")]))
    with sqlite3.connect(catalog.path) as db:
        db.execute("INSERT INTO items_fts (items_fts) VALUES ('delete-all')")
    db.close()
    assert not listed(catalog)
    catalog.relist()
    assert listed(catalog)
    assert found(catalog, "img") == [1]


# -- fusion --------------------------------------------------------------------------------------


def ranking(scores: dict[int, float]) -> Neighbors:
    order = sorted(scores, key=lambda id: (-scores[id], id))
    return Neighbors(np.array([[scores[id] for id in order]], np.float32),
                     np.array([order], np.int64))


def fuse(how: str, parts: list[Neighbors], weights: list[float]) -> Neighbors:
    return (reciprocal_rank(parts, weights) if how == "rrf"
            else weighted_scores(parts, weights, [-1.0] * len(parts)))


rankings = st.dictionaries(st.integers(0, 30), st.integers(-100, 100).map(lambda n: n / 64),
                           max_size=12).map(ranking)
weighing = st.integers(0, 8).map(lambda n: n / 8)


@given(st.lists(st.tuples(rankings, weighing), max_size=2))
def test_fusion_is_what_the_formulas_say(parts: list[tuple[Neighbors, float]]) -> None:
    """Best first, equal ones by their ids; a ranking that weighs nothing brings nothing."""
    by_rank: dict[int, float] = defaultdict(float)
    by_score: dict[int, float] = defaultdict(float)
    for part, weight in parts:
        scores = part.scores[0].tolist() if weight else []
        for rank, (id, _) in enumerate(zip(part.ids[0].tolist(), scores, strict=False), 1):
            by_rank[id] += weight * 61 / (60 + rank)
    for part, weight in parts:
        found = dict(zip(part.ids[0].tolist(), part.scores[0].tolist(), strict=True))
        for id in by_rank:
            by_score[id] += weight * found.get(id, -1)
    for how, expected in (("rrf", by_rank), ("weighted", by_score)):
        fused, other_way = (fuse(how, [part for part, _ in some], [weight for _, weight in some])
                            for some in (parts, parts[::-1]))
        ids, scores = fused.ids[0].tolist(), fused.scores[0].tolist()
        assert dict(zip(ids, scores, strict=True)) == pytest.approx(expected)
        assert ids == sorted(ids, key=lambda id: (-scores[ids.index(id)], id))
        assert (ids, scores) == (other_way.ids[0].tolist(), other_way.scores[0].tolist())


def test_what_is_missing_scores_what_is_said() -> None:
    parts = [ranking({1: 0.3, 2: 0.1}), ranking({2: 0.8, 3: 0.4})]
    fused = weighted_scores(parts, [0.5, 0.5], [0.1, 0.0])
    assert fused.ids.tolist() == [[2, 3, 1]]
    assert fused.scores[0].tolist() == pytest.approx([0.45, 0.25, 0.15])


# -- searching -----------------------------------------------------------------------------------


def test_text_mode_needs_no_model_and_says_how_well_words_match(
        demo_index: Path, tmp_path: Path) -> None:
    collection = Collection.open(demo_index, model=str(tmp_path))  # no model is there
    hits = collection.search(text="spaniels window", mode="text")
    assert [Path(hit.item.uri).name for hit in hits] == ["dogs.jpg"]
    assert hits[0].cosine is None
    assert hits[0].bm25 == hits[0].score > 0
    assert [Path(hit.item.uri).name for hit in collection.search(text="panda.jpg", mode="text")
            ] == ["panda.jpg"]
    assert collection.search(text="qqq", mode="text") == []
    for mode in ("vector", "hybrid"):
        with pytest.raises(ModelError):
            collection.search(text="panda", mode=mode)


def test_text_mode_loads_no_encoder_and_no_index(demo_index: Path) -> None:
    code = ("import sys; from mmsearch import Collection\n"
            "assert Collection.open(sys.argv[1]).search(text='panda', mode='text')\n"
            "print([m for m in ('onnxruntime', 'faiss', 'tokenizers', 'PIL', 'sqlite_utils') "
            "if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code, str(demo_index)], capture_output=True,
                          text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_hybrid_finds_what_is_named_and_what_is_meant(demo_index: Path) -> None:
    collection = Collection.open(demo_index)
    plain = collection.search(text="an animal in the forest", k=30)
    hits = collection.search(text="panda.jpg", mode="hybrid", k=30)
    assert Path(hits[0].item.uri).name == "panda.jpg"
    assert hits[0].cosine is not None and hits[0].bm25 is not None
    assert len(hits) == 30
    assert hits[1].bm25 is None
    assert [hit.cosine for hit in plain] == [hit.score for hit in plain]
    for fusion in ("rrf", "weighted"):
        alone = collection.search(text="an animal in the forest", k=30, mode="hybrid",
                                  text_weight=0, fusion=fusion)
        assert [(hit.id, hit.cosine) for hit in alone] == [(hit.id, hit.score) for hit in plain]
        words = collection.search(text="dogs window", mode="hybrid", text_weight=1, fusion=fusion)
        assert [hit.id for hit in words] == [
            hit.id for hit in collection.search(text="dogs window", mode="text")]


@pytest.mark.parametrize("fusion", ["weighted", "rrf"])
def test_all_words_come_before_what_is_meant_and_some_of_them_do_not(fusion: str) -> None:
    cosines = {seq: 0.5 - seq / 100 for seq in range(30)}
    query = Query(text="x", mode="hybrid", fusion=fusion)  # type: ignore[arg-type]
    prepared = Prepared(query, None, None, 0, None)
    for whole, first in ((True, [29, 0]), (False, [0, 1])):
        both = fused(None, prepared, cosines, {29: 9.0}, whole)  # type: ignore[arg-type]
        assert both.ids[0, :2].tolist() == first


def test_what_only_words_found_has_its_place_among_what_is_near() -> None:
    prepared = Prepared(Query(text="x", mode="hybrid"), None, None, 0, None)
    both = fused(None, prepared, {1: 0.5, 2: 0.0}, {3: 1.0, 4: 0.5}, True)  # type: ignore[arg-type]
    assert both.ids.tolist() == [[3, 1, 4, 2]]


def test_words_of_texts_alone_are_fused(tmp_path: Path) -> None:
    collection = Collection.create(tmp_path / "index")
    collection.add([Item(f"/t/{n}.txt", "text", text, f"/t/{n}.txt") for n, text in enumerate(
        ["a report of a storm", "two words on a page", "nothing"])])
    for find in ("any", "text"):
        hits = collection.search(Query(text="two words", mode="hybrid", find=find))
        assert hits[0].item.uri == "/t/1.txt"
    assert collection.search(Query(text="two words", mode="hybrid")) == []
    collection.close()


def test_without_calibration_words_count_as_much(demo_index: Path, tmp_path: Path) -> None:
    shutil.copytree(demo_index, tmp_path / "index", ignore=shutil.ignore_patterns("*.sock"))
    collection = Collection.open(tmp_path / "index")
    collection._calibration = (collection.encoder.name, None)  # type: ignore[assignment]
    hits = collection.search(text="panda.jpg", mode="hybrid", k=3)
    assert hits[0].item.uri.endswith("panda.jpg")
    assert hits[0].score > hits[1].score


def test_a_picture_and_a_text_search_together(demo_index: Path) -> None:
    hits = Collection.open(demo_index).search(
        text="window", image=DEMO / "dogs.jpg", mode="hybrid", k=3)
    assert Path(hits[0].item.uri).name == "dogs.jpg"


def test_a_cursor_of_no_hit_is_refused(demo_index: Path) -> None:
    with pytest.raises(UsageError, match="'x' is not the cursor of a hit"):
        Collection.open(demo_index).search(text="a", after="x")


def test_modes_on_the_command_line(cli: Cli, demo_index: Path) -> None:
    def query(*args: object) -> list[dict[str, object]]:
        done = cli("query", *args, "-i", demo_index, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)  # type: ignore[no-any-return]

    keys = {"rank", "score", "uri", "kind", "text", "group", "meta", "relevance"}
    assert set(query("a dog", "-k", 1)[0]) == keys
    [hit] = query("spaniels", "--mode", "text", "-k", 1, "--find", "text")
    assert set(hit) == keys | {"cosine", "bm25"}
    assert (hit["cosine"], "spaniels" in str(hit["text"])) == (None, True)
    [hit] = query("spaniels", "--mode", "hybrid", "-k", 1, "--fusion", "rrf", "--text-weight", 1)
    assert (Path(str(hit["uri"])).name, hit["score"]) == ("dogs.jpg", 1.0)
    assert query("window", "--mode", "text", "--not", "spaniels", "--not", "dogs", "-k", 50) == [
        hit | {"rank": rank} for rank, hit in enumerate(
            (hit for hit in query("window", "--mode", "text", "-k", 50)
             if Path(str(hit["uri"])).name != "dogs.jpg"), 1)]
    done = cli("query", "qqq", "--mode", "text", "-i", demo_index)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "no item has these words\n")
    done = cli("query", "--image", DEMO / "cat.jpg", "--mode", "text", "-i", demo_index)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_an_old_collection_says_what_to_run(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("the invoice is paid\n")
    index = tmp_path / "index"
    add(Collection.create(index), tmp_path / "notes.txt")
    outdate(index / "catalog.db")
    collection = Collection.open(index)
    with pytest.raises(CollectionError, match="no full text yet"):
        collection.search(text="invoice", mode="hybrid")
    assert collection.search(text="money", find="text")[0].item.text == "the invoice is paid"
    done = cli("query", "invoice", "--find", "text", "--mode", "text", "-i", index)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"run `mmsearch compact -i {index}`" in done.stderr
    collection.compact()
    assert collection.search(text="invoice", find="text", mode="text")[0].bm25
