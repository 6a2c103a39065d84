"""Results as people and programs get them; hostile names and captions stay harmless."""

from __future__ import annotations

import base64
import io
import json
import math
import os
import re
import subprocess
import sys
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st
from PIL import Image
from rich.console import Console

from mmsearch.cli import present
from mmsearch.errors import MissingExtra
from mmsearch.evaluation import recall
from mmsearch.records import Hit, Item
from mmsearch.uris import path_to_uri

settings.register_profile("present", deadline=None)
settings.load_profile("present")

HOSTILE = "a\tb\nc\x1b[31m<script>alert('x')</script>&\"[red]\x07\x9b\u2028\u202egpj.exe\x00"
NAMES = st.one_of(st.text(max_size=30), st.just(HOSTILE))


def image_hit(path, score=0.5, **more):
    return Hit(1, score, Item(path_to_uri(path), "image", **more))


def text_hit(uri, text, score=0.25, **more):
    return Hit(2, score, Item(uri, "text", text, **more))


def rendered(renderable, width=100):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(renderable)
    return console.file.getvalue()


def is_harmless(text):
    return not any(
        unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c == "\u202e" for c in text
    )


# --- safe_text -----------------------------------------------------------------------------------


@given(st.text(st.characters(codec=None, categories=None)))
@example(HOSTILE)
def test_safe_text_is_one_harmless_line(text):
    safe = present.safe_text(text)
    assert is_harmless(safe)
    safe.encode()
    assert present.safe_text(safe) == safe


def test_safe_text_shows_what_was_there():
    assert present.safe_text("a\tb\nc\rd\x1b[0m\x9b\u202e\udcff") == (
        r"a\tb\nc\rd\x1b[0m\x9b\u202e\udcff"
    )


@pytest.mark.parametrize("text", ["naïve café", "日本語", "שלום", "👩‍👩‍👧", "C:\\tmp", "a\u00a0b"])
def test_safe_text_leaves_ordinary_names_alone(text):
    assert present.safe_text(text) == text


# --- paths, lines, JSON --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "path"),
    [
        (Item("/p/a.jpg", "image"), "/p/a.jpg"),
        (Item("/p/a.jpg#L3", "image"), "/p/a.jpg#L3"),
        (Item("/p/a.jpg#caption2", "text"), "/p/a.jpg"),
        (Item("/p/a.jpg#caption2.3", "text"), "/p/a.jpg"),
        (Item("/n/a.txt#L12", "text"), "/n/a.txt"),
        (Item("/n/a.jsonl#L12.caption2", "text"), "/n/a.jsonl"),
        (Item("/n/a#caption.txt#L1", "text"), "/n/a#caption.txt"),
    ],
)
def test_the_file_behind_an_item(item, path):
    assert present.address_of(item) == path


def test_filepaths_are_exact_and_single():
    raw = os.fsdecode(b"/p/caf\xe9\t.jpg")
    hits = [
        image_hit(raw),
        text_hit("/p/a.jpg#caption1", "x"),
        image_hit("/p/a.jpg"),
        image_hit(raw),
    ]
    assert present.filepaths(hits) == [raw, "/p/a.jpg"]


def test_tsv_lines():
    hits = [image_hit("/p/a b.jpg", 0.34567), text_hit("/p/a.txt#L3", "two\tdogs\n")]
    assert present.hits_tsv(hits) == (
        "1\t0.3457\t/p/a b.jpg\n2\t0.2500\t/p/a.txt#L3\ttwo\\tdogs\\n\n"
    )
    assert present.hits_tsv([]) == ""


@given(st.lists(st.builds(text_hit, NAMES, NAMES), max_size=4))
def test_tsv_has_one_line_a_hit_and_always_four_cells(hits):
    lines = present.hits_tsv(hits).split("\n")
    assert lines.pop() == ""
    assert [line.count("\t") for line in lines] == [3] * len(hits)
    assert all(is_harmless(line.replace("\t", "")) for line in lines)


def test_json_of_a_hit():
    item = Item("/p/a.jpg", "image", group="g", meta={"year": 2021, "tags": ["a", "b"]})
    assert present.hits_json([Hit(7, np.float32(0.1), item)]) == [
        {
            "rank": 1,
            "score": 0.1,
            "uri": "/p/a.jpg",
            "kind": "image",
            "text": "",
            "group": "g",
            "meta": {"year": 2021, "tags": ["a", "b"]},
            "relevance": None,
        }
    ]


def test_json_is_strict_whatever_the_metadata():
    meta = {
        "nan": math.nan,
        "deep": [{"inf": -math.inf}],
        "path": Path("/p"),
        "bad": "\udcff",
        3: 4,
    }
    found = present.hits_json([Hit(1, math.nan, Item("/p/\udcff", "image", meta=meta))])
    written = json.dumps(found, allow_nan=False, ensure_ascii=False).encode("utf-8")
    assert json.loads(written)[0]["score"] is None
    assert json.loads(written)[0]["meta"] == {
        "nan": None,
        "deep": [{"inf": None}],
        "path": "/p",
        "bad": "\\udcff",
        "3": 4,
    }


# --- tables --------------------------------------------------------------------------------------


def test_hits_table_shows_rank_score_and_path():
    shown = rendered(present.hits_table([image_hit("/p/[red]a.jpg", 0.5)]))
    assert re.search(r"1\s+0\.5000\s+/p/\[red\]a\.jpg", shown)
    assert "text" not in shown


def test_hits_table_shows_texts_where_there_are_some():
    shown = rendered(present.hits_table([image_hit("/p/a.jpg"), text_hit("/n#L1", "two dogs")]))
    assert re.search(r"2\s+0\.2500\s+two dogs\s+/n#L1", shown)


def test_tables_let_no_control_character_through():
    hits = [text_hit("/" + HOSTILE, HOSTILE)]
    tables = [present.hits_table(hits), present.key_value_table({HOSTILE: HOSTILE})]
    for table in tables:
        shown = rendered(table, width=300)
        assert is_harmless(shown.replace("\n", ""))
        assert "[red]" in shown


def test_info_table():
    shown = rendered(
        present.info_table(
            {"items": 1234567, "kinds": {"image": 3}, "bytes": 2_345_678, "model": None, "ok": True}
        )
    )
    rows = dict(
        re.split(r"\s{2,}|(?<=disk) ", line.strip(), maxsplit=1) for line in shown.splitlines()
    )
    assert rows == {
        "items": "1,234,567",
        "kinds.image": "3",
        "model": "-",
        "ok": "yes",
        "size on disk": "2.3 MB",
    }


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (999_960, "1.0 MB"),
        (5_000_000_000, "5.0 GB"),
        (7_000_000_000_000, "7.0 TB"),
    ],
)
def test_sizes(size, shown):
    assert shown in rendered(present.info_table({"bytes": size}))


def test_report_table():
    vectors = np.eye(4, dtype=np.float32)
    shown = rendered(present.report_table(recall.measure(vectors, vectors, np.arange(4))))
    assert re.search(r"recall@1 %\s+100\.0  \[100\.0, 100\.0\]\s+100\.0", shown)
    assert re.search(r"median rank\s+1\s+1\n", shown)
    assert re.search(r"ndcg@10\s+1\.000\n", shown)
    assert re.search(r"gallery\s+4\s+4\n", shown)


# --- the contact sheet ---------------------------------------------------------------------------


class Page(HTMLParser):
    """Tags and attributes of a page, and its visible text."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.text, self.attributes = [], "", []
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]

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
    page = Page(present.contact_sheet([image_hit(photo, 0.41, text="a red wall")], title="red"))
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


def test_a_picture_without_words_is_described_by_its_name(photo):
    page = Page(present.contact_sheet([image_hit(photo)], title="x"))
    assert page.values("img", "alt") == [photo.name]


def test_sheet_shows_texts_and_says_what_is_wrong_with_a_file(tmp_path):
    empty = tmp_path / "empty.jpg"
    empty.touch()
    hits = [
        text_hit("/notes/a.txt#L3", "two dogs"),
        image_hit(tmp_path / "gone.jpg"),
        image_hit(empty),
    ]
    page = Page(present.contact_sheet(hits, title="dogs"))
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
    page = Page(present.contact_sheet([image_hit(path)], title="x"))
    assert page.tags.count("img") == 1
    assert page.values("a", "href")[0].endswith("/caf%E9.png")
    assert r"caf\udce9.png" in page.text


@settings(max_examples=50)
@given(NAMES.filter(lambda name: "/" not in name and "\0" not in name), NAMES)
@example(HOSTILE.replace("/", "").replace("\0", ""), "$title ${tiles} $$ {x}")
def test_no_name_or_caption_changes_the_shape_of_the_page(name, text):
    def sheet(name, text):
        hits = [text_hit(f"/n/{name}.txt#L1", text), image_hit(f"/n/{name}.jpg", text=text or "x")]
        return Page(present.contact_sheet(hits, title=text))

    found, plain = sheet(name, text), sheet("plain", "plain")
    assert found.tags == plain.tags
    assert "script" not in found.tags
    assert [(t, n) for t, n, _ in found.attributes] == [(t, n) for t, n, _ in plain.attributes]
    assert present.safe_text(text) in found.text
    assert is_harmless(found.text.replace("\n", ""))


def test_sheet_needs_nothing_from_elsewhere(photo):
    source = present.contact_sheet([image_hit(photo)], title="x")
    page = Page(source)
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
        present.preview([image_hit(photo)], Console(file=io.StringIO()))


def test_preview_prints_pictures_texts_and_reasons(photo, tmp_path):
    pytest.importorskip("textual_image")
    console = Console(file=io.StringIO(), width=60, force_terminal=True, color_system="truecolor")
    hits = [image_hit(photo), text_hit("/n#L1", "\x1b]0;owned"), image_hit(tmp_path / "gone.jpg")]
    present.preview(hits, console)
    shown = console.file.getvalue()
    assert len(shown.splitlines()) > 8
    assert r"\x1b]0;owned" in shown
    assert "\x1b]0" not in shown
    assert "cannot be shown: No such file" in shown


def test_importing_it_loads_neither_rich_nor_pillow():
    script = (
        "import sys, mmsearch.cli.present; "
        "print(sorted({'rich', 'PIL', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['numpy']"
