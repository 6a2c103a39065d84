"""One handle in many threads, in coroutines, over a fork, and after it was closed."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import add, unit_vectors

from mmsearch.collection.collection import Collection
from mmsearch.collection.pool import Connection
from mmsearch.errors import CollectionBusy, CollectionError
from mmsearch.records import Item

CLOSED = "was closed; open it again"
WRITER = """
import sys
from pathlib import Path
from mmsearch.collection import Collection
from mmsearch.records import Item
collection = Collection.open(sys.argv[1])
for n in range(12):
    collection.add([Item(f"/n/{n}-{m}", "text", f"number {n} {m}") for m in range(5)])
    collection.delete([f"/n/{n}-0"])
    if n % 4 == 3:
        collection.compact()
"""


@pytest.fixture
def index(tmp_path: Path, photos: Path) -> Path:
    with Collection.create(tmp_path / "index") as collection:
        add(collection, photos)
        collection.add([Item("/t/cat", "text", "a cat")])
    return tmp_path / "index"


@pytest.fixture
def collection(index: Path) -> Iterator[Collection]:
    with Collection.open(index) as opened:
        yield opened


def test_32_threads_search_while_another_process_writes(collection: Collection,
                                                        index: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, index])
    vectors = unit_vectors(32, collection.encoder.dim)
    dogs = [hit.item.uri for hit in collection.search(text="a dog", k=12)]

    def look(n: int) -> int:
        searches = 0
        while writer.poll() is None or not searches:
            assert [hit.item.uri for hit in collection.search(text="a dog", k=12)] == dogs
            assert len(collection.search(vector=vectors[n], k=1, find="any")) == 1
            assert collection.search(text="a cat", mode="text", find="text")[0].item.text == "a cat"
            assert collection.count(find="text") >= 1
            searches += 1
        return searches

    with ThreadPoolExecutor(32) as pool:
        assert sum(pool.map(look, range(32))) >= 32
    assert writer.wait() == 0
    assert collection.count(find="text") == 1 + 12 * 4
    assert collection.verify() == []


def test_threads_that_come_and_go_leave_no_connection_behind(collection: Collection) -> None:
    def open_files() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    if not Path("/proc/self/fd").exists():
        pytest.skip("no /proc here")
    collection.search(text="a dog")
    before = open_files()
    for _ in range(20):
        thread = threading.Thread(target=collection.search, kwargs={"text": "a dog"})
        thread.start()
        thread.join()
    assert open_files() <= before


def test_many_threads_open_the_first_model_and_handle(index: Path) -> None:
    def first(_: int) -> str:
        with Collection.open(index) as opened:
            return opened.search(text="a dog", k=1)[0].item.uri

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(first, range(32)))) == 1


def test_coroutines_search(collection: Collection) -> None:
    async def several() -> list[int]:
        found = await asyncio.gather(*(
            asyncio.to_thread(collection.search, text="a dog", k=3) for _ in range(8)))
        return [len(hits) for hits in found]

    assert asyncio.run(several()) == [3] * 8


def test_another_thread_writes(collection: Collection) -> None:
    item = Item("/t/dog", "text", "a dog")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(collection.add, [item]).result().added == 1
        assert collection.count(find="text") == 2
        assert pool.submit(collection.delete, ["/t/dog"]).result() == 1
    with collection._writing(), ThreadPoolExecutor(1) as pool, pytest.raises(CollectionBusy):
        pool.submit(collection.add, [item]).result()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_goes_on(collection: Collection, index: Path,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmsearch.indexes._faiss._WORTH_THREADS", 1)  # OpenMP's are in use, too
    assert collection.search(text="a dog", k=2)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(60)  # rather than wait for ever
            while collection.count(find="text") < 2:
                pass
            found = collection.search(text=["a dog", "a house"], k=2, find="any")
            collection.close()
            code = 0 if len(found) == 2 else 2
        finally:
            os._exit(code)
    collection.add([Item("/t/dog", "text", "a dog")])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(collection.search(text="a dog", k=2)) == 2  # the child closed its own


def test_closed_twice_from_anywhere_and_then_said(collection: Collection, photos: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(collection.close).result()
    collection.close()
    for use in (lambda: collection.search(text="a dog"), collection.info, collection.count,
                lambda: collection.delete(["/t/cat"]), lambda: add(collection, photos),
                collection.verify, collection.columns, lambda: collection.holds(["/t"]),
                lambda: collection.__enter__()):
        with pytest.raises(CollectionError, match=CLOSED):
            use()


def test_a_search_ends_though_the_collection_is_closed_meanwhile(index: Path) -> None:
    collection = Collection.open(index)
    reading, closed = threading.Event(), threading.Event()

    def read(one: Connection) -> int:
        reading.set()
        assert closed.wait(30)
        return len(list(one.catalog.rows(None)))

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(collection._retrying, read)
        assert reading.wait(30)
        collection.close()
        closed.set()
        assert running.result() == 13
    assert collection._pool._idle == []
