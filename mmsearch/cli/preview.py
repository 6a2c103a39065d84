"""Results with their pictures in the terminal, as well as it can show them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mmsearch.cli.present import per_cent, shown_place
from mmsearch.cli.sheet import picture_of, why_not
from mmsearch.cli.terminal import safe_text
from mmsearch.errors import MediaError, MissingExtra
from mmsearch.records import Hit

if TYPE_CHECKING:
    from rich.console import Console


def preview(hits: Iterable[Hit], console: Console) -> None:
    """Print the hits with their pictures, as well as the terminal can show them.

    MissingExtra: the library that does it is not installed.
    """
    try:
        from textual_image.renderable import Image as Renderable
    except ImportError:
        raise MissingExtra("the preview in the terminal", "preview") from None
    from rich.text import Text

    for rank, hit in enumerate(hits, 1):
        words = safe_text(hit.item.text) if hit.item.kind == "text" else ""
        line = [str(rank), f"{hit.score:.4f}", per_cent(hit), shown_place(hit.item), words]
        console.print(Text("  ".join(filter(None, line))), soft_wrap=True)
        if hit.item.kind == "text":
            continue
        try:
            picture = picture_of(hit.item)
        except MediaError as error:
            console.print(Text(safe_text(why_not(error)), "dim"))
        else:
            console.print(Renderable(picture, width=min(40, console.width), height="auto"))
