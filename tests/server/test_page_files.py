"""The files of the page: small, readable, and nothing from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mmsearch

FILES = sorted((Path(mmsearch.__file__).parent / "server" / "page").iterdir())


def test_the_page_is_small() -> None:
    assert sum(path.stat().st_size for path in FILES if path.suffix in (".js", ".css")) < 100 * 1024


def test_all_modules_are_loaded_at_once() -> None:
    """Not one after the other, as each names the next."""
    index = next(path for path in FILES if path.name == "index.html").read_text("utf-8")
    assert {f"/page/{path.name}" for path in FILES if path.suffix == ".js"} == {
        *re.findall(r'(?:modulepreload" href|module" src)="([^"]+)"', index)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_its_files_keep_to_the_rules(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.count("\n") <= 350
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert word not in text
    addresses = set(re.findall(r"https?://[\w.]+", text))
    assert addresses <= {"http://www.w3.org", "https://www.openstreetmap.org"}
    for imported in re.findall(r'(?:from\s+"\.|(?:src|href)="/page)/([\w.-]+)"', text):
        assert path.with_name(imported).exists()
    assert not re.search(r"\sstyle=|\son\w+=\"", text) or path.suffix != ".html"
