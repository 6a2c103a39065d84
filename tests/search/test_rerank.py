"""The first results are looked at more closely, and only their order changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import DEMO, Cli, add
from httpx import Client
from PIL import Image

from mmsearch.collection import Collection
from mmsearch.encoders import BUILTIN_DIR, OnnxEncoder, Reranker
from mmsearch.errors import UsageError
from mmsearch.records import Hit, Pixels
from mmsearch.search import Places, Query

TEXTS = ("people walking by the sea", "a red vehicle", "two dogs", "something to eat")


@pytest.fixture(scope="module")
def demo(demo_index: Path) -> Collection:
    return Collection.open(demo_index)


@pytest.fixture(scope="module")
def pixels(reranker: Reranker) -> list[Pixels]:
    return [reranker.encoder.prepare(Image.open(DEMO / f"{name}.jpg").convert("RGB"))
            for name in ("bus", "dogs", "waves", "pizza", "cat", "horse")]


def ids(hits: list[Hit]) -> list[int]:
    return [hit.id for hit in hits]


@pytest.mark.parametrize("text", TEXTS)
def test_the_score_is_the_cosine_and_what_the_closer_look_adds(
        demo: Collection, reranker: Reranker, text: str) -> None:
    plain = demo.search(text=text, k=20)
    found = demo.search(text=text, k=20, rerank=20)
    seen = Places().of(reranker, plain)
    odds = reranker.odds(text, reranker.unpacked([seen[n] for n in range(20)]))
    expected = {hit.id: hit.score + reranker.weight * (one - odds.mean())
                for hit, one in zip(plain, odds, strict=True)}
    assert sorted(ids(found)) == sorted(ids(plain))
    assert [hit.score for hit in found] == pytest.approx(
        sorted(expected.values(), reverse=True), abs=1e-6)
    assert {hit.id: hit.score for hit in found} == pytest.approx(expected, abs=1e-6)
    assert {hit.id: hit.cosine for hit in found} == {hit.id: hit.cosine for hit in plain}


def test_pages_put_together_are_one_search(demo: Collection) -> None:
    whole = ids(demo.search(text=TEXTS[0], k=30, rerank=12))
    pages = [demo.search(text=TEXTS[0], k=5, offset=at, rerank=12) for at in range(0, 30, 5)]
    assert [one for page in pages for one in ids(page)] == whole
    assert whole[12:] == ids(demo.search(text=TEXTS[0], k=30))[12:]


def test_a_picture_has_the_same_odds_in_any_company(
        reranker: Reranker, pixels: list[Pixels]) -> None:
    packed = reranker.places(pixels)
    assert packed == [reranker.places([one])[0] for one in pixels]
    together = reranker.unpacked(packed)
    odds = reranker.odds(TEXTS[0], together)
    single = [reranker.odds(TEXTS[0], one[None])[0] for one in together]
    np.testing.assert_allclose(odds, single, atol=1e-4)


def test_the_odds_tell_pictures_apart(reranker: Reranker) -> None:
    """The closer look alone, without the cosine, finds most pictures of the demo by their captions.
    """
    rows = [json.loads(line) for line in (DEMO / "captions.jsonl").read_text().splitlines()]
    images = [reranker.encoder.prepare(Image.open(DEMO / row["image"]).convert("RGB"))
              for row in rows]
    places = reranker.unpacked(reranker.places(images))
    ranks = []
    for n, row in list(enumerate(rows))[::2]:
        odds = reranker.odds(row["captions"][0], places)
        ranks.append(int((odds > odds[n]).sum()))
    assert np.mean(np.array(ranks) < len(rows) // 10) > 0.5  # by chance: a tenth


def test_what_encodes_is_not_changed_by_what_else_the_graphs_give(
        reranker: Reranker, pixels: list[Pixels]) -> None:
    encoder = reranker.encoder
    np.testing.assert_array_equal(encoder.run_images(pixels)[0],
                                  encoder.run_images(pixels, also="places")[0])
    np.testing.assert_array_equal(encoder.run_texts([TEXTS[0]])[0],
                                  encoder.run_texts([TEXTS[0]], also="states")[0])


def test_pictures_that_are_gone_keep_their_score(tmp_path: Path) -> None:
    for name in ("bus.jpg", "cat.jpg", "dogs.jpg", "horse.jpg"):
        shutil.copy(DEMO / name, tmp_path)
    with Collection.create(tmp_path / "index") as collection:
        add(collection, tmp_path)
        (tmp_path / "bus.jpg").unlink()
        (tmp_path / "cat.jpg").write_bytes(b"no picture")
        plain = {hit.item.uri: hit.score for hit in collection.search(text="a horse")}
        found = {hit.item.uri: hit.score for hit in collection.search(text="a horse", rerank=10)}
    moved = {Path(uri).name for uri in plain if found[uri] != plain[uri]}
    assert moved == {"dogs.jpg", "horse.jpg"} and found.keys() == plain.keys()


def test_several_texts_count_by_their_weights(demo: Collection) -> None:
    one = demo.search(text="a dog", k=20, rerank=20)
    same = demo.search(text=["a dog", "a dog"], weights=[3, 1], k=20, rerank=20)
    assert ids(one) == ids(same)
    assert [hit.score for hit in same] == pytest.approx([hit.score for hit in one], abs=1e-5)


@pytest.mark.parametrize("parts", [
    {"mode": "hybrid"}, {"mode": "text"}, {"diverse": 0.5}, {"find": "text"}, {"find": "any"},
    {"image": DEMO / "cat.jpg"}, {"after": "0.1:2"}])
def test_what_it_cannot_be_put_together_with_is_said(parts: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="rerank"):
        Query(text="a dog", rerank=10, **parts)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [-1, 1001])
def test_a_count_out_of_range_is_said(count: int) -> None:
    with pytest.raises(UsageError, match="rerank must be from 0 to 1,000"):
        Query(text="a dog", rerank=count)


def test_a_model_without_one_says_so(tmp_path: Path) -> None:
    shutil.copytree(BUILTIN_DIR, tmp_path / "model")
    spec = json.loads((tmp_path / "model/model.json").read_text())
    del spec["rerank"]
    (tmp_path / "model/model.json").write_text(json.dumps(spec | {"encoder": "bare@1"}))
    assert OnnxEncoder(tmp_path / "model").reranker is None
    shutil.copy(DEMO / "cat.jpg", tmp_path)
    with Collection.create(tmp_path / "index", model=str(tmp_path / "model")) as collection:
        add(collection, tmp_path / "cat.jpg")
        with pytest.raises(UsageError, match=r"bare@1 has no reranker; leave out --rerank"):
            collection.search(text="a cat", rerank=5)


def test_the_command_line_and_the_server_rerank(demo_index: Path, cli: Cli, client: Client) -> None:
    expected = Collection.open(demo_index).search(text=TEXTS[0], k=5, rerank=20)
    done = cli("query", TEXTS[0], "-i", demo_index, "--rerank", 20, "--json", "-k", 5)
    found = json.loads(done.stdout)
    assert [row["uri"] for row in found] == [hit.item.uri for hit in expected]
    assert [row["score"] for row in found] == pytest.approx([h.score for h in expected], abs=1e-4)
    answer = client.post("/v1/search", json={"text": TEXTS[0], "k": 5, "rerank": 20}).json()
    assert [hit["id"] for hit in answer["hits"]] == ids(expected)
