"""Results with harmless and hostile names, and how they look."""

from __future__ import annotations

import io
import unicodedata

from hypothesis import strategies as st
from rich.console import Console

from mmsearch.records import Hit, Item
from mmsearch.uris import path_to_uri

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
