"""Collections that past versions wrote, kept for ever, must go on working (see golden/README.md).

Only stored vectors are used: the model that made them may no longer be the built-in one.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import unit_vectors

from mmsearch.collection.collection import Collection
from mmsearch.collection.repair import repair_collection
from mmsearch.ingest import upkeep
from mmsearch.records import Item
from mmsearch.storage.catalog import Change
from mmsearch.storage.schema import FORMAT
from mmsearch.storage.segments import segment_name, write_segment

HERE = Path(__file__).parent / "golden"
GOLDEN = ["format-1", "format-1-ann", "format-2"]


@pytest.fixture(params=GOLDEN)
def golden(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def index(golden: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(HERE / golden, tmp_path / golden))


def expected(golden: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((HERE / f"{golden}.json").read_text("utf-8"))
    return found


def found(collection: Collection, query: dict[str, Any], **options: Any) -> list[tuple[str, float]]:
    hits = collection.search(vector=np.array(query["query"], np.float32), **options)
    return [(hit.item.uri, hit.score) for hit in hits]


def check_queries(collection: Collection, golden: str) -> None:
    """By the index that is there, and again by brute force (more neighbours than any index gives).
    """
    shares = []
    for query in expected(golden):
        hits = found(collection, query, k=10)
        assert hits[0][0] == query["uris"][0]
        shares.append(len({uri for uri, _ in hits} & set(query["uris"])) / len(query["uris"]))
        exact = found(collection, query, k=2000)[: len(query["uris"])]
        assert [uri for uri, _ in exact] == query["uris"]
        np.testing.assert_allclose([score for _, score in exact], query["scores"], atol=2e-3)
    assert np.mean(shares) > (0.7 if golden.endswith("-ann") else 0.999)


def put(collection: Collection, uris: list[str]) -> np.ndarray[Any, Any]:
    """Add a picture of that path with a random vector each, through the engine's own parts."""
    vectors = unit_vectors(len(uris), int(collection.info()["dim"]), seed=5)
    with collection._writing() as catalog:
        first = int(catalog.settings["next_seq"])
        ids = np.arange(first, first + len(uris))
        name = segment_name("image", first, int(ids[-1]))
        segment = write_segment(collection.path, name, "image", ids, lambda: iter([vectors]))
        rows = [(int(n), Item(uri, "image"), "h") for n, uri in zip(ids, uris, strict=True)]
        catalog.commit(Change(put=rows, add_segments=[segment]))
        upkeep.tidy(collection.path, catalog)
    return vectors


def test_it_is_read_as_it_is(index: Path, golden: str) -> None:
    before = {path: path.read_bytes() for path in index.rglob("*") if path.is_file()}
    collection = Collection.open(index)
    check_queries(collection, golden)
    assert collection.verify() == []
    info = collection.info()
    assert info["items"] == sum(info["kinds"].values()) > 0
    collection.close()
    assert {path: path.read_bytes() for path in before} == before


def test_it_can_be_filtered(index: Path, golden: str) -> None:
    collection = Collection.open(index)
    query = expected(golden)[0]
    where = "year = 2003" if golden.endswith("-ann") else "stars >= 2"
    uris = [uri for uri, _ in found(collection, query, where=where, k=10)]
    wanted = [uri for uri, _ in found(collection, query, k=2000)]
    if golden.endswith("-ann"):
        assert uris == [uri for uri in wanted if int(uri[3:-4]) % 20 == 3][:10]
    else:
        assert uris == [uri for uri in wanted if uri.split("/")[2] in ("apple.jpg", "guitar.jpg")]


def test_it_can_be_written_to_and_repaired(index: Path, golden: str) -> None:
    collection = Collection.open(index)
    items = collection.info()["items"]
    vectors = put(collection, ["/new/1.jpg", "/new/2.jpg", "/new/3.jpg"])
    for n, vector in enumerate(vectors, 1):
        assert collection.search(vector=vector, k=1)[0].item.uri == f"/new/{n}.jpg"
    assert collection.verify() == []
    assert collection.delete(["/new/1.jpg"]) == 1
    assert "/new/1.jpg" not in {hit.item.uri for hit in collection.search(vector=vectors[0], k=9)}
    collection.delete(["/new"])
    check_queries(collection, golden)
    collection.compact()
    assert Collection.open(index).info()["items"] == items
    check_queries(collection, golden)
    assert collection.verify() == repair_collection(index) == []


def test_deleted_and_replaced_items_stay_so(index: Path, golden: str) -> None:
    rows, _ = Collection.open(index).vectors("image")
    uris = [row.item.uri for row in rows]
    assert len(set(uris)) == len(uris)
    assert not {"/photos/wren.jpg", "/v/7.jpg", "/v/2003.jpg"} & set(uris)
    assert {"/photos/apple.jpg", "/v/8.jpg"} & set(uris)


@pytest.mark.parametrize("golden", ["format-1", "format-2"])
def test_texts_groups_and_metadata_come_back(index: Path, golden: str) -> None:
    collection = Collection.open(index)
    query = expected(golden)[0]
    texts = collection.search(vector=np.array(query["query"]), find="text", k=20, collapse=False)
    assert len(texts) == 10
    assert texts[0].item.group == "/photos/goldfish.jpg"
    assert "fish" in texts[0].item.text
    hit = collection.search(vector=np.array(query["query"]), k=1)[0]
    assert hit.item.meta["place"] == "Überlingen"
    assert (hit.item.meta["width"], hit.item.fingerprint) == (
        320, f"{hit.item.meta['size']}:1700000000000000000")


def test_the_first_write_brings_it_to_the_present_format(index: Path, golden: str) -> None:
    assert Collection.open(index).info()["format"] == int(golden.split("-")[1])
    Collection.open(index).delete(["/nothing"])
    collection = Collection.open(index)
    assert collection.info()["format"] == FORMAT
    assert collection.search(text="jpg", mode="text")
    with closing(sqlite3.connect(index / "catalog.db")) as db:
        assert not db.execute("SELECT name FROM sqlite_master WHERE name = 'checks' OR "
                              "type = 'trigger'").fetchall()
