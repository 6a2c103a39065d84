"""The page: words, filters, dates, order, and the address bar that remembers them."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

from browsing import names
from playwright.sync_api import expect

pytest_plugins = ["page_fixtures"]
Page = Any


def asked(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def first(page: Page) -> Any:
    return page.locator(".tile .name").first


def test_words_are_searched_as_they_are_typed(visit: Any) -> None:
    page = visit()
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.type("a bird")
    expect(first(page)).to_have_text("osprey.jpg")
    expect(page.locator(".divider")).to_have_text("Less certain")
    expect(page.locator("#summary")).to_contain_text(re.compile(r"match"))
    assert asked(page) == {"q": ["a bird"]}
    assert page.title().startswith("a bird")


def test_an_answer_that_comes_late_is_dropped(visit: Any) -> None:
    page = visit()
    held: list[Any] = []

    def hold(route: Any) -> None:
        if "pizza" in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    page.route("**/v1/search", hold)
    with page.expect_request("**/v1/search"):
        page.fill("#q", "a pizza")
    page.fill("#q", "a clock")
    expect(first(page)).to_contain_text("clock.jpg")
    for route in held:
        route.continue_()
    page.locator(".tile").nth(3).hover()
    expect(first(page)).to_contain_text("clock.jpg")


def test_a_minus_leaves_something_out(visit: Any) -> None:
    page = visit("/?q=a+bird")
    expect(first(page)).to_have_text("osprey.jpg")
    with page.expect_response("**/v1/search") as answer:
        page.fill("#q", 'a bird -tree -"bird of prey"')
    sent = answer.value.request.post_data_json
    assert (sent["text"], sent["without"]) == ("a bird", ["tree", "bird of prey"])
    expect(first(page)).not_to_have_text("osprey.jpg")


def test_a_link_shows_what_it_says(visit: Any) -> None:
    page = visit("/?q=a+red+bus&f=camera+%3D+%27Box+Near+Two%27")
    expect(page.locator("#q")).to_have_value("a red bus")
    expect(page.get_by_role("button", name="Remove the filter Box Near Two")).to_be_visible()
    expect(first(page)).to_have_text("cat.jpg")


def test_filters_are_chips(visit: Any) -> None:
    page = visit("/?q=animal")
    page.get_by_role("button", name="Camera").click()
    page.get_by_label("Acme Far One").check()
    expect(page.locator(".tile")).to_have_count(2)
    assert asked(page)["f"] == ["camera = 'Acme Far One'"]
    page.get_by_label("Box Near Two").check()  # two of one field: either
    expect(page.locator(".tile")).to_have_count(3)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Remove the filter Acme Far One").click()
    expect(page.locator(".tile")).to_have_count(1)
    page.get_by_role("button", name="Remove the filter Box Near Two").click()
    expect(page.locator(".tile").nth(5)).to_be_visible()


def test_labels_of_classify_are_filters(visit: Any) -> None:
    page = visit()
    page.get_by_role("button", name="Subject").click()
    option = page.locator(".option", has_text="vehicle")
    count = int(option.locator(".count").inner_text())
    option.click()
    expect(page.locator(".tile")).to_have_count(count)
    assert "bus.jpg" in names(page) and "dahlia.jpg" not in names(page)
    assert asked(page)["f"] == ["label:subject = 'vehicle'"]
    page.keyboard.press("Escape")
    page.locator(".tile a").first.click()
    page.locator(".panel").get_by_role("button", name="vehicle").click()  # the same filter
    page.get_by_role("button", name="Remove the filter vehicle").click()
    expect(page.locator(".tile").nth(count)).to_be_visible()


def test_the_date_strip_goes_from_years_to_months(visit: Any) -> None:
    page = visit()
    page.get_by_role("button", name="2021: 3 pictures").click()
    expect(page.locator(".tile")).to_have_count(3)
    page.get_by_role("button", name="Aug 2021: 2 pictures").click()
    expect(page.locator(".tile")).to_have_count(2)
    assert names(page) == ["cat.jpg", "dahlia.jpg"]  # the newest first
    assert asked(page) == {"taken": ["2021-08"]}
    page.get_by_role("button", name="All years").click()
    page.get_by_role("button", name="2019: 2 pictures").click()
    page.get_by_role("button", name="Colour").click()
    page.get_by_label("white").check()  # both conditions hold
    expect(page.locator(".tile")).to_have_count(1)
    assert names(page) == ["wren.jpg"]
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Clear all").click()
    expect(page.get_by_role("button", name="2019: 2 pictures")).to_be_visible()


def test_results_can_be_sorted_by_date(visit: Any) -> None:
    page = visit("/?q=bird")
    expect(first(page)).to_be_visible()
    page.get_by_label("Sort").select_option("by date")
    expect(first(page)).to_have_text("nuthatch.jpg")
    assert names(page)[:3] == ["nuthatch.jpg", "wren.jpg", "osprey.jpg"]
    expect(page.locator(".divider")).to_have_count(0)


def test_back_goes_through_searches_and_the_viewer(visit: Any) -> None:
    page = visit()
    page.fill("#q", "a pizza")
    expect(first(page)).to_have_text(re.compile("pizza|clip"))
    before = names(page)
    page.locator(".tile a").nth(1).click()
    expect(page.locator("#viewer")).to_be_visible()
    page.go_back()
    expect(page.locator("#viewer")).to_be_hidden()
    page.locator("#q").fill("")
    page.locator("#q").press("Enter")
    expect(page.locator("#summary")).to_contain_text("picture")
    page.go_back()
    expect(page.locator("#q")).to_have_value("a pizza")
    assert names(page) == before
    page.go_forward()
    expect(page.locator("#q")).to_have_value("")


def test_nothing_is_a_match(visit: Any) -> None:
    page = visit("/?q=quarterly+tax+declaration+form")
    expect(page.locator(".divider")).to_contain_text("No close match")
    page.goto(page.url.split("?")[0] + "?q=zzyzx&mode=text")
    expect(page.locator("#message")).to_contain_text("Nothing found")
    page.goto(page.url.split("?")[0] + "?taken=1990")
    page.get_by_role("button", name="Clear the filters").click()
    expect(page.locator(".tile").first).to_be_visible()


def test_what_cannot_be_asked_says_so(visit: Any) -> None:
    page = visit("/?q=dog&f=width+%3E%3E+3", quiet=False)  # the answer is a 400, which is logged
    expect(page.locator("#message")).to_contain_text("cannot read the condition")
    page.get_by_role("button", name="Start over").click()
    expect(page.locator(".tile").first).to_be_visible()


def test_what_is_looked_for_is_a_chip(visit: Any) -> None:
    page = visit("/?q=bird")
    page.locator("#menu-button").click()
    page.get_by_label("Find").select_option("texts")
    expect(page.locator("#menu")).to_be_hidden()
    expect(page.locator(".words").first).to_be_visible()
    page.get_by_role("button", name="Remove the filter texts").click()
    expect(first(page)).to_have_text("osprey.jpg")


def test_a_typo_is_corrected_and_said(visit: Any) -> None:
    page = visit("/?q=a+bicylce")
    expect(page.locator("#remarks")).to_have_text(
        re.compile(r"Showing results for a bicycle\. Search instead for a bicylce\."))
    with page.expect_response("**/v1/search") as answer:
        page.get_by_role("button", name="a bicylce").click()
    assert answer.value.request.post_data_json["spelling"] is False
    expect(page.locator("#remarks")).to_be_hidden()
    expect(page.locator("#q")).to_have_value("a bicylce")
    page.fill("#q", "a brid")  # other words are put right again
    expect(page.locator("#remarks")).to_contain_text("Showing results for a bird")
    page.fill("#q", "a cat")
    expect(page.locator("#remarks")).to_be_hidden()
