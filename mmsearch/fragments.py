"""Parts of a file: what their uris look like, and how people read them.

    clip.mp4#t=12.5      the frame at 12.5 seconds of a video or an animation
    doc.pdf#page=3       the third page of a document or a TIFF, its picture or its text
    photo.jpg#xywh=percent:45,0,55,55    a tile of a picture: left and upper edge, width, height

as in W3C Media Fragments (https://www.w3.org/TR/media-frags/) and RFC 8118 for PDF. A part is in
the group of its file, and the uri of its file is its group: so a picture that is itself called
`a.png#t=1` is not taken for one.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple, TypeAlias

from mmsearch.formats import IMAGE_SUFFIXES, SEVERAL_SUFFIXES
from mmsearch.records import Item

MOST = 2000
"""Pictures that one file gives, at most; so many texts of its pages, too."""
_ONE_PICTURE = IMAGE_SUFFIXES - {".gif", ".png", ".apng", ".webp", ".avif", ".tif", ".tiff"}
_PART = re.compile(r"#(?:t=(?P<time>\d+(?:\.\d+)?)|page=(?P<page>[1-9]\d*)"
                   r"|xywh=percent:(?P<region>\d{1,3}(?:,\d{1,3}){3}))\Z")
_PLACE = re.compile(r"#((caption|embedded)\d+|L\d+(\.caption\d+)?)(\.\d+)?$")
"""What `sources.folders` adds to the path of the file that a text was found in or belongs to."""
Region: TypeAlias = tuple[int, int, int, int]
"""Left and upper edge, width and height, in per cent of the picture's."""


class Part(NamedTuple):
    """Where in a file: `time` in seconds, `page` from 1, or `region`; `file` is the uri of the
    file."""

    file: str
    time: float | None = None
    page: int | None = None
    region: Region | None = None

    def __str__(self) -> str:
        """As people read it: "0:12", "1:02:03", "p. 3"; of a tile, what --crop takes."""
        if self.region is not None:
            return ",".join(f"{number}%" for number in self.region)
        if self.time is None:
            return f"p. {self.page}"
        minutes, seconds = divmod(int(self.time), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"

    def facts(self) -> dict[str, Any]:
        """As programs read it: `time`, `page` or `region`."""
        values = {"time": self.time, "page": self.page, "region": self.region}
        return {name: value for name, value in values.items() if value is not None}


def at_time(seconds: float) -> str:
    """The fragment of a moment, to the millisecond."""
    return f"t={seconds:.3f}".rstrip("0").rstrip(".")


def on_page(page: int) -> str:
    """The fragment of a page, from 1."""
    return f"page={page}"


def in_region(region: Region) -> str:
    """The fragment of a part of a picture."""
    return f"xywh=percent:{','.join(map(str, region))}"


def part_of(item: Item) -> Part | None:
    """Which part of a file an item is; None if it is all of one, or a text beside it."""
    if item.kind == "image" or not item.uri.startswith(item.group + "#"):
        return None
    part = named(item.uri, item.group)
    return None if part is None or (item.kind == "text" and part.page is None) else part


def named(uri: str, file: str = "") -> Part | None:
    """What a uri says it is a part of, which need not be there; None if it is none of a part.

    file: the uri of the file, where that is known.
    """
    match = _PART.fullmatch(uri, len(file)) if file else _PART.search(uri)
    if match is None:
        return None
    file = file or uri[: match.start()]
    if match["region"]:
        x, y, w, h = map(int, match["region"].split(","))
        return Part(file, region=(x, y, w, h))
    return Part(file, float(match["time"]) if match["time"] else None,
                int(match["page"]) if match["page"] else None)


def is_tile(item: Item) -> bool:
    """Whether an item is a part of a picture that is an item, too; see `media.tiles`."""
    return item.kind == "frame" and "#xywh=" in item.uri and part_of(item) is not None


def file_uri(item: Item) -> str:
    """The uri of the file that a picture is, or is a part of; of any other item, its own uri."""
    part = part_of(item)
    return item.uri if part is None else part.file


def own_uri(item: Item) -> str:
    """The uri of the file that an item is, is a part of, or was found in."""
    text_alone = item.kind == "text" and part_of(item) is None
    return _PLACE.sub("", item.uri) if text_alone else file_uri(item)


def room(item: Item) -> int:
    """How many rows may come of an item that is to be encoded: 1, or what is reserved for a file
    that may hold several. Photographs take no more than they need: numbers without gaps are
    looked up faster."""
    alone = item.uri[item.uri.rfind("."):].lower() in _ONE_PICTURE
    return 1 if item.kind == "text" or alone or part_of(item) else 2 * MOST


def is_named_container(item: Item) -> bool:
    """Whether an item is called as videos and documents are."""
    return item.uri[item.uri.rfind("."):].lower() in SEVERAL_SUFFIXES
