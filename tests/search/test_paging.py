"""Pages, cursors, diverse and collapsed results, against plain loops over all that is there."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Cli, approximate_from, unit_vectors
from hypothesis import given, settings, strategies as st

from mmsearch import Collection
from mmsearch.records import Hit, Item, Kind, Vectors
from mmsearch.search.diversity import spread
from mmsearch.storage.catalog import Change
from mmsearch.storage.segments import write_segment

DIM = 8


def put(collection: Collection, vectors: Vectors, items: list[Item], kind: Kind = "image") -> None:
    """Add items with vectors of one's own, as one segment, through the engine's own parts."""
    with collection._writing() as catalog:
        first = int(catalog.settings["next_seq"])
        ids = np.arange(first, first + len(items))
        segment = write_segment(collection.path, f"{kind}-{first:012d}", kind, ids,
                                lambda: iter([vectors]))
        catalog.commit(Change(put=[(int(seq), item, "") for seq, item in zip(
            ids, items, strict=True)], add_segments=[segment]))


def photos(count: int, start: int = 0, **meta: Any) -> list[Item]:
    """Three pictures a folder, two a group, one year in four, words on every second one."""
    return [Item(f"/p/{n // 3}/{n}.jpg", "image", "fox" * (n % 2), f"g{n // 2}",
                 {"year": 2000 + n % 4, **meta}) for n in range(start, start + count)]


def collection_of(path: Path, *batches: int, dim: int = DIM) -> Collection:
    collection = Collection.create(path)
    with collection._writing() as catalog:
        catalog.put_settings({"dim": dim})
    collection = Collection.open(path)
    for n, rows in enumerate(batches):
        put(collection, unit_vectors(rows, dim, seed=n), photos(rows, sum(batches[:n])))
    return Collection.open(path)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """240 pictures in two segments, every ninth of them deleted; for reading only."""
    collection = collection_of(tmp_path_factory.mktemp("plain") / "index", 150, 90)
    collection.delete([f"/p/{n // 3}/{n}.jpg" for n in range(0, 240, 9)])
    return collection


@pytest.fixture(scope="module")
def approximate(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """3,000 pictures, the first 2,700 in an approximate index that misses much."""
    path = tmp_path_factory.mktemp("approximate") / "index"
    with pytest.MonkeyPatch.context() as patch:
        approximate_from(patch, 2000)
        collection = collection_of(path, 2700, dim=32)
        collection.configure(recall=0.5)
        collection.compact()
        put(collection, unit_vectors(300, 32, seed=5), photos(300, 2700))
    collection.delete([f"/p/{n // 3}/{n}.jpg" for n in range(0, 3000, 9)])
    assert collection.info()["index"]["image"].startswith("ivf-rabitq over 2700 of 3000")
    queries = unit_vectors(50, 32, seed=77)
    found = [collection.nearest(queries, 40, exact=exact).ids.tolist() for exact in (True, False)]
    assert found[0] != found[1]
    return collection


def ids(hits: list[Hit]) -> list[int]:
    return [hit.id for hit in hits]


WAYS: list[dict[str, Any]] = [
    {}, {"collapse": False}, {"collapse": "folder"}, {"collapse": "year"},
    {"where": "year >= 2002"}, {"where": "year = 2001", "collapse": False},
    {"mode": "text", "text": "fox"}, {"mode": "text", "text": "fox zebra 7", "collapse": False},
    {"mode": "hybrid", "text": "fox jpg"}, {"mode": "hybrid", "text": "7 fox", "fusion": "rrf"},
    {"mode": "hybrid", "text": "fox", "where": "year >= 2002", "collapse": "folder"},
]


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("which", ["plain", "approximate"])
def test_pages_put_together_are_the_one_big_search(
        way: dict[str, Any], which: str, request: pytest.FixtureRequest) -> None:
    collection: Collection = request.getfixturevalue(which)
    query = dict(way)
    if query.get("mode") != "text":
        dim = int(collection._settings["dim"])
        query["vector"] = unit_vectors(1, dim, seed=77)[0]
    whole = collection.search(**query, k=5000)
    assert len({hit.id for hit in whole}) == len(whole) > 3
    for k, pages in ((1, 9), (7, 9), (50, 6), (1200, 3)):
        paged = [hit for page in range(pages)
                 for hit in collection.search(**query, k=k, offset=k * page)]
        assert ids(paged) == ids(whole[: k * pages])
        assert [hit.score for hit in paged] == [hit.score for hit in whole[: k * pages]]
    assert collection.search(**query, k=5, offset=len(whole)) == []


def test_everything_is_found_once_and_in_order(plain: Collection) -> None:
    query = unit_vectors(1, DIM, seed=77)[0]
    whole = plain.search(vector=query, k=1000, collapse=False)
    assert len(whole) == 240 - 27
    assert all(a.score >= b.score for a, b in pairwise(whole))


# -- the cursor ----------------------------------------------------------------------------------


def test_a_cursor_goes_on_where_the_hit_was(plain: Collection) -> None:
    query = unit_vectors(1, DIM, seed=77)[0]
    for collapse in (True, False, "folder"):
        whole = plain.search(vector=query, k=1000, collapse=collapse)
        paged = plain.search(vector=query, k=7, collapse=collapse)
        while more := plain.search(vector=query, k=7, collapse=collapse, after=paged[-1].cursor):
            paged += more
        assert paged == whole


def test_a_cursor_never_repeats_what_an_approximate_index_finds_late(
        approximate: Collection) -> None:
    late = 0
    for query in unit_vectors(20, 32, seed=78):
        whole = approximate.search(vector=query, k=5000, collapse=False)
        in_order = sorted(whole, key=lambda hit: -hit.score)
        late += whole != in_order
        paged = approximate.search(vector=query, k=7, collapse=False)
        while len(paged) <= len(whole) and (more := approximate.search(
                vector=query, k=90, collapse=False, after=paged[-1].cursor)):
            paged += more
        assert len(set(ids(paged))) == len(paged)
        assert set(ids(paged)) <= set(ids(whole))
        assert len(paged) > 0.9 * len(whole)
    assert late


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 12), st.lists(st.tuples(st.integers(1, 9), st.integers(0, 40)), max_size=4),
       st.booleans())
def test_a_cursor_stays_right_while_items_come_and_go(
        tmp_path_factory: pytest.TempPathFactory, k: int, history: list[tuple[int, int]],
        collapse: bool) -> None:
    path = tmp_path_factory.mktemp("cursor") / "index"
    collection = collection_of(path, 40)
    put(collection, unit_vectors(40, DIM, seed=0), photos(40, 40))  # twins: equal scores
    query = unit_vectors(1, DIM, seed=77)[0]
    there = {hit.id for hit in collection.search(vector=query, k=1000, collapse=False)}
    paged = collection.search(vector=query, k=k, collapse=collapse)
    for n, (added, doomed) in enumerate(history):
        before = collection.search(vector=query, k=1000, collapse=collapse)
        put(collection, unit_vectors(added, DIM, seed=n % 3), photos(added, 100 * (n + 1)))
        uri = f"/p/{doomed // 3}/{doomed}.jpg"
        collection.delete([uri])
        after = collection.search(vector=query, k=1000, collapse=collapse)
        page = collection.search(vector=query, k=k, collapse=collapse, after=paged[-1].cursor)
        last = (-paged[-1].score, int(paged[-1].cursor.partition(":")[2]))
        assert page == [hit for hit in after if (-hit.score, int(
            hit.cursor.partition(":")[2])) > last][:k]
        assert not {hit.id for hit in page} & {hit.id for hit in paged}
        if not collapse:  # what was there and not shown yet is not passed over
            shown = {hit.id for hit in paged} | {hit.id for hit in page}
            ranks = {hit.id: rank for rank, hit in enumerate(before)}
            gone = there - {hit.id for hit in after}
            if page:
                limit = max((ranks[hit.id] for hit in page if hit.id in ranks), default=-1)
                assert {hit.id for hit in before[: limit + 1]} & there <= shown | gone
        paged += page


# -- diverse -------------------------------------------------------------------------------------


def diverse_oracle(scores: list[float], vectors: list[list[float]], trade: float,
                   count: int) -> list[int]:
    """Maximal marginal relevance, word for word."""
    low, high = min(scores), max(scores)
    relevance = [(score - low) / (high - low) if high > low else 1.0 for score in scores]
    shown: list[int] = []
    while len(shown) < min(count, len(scores)):
        best, best_value = -1, -math.inf
        for n in range(len(scores)):
            if n in shown:
                continue
            alike = max((sum(a * b for a, b in zip(vectors[n], vectors[m], strict=True))
                         for m in shown), default=0.0)
            value = trade * relevance[n] - (1 - trade) * alike
            if value > best_value + 1e-6:
                best, best_value = n, value
        shown.append(best)
    return shown


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(0, 10**6), st.integers(0, 10).map(lambda n: n / 10),
       st.integers(0, 14))
def test_spreading_is_what_the_formula_says(rows: int, seed: int, trade: float,
                                            count: int) -> None:
    vectors = unit_vectors(rows, 3, seed)
    scores = sorted(np.random.default_rng(seed).random(rows).round(2).tolist(), reverse=True)
    assert spread(scores, vectors, trade, count) == diverse_oracle(
        scores, vectors.astype(float).tolist(), trade, count)


def test_diverse_hits_are_those_of_the_stored_vectors(plain: Collection) -> None:
    query = unit_vectors(1, DIM, seed=77)[0]
    pool = plain.search(vector=query, k=100)
    rows, vectors = plain.vectors("image")
    stored = dict(zip((row.id for row in rows), vectors.tolist(), strict=True))
    for trade in (0.0, 0.3, 0.5, 1.0):
        order = diverse_oracle([hit.score for hit in pool], [stored[hit.id] for hit in pool],
                               trade, 20)
        hits = plain.search(vector=query, k=20, diverse=trade)
        assert ids(hits) == [pool[n].id for n in order]
        assert [hit.score for hit in hits] == [pool[n].score for n in order]
        paged = [hit for page in range(4)
                 for hit in plain.search(vector=query, k=5, offset=5 * page, diverse=trade)]
        assert paged == hits
    assert ids(plain.search(vector=query, k=20, diverse=1.0)) == ids(pool[:20])
    assert len(plain.search(vector=query, k=1000, diverse=0.5)) == len(
        plain.search(vector=query, k=1000))


def test_twins_are_kept_apart_in_every_mode_and_kind(tmp_path: Path) -> None:
    collection = collection_of(tmp_path / "index")
    for letter in "abc":  # three pictures and a text of each vector
        put(collection, unit_vectors(6, DIM),
            [Item(f"/p/{n}{letter}.jpg", "image", "fox") for n in range(6)])
    put(collection, unit_vectors(6, DIM), [Item(f"/t/{n}", "text", "fox") for n in range(6)],
        "text")
    queries: list[dict[str, Any]] = [{"vector": unit_vectors(1, DIM)[0]},
                                     {"text": "fox", "mode": "text"}]
    for query in queries:
        hits = collection.search(**query, k=6, find="any", diverse=0.3)
        assert {hit.item.uri[3] for hit in hits} == set("012345")
    near = collection.search(**queries[0], k=6, find="any")
    assert len({hit.item.uri[3] for hit in near}) == 2


# -- collapse ------------------------------------------------------------------------------------


def test_one_for_each_folder_or_value(plain: Collection) -> None:
    query = unit_vectors(1, DIM, seed=77)[0]
    whole = plain.search(vector=query, k=1000, collapse=False)
    for collapse, key in (("folder", lambda item: item.uri.rpartition("/")[0]),
                          ("year", lambda item: item.meta["year"]),
                          ("meta.year", lambda item: item.meta["year"]),
                          ("group", lambda item: item.group), (True, lambda item: item.group),
                          ("no such column", lambda item: item.group)):
        first: dict[object, int] = {}
        for hit in whole:
            first.setdefault(key(hit.item), hit.id)
        assert ids(plain.search(vector=query, k=1000, collapse=collapse)) == list(first.values())


def test_an_item_without_the_value_stands_for_its_group(tmp_path: Path) -> None:
    collection = collection_of(tmp_path / "index")
    metas: list[dict[str, Any]] = [{"order": "a"}, {"order": "a"}, {"order": None}, {}, {}]
    put(collection, unit_vectors(5, DIM), [
        Item(f"/{n}.jpg", "image", group=f"g{min(n, 3)}", meta=meta)
        for n, meta in enumerate(metas)])
    hits = collection.search(vector=unit_vectors(1, DIM)[0], collapse="order")
    assert len(hits) == 3
    assert {hit.item.group for hit in hits} >= {"g2", "g3"}


def test_pages_and_collapse_on_the_command_line(cli: Cli, demo_index: Path) -> None:
    def query(*args: object) -> list[dict[str, Any]]:
        done = cli("query", "an animal", *args, "-i", demo_index, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)  # type: ignore[no-any-return]

    whole = Collection.open(demo_index).search(text="an animal", k=8)
    assert [hit["uri"] for hit in query("-k", 3, "--offset", 5)] == [
        hit.item.uri for hit in whole[5:]]
    authors = [hit["meta"]["author"] for hit in query("-k", 8, "--collapse", "author")]
    assert len(set(authors)) == len(authors) == 8
    varied = query("-k", 8, "--diverse", 0.3, "--no-collapse", "--find", "any")
    every = Collection.open(demo_index).search(text="an animal", k=8, diverse=0.3, find="any",
                                               collapse=False)
    assert [hit["uri"] for hit in varied] == [hit.item.uri for hit in every]
    done = cli("query", "an animal", "--offset", 1000, "-i", demo_index)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "there are no results beyond the first 1000; lower --offset\n"
