"""Searches over HTTP give what the library gives."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import DEMO
from serving import detail

from mmsearch.collection import Reader
from mmsearch.media import Crop
from mmsearch.search import Query


def hits(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["hits"]
    return found


@pytest.mark.parametrize("text", ["", "an animal outdoors"])
def test_likes_and_dislikes_are_a_round_of_feedback(client: httpx.Client, demo_index: Path,
                                                    text: str) -> None:
    """By the weights of docs/similar.md; what was judged is among the hits of HTTP."""
    with Reader.open(demo_index) as reader:
        session = reader.feedback(text=text or ())
        liked, disliked = (
            [row.id for row in reader.of_uris([f"{DEMO / name}.jpg" for name in some])]
            for some in (("wren", "cat", "panda"), ("bus", "pizza")))
        session.like(*liked)
        session.dislike(*disliked)
        wanted = [hit.id for hit in session.next(50)]
    found = hits(client.post("/v1/search", json={
        "text": text or [], "image": [{"item": id} for id in liked],
        "without_image": [{"item": id} for id in disliked],
        "weights": [1] * bool(text) + [1 / 3] * 3, "k": 50}))
    assert len(wanted) == 45
    assert [hit["id"] for hit in found if hit["id"] not in {*liked, *disliked}] == wanted


@pytest.mark.parametrize("asked", [
    {"text": "a dog"}, {"text": ["snow", "a mountain"], "without": "people", "k": 5},
    {"text": "a dog", "find": "any", "k": 7}, {"text": "bird", "mode": "hybrid", "find": "any"},
    {"text": "bird", "mode": "text", "find": "text"},
    {"text": "a dog", "where": ["width > 300", "colour = brown"], "min_score": 0.1},
    {"text": "food", "diverse": 0.3, "offset": 2, "k": 3}, {"text": "a dgo", "collapse": False},
    {"text": "a mountian lake", "spelling": False},
    {"text": ["red", "blue"], "weights": [1.0, 0.5], "fusion": "rrf"}])
def test_a_search_finds_what_the_library_finds(client: httpx.Client, demo_index: Path,
                                               asked: dict[str, Any]) -> None:
    with Reader.open(demo_index) as reader:
        wanted = reader.search(Query(**asked))
    found = hits(client.post("/v1/search", json=asked))
    assert [(hit["id"], hit["uri"]) for hit in found] == [(hit.id, hit.item.uri) for hit in wanted]
    assert [hit["score"] for hit in found] == pytest.approx([hit.score for hit in wanted], abs=1e-5)
    assert [hit["relevance"] for hit in found] == [
        None if hit.relevance is None else pytest.approx(hit.relevance, abs=1e-3) for hit in wanted]


def test_pages_put_together_are_one_big_search(client: httpx.Client) -> None:
    whole = hits(client.post("/v1/search", json={"text": "water", "k": 50}))
    pages: list[dict[str, Any]] = []
    after: str | None = ""
    while after is not None:
        answer = client.post("/v1/search", json={"text": "water", "k": 7, "after": after}).json()
        pages, after = pages + answer["hits"], answer["cursor"]
    assert [hit["id"] for hit in pages] == [hit["id"] for hit in whole] and len(whole) == 50


def test_a_picture_may_be_an_item_a_file_base64_or_a_vector(client: httpx.Client) -> None:
    data = (DEMO / "cat.jpg").read_bytes()
    cat = hits(client.get("/v1/search", params={"q": "a cat", "k": 1}))[0]
    assert cat["name"] == "cat.jpg"
    coded = base64.b64encode(data).decode()
    vector = client.post("/v1/embed", files={"image": data}).json()["vectors"][0]
    for picture in ({"item": cat["id"]}, {"data": coded}, {"vector": vector},
                    {"data": f"data:image/jpeg;base64,{coded}"}):
        found = hits(client.post("/v1/search", json={"image": [picture], "k": 3}))
        assert found[0]["id"] == cat["id"] and found[0]["score"] > 0.99
    form = client.post("/v1/search", data={"query": '{"k": 3}'}, files={"image": data})
    assert hits(form)[0]["id"] == cat["id"]
    less = client.post("/v1/search", json={
        "text": "an animal", "without_image": [{"item": cat["id"]}], "k": 50})
    assert hits(less)[0]["id"] != cat["id"]


def test_a_crop_searches_by_a_part(client: httpx.Client, demo_index: Path) -> None:
    bus = hits(client.get("/v1/search", params={"q": "a bus", "k": 1}))[0]["id"]
    part: dict[str, Any] = {"item": bus, "crop": "0,0,50%,50%"}
    whole = hits(client.post("/v1/search", json={"image": [{"item": bus}], "k": 1}))[0]
    found = hits(client.post("/v1/search", json={"image": [part], "k": 5}))
    assert whole["score"] > 0.99 > found[0]["score"]
    with Reader.open(demo_index) as reader:
        wanted = reader.search(image=Crop(DEMO / "bus.jpg", part["crop"]), k=5)
    assert [hit["id"] for hit in found] == [hit.id for hit in wanted]
    assert [hit["score"] for hit in found] == pytest.approx([hit.score for hit in wanted], abs=1e-5)
    beyond = {"image": [{"item": bus, "crop": "90%,0,50%,50%"}]}
    assert "beyond the picture" in detail(client.post("/v1/search", json=beyond), 400)


def test_similar_leaves_out_the_item_itself(client: httpx.Client) -> None:
    first = hits(client.get("/v1/search", params={"q": "a bird", "k": 1}))[0]["id"]
    found = hits(client.get(f"/v1/items/{first}/similar", params={"k": 5}))
    assert len(found) == 5 and first not in [hit["id"] for hit in found]
    pages: list[int] = []
    after: str | None = ""
    while after is not None:
        answer = client.get(f"/v1/items/{first}/similar", params={"k": 1, "after": after}).json()
        pages, after = pages + [hit["id"] for hit in answer["hits"]], answer["cursor"]
    assert pages[:5] == [hit["id"] for hit in found] and len(pages) == len(set(pages)) == 49


@pytest.mark.parametrize("address", ["/v1/search?q=x&limit=1", "/v1/items?kk=1",
                                     "/v1/items/1/image?V=1", "/v1/collections?x=", "/healthz?x=1"])
def test_a_misspelt_parameter_is_not_overlooked(client: httpx.Client, address: str) -> None:
    assert "there is no parameter" in detail(client.get(address), 422)


def test_corrections_and_remarks_are_told(client: httpx.Client) -> None:
    assert client.post("/v1/search", json={"text": "elefant on a motorcylce"}).json()["corrected"]
    for as_typed in (client.post("/v1/search", json={"text": "motorcylce", "spelling": False}),
                     client.get("/v1/search", params={"q": "motorcylce", "spelling": "false"})):
        assert as_typed.json()["corrected"] == {}
    answer = client.get("/v1/search", params={"q": "dog", "where": "width > 100000"}).json()
    assert answer["hits"] == [] and answer["note"] == "nothing meets the condition"
    answer = client.get("/v1/search", params={"q": "dog", "where": "foo=1"}).json()
    assert "no item has the field 'foo'; the fields are path" in answer["note"]


def test_vectors_are_those_of_the_library(client: httpx.Client, demo_index: Path) -> None:
    answer = client.post("/v1/embed", json={"text": ["a dog", "snow"]}).json()
    with Reader.open(demo_index) as reader:
        for text, vector in zip(("a dog", "snow"), answer["vectors"], strict=True):
            assert vector == pytest.approx(reader.embed(texts=[text]).tolist(), abs=1e-6)
        assert (answer["dim"], answer["encoder"]) == (reader.encoder.dim, reader.encoder.name)


@pytest.mark.parametrize(("asked", "status", "says"), [
    ({}, 400, "give a text or a picture"), ({"text": " "}, 400, "a text is empty"),
    ({"text": "x", "where": "width >"}, 400, "cannot read the condition"),
    ({"text": "x", "k": 0}, 422, "k"), ({"text": "x", "k": 10**9}, 422, "k"),
    ({"text": "x", "top": 3}, 422, "top"), ({"text": "x", "collection": "no"}, 404, "'no'"),
    ({"image": [{"item": 10**9}]}, 404, "there is no item 1000000000"),
    ({"image": [{"item": 1, "data": "eA=="}]}, 422, "one of item, data, url and vector"),
    ({"image": [{"data": "eA=="}]}, 415, "picture"),
    ({"image": [{"data": "€"}]}, 400, "no base64"), ({"vector": [1, 2, 3]}, 400, "384"),
    ({"image": [{"vector": [0.0] * 384}]}, 400, "not all zero"),
    ({"text": "x", "image": ["/etc/passwd"]}, 422, "image"),
    ({"text": "x", "after": "nonsense"}, 400, "cursor")])
def test_what_makes_no_sense_is_told_in_a_sentence(
        client: httpx.Client, asked: dict[str, Any], status: int, says: str) -> None:
    assert says in detail(client.post("/v1/search", json=asked), status)
