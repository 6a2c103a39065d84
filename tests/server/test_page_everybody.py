"""The page for everybody: keyboard alone, screen readers, small and dark screens, hostile names."""

from __future__ import annotations

import re
from typing import Any

import pytest
from browsing import HEBREW, LONG, SCRIPT, names
from playwright.sync_api import expect

pytest_plugins = ["page_fixtures"]
SERIOUS = {"moderate", "serious", "critical"}


def problems(page: Any) -> list[str]:
    """What axe-core finds that is serious."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {[node['html'][:200] for node in one['nodes'][:3]]}" for one in found
            if one["impact"] in SERIOUS]


def test_the_keyboard_is_enough(visit: Any) -> None:
    page = visit()
    page.keyboard.type("bird")
    expect(page.locator(".tile .name").first).to_have_text("osprey.jpg")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("link", name=re.compile("^osprey.jpg"))).to_be_focused()
    assert page.locator(".tile:focus-within").evaluate(
        "(tile) => getComputedStyle(tile).outlineStyle") == "solid"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#viewer")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".panel h2")).to_have_text("osprey.jpg")
    page.keyboard.press("m")
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page.get_by_role("img", name="More like osprey.jpg")).to_be_visible()
    expect(page.locator(".tile a").first).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator(".tile button").first).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.press("Backspace")  # the selected words
    page.keyboard.press("Backspace")  # the picture
    expect(page.locator("#asked")).to_be_hidden()
    expect(page.locator("#clear")).to_be_hidden()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.locator("#menu-button")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#menu")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    expect(page.locator("#q")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit: Any, scheme: str) -> None:
    page = visit("/?q=bird&f=camera+%3D+%27Acme+Far+One%27", color_scheme=scheme)
    expect(page.locator(".tile img.here").first).to_be_visible()
    assert problems(page) == []
    page.get_by_role("button", name="Colour").click()
    expect(page.locator(".option").first).to_be_visible()
    assert problems(page) == []
    page.keyboard.press("Escape")
    page.locator("#menu-button").click()
    expect(page.locator("#menu .entry").first).to_be_visible()
    assert problems(page) == []
    page.keyboard.press("Escape")
    page.locator(".tile a").first.click()
    expect(page.locator(".panel dl")).to_be_visible()
    assert problems(page) == []


def test_dark_is_dark(visit: Any) -> None:
    page = visit(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 19, 20)"


@pytest.mark.parametrize("width", [320, 375, 2560])
def test_every_screen_is_wide_enough(visit: Any, width: int) -> None:
    page = visit("/?q=a+bird+on+a+branch", viewport={"width": width, "height": 700},
                 reduced_motion="reduce")
    expect(page.locator(".tile").nth(3)).to_be_visible()
    too_wide = """(root) => [...document.querySelectorAll(root + ' *')].filter((node) => {
        const box = node.getBoundingClientRect();
        return box.width && box.right > innerWidth + 1 && !node.closest('.filters, .dates, svg');
    }).map((node) => node.outerHTML.slice(0, 200))"""
    assert page.evaluate(too_wide, "body") == []
    page.locator("#menu-button").click()
    expect(page.locator("#menu .entry").first).to_be_visible()
    assert page.evaluate(too_wide, "#menu") == []
    page.keyboard.press("Escape")
    page.locator(".tile a").first.click()
    expect(page.locator(".panel h2")).to_have_count(1)
    assert page.evaluate(too_wide, "#viewer") == []
    for button in page.locator("#viewer .bar button:visible").all():
        assert button.bounding_box()["width"] >= 32


@pytest.mark.parametrize(("query", "name", "caption"), [
    ("onerror", SCRIPT, SCRIPT), ("caption+very+long", "long.jpg", LONG.strip()),
    ("%D7%97%D7%AA%D7%95%D7%9C", f"{HEBREW}.jpg", HEBREW)])
def test_names_and_captions_are_text(visit: Any, query: str, name: str, caption: str) -> None:
    page = visit(f"/?q={query}&mode=text")
    tile = page.locator(".tile", has_text=name)
    expect(tile).to_have_count(1)
    tile.locator("a").click()
    expect(page.locator(".panel blockquote")).to_have_text(caption)
    assert page.title() != "hacked"
    assert page.locator("img[src='x']").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 1100


def test_writing_from_right_to_left_stays_apart(visit: Any) -> None:
    page = visit("/?q=%D7%97%D7%AA%D7%95%D7%9C&mode=text")
    direction = "(node) => getComputedStyle(node).direction"
    assert page.locator("#q").evaluate(direction) == "rtl"
    assert page.locator(".tile .name").first.evaluate(direction) == "rtl"
    page.goto(page.url.split("?")[0] + "?q=turned&mode=text")
    expect(page.locator(".tile")).to_have_count(1)
    assert names(page) == ["gpj.exe.jpg"]  # without the mark that shows it as jpg.exe.jpg


def test_the_page_is_mirrored_for_those_who_read_from_right_to_left(visit: Any) -> None:
    page = visit("/?q=bird", locale="he-IL")
    tiles = page.locator(".tile")
    expect(tiles.nth(1)).to_be_visible()
    assert page.evaluate("document.dir") == "rtl"
    menu, brand, grid = (page.locator(one).bounding_box() for one in
                         ("#menu-button", ".brand", "#grid"))
    assert menu["x"] < 60 and brand["x"] > 900
    one, two = (tiles.nth(n).bounding_box() for n in (0, 1))
    assert abs(one["x"] + one["width"] - grid["x"] - grid["width"]) < 1
    assert two["x"] + two["width"] < one["x"] + 1
    assert page.evaluate("""() => [...document.querySelectorAll("body *")].filter((node) => {
        const box = node.getBoundingClientRect();
        return box.width > 1 && box.left < -1 && !node.closest("svg");
    }).map((node) => node.outerHTML.slice(0, 200))""") == []
    page.locator("#menu-button").click()
    assert page.locator("#menu").bounding_box()["x"] < 60
    page.keyboard.press("Escape")
    tiles.first.locator("a").focus()
    page.keyboard.press("ArrowLeft")
    expect(tiles.nth(1).locator("a")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".position")).to_have_text(re.compile("^2 /"))
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".position")).to_have_text(re.compile("^3 /"))
    assert page.locator(".after").bounding_box()["x"] < page.locator(".before").bounding_box()["x"]
    assert visit(locale="fr-FR").evaluate("document.dir") == "ltr"
