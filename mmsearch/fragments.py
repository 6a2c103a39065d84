"""Parts of a file: what their uris look like, and how people read them.

    clip.mp4#t=12.5      the frame at 12.5 seconds of a video or an animation
    doc.pdf#page=3       the third page of a document, its picture or its text

as in W3C Media Fragments (https://www.w3.org/TR/media-frags/) and RFC 8118 for PDF. A part is in
the group of its file, and the uri of its file is its group: so a picture that is itself called
`a.png#t=1` is not taken for one.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from mmsearch.formats import IMAGE_SUFFIXES
from mmsearch.records import Item

MOST = 2000
"""Pictures that one file gives, at most; so many texts of its pages, too."""
_ONE_PICTURE = IMAGE_SUFFIXES - {".gif", ".png", ".apng", ".webp", ".avif"}
_PART = re.compile(r"#(?:t=(?P<time>\d+(?:\.\d+)?)|page=(?P<page>[1-9]\d*))\Z")


class Part(NamedTuple):
    """Where in a file: `time` in seconds, or `page` from 1; `file` is the uri of the file."""

    file: str
    time: float | None = None
    page: int | None = None

    def __str__(self) -> str:
        """As people read it: "0:12", "1:02:03", "p. 3"."""
        if self.time is None:
            return f"p. {self.page}"
        minutes, seconds = divmod(int(self.time), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def at_time(seconds: float) -> str:
    """The fragment of a moment, to the millisecond."""
    return f"t={seconds:.3f}".rstrip("0").rstrip(".")


def on_page(page: int) -> str:
    """The fragment of a page, from 1."""
    return f"page={page}"


def part_of(item: Item) -> Part | None:
    """Which part of a file an item is; None if it is all of one, or a text beside it."""
    if item.kind == "image" or not item.uri.startswith(item.group + "#"):
        return None
    match = _PART.fullmatch(item.uri, len(item.group))
    if match is None or (item.kind == "text" and not match["page"]):
        return None
    return Part(item.group, float(match["time"]) if match["time"] else None,
                int(match["page"]) if match["page"] else None)


def file_uri(item: Item) -> str:
    """The uri of the file that a picture is, or is a part of; of any other item, its own uri."""
    part = part_of(item)
    return item.uri if part is None else part.file


def room(item: Item) -> int:
    """How many rows may come of an item that is to be encoded: 1, or what is reserved for a file
    that may hold several. Photographs take no more than they need: numbers without gaps are
    looked up faster."""
    alone = item.uri[item.uri.rfind("."):].lower() in _ONE_PICTURE
    return 1 if item.kind == "text" or alone or part_of(item) else 2 * MOST
