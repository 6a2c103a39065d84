"""Results as people and programs get them; hostile names and captions stay harmless."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hits import HOSTILE, NAMES, image_hit, is_harmless, rendered, text_hit
from hypothesis import example, given, strategies as st
from rich.cells import cell_len

from mmsearch.cli import evaluation_tables, info, present
from mmsearch.cli.terminal import safe_text
from mmsearch.evaluation import recall, truth
from mmsearch.records import Hit, Item

# --- safe_text -----------------------------------------------------------------------------------


@given(st.text(st.characters(codec=None, categories=None)))
@example(HOSTILE)
def test_safe_text_is_one_harmless_line(text):
    safe = safe_text(text)
    assert is_harmless(safe)
    safe.encode()
    assert safe_text(safe) == safe


def test_safe_text_shows_what_was_there():
    assert safe_text("a\tb\nc\rd\x1b[0m\x9b\u202e\udcff") == (
        r"a\tb\nc\rd\x1b[0m\x9b\u202e\udcff"
    )


@pytest.mark.parametrize("text", ["naïve café", "日本語", "שלום", "👩‍👩‍👧", "C:\\tmp", "a\u00a0b"])
def test_safe_text_leaves_ordinary_names_alone(text):
    assert safe_text(text) == text


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


def test_paths_are_shown_as_one_would_type_them_here(tmp_path, monkeypatch):
    home, here = tmp_path / "home", tmp_path / "home" / "work"
    here.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    shown = {f"{here}/photos/a.jpg": "photos/a.jpg", f"{home}/b.jpg": "~/b.jpg",
             f"{home}/b.zip/in/c.jpg": "~/b.zip/in/c.jpg", f"{home}work/c.jpg": f"{home}work/c.jpg",
             "/elsewhere/d.jpg": "/elsewhere/d.jpg", "https://x.org/e.jpg": "https://x.org/e.jpg"}
    assert {path: present.shown_path(path) for path in shown} == shown
    hits = [image_hit(path) for path in shown]
    lines = rendered(present.hits_table(hits)).splitlines()[1:]
    assert [line.split()[2] for line in lines] == list(shown.values())
    assert [line.split("\t")[2] for line in present.hits_tsv(hits).splitlines()] == list(shown)
    assert present.filepaths(hits) == [hit["uri"] for hit in present.hits_json(hits)] == list(shown)
    here.rmdir()  # a shell may be left in a folder that is gone
    assert present.shown_path(f"{home}/b.jpg") == "~/b.jpg"


NAME = st.text(st.sampled_from("ab c-_én日"), min_size=1, max_size=12).map(lambda name: f"{name}.")


@given(st.lists(st.tuples(st.lists(NAME, min_size=1, max_size=7), st.text("ab ", max_size=90)),
                min_size=1, max_size=4), st.integers(60, 120))
def test_no_name_is_broken_that_has_room(rows, width):
    paths = ["/" + "/".join(names) for names, _ in rows]
    hits = [hit for path, (_, text) in zip(paths, rows, strict=True)
            for hit in (image_hit(path), text_hit(f"{path}#L1", text))]
    lines = rendered(present.hits_table(hits), width).splitlines()
    assert max(map(cell_len, lines)) <= width
    for name in {name for names, _ in rows for name in names}:
        assert any(name.strip() in line for line in lines)


def test_tables_let_no_control_character_through():
    hits = [text_hit("/" + HOSTILE, HOSTILE)]
    tables = [present.hits_table(hits), present.key_value_table({HOSTILE: HOSTILE})]
    for table in tables:
        shown = rendered(table, width=300)
        assert is_harmless(shown.replace("\n", ""))
        assert "[red]" in shown


def test_info_table():
    shown = rendered(
        info.info_table(
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
    assert shown in rendered(info.info_table({"bytes": size}))


def test_report_table():
    vectors = np.eye(4, dtype=np.float32)
    shown = rendered(evaluation_tables.report_table(recall.measure(
        vectors, vectors, truth.Truth.owned(np.arange(4), 4))))
    assert re.search(r"recall@1 %\s+100\.0  \[100\.0, 100\.0\]\s+100\.0", shown)
    assert re.search(r"median rank\s+1\s+1\n", shown)
    assert "mAP" not in shown  # which says nothing new where each query has one answer
    assert re.search(r"gallery\s+4\s+4\n", shown)
    several = truth.Truth([np.array([0, 1])], [np.array([0])] * 2, np.array([0]))
    report = recall.measure(vectors[:2], vectors[:1], several)
    shown = rendered(evaluation_tables.report_table(report))
    assert re.search(r"mAP@R\s+1\.000\s*\n", shown)
