"""The page: results are given a name, which searches know until it is forgotten."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import Served, served
from playwright.sync_api import expect
from test_page_everybody import problems

pytest_plugins = ["page_fixtures"]


@pytest.fixture(scope="module")
def writable(album_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("teaching")
    shutil.copytree(album_index, folder / "index", ignore=shutil.ignore_patterns("*.sock"))
    (folder / "new").mkdir()
    with served("-i", folder / "index", "--writable", folder / "new") as server:
        yield server


def first(page: Any) -> Any:
    return page.locator(".tile .name").first


def test_results_are_chosen_named_found_and_forgotten(visit: Any, writable: Served) -> None:
    page = visit(f"{writable.url}/?q=bird")
    page.locator(".tile", has_text="osprey.jpg").hover()
    page.get_by_role("button", name="Choose osprey.jpg").click()
    page.locator(".tile", has_text="wren.jpg").locator("a").focus()
    page.keyboard.press("x")
    expect(page.locator("#chosen")).to_contain_text("2 chosen")
    page.set_viewport_size({"width": 320, "height": 700})
    bar = page.locator("#chosen").bounding_box()
    assert bar["height"] < 60 and bar["x"] >= 0 and bar["x"] + bar["width"] <= 320
    page.set_viewport_size({"width": 1100, "height": 700})
    page.locator(".tile", has_text="wren.jpg").locator("a").focus()
    page.keyboard.press("x")  # no longer
    expect(page.locator("#chosen")).to_contain_text("1 chosen")
    page.fill("#q", "a red bus")  # what is chosen outlives another search
    page.locator(".tile", has_text="bus.jpg").first.locator("a").focus()
    page.keyboard.press("x")
    expect(page.locator("#chosen")).to_contain_text("2 chosen")
    page.get_by_role("button", name="Choose none").click()
    expect(page.locator("#chosen")).to_be_hidden()
    page.locator(".tile", has_text="bus.jpg").first.locator("a").focus()
    page.keyboard.press("x")
    page.get_by_role("button", name="Give a name").click()
    dialog = page.get_by_role("dialog", name="Name 1 picture")
    expect(dialog.get_by_role("img", name="bus.jpg")).to_be_visible()
    assert problems(page) == []
    dialog.get_by_label("Name", exact=True).fill("Zorblax")
    dialog.get_by_label("What it is").fill("bus")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(page.locator("#q")).to_have_value("Zorblax")  # what it finds now
    expect(first(page)).to_have_text("bus.jpg")
    expect(page.locator("#toast")).to_contain_text("Searches know Zorblax now")
    expect(page.locator("#chosen")).to_be_hidden()

    page.locator("#menu-button").click()
    page.get_by_role("button", name="Names").click()
    dialog = page.get_by_role("dialog", name="Names")
    expect(dialog.get_by_role("listitem")).to_have_text("Zorblaxbus, 1 picture")
    expect(dialog.get_by_label("Name", exact=True)).to_be_hidden()
    expect(dialog.get_by_text("Choose results")).to_be_hidden()
    dialog.get_by_role("button", name="Forget Zorblax").click()
    expect(dialog.get_by_role("listitem")).to_have_count(0)
    expect(dialog.get_by_text("Choose results")).to_be_visible()  # what to do
    page.keyboard.press("Escape")
    page.fill("#q", "my zorblax")  # asked anew
    expect(page.locator(".divider")).to_contain_text("No close match")


def test_the_picture_of_the_viewer_is_named(visit: Any, writable: Served) -> None:
    page = visit(f"{writable.url}/?q=Frumious", quiet=False,  # the 400 is logged
                 viewport={"width": 1100, "height": 4000})
    page.locator(".tile", has_text="cat.jpg").first.locator("a").click()
    expect(page.locator("#viewer")).to_be_visible()
    page.keyboard.press("n")
    dialog = page.get_by_role("dialog", name="Name 1 picture")
    page.keyboard.type("!")  # the field has the focus
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("at least one letter")
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()
    page.keyboard.press("n")
    expect(dialog.get_by_role("alert")).to_be_empty()
    page.keyboard.type("Frumious")
    page.keyboard.press("Enter")  # asks once more for what was asked before
    expect(page.locator("#viewer")).to_be_hidden()
    expect(first(page)).to_have_text("cat.jpg")
    page.locator("#menu-button").click()
    page.get_by_role("button", name="Names").click()
    page.get_by_role("button", name="Forget Frumious").click()
    expect(page.locator("#teach li")).to_have_count(0)


def test_only_a_writable_server_is_taught(visit: Any) -> None:
    page = visit("/?q=bird")
    page.locator(".tile").first.hover()
    expect(page.get_by_role("button", name="More like osprey.jpg")).to_be_visible()
    expect(page.locator(".tile [data-does=choose]").first).to_be_hidden()
    page.locator(".tile a").first.focus()
    page.keyboard.press("x")
    expect(page.locator("#chosen")).to_be_hidden()
    page.locator("#menu-button").click()
    expect(page.get_by_role("button", name="Duplicates")).to_be_visible()
    expect(page.get_by_role("button", name="Names")).to_be_hidden()
    page.keyboard.press("Escape")
    page.locator(".tile a").first.click()
    expect(page.locator("#viewer [data-does=teach]")).to_be_hidden()
    page.keyboard.press("n")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".position")).to_have_text(re.compile("^2 /"))
    expect(page.locator("#teach")).to_be_hidden()
