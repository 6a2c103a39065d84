"""The page and its server: many results, no answer, first run, log in, duplicates."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from browsing import Served, many, served
from conftest import DEMO, add
from playwright.sync_api import expect

from mmsearch.collection import Collection

pytest_plugins = ["page_fixtures"]
MANY = 10_000


@pytest.fixture(scope="module")
def many_server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("many")
    with served("-i", many(root, MANY)) as server:
        yield server


def test_ten_thousand_results_are_scrolled_without_a_jump(visit: Any, many_server: Served) -> None:
    page = visit(many_server.url)
    expect(page.locator(".tile").first).to_be_visible()
    seen = page.evaluate("""async () => {
        const frame = () => new Promise((done) => requestAnimationFrame(done));
        const places = new Map();   // each tile stays where it was first drawn
        let moved = 0, most = 0, last = 0;
        for (let idle = 0; idle < 300;) {
            window.scrollTo(0, document.documentElement.scrollHeight);
            await frame();
            const tiles = document.querySelectorAll(".tile");
            most = Math.max(most, tiles.length);
            for (const { dataset: { index }, style: { top, insetInlineStart: start } } of tiles) {
                const place = `${top} ${start}`;
                if (places.has(index) && places.get(index) !== place) moved += 1;
                places.set(index, place);
                last = Math.max(last, Number(index));
            }
            idle = last === 9999 ? 300 : idle + 1 - (window.lastSeen !== last) * idle;
            window.lastSeen = last;
        }
        return { moved, most, last };
    }""")
    assert (seen["moved"], seen["last"]) == (0, MANY - 1)
    assert seen["most"] < 200  # what is not near the screen is not there
    page.keyboard.press("Tab")
    page.locator(".tile a").last.focus()
    page.keyboard.press("Home")
    expect(page.locator(".tile[data-index='0'] a")).to_be_focused()


def test_a_changed_width_keeps_the_place(visit: Any, many_server: Served) -> None:
    page = visit(f"{many_server.url}/")
    expect(page.locator(".tile").first).to_be_visible()
    page.evaluate("scrollTo(0, 1000)")
    at_top = """() => [...document.querySelectorAll('.tile')]
        .find((tile) => tile.getBoundingClientRect().bottom > 80)?.dataset.index"""
    before = page.wait_for_function(f"() => scrollY === 1000 && ({at_top})()").json_value()
    page.set_viewport_size({"width": 800, "height": 800})
    page.wait_for_function("""(index) => {
        const box = document.querySelector(`.tile[data-index="${index}"]`)?.getBoundingClientRect();
        return document.querySelector('.grid').clientWidth < 800 && box?.top > 0 && box.top < 150;
    }""", arg=before)


def test_the_server_goes_and_comes_back(visit: Any, album_index: Path) -> None:
    with served("-i", album_index) as server:
        page = visit(f"{server.url}/?q=bird", quiet=False)
        expect(page.locator(".tile .name").first).to_have_text("osprey.jpg")
    page.fill("#q", "a pizza")
    expect(page.locator("#notice")).to_contain_text("The server does not answer")
    expect(page.locator(".tile .name").first).to_have_text("osprey.jpg")  # what was there stays
    with served("-i", album_index, port=server.port):
        expect(page.locator("#notice")).to_be_hidden()
        expect(page.locator(".tile .name").first).to_have_text("pizza.jpg")
        page.close()


def test_an_empty_collection_says_what_to_do_and_fills(
        visit: Any, serve: Any, tmp_path: Path) -> None:
    with Collection.create(tmp_path / "index") as collection:
        page = visit(serve("-i", tmp_path / "index").url)
        expect(page.locator("#message")).to_contain_text("No pictures yet")
        expect(page.locator("#message")).to_contain_text("mmsearch index")
        add(collection, DEMO / "cat.jpg")
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # looks at once
        expect(page.locator(".tile")).to_have_count(1)


def test_a_folder_alone_is_indexed_and_its_copies_are_found(
        visit: Any, serve: Any, tmp_path: Path) -> None:
    for n in range(2):
        shutil.copy(DEMO / "cat.jpg", tmp_path / f"cat{n}.jpg")
    shutil.copy(DEMO / "bus.jpg", tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    page = visit(serve(tmp_path, "-i", tmp_path / "index").url)
    expect(page.locator(".tile")).to_have_count(3)  # without a reload
    page.locator("#menu-button").click()
    expect(page.locator("#index li")).to_be_hidden()
    page.get_by_text("1 file could not be read").click()
    expect(page.locator("#index li")).to_contain_text("broken.jpg")
    expect(page.locator("#index li .dim")).not_to_be_empty()  # why
    page.get_by_role("button", name="Duplicates").click()
    expect(page.locator(".group figure")).to_have_count(2)
    expect(page.locator(".group .says").first).to_have_text("keep")
    page.get_by_role("button", name="Open cat1.jpg").click()
    expect(page.locator("#viewer")).to_be_visible()
    page.go_back()
    page.get_by_role("button", name="Back to the pictures").click()
    expect(page.locator(".tile")).to_have_count(3)


def test_how_long_indexing_still_takes(visit: Any) -> None:
    page = visit()
    expect(page.locator(".tile").first).to_be_visible()
    page.clock.install()
    said = page.evaluate_handle("""async () => {
        const app = document.querySelector("script[src$='app.js']").src;
        const { progress } = await import(app.replace("app.js", "menu.js"));
        return (done, total) => progress({ name: "x", done, total }).textContent;
    }""")
    says = "(said, [done, total]) => said(done, total)"
    assert said.evaluate(says, [10, 310]) == "Indexing: 10 of 310"
    page.clock.fast_forward(60_000)
    assert said.evaluate(says, [110, 310]) == "Indexing: 110 of 310, about 2 minutes left"
    assert said.evaluate(says, [110, None]) == "Indexing: 110"
    assert said.evaluate(says, [0, 310]) == "Indexing: 0 of 310"  # another run


def test_a_token_lets_in(visit: Any, serve: Any, album_index: Path) -> None:
    server = serve("-i", album_index, "--token", "open sesame 12345")
    page = visit(f"{server.url}/?q=bird", quiet=False)  # the 401 is logged
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).not_to_be_empty()
    page.get_by_label("Token").fill("open sesame 12345")
    page.keyboard.press("Enter")
    expect(page.locator(".tile .name").first).to_have_text("osprey.jpg")
    page.locator("#menu-button").click()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Token")).to_be_visible()
