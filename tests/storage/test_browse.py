"""Looking through files, newest first, and what they can be filtered by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mmsearch.collection import Collection, Reader
from mmsearch.errors import UsageError
from mmsearch.records import Item
from mmsearch.storage import Catalog, Change, Wanted
from mmsearch.storage.browse import quoted

ODD = "it's \"odd\" * ? (x), a and b"
FILES = [
    Item("/p/a.jpg", "image", meta={"taken": "2021-05-03T10:00:00", "camera": ODD,
                                      "label:a-b.c": ODD, "confidence:a-b.c": 0.5,
                                      "label:": "x", "label:x y": "x"}),
    Item("/p/b.jpg", "image", meta={"taken": "2022-01-01T00:00:00", "keywords": [ODD, "sea"]}),
    Item("/p/q/c.jpg", "image", meta={"city": ODD, "rating": 5, "keywords": ["sea"],
                                        "label:mood": "calm"}),
    Item("/p/q r/v.mp4#t=1", "frame", group="/p/q r/v.mp4", meta={"codec": "h264"}),
    Item("/p/q r/v.mp4#t=9", "frame", group="/p/q r/v.mp4", meta={"codec": "h264"}),
    Item("/p/d.pdf#page=1", "frame", group="/p/d.pdf", meta={"pages": 2, "taken": "2021-05-30"}),
    Item("/p/b.jpg#xywh=percent:0,0,55,55", "frame", group="/p/b.jpg"),
    Item("/p/b.jpg#caption1", "text", "sea", group="/p/b.jpg", meta={"label:mood": "calm"})]


def put(path: Path, *items: Item) -> None:
    """Items without vectors, which nothing here needs."""
    catalog = Catalog(path / "catalog.db", write=True)
    first = catalog.settings["next_seq"]
    catalog.commit(Change(put=[(first + n, item, "") for n, item in enumerate(items)]))
    catalog.close()


@pytest.fixture
def reader(collection: Collection) -> Iterator[Reader]:
    put(collection.path, *FILES)
    with Reader.open(collection.path) as opened:
        yield opened


def uris(reader: Reader, order: str, k: int, where: str = "") -> list[str]:
    found: list[str] = []
    after = ""
    while True:
        page = reader.page(Wanted(k, after, order), where=where)  # type: ignore[arg-type]
        found += [row.item.uri for row in page.rows]
        if not (after := page.cursor):
            assert page.total == len(found)
            return found


@pytest.mark.parametrize("k", [1, 2, 3, 50])
def test_pages_are_newest_first_and_hold_each_file_once(reader: Reader, k: int) -> None:
    assert uris(reader, "taken", k) == ["/p/b.jpg", "/p/d.pdf#page=1", "/p/a.jpg",
                                        "/p/q r/v.mp4#t=1", "/p/q/c.jpg"]
    assert uris(reader, "added", k) == ["/p/d.pdf#page=1", "/p/q r/v.mp4#t=1", "/p/q/c.jpg",
                                        "/p/b.jpg", "/p/a.jpg"]
    assert uris(reader, "taken", k, "taken = 2021-05") == ["/p/d.pdf#page=1", "/p/a.jpg"]


@pytest.mark.parametrize("cursor", ["x", "~", "~x", "2021~-1", "~" + "9" * 30, "~\u0661"])
def test_what_is_no_cursor_is_refused(reader: Reader, cursor: str) -> None:
    with pytest.raises(UsageError, match="is not the cursor of a page"):
        reader.page(Wanted(5, cursor))


def test_every_value_of_a_facet_is_a_condition_that_its_files_meet(reader: Reader) -> None:
    found = {facet.name: {one.value: one for one in facet.values} for facet in reader.facets()}
    assert {name: {value: one.files for value, one in values.items()}
            for name, values in found.items()} == {
        "years": {"2022": 1, "2021": 2}, "months": {"2022-01": 1, "2021-05": 2},
        "cameras": {ODD: 1}, "cities": {ODD: 1}, "ratings": {"5": 1},
        "keywords": {"sea": 2, ODD: 1}, "label:a-b.c": {ODD: 1}, "label:mood": {"calm": 1},
        "folders": {"/p/q": 1, "/p/q r": 1},
        "types": {"image": 3, "video": 1, "document": 1}}
    assert list(found["years"]) == ["2022", "2021"]
    for values in found.values():
        for one in values.values():
            assert len(uris(reader, "taken", 50, one.where)) == one.files, one
    assert reader.facets(where="taken > 2021")[0].values[0].files == 1


def test_what_is_kept_is_renewed_by_a_commit(reader: Reader) -> None:
    assert reader.page(Wanted()).total == reader.page(Wanted()).total == 5
    before = reader.facets()
    put(reader.path, Item("/p/new.jpg", "image", meta={"taken": "2030-01-01T00:00:00"}))
    page = reader.page(Wanted())
    assert (page.total, page.rows[0].item.uri) == (6, "/p/new.jpg")
    assert before[0].values[0].value == "2022" and reader.facets()[0].values[0].value == "2030"


def test_quotes_stand_for_themselves() -> None:
    assert quoted("it's") == "'it''s'"
