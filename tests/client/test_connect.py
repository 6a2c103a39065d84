"""A server is asked as a collection is: same hits, same errors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DEMO
from PIL import Image
from serving import TOKEN, Serving, serving

import mmsearch
from mmsearch import Collection, Hit, errors
from mmsearch.client.remote import Remote
from mmsearch.media import Crop


@pytest.fixture(scope="module")
def here(served_index: Path) -> Iterator[Collection]:
    with Collection.open(served_index) as collection:
        yield collection


@pytest.fixture(scope="module")
def there(demo_server: Serving) -> Iterator[Remote]:
    with mmsearch.connect(str(demo_server.client.base_url)) as remote:
        yield remote


def same(found: list[Hit], wanted: list[Hit], tolerance: float = 1e-6) -> None:
    assert [(hit.id, hit.item) for hit in found] == [(hit.id, hit.item) for hit in wanted]
    for name in ("score", "cosine", "bm25", "relevance"):
        assert [getattr(hit, name) for hit in found] == [
            value if value is None else pytest.approx(value, abs=tolerance)
            for hit in wanted for value in [getattr(hit, name)]]


CAT = DEMO / "cat.jpg"
QUERIES: list[dict[str, Any]] = [
    {"text": "a dog", "k": 3}, {"text": ["snow", "a mountain"], "without": "people"},
    {"text": "a dgo", "find": "any", "collapse": False, "k": 20},
    {"text": "bird", "mode": "hybrid", "find": "any", "fusion": "rrf", "text_weight": 0.3},
    {"text": "bird", "mode": "text", "find": "text", "offset": 1},
    {"text": "food", "where": ["width > 300", "colour = brown"], "min_score": 0.1},
    {"text": ("red", "blue"), "weights": np.array([1.0, 0.5]), "diverse": 0.3},
    {"vector": np.ones(384, np.float32)}, {"image": CAT, "without_image": str(DEMO / "bus.jpg")},
    {"text": "on a sofa", "image": [CAT, CAT.read_bytes()], "weights": [2, 1, 1]},
    {"image": Crop(CAT, "10%,10%,50%,50%")}]


@pytest.mark.parametrize("asked", QUERIES, ids=str)
def test_a_search_finds_the_same(here: Collection, there: Remote, asked: dict[str, Any]) -> None:
    same(there.search(**asked), here.search(**asked), 2e-3 if "image" in asked else 1e-6)


def test_pictures_that_are_no_files_are_sent_as_they_are(here: Collection, there: Remote) -> None:
    picture = Image.open(CAT)
    for given in (picture, np.asarray(picture), BytesIO(CAT.read_bytes())):
        same(there.search(image=given, k=4), here.search(image=given, k=4))


def test_pages_fit_together(there: Remote) -> None:
    whole = there.search(text="water", k=20)
    first = there.search(text="water", k=7)
    assert [*first, *there.search(text="water", k=13, after=first[-1].cursor)] == whole


def test_similar_and_info_are_the_same(here: Collection, there: Remote) -> None:
    (cat,) = here.search(text="a cat", k=1)
    similar = here.similar(cat.id, k=5)
    assert len(similar) == 5 and cat.id not in [hit.id for hit in similar]
    same(there.similar(cat.id, k=5), similar)
    same(there.similar(cat.id, k=2, where="width > 300"),
         here.similar(cat.id, k=2, where="width > 300"))
    assert there.info() == here.info()


@pytest.mark.parametrize("asked", [
    {"text": ""}, {"text": "a", "where": "width >"}, {"text": "a", "where": "no_field ~ x ("},
    {"text": ["a", "a"], "weights": [1, -1]}, {"vector": np.ones(3)},
    {"text": "a", "after": "nonsense"}, {"image": "nowhere.jpg"},
    {"image": Crop(CAT, "0,0,9000,9")}], ids=str)
def test_errors_are_the_same(here: Collection, there: Remote, asked: dict[str, Any]) -> None:
    def said(collection: Collection | Remote) -> tuple[type, str]:
        with pytest.raises(errors.MmsearchError) as caught:
            collection.search(**asked)
        return type(caught.value), str(caught.value).replace(f" {CAT}", "")

    assert said(there) == said(here)


def test_what_is_not_there_is_said(there: Remote, demo_server: Serving) -> None:
    with pytest.raises(errors.ItemNotFound, match="no item 12345"):
        there.similar(12345)
    address = str(demo_server.client.base_url)
    with pytest.raises(errors.CollectionNotFound, match="no collection 'nope'; there are: index"):
        mmsearch.connect(f"{address}?collection=nope").info()
    assert mmsearch.connect(address, collection="index").info()["items"] > 50
    with pytest.raises(errors.UsageError, match="less than or equal to 1000"):
        there.search(text="a", k=1001)


def test_what_is_no_server_of_mmsearch_is_said(demo_server: Serving) -> None:
    for address in ("localhost:8080", "ftp://x/", "http://"):
        with pytest.raises(errors.UsageError, match="http://HOST:PORT"):
            mmsearch.connect(address)
    for token in ("§", "a\nb"):
        with pytest.raises(errors.UsageError, match="ASCII"):
            mmsearch.connect("http://127.0.0.1:1", token=token)
    with pytest.raises(errors.MmsearchError, match="cannot be reached"):
        mmsearch.connect("http://127.0.0.1:1").info()
    with pytest.raises(errors.MmsearchError, match="nothing at this address"):
        mmsearch.connect(f"{demo_server.client.base_url}elsewhere").info()


def test_the_token_is_sent(demo_index: Path) -> None:
    with serving("-i", demo_index, "--token", TOKEN) as server:
        address = str(server.client.base_url)
        assert mmsearch.connect(address, token=TOKEN).search(text="a cat", k=1)
        for token, said in ((None, "wants a token"), ("wrong" * 5, "wants another token")):
            with pytest.raises(errors.MmsearchError, match=said):
                mmsearch.connect(address, token=token).info()


def test_nothing_that_is_slow_to_load_comes_with_the_package() -> None:
    code = ("import sys, mmsearch; mmsearch.connect\n"
            "print([m for m in ('httpx', 'PIL', 'faiss', 'onnxruntime') if m in sys.modules])\n"
            "sys.modules['httpx'] = None\n"
            "try: mmsearch.connect('http://127.0.0.1:1')\n"
            "except mmsearch.MmsearchError as error: print(error)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "[]", "asking a server needs an extra: pip install 'mmsearch[client]'"]
