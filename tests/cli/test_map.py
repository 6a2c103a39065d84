"""`mmsearch map`: JSON, and a page that works in a browser without any other file."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DEMO, Cli
from test_cli import complaint
from test_extras import without

from mmsearch.cli.mapped import spread

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def made(demo_index: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A page of some of the pictures' thumbnails, and the same map as JSON."""
    folder = tmp_path_factory.mktemp("map")
    (folder / "words.txt").write_text("animal\nbuilding\nplant\nfood\nlandscape\n<b>vehicle\n")
    done = subprocess.run(
        [sys.executable, "-m", "mmsearch", "map", "page.html", "--json", "--words", "words.txt",
         "--clusters", "5", "--thumbnails", "40", "-i", demo_index],
        cwd=folder, capture_output=True, text=True, check=True)
    assert done.stderr == "wrote page.html\n"
    return folder / "page.html", json.loads(done.stdout)


@pytest.fixture(scope="module")
def page(made: tuple[Path, Any]) -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1100, "height": 700})
        page.errors = []  # type: ignore[attr-defined]
        page.on("pageerror", lambda error: page.errors.append(str(error)))  # type: ignore[attr-defined]
        page.on("console", lambda said: page.errors.append(said.text))  # type: ignore[attr-defined]
        page.goto(made[0].as_uri())
        yield page
        browser.close()


def test_json_has_all_items_with_places_and_groups(made: tuple[Path, Any]) -> None:
    found = made[1]
    assert len(found["items"]) == 50 and len(found["clusters"]) == 5
    sizes = np.bincount([one["cluster"] for one in found["items"]]).tolist()
    assert [one["items"] for one in found["clusters"]] == sizes == sorted(sizes, reverse=True)
    assert all(0 <= one["x"] <= 1 and 0 <= one["y"] <= 1 for one in found["items"])
    assert len({one["name"] for one in found["clusters"]}) == 5
    assert {one["path"] for one in found["items"]} == set(map(str, DEMO.glob("*.jpg")))


def test_the_page_needs_no_other_file(made: tuple[Path, Any]) -> None:
    text = made[0].read_text("utf-8")
    assert not re.search(r'(?:src|href)="?(?!data:)[^"#$]', text.split("<script")[0])
    assert "<b>vehicle" not in text
    assert text.count("data:image/jpeg;base64,") == 1
    data = json.loads(text.split('type="application/json">')[1].split("</script>")[0])
    assert sum(place >= 0 for place in data["thumbnail"]) == 40


def test_search_and_keys_work_in_a_browser(page: Any) -> None:
    from playwright.sync_api import expect

    page.keyboard.press("/")
    page.keyboard.type("antlers moose")
    expect(page.locator("#found")).to_have_text("1 found, Enter goes to them")
    page.keyboard.press("Enter")
    link = page.locator("#about a")
    expect(link).to_have_text("moose.jpg")
    assert link.get_attribute("href") == (DEMO / "moose.jpg").as_uri()
    expect(page.locator("#about")).to_contain_text("large antlers")
    before = page.evaluate("scale")
    page.keyboard.press("Escape")
    expect(page.locator("#found")).to_have_text("")
    page.keyboard.press("+")
    assert page.evaluate("scale") == pytest.approx(before * 1.5)
    page.keyboard.press("0")
    assert page.evaluate("scale") == pytest.approx(before)
    assert page.errors == []


def test_a_click_on_a_picture_and_on_a_group_show_them(page: Any) -> None:
    from playwright.sync_api import expect

    page.keyboard.press("0")
    x, y, name = page.evaluate(
        "(() => { const i = 7; return [across(i), down(i), data.entries[nearest(across(i), down(i))"
        "][0]]; })()")
    page.mouse.click(x, y)
    expect(page.locator("#about a")).to_have_text(name)
    before = page.evaluate("scale")
    page.locator("#groups button").last.click()
    assert page.evaluate("scale") != before
    page.mouse.move(700, 300)
    page.mouse.wheel(0, 400)
    page.wait_for_function(f"scale < {page.evaluate('scale') * 1.01}")
    left = page.evaluate("left")
    page.mouse.down()
    page.mouse.move(760, 330)
    page.mouse.up()
    assert page.evaluate("left") == pytest.approx(left + 60)
    assert page.errors == []


def test_thumbnails_are_spread_over_the_map() -> None:
    places = np.random.default_rng(0).random((5000, 2)).astype(np.float32) ** 3
    chosen = spread(places, 200)
    assert len(set(chosen)) == 200
    cells = {tuple(cell) for cell in (places[chosen] * 5).astype(int).tolist()}
    assert len(cells) == 25
    assert spread(places[:10], 200) == list(range(10))


@pytest.mark.parametrize(("options", "reason"), [
    (["--clusters", 1], "--clusters takes a number"),
    (["--words", "nowhere"], "there is no such file of words"),
    (["nowhere/map.html"], "there is no such directory"),
    (["--where", "path = */cat.jpg"], "two pictures or more that meet the condition"),
], ids=str)
def test_what_makes_no_sense_is_said_in_one_line(
        cli: Cli, demo_index: Path, options: list[object], reason: str) -> None:
    line = complaint(cli("map", *options, "-i", demo_index), 2)
    assert reason in line and line.count("\n") == 1


def test_a_missing_extra_is_named(demo_index: Path) -> None:
    done = without(["sklearn", "umap"], "map", "-i", demo_index)
    assert done.returncode == 1 and "pip install 'mmsearch[map]'" in done.stderr
