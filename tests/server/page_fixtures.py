"""Fixtures of the tests of the page: a server with an album, and pages of it in a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from browsing import BINARY, FLAGS, Served, album, served, skip_without_browser
from conftest import add

from mmsearch.classification import decide, gather, read_labels, zero_shot
from mmsearch.collection import Collection
from mmsearch.storage import Labelled

Open = Callable[..., Any]
PATIENCE = 20_000  # ms, on a busy machine
SCREEN = {"viewport": {"width": 1100, "height": 700}}


@pytest.fixture(scope="session")
def album_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return album(tmp_path_factory.mktemp("album"))


@pytest.fixture(scope="session")
def album_index(album_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For reading only."""
    path = tmp_path_factory.mktemp("index") / "album"
    with Collection.create(path) as collection:
        for name in ("captions.jsonl", "clip.mp4", "paper.pdf"):
            add(collection, album_folder / name)
        collection.configure(tiles="2x2")
        add(collection, album_folder / "street.jpg")
        _label(collection)
    return path


def _label(collection: Collection) -> None:
    """As `mmsearch classify --labels flower,vehicle --save subject`."""
    classifier = zero_shot(collection.encoder, read_labels("flower,vehicle"))
    things = gather(collection, "image")
    found = decide(classifier.labels, classifier.probabilities(things))
    collection.put_labels("subject", [
        Labelled(row.id, row.seq, row.item.uri, one.label, one.confidence)
        for row, one in zip(things.rows, found, strict=True)])


@pytest.fixture(scope="session")
def album_server(album_index: Path) -> Iterator[Served]:
    skip_without_browser()
    with served("-i", album_index) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """For one module: its event loop would be in the way of other tests."""
    skip_without_browser()
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BINARY, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Starts a server of the test's own; it ends after the pages that `visit` opened."""
    with ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(served(*arguments, **options))


@pytest.fixture(scope="module")
def shared(browser: Any) -> Iterator[Any]:
    """A context for all visits without wishes of their own: what it has loaded stays loaded."""
    context = browser.new_context(**SCREEN)
    yield context
    context.close()


@pytest.fixture
def visit(browser: Any, shared: Any, album_server: Served, serve: Any) -> Iterator[Open]:
    """Opens a page, of the album unless a whole address is given; at the end of the test, no page
    may have said anything on its console. quiet=False: what it says is expected."""
    pages, own, said = [], [], []

    def open_page(path: str = "/", *, quiet: bool = True, **options: Any) -> Any:
        context = shared
        if options:
            context = browser.new_context(**SCREEN | options)
            own.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        pages.append(page)
        if quiet:
            page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(path if "://" in path else album_server.url + path)
        return page

    yield open_page
    for page in pages:
        if not page.is_closed():
            page.evaluate("localStorage.clear()")
            page.close()
    for context in own:
        context.close()
    assert said == []
