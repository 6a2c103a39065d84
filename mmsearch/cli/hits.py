"""Results as the commands that search print them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.cli.terminal import console, print_json, print_paths, say

if TYPE_CHECKING:
    from mmsearch.records import Hit


def print_hits(hits: list[Hit], *, json_: bool, filepath_only: bool, print0: bool, preview: bool,
               parts: bool = False, server: str = "") -> None:
    """parts: with the scores that a score is made of; server: who found them."""
    from mmsearch.cli import present

    if json_:
        print_json(present.hits_json(hits, parts=parts, server=server))
    elif filepath_only or print0:
        print_paths(present.filepaths(hits), print0=print0)
    elif preview:
        from mmsearch.cli.preview import preview as show

        show(hits, console())
    elif sys.stdout.isatty():
        if hits:
            console().print(present.hits_table(hits))
    else:
        print(present.hits_tsv(hits), end="")


def write_sheet(file: Path | None, hits: list[Hit], *title: str) -> None:
    """A contact sheet, where one is wanted."""
    if file:
        from mmsearch.cli.sheet import contact_sheet

        file.write_text(contact_sheet(hits, title=" + ".join(title)), "utf-8")
        say(f"wrote {file}")
