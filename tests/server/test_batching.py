"""Searches made together find what they find alone; what is too much is turned away."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from conftest import DEMO
from serving import Serving, detail, serving

from mmsearch.collection import Reader
from mmsearch.errors import MediaError, MmsearchError, UsageError
from mmsearch.search import Embedded, Query

QUERIES = [
    *[Query(text=text, k=k) for text, k in (
        ("a dog", 5), ("snow", 50), ("a red car", 5), ("food on a table", 3), ("a bird", 7))],
    Query(text="a dog", find="text"), Query(text="trees", find="any", k=20),
    Query(text="a dgo", without="people"), Query(text="bird", mode="text", find="text"),
    Query(text="bird", mode="hybrid"), Query(text="water", where="width > 400", k=20),
    Query(text="a boat", where="width > 400"), Query(text="sky", diverse=0.4, k=6),
    Query(text="a cat", min_score=0.3), Query(image=DEMO / "cat.jpg"), Query(
        text="snow", image=(DEMO / "bus.jpg").read_bytes(), without_image=DEMO / "dogs.jpg"),
    Query(text="ein Hund im Schnee"), Query(text="night", collapse=False, offset=3)]


def test_searches_made_together_find_what_they_find_alone(demo_index: Path) -> None:
    with Reader.open(demo_index) as alone, Reader.open(demo_index) as reader:
        together = reader.search_many(QUERIES)
        for query, hits in zip(QUERIES, together, strict=True):
            wanted = alone.search(query)
            assert not isinstance(hits, MmsearchError)
            assert [hit.id for hit in hits] == [hit.id for hit in wanted], query
            assert [hit.score for hit in hits] == pytest.approx(
                [hit.score for hit in wanted], abs=1e-5)
            assert [hit.relevance for hit in hits] == pytest.approx(
                [hit.relevance for hit in wanted], abs=1e-3)


def test_what_is_wrong_with_one_search_is_told_to_that_one(demo_index: Path) -> None:
    with Reader.open(demo_index) as reader:
        found = reader.search_many([
            Query(text="a dog"), Query(text="x", where="width >"), Query(image=b"no picture"),
            Query(text="a", weights=[float("nan")]), Query(text="snow"),
            Query(text="cat", without="cat"), Query(image=Embedded([1.0, 2.0]))])
    kinds = [type(one) if isinstance(one, MmsearchError) else list for one in found]
    assert kinds[0] is kinds[4] is list
    assert [issubclass(kind, UsageError | MediaError) for kind in kinds] == [
        False, True, True, True, False, True, True]


def test_texts_that_were_asked_before_are_not_encoded_again(demo_index: Path) -> None:
    with Reader.open(demo_index) as reader:
        first = reader.search(text="a dog")
        assert (reader.texts.hits, reader.texts.misses) == (0, 1)
        assert reader.search(text="a dog") == first
        assert (reader.texts.hits, reader.texts.misses) == (1, 1)
        reader.search(text="a dog", multilingual=False)
        assert reader.texts.misses == 2  # another encoder may be meant
        reader.texts.most = 2
        reader.search_many([Query(text=str(n)) for n in range(5)])
        reader.search(text="a dog")
        assert reader.texts.misses == 8


def test_many_clients_share_batches_and_get_their_own_answers(demo_server: Serving) -> None:
    client = demo_server.client
    texts = [f"{what} number {n}" for n in range(16) for what in ("a dog", "a bus", "snow")]
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda text: client.get(
            "/v1/search", params={"q": text, "k": 5}).json()["hits"], texts))
    for text, hits in zip(texts, answers, strict=True):
        again = client.get("/v1/search", params={"q": text, "k": 5}).json()["hits"]
        assert [hit["id"] for hit in hits] == [hit["id"] for hit in again]
    metrics = client.get("/metrics").text
    searches = float(re.search(r"^mmsearch_batch_size_sum (\S+)", metrics, re.M)[1])  # type: ignore[index]
    batches = float(re.search(r"^mmsearch_batch_size_count (\S+)", metrics, re.M)[1])  # type: ignore[index]
    assert searches > batches
    assert 'mmsearch_texts_total{collection="index",known="yes"}' in metrics
    assert 'route="/v1/search"' in metrics and "number" not in metrics


@pytest.fixture(scope="module")
def narrow(demo_index: Path) -> Iterator[Serving]:
    """A server that has two requests under way at most."""
    with serving("-i", demo_index, "--queue", 2) as server:
        yield server


def test_what_is_too_much_is_turned_away_and_the_rest_answered(narrow: Serving) -> None:
    url, answers, start = f"{narrow.client.base_url}v1/search", [], threading.Barrier(40)
    well: list[int] = []

    def ask(n: int) -> None:
        with httpx.Client(timeout=60) as client:
            start.wait()
            for m in range(3):
                answers.append(client.get(url, params={"q": f"{n} times {m} dogs"}))
                well.append(client.get(narrow.client.base_url.join(
                    "/healthz" if m % 2 else "/")).status_code)

    threads = [threading.Thread(target=ask, args=[n]) for n in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = {answer.status_code for answer in answers}
    assert statuses == {200, 429} and set(well) == {200}
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused[0].headers["retry-after"] == "1" and "try again" in detail(refused[0], 429)
    assert narrow.client.get(url, params={"q": "a dog"}).status_code == 200
    assert f"mmsearch_refused_total {float(len(refused))}" in narrow.client.get("/metrics").text


def test_what_has_not_arrived_takes_nobodys_turn(narrow: Serving) -> None:
    body = b'{"text": "a dog", "k": 1}'
    slow = [socket.create_connection(("127.0.0.1", narrow.port), 60) for _ in range(2)]
    for one in slow:
        one.sendall(b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n"
                    b"Content-Type: application/json\r\n\r\n%s" % (len(body), body[:5]))
    for n in range(3):
        assert narrow.client.get("/v1/search", params={"q": f"{n} cats"}).status_code == 200
    for one in slow:
        one.sendall(body[5:])
        assert one.recv(100).startswith(b"HTTP/1.1 200 ")
        one.close()
