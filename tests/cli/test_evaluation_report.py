"""The page of `eval --html`."""

from __future__ import annotations

import json
import re
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from conftest import DEMO, Cli

from mmsearch.cli.charts import Axis, Line, chart, ticks

EVIL = "<script>alert(1)</script> & \"a cat\""


def test_the_page_is_one_safe_file_with_curves_and_failures(cli: Cli, folder: Path) -> None:
    for name in ("cat.jpg", "bus.jpg", "pizza.jpg", "dogs.jpg"):
        shutil.copy(DEMO / name, folder)
    rows = [{"image": "cat.jpg", "caption": "a bus"}, {"image": "bus.jpg", "caption": EVIL},
            {"image": "pizza.jpg", "caption": "pizza"}, {"image": "dogs.jpg", "caption": "dogs"}]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    cli("index", folder, "-i", folder / "index", check=True)
    cli("eval", folder / "pairs.jsonl", "-i", folder / "index", "--compare", "mode=text",
        "--html", folder / "r.html", check=True)
    page = (folder / "r.html").read_text("utf-8")
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;a cat&quot;" in page
    assert not re.findall(r"(?:src|href)=\"(?!data:|file:)", page)
    for title in ("Recall@k, text to image", "Recall@k, image to text", "Scores", "Relevance"):
        assert f'aria-label="{title}"' in page
    for svg in re.findall(r"<svg.*?</svg>", page):
        assert ET.fromstring(svg).findall(".//path")
    assert "modality gap" in page
    assert "search 4 pictures" in page
    assert re.search(r"<th scope=row>mode=text</th>.*<th scope=row>difference</th>", page)
    worst = page.split("The worst queries")[1]
    assert re.search(r"<h2[^>]*>a bus</h2>.*cat\.jpg.*expected.*bus\.jpg", worst, re.S)
    assert len(re.findall("data:image/jpeg", worst)) >= 6
    assert re.search(r"Answered worse with mode=text</h2>.*bus\.jpg.*\d+ → \d+", worst, re.S)


def test_a_page_that_cannot_be_written_is_refused_at_once(cli: Cli) -> None:
    done = cli("eval", DEMO / "captions.jsonl", "--html", "nowhere/r.html")
    assert done.returncode == 2
    assert "there is no such directory" in done.stderr


@pytest.mark.parametrize(("low", "high", "expected"), [
    (0, 100, [0, 20, 40, 60, 80, 100]), (-0.31, 0.52, [-0.2, 0, 0.2, 0.4]), (3, 3, [3]),
    (0, 0.04, [0, 0.01, 0.02, 0.03, 0.04])])
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_a_chart_puts_points_where_they_belong() -> None:
    made = chart("t", Axis("x", 1, 100, (1, 10, 100), log=True), Axis("y", 0, 10, (0, 10)),
                 [Line("<a>", [(1, 0), (10, 5), (100, 10), (1000, 10)]), Line("b", [])])
    (path,) = re.findall(r'class="line-0" d="M(.*?)"', made)
    points = [tuple(map(float, point.split())) for point in path.split("L")]
    assert points[1] == pytest.approx([(points[0][n] + points[2][n]) / 2 for n in (0, 1)], abs=0.1)
    assert points[3] == points[2]  # what is out of range stays at the edge
    assert "&lt;a&gt;" in made
