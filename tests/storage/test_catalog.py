"""The catalog: one transaction is the commit, readers see one state, errors are plain."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from mmsearch.errors import CollectionDamaged, CollectionError, CollectionNotFound
from mmsearch.records import Item, SegmentInfo
from mmsearch.storage.catalog import Catalog, Change
from mmsearch.storage.filters import parse_where


def item(n: int, **meta: object) -> Item:
    return Item(f"/photos/{n}.jpg", "image", group=f"/photos/{n}.jpg", meta=meta,
                fingerprint=f"{n}:1")


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    catalog = Catalog(tmp_path / "catalog.db", write=True)
    catalog.commit(Change(put=[(n, item(n, year=2000 + n), f"h{n}") for n in range(1, 6)]))
    return catalog


def test_what_is_put_is_fetched_and_found(catalog: Catalog) -> None:
    row = catalog.fetch([3, 99])[3]
    assert (row.item, row.hash, row.seq) == (item(3, year=2003), "h3", 3)
    assert catalog.find("/photos/3.jpg", "image") == row
    assert catalog.find("/photos/3.jpg", "text") is None
    assert catalog.counts() == {"image": 5}
    assert catalog.select(parse_where(["year >= 2004"])).tolist() == [4, 5]


def test_replacing_keeps_the_id_and_takes_the_new_number(catalog: Catalog) -> None:
    before = catalog.fetch([3])[3]
    catalog.commit(Change(put=[(6, item(3, year=1999), "new")]))
    assert catalog.fetch([3]) == {}
    after = catalog.fetch([6])[6]
    assert (after.id, after.hash, after.item.meta["year"]) == (before.id, "new", 1999)


def test_a_change_that_fails_half_way_changes_nothing(catalog: Catalog) -> None:
    segment = SegmentInfo("s", "vectors", "image", 1, 1, 1, "")
    with pytest.raises(CollectionError, match="UNIQUE"):
        catalog.commit(Change(drop=[1, 2], put=[(7, item(7), "h")],
                              add_segments=[segment, segment]))
    assert catalog.counts() == {"image": 5}
    assert catalog.segments() == []
    assert Catalog(catalog.path).settings["next_seq"] == 6


def test_below_takes_a_folder_a_file_and_the_texts_of_a_file(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "c.db", write=True)
    uris = ["/a", "/a/x.jpg", "/a/b/y.jpg", "/ab.jpg", "/a#2/z.jpg", "/a#2", "/b"]
    items = [*(Item(uri, "image") for uri in uris), Item("/a#L1", "text", meta={"file": "/a"}),
             Item("/a#caption1", "text", group="/a"), Item("/c#L1", "text", meta={"file": "/c"}),
             Item("/m/p.jpg", "image", meta={"manifest": "/m.csv"})]
    catalog.commit(Change(put=[(n, item, "") for n, item in enumerate(items)]))
    assert {r.item.uri for r in catalog.below(["/a"])} == {
        "/a", "/a/x.jpg", "/a/b/y.jpg", "/a#L1", "/a#caption1"}
    assert [r.item.uri for r in catalog.below(["/c"])] == ["/c#L1"]
    assert [r.item.uri for r in catalog.below(["/m.csv"])] == ["/m/p.jpg"]
    assert len(list(catalog.below(["/"]))) == len(items)


def test_a_number_is_never_given_twice(catalog: Catalog) -> None:
    assert catalog.settings["next_seq"] == 6
    catalog.commit(Change(drop=[row.id for row in catalog.rows()]))
    assert catalog.settings["next_seq"] == 6
    segment = SegmentInfo("s", "vectors", "image", 9, 1, 20, "")
    catalog.commit(Change(add_segments=[segment]))
    assert Catalog(catalog.path).settings["next_seq"] == 21


def test_a_manifests_column_called_like_a_measured_one_keeps_its_value(catalog: Catalog) -> None:
    named = Item("/x.jpg", "image", group="/x.jpg", meta={
        "size": 12, "width": 3, "meta.size": "large", "meta.width": 10**30, "kind": "stamp"})
    catalog.commit(Change(put=[(9, named, "")]))
    assert catalog.fetch([9])[9].item == named
    for condition in ("meta.size = large", "size = 12", "meta.kind = stamp", "kind = image"):
        assert 9 in catalog.select(parse_where([condition]))


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers(-2**53, 2**53)
                       | st.floats(allow_nan=False, allow_infinity=False)
                       | st.text(st.characters(exclude_categories=["Cs"]))
                       | st.lists(st.integers(-9, 9))))
def test_metadata_comes_back_as_it_went_in(meta: dict[str, object]) -> None:
    catalog = Catalog(Path(":memory:"), write=True)
    columns = ("size", "taken", "modified", "width", "height", "camera", "manifest")
    meta = {key: value for key, value in meta.items() if key not in columns}
    catalog.commit(Change(put=[(1, Item("/1", "image", meta=meta), "")]))
    assert catalog.fetch([1])[1].item.meta == meta
    catalog.close()


def test_no_catalog_is_not_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(CollectionNotFound, match="holds no collection"):
        Catalog(tmp_path / "catalog.db")
    (tmp_path / "catalog.db").write_bytes(b"")
    with pytest.raises(CollectionNotFound):
        Catalog(tmp_path / "catalog.db")
    (tmp_path / "catalog.db").write_bytes(b"no database at all, but long enough" * 100)
    with pytest.raises(CollectionDamaged, match="not a database"):
        Catalog(tmp_path / "catalog.db")


def test_a_newer_format_asks_for_an_upgrade(catalog: Catalog) -> None:
    catalog.put_settings({"color": "blue"})
    with sqlite3.connect(catalog.path) as db:
        db.execute("UPDATE settings SET value = '4' WHERE key = 'format'")
    with pytest.raises(CollectionError, match=r"format 4.*upgrade"):
        Catalog(catalog.path)
