"""The contact sheet and the preview: pictures for people, whatever their names are."""

from __future__ import annotations

import base64
import io
import os
import re
import sys
from html.parser import HTMLParser
from urllib.parse import unquote_to_bytes, urlsplit

import numpy as np
import pytest
from hits import HOSTILE, NAMES, image_hit, is_harmless, text_hit
from hypothesis import example, given, settings
from PIL import Image
from rich.console import Console

from mmsearch.cli.preview import preview
from mmsearch.cli.sheet import contact_sheet
from mmsearch.cli.terminal import safe_text
from mmsearch.errors import MissingExtra
from mmsearch.records import Hit, Item

# --- the contact sheet ---------------------------------------------------------------------------


class Page(HTMLParser):
    """Tags and attributes of a page, and its visible text."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.text, self.attributes, self.open = [], "", [], []
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in ("img", "meta"):
            self.open.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def values(self, tag, name):
        return [value for t, n, value in self.attributes if (t, n) == (tag, name)]


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "a photo & 100% of #1?.jpg"
    Image.new("RGB", (1200, 500), (200, 30, 30)).save(path)
    return path


def test_sheet_holds_thumbnails_that_link_to_their_files(photo):
    page = Page(contact_sheet([image_hit(photo, 0.41, text="a red wall")], title="red"))
    (source,) = page.values("img", "src")
    head, data = source.split(",")
    assert head == "data:image/jpeg;base64"
    thumbnail = Image.open(io.BytesIO(base64.b64decode(data)))
    assert thumbnail.size == (320, 133)
    assert np.abs(np.asarray(thumbnail, int).mean(axis=(0, 1)) - (200, 30, 30)).max() < 4
    assert page.values("img", "alt") == ["a red wall"]
    links = page.values("a", "href")
    assert len(links) == 2
    for link in links:
        parts = urlsplit(link)
        assert (parts.scheme, parts.query, parts.fragment) == ("file", "", "")
        assert os.fsdecode(unquote_to_bytes(parts.path)) == str(photo)
    for shown in ("red", "1 result", "0.410", photo.name, str(photo.parent)):
        assert shown in page.text


def test_captions_say_where_a_file_is_seen_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = {"a.jpg": ".", "in/b.jpg": "in", "/c.jpg": "/", "https://x.org/d.jpg": "https://x.org"}
    uris = [name if name.startswith(("/", "https:")) else f"{tmp_path}/{name}" for name in folders]
    page = contact_sheet([Hit(1, 0.5, Item(uri, "image")) for uri in uris], title="x")
    assert re.findall(r'class="path">(.*?)<', page) == list(folders.values())


def test_sheet_shows_texts_and_says_what_is_wrong_with_a_file(tmp_path):
    empty = tmp_path / "empty.jpg"
    empty.touch()
    hits = [
        text_hit("/notes/a.txt#L3", "two dogs"),
        image_hit(tmp_path / "gone.jpg"),
        image_hit(empty),
    ]
    page = Page(contact_sheet(hits, title="dogs"))
    assert "img" not in page.tags
    for shown in ("3 results", "two dogs", "a.txt · L3", "/notes"):
        assert shown in page.text
    assert "cannot be shown: No such file or directory" in page.text
    assert "cannot be shown: zero bytes" in page.text


def test_sheet_of_a_name_that_is_not_utf8(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    try:
        Image.new("RGB", (8, 8)).save(path)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    page = Page(contact_sheet([image_hit(path)], title="x"))
    assert page.tags.count("img") == 1
    assert page.values("a", "href")[0].endswith("/caf%E9.png")
    assert r"caf\udce9.png" in page.text


@settings(max_examples=50)
@given(NAMES.filter(lambda name: "/" not in name and "\0" not in name), NAMES)
@example(HOSTILE.replace("/", "").replace("\0", ""), "$title ${tiles} $$ {x}")
def test_no_name_or_caption_changes_the_shape_of_the_page(name, text):
    def sheet(name, text):
        hits = [text_hit(f"/n/{name}.txt#L1", text), image_hit(f"/n/{name}.jpg", text=text or "x")]
        return Page(contact_sheet(hits, title=text))

    found, plain = sheet(name, text), sheet("plain", "plain")
    assert found.tags == plain.tags
    assert "script" not in found.tags
    assert [(t, n) for t, n, _ in found.attributes] == [(t, n) for t, n, _ in plain.attributes]
    assert safe_text(text) in found.text
    assert is_harmless(found.text.replace("\n", ""))


def test_sheet_needs_nothing_from_elsewhere(photo):
    source = contact_sheet([image_hit(photo)], title="x")
    page = Page(source)
    assert page.values("img", "alt") == [photo.name]  # no words describe it
    addresses = [value for _, name, value in page.attributes if name in ("src", "href")]
    assert {address.split(":")[0] for address in addresses} == {"data", "file"}
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert not re.search(r"https?:|url\(|@import|\son\w+=", source)
    assert "prefers-color-scheme: dark" in source
    assert "default-src 'none'" in source


# --- the preview ---------------------------------------------------------------------------------


def test_preview_names_its_extra_where_the_library_is_missing(photo, monkeypatch):
    monkeypatch.setitem(sys.modules, "textual_image.renderable", None)
    with pytest.raises(MissingExtra, match=r"mmsearch\[preview\]"):
        preview([image_hit(photo)], Console(file=io.StringIO()))


def test_preview_prints_pictures_texts_and_reasons(photo, tmp_path):
    pytest.importorskip("textual_image")
    console = Console(file=io.StringIO(), width=60, force_terminal=True, color_system="truecolor")
    hits = [image_hit(photo), text_hit("/n#L1", "\x1b]0;owned"), image_hit(tmp_path / "gone.jpg")]
    preview(hits, console)
    shown = console.file.getvalue()
    assert len(shown.splitlines()) > 8
    assert r"\x1b]0;owned" in shown
    assert "\x1b]0" not in shown
    assert "cannot be shown: No such file" in shown
