"""The pieces of a text file that can be found on their own: lines, or paragraphs of Markdown."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

MAX_TEXT = 20_000  # characters of one item; a longer one is cut at whitespace


def pieces(text: str) -> Iterator[str]:
    """`text` in parts of at most `MAX_TEXT` characters, cut at whitespace where there is any."""
    start, end = 0, len(text.rstrip())
    while end - start > MAX_TEXT:
        cut = max(text.rfind(space, start + 1, start + MAX_TEXT) for space in " \t\n")
        cut = cut if cut > 0 else start + MAX_TEXT
        yield text[start:cut].rstrip()
        start = cut
        while text[start].isspace():
            start += 1
    if start < end:
        yield text[start:end]


def text_encoding(path: Path) -> str | None:
    """None for what is no text: it has NUL bytes without being UTF-16 or UTF-32."""
    with path.open("rb") as handle:
        head = handle.read(4)
        if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
            return "utf-32"
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        decoder = codecs.getincrementaldecoder("utf-8-sig")()
        handle.seek(0)
        encoding, chunk = "utf-8-sig", b" "
        while chunk:
            chunk = handle.read(1 << 20)
            if b"\0" in chunk:
                return None
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError:
                encoding = "latin-1"
        return encoding


def lines(handle: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Every line that is not blank, with its number from 1."""
    for number, line in enumerate(handle, 1):
        if text := line.replace("\0", "").strip():
            yield number, text


def paragraphs(handle: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Blocks between blank lines, each with its first line; a fenced block stays in one piece."""
    block: list[str] = []
    start, fence = 1, ""
    for number, line in enumerate(handle, 1):
        text = line.replace("\0", "").strip()
        mark = text[:3]
        if fence or mark in ("```", "~~~"):
            is_mark = mark == (fence or mark)
            fence = ("" if fence else mark) if is_mark else fence
            text = "" if is_mark else line.replace("\0", "").rstrip()
        elif text:
            text = _without_marks(text)
        elif block:
            yield start, "\n".join(block)
            block = []
        if text:
            start = start if block else number
            block.append(text)
    if block:
        yield start, "\n".join(block)


def _without_marks(line: str) -> str:
    """A line of Markdown as it reads: no signs for headings, lists, quotes, emphasis, links."""
    if re.fullmatch(r"[-*_=|:]{3,}", line.replace(" ", "")):
        return ""
    line = re.sub(r"^(?:(?:#{1,6}|>|[-*+]|\d{1,3}[.)])\s+)+", "", line)
    line = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", line)
    return re.sub(r"(\*\*|__|`+|(?<!\w)[*_](?=\S)|(?<=\S)[*_](?!\w))", "", line).strip()
