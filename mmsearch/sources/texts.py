"""The pieces of a text that can be found on their own: lines, or paragraphs of Markdown."""

from __future__ import annotations

import codecs
import hashlib
import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from mmsearch.records import Item

MAX_TEXT = 20_000  # characters of one item; a longer one is cut at whitespace


def text_pieces(text: str) -> Iterator[str]:
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
        return _encoding(handle)


def decoded(data: bytes) -> str | None:
    """The text in the bytes of a text file, its lines ending in newlines; None for no text."""
    handle = io.BytesIO(data)
    if (encoding := _encoding(handle)) is None:
        return None
    handle.seek(0)
    return io.TextIOWrapper(handle, encoding, errors="replace").read()


def _encoding(handle: IO[bytes]) -> str | None:
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


def line_items(
    uri: str, handle: Iterable[str], modified: dict[str, Any], fingerprint: str
) -> Iterator[Item]:
    """An item for each line or paragraph of the text file with this uri."""
    split = paragraphs if uri.lower().endswith(".md") else lines
    for line, text in split(handle):
        meta = {**modified, "file": uri, "line": line}
        yield from text_items(f"{uri}#L{line}", text, "", meta, fingerprint)


def text_items(
    uri: str, text: str, group: str, meta: dict[str, Any], fingerprint: str = ""
) -> Iterator[Item]:
    """One item, or several where the text is too long: `uri`, `uri.2`, `uri.3`."""
    for number, piece in enumerate(text_pieces(text), 1):
        print_ = (
            fingerprint or f"text:{hashlib.blake2b(piece.encode(), digest_size=16).hexdigest()}"
        )
        name = uri if number == 1 else f"{uri}.{number}"
        yield Item(name, "text", piece, group or uri, meta, print_)


def _without_marks(line: str) -> str:
    """A line of Markdown as it reads: no signs for headings, lists, quotes, emphasis, links."""
    if re.fullmatch(r"[-*_=|:]{3,}", line.replace(" ", "")):
        return ""
    line = re.sub(r"^(?:(?:#{1,6}|>|[-*+]|\d{1,3}[.)])\s+)+", "", line)
    line = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", line)
    return re.sub(r"(\*\*|__|`+|(?<!\w)[*_](?=\S)|(?<=\S)[*_](?!\w))", "", line).strip()
