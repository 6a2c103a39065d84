"""The viewer of the page: pictures, videos, pages, parts, and what is known of them."""

from __future__ import annotations

import re
from typing import Any

from browsing import Served
from playwright.sync_api import expect

pytest_plugins = ["page_fixtures"]


def opened(visit: Any, query: str, name: str, **options: Any) -> Any:
    page = visit(f"/?q={query}", **options)
    page.locator(".tile", has_text=name).first.locator("a").click()
    expect(page.locator("#viewer")).to_be_visible()
    return page


def test_it_shows_a_picture_and_what_is_known_of_it(visit: Any) -> None:
    page = opened(visit, "osprey+bird", "osprey.jpg")
    panel = page.locator(".panel")
    expect(panel).to_contain_text("An osprey is perched on a bare branch.")
    expect(panel).to_contain_text("3 May 2019, 10:00")
    expect(panel).to_contain_text("640 × 360 · JPEG")
    expect(panel.locator(".path")).to_contain_text("osprey.jpg")
    place = panel.get_by_role("link", name=re.compile("on a map"))
    expect(place).to_have_attribute("href", re.compile(
        r"^https://www\.openstreetmap\.org/\?mlat=38\.72&mlon=-9\.14#map="))
    assert page.locator(".frame img").evaluate("(img) => img.decode().then(() => img.naturalWidth)")
    panel.get_by_role("button", name="Acme Far One").click()
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page.locator(".tile")).to_have_count(2)


def test_arrow_keys_zoom_and_close(visit: Any) -> None:
    page = opened(visit, "bird", "osprey.jpg")
    title = page.locator(".panel h2")
    expect(page.locator(".position")).to_have_text(re.compile(r"^1 / \d+"))
    page.keyboard.press("ArrowRight")
    expect(title).not_to_have_text("osprey.jpg")
    page.keyboard.press("ArrowLeft")
    expect(title).to_have_text("osprey.jpg")
    width = "(frame) => frame.getBoundingClientRect().width"
    before = page.locator(".frame").evaluate(width)
    page.keyboard.press("+")
    assert page.locator(".frame").evaluate(width) > 1.5 * before
    page.keyboard.press("ArrowRight")  # moves what is enlarged
    expect(title).to_have_text("osprey.jpg")
    page.keyboard.press("0")
    assert page.locator(".frame").evaluate(width) == before
    page.locator(".stage").hover()
    page.mouse.wheel(0, -600)
    page.wait_for_function("() => document.querySelector('.stage').classList.contains('zoomed')")
    page.keyboard.press("i")
    expect(page.locator(".panel")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page.get_by_role("link", name=re.compile("^osprey.jpg"))).to_be_focused()


def test_path_and_file_can_be_taken(visit: Any) -> None:
    page = opened(visit, "a+cat", "cat.jpg", permissions=["clipboard-read", "clipboard-write"])
    expect(page.locator(".panel .path")).to_contain_text("cat.jpg")
    page.keyboard.press("c")
    expect(page.locator("#toast")).to_have_text("Path copied")
    assert page.evaluate("navigator.clipboard.readText()").endswith("/cat.jpg")
    with page.expect_download() as download:
        page.keyboard.press("d")
    assert download.value.suggested_filename == "cat.jpg"


def test_a_video_plays_from_the_moment(visit: Any) -> None:
    page = opened(visit, "sunset", "clip.mp4")
    video = page.locator("#viewer video")
    page.wait_for_function("() => document.querySelector('#viewer video')?.currentTime > 1.5")
    assert video.evaluate("(node) => node.videoWidth") == 320
    assert page.locator(".tile", has_text="clip.mp4").locator(".badge").first.text_content()


def test_a_page_of_a_document(visit: Any) -> None:
    page = visit("/?q=The+second+page&find=any")
    page.locator(".tile", has_text="page 2").first.locator("a").click()
    expect(page.get_by_role("link", name="Open the document at page 2")).to_have_attribute(
        "href", re.compile(r"/v1/items/\d+/image.*#page=2$"))


def test_a_part_of_a_picture_is_shown_where_it_is(visit: Any) -> None:
    page = opened(visit, "a+red+bus", "part of street.jpg")
    box = page.get_by_role("img", name="The part that was found")
    expect(box).to_be_visible()
    part, whole = box.bounding_box(), page.locator(".frame img").bounding_box()
    assert abs(part["width"] / whole["width"] - 0.55) < 0.02
    assert part["x"] > whole["x"] + 0.4 * whole["width"]
    assert abs(whole["width"] / whole["height"] - 1200 / 960) < 0.02


def test_a_link_to_a_result_opens_it(visit: Any, album_server: Served) -> None:
    page = opened(visit, "a+clock", "clock.jpg")
    address = page.url
    other = visit(address)
    expect(other.locator(".panel h2")).to_contain_text("clock.jpg")
    other.get_by_role("button", name="Close").click()
    expect(other.locator(".tile").first).to_be_visible()


def test_a_finger_turns_to_the_next(visit: Any) -> None:
    page = opened(visit, "bird", "osprey.jpg", has_touch=True)
    title = page.locator(".panel h2")
    expect(title).to_have_text("osprey.jpg")
    touch = page.context.new_cdp_session(page)
    for kind, points in (("touchStart", [500]), ("touchMove", [420]), ("touchMove", [340]),
                         ("touchEnd", [])):
        touch.send("Input.dispatchTouchEvent", {
            "type": kind, "touchPoints": [{"x": x, "y": 400} for x in points]})
    expect(page.locator(".position")).to_have_text(re.compile("^2 /"))
    expect(title).not_to_have_text("osprey.jpg")
