"""The page: pictures that are dropped, pasted, chosen, and more or less like a result."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from browsing import drop, names
from conftest import DEMO
from playwright.sync_api import expect

from mmsearch.collection import Reader

pytest_plugins = ["page_fixtures"]


def first(page: Any) -> Any:
    return page.locator(".tile .name").first


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_a_picture_that_is_dropped_or_pasted_finds_what_looks_like_it(
        visit: Any, event: str) -> None:
    page = visit()
    expect(first(page)).to_be_visible()
    drop(page, DEMO / "sailboats.jpg", event=event)
    expect(first(page)).to_have_text("sailboats.jpg")
    expect(page.get_by_role("img", name="More like sailboats.jpg")).to_be_visible()


def test_a_picture_that_is_chosen_goes_with_words(visit: Any) -> None:
    page = visit()
    page.set_input_files("#file", DEMO / "bus.jpg")
    expect(page.get_by_role("img", name="More like bus.jpg")).to_be_visible()
    with page.expect_response(lambda one: "at night" in (one.request.post_data or "")) as answer:
        page.fill("#q", "at night")
    sent = answer.value.request.post_data_json
    assert sent["text"] == "at night" and len(sent["image"][0]["vector"]) == 384
    page.reload()  # it is still there
    expect(page.get_by_role("img", name="More like bus.jpg")).to_be_visible()
    expect(page.locator("#q")).to_have_value("at night")
    page.get_by_role("button", name="Remove bus.jpg from the search").click()
    expect(page.locator("#asked")).to_be_hidden()
    assert parse_qs(urlsplit(page.url).query) == {"q": ["at night"]}


def test_what_is_no_picture_is_refused_with_the_reason(visit: Any, tmp_path: Path) -> None:
    page = visit(quiet=False)
    (tmp_path / "notes.jpg").write_text("no picture")
    expect(first(page)).to_be_visible()
    drop(page, tmp_path / "notes.jpg")
    expect(page.locator("#toast")).to_contain_text("notes.jpg: ")
    expect(page.locator("#asked")).to_be_hidden()


def test_a_dragged_file_shows_where_to_drop_it(visit: Any) -> None:
    page = visit()
    expect(first(page)).to_be_visible()
    drop(page, DEMO / "bus.jpg", event="dragenter")
    expect(page.locator("#drop")).to_be_visible()
    drop(page, DEMO / "bus.jpg", event="dragleave")
    expect(page.locator("#drop")).to_be_hidden()


def test_a_picture_of_another_page_is_not_followed(visit: Any) -> None:
    page = visit()
    expect(first(page)).to_be_visible()
    assert page.evaluate("""() => {
        const data = new DataTransfer();
        data.setData("text/uri-list", "https://example.org/cat.jpg");
        const drop = new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: data });
        return !document.body.dispatchEvent(drop);  // the browser does not leave for it
    }""")
    expect(page.locator("#toast")).to_contain_text("Copy the picture and paste it")


def test_a_search_takes_eight_pictures(visit: Any) -> None:
    page = visit()
    drop(page, *sorted(DEMO.glob("*.jpg"))[:9])
    expect(page.locator("#toast")).to_contain_text("8 pictures")
    expect(page.locator(".given")).to_have_count(8)
    expect(first(page)).to_be_visible()


def test_more_and_less_like_a_result(visit: Any) -> None:
    page = visit("/?q=animal")
    expect(first(page)).to_be_visible()
    page.locator(".tile", has_text="osprey.jpg").hover()
    page.get_by_role("button", name="More like osprey.jpg").click()
    expect(first(page)).to_have_text("wren.jpg")
    assert "osprey.jpg" not in names(page)  # it is the question now
    page.locator(".tile", has_text="wren.jpg").hover()
    page.get_by_role("button", name="Less like wren.jpg").click()
    expect(page.get_by_role("img", name="Less like wren.jpg")).to_be_visible()
    expect(first(page)).not_to_have_text("wren.jpg")
    page.go_back()
    expect(first(page)).to_have_text("wren.jpg")


def test_likes_and_dislikes_add_up_as_in_a_session_of_feedback(visit: Any, album_index: Path
                                                               ) -> None:
    page = visit("/?q=animal&mode=vector", viewport={"width": 1100, "height": 4000})
    liked, disliked = ["osprey.jpg", "wren.jpg", "cat.jpg"], ["bus.jpg", "clip.mp4"]
    for sign, some in (("More", liked), ("Less", disliked)):
        for name in some:
            tile = page.locator(".tile", has_text=name).first
            tile.locator("a").focus()
            with page.expect_response("**/v1/search"):
                page.keyboard.press("m" if sign == "More" else "l")
            expect(page.get_by_role("img", name=re.compile(f"{sign} like {name}"))).to_be_visible()
            expect(page.locator(".tile", has_text=name)).to_have_count(0)  # no other frame, either
    expect(page.locator(".given.like")).to_have_count(3)
    expect(page.locator(".given.unlike")).to_have_count(2)
    judged = parse_qs(urlsplit(page.url).query)
    with Reader.open(album_index) as reader:
        session = reader.feedback(text="animal")
        session.like(*map(int, judged["like"]))
        session.dislike(*map(int, judged["unlike"]))
        wanted = [str(hit.id) for hit in session.next(12)]
    links = page.locator(".tile a").evaluate_all("(links) => links.map((link) => link.href)")
    assert [parse_qs(urlsplit(link).query)["item"][0] for link in links[:12]] == wanted
    page.reload()  # what was judged is still seen
    expect(page.get_by_role("img", name="Less like bus.jpg")).to_be_visible()
    expect(page.locator(".tile", has_text="clip.mp4")).to_have_count(0)


def test_less_needs_something_to_look_for(visit: Any) -> None:
    page = visit()
    page.locator(".tile").first.hover()
    page.locator(".tile").first.get_by_role("button", name="Less like").click()
    expect(page.locator("#toast")).to_contain_text("Search for something first")
