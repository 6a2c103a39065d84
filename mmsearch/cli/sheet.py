"""The contact sheet: one web page of pictures and texts."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from posixpath import split
from string import Template
from typing import TYPE_CHECKING

from mmsearch.cli.legend import legend
from mmsearch.cli.present import address_of, per_cent, shown_path
from mmsearch.cli.terminal import safe_text
from mmsearch.errors import MediaError
from mmsearch.fragments import file_uri, own_uri, part_of
from mmsearch.records import Hit, Item
from mmsearch.sources import locate

if TYPE_CHECKING:
    from PIL.Image import Image

_THUMBNAIL_SIDE = 320


def picture_of(item: Item) -> Image:
    """A picture that fits into a square of _THUMBNAIL_SIDE; MediaError if there is none."""
    from mmsearch.media import read_part

    # The shorter side is kept at twice min_side: enough, whatever the shape of the picture.
    image = read_part(locate.source(file_uri(item)), part_of(item), _THUMBNAIL_SIDE // 2)
    image.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
    return image


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture or text on a page: `label` before its name, `figure` after it, `hint` says what
    the figure is, `note` is a line below, `match` how likely it is what was looked for."""

    item: Item
    label: str
    figure: str
    hint: str
    note: str = ""
    match: str = ""


def contact_sheet(hits: Sequence[Hit], *, title: str) -> str:
    """One HTML page with a thumbnail, score, path and caption for each hit, best first."""
    tiles = [
        Tile(hit.item, str(rank), f"{hit.score:.3f}", _meaning(hit),
             "" if hit.item.kind == "text" else hit.item.text or legend(hit.item), per_cent(hit))
        for rank, hit in enumerate(hits, 1)
    ]  # fmt: skip
    count = "1 result" if len(hits) == 1 else f"{len(hits)} results"
    return sheet(title, count, [("", tiles)])


def sheet(title: str, summary: str, sections: Sequence[tuple[str, Sequence[Tile]]], *,
          top: str = "") -> str:
    """One HTML page of tiles, in sections with a heading or none; `top` is HTML above them, tables
    and figures.

    It needs no other file, no network and no scripts: the pictures are embedded, some 20 kB each.
    They link to their files; what cannot be decoded becomes a tile that says why.
    """
    parts = [top] if top else []
    with ThreadPoolExecutor() as threads:
        for heading, tiles in sections:
            views = threads.map(_view, [tile.item for tile in tiles])
            listed = "\n".join(map(_tile, tiles, views))
            title_line = f'<h2 dir="auto">{_html(heading)}</h2>\n' if heading else ""
            parts.append(f"{title_line}<ol>\n{listed}\n</ol>")
    page = Template(files("mmsearch.cli").joinpath("sheet.html").read_text(encoding="utf-8"))
    return page.substitute(title=_html(title), summary=_html(summary), sections="\n".join(parts))


def _tile(tile: Tile, view: str) -> str:
    item = tile.item
    folder, file = split(shown_path(address_of(item)))
    place = str(part_of(item) or "") or (
        item.uri.rpartition("#")[2] if item.kind == "text" and "#" in item.uri else "")
    name = _html(f"{file} · {place}" if place else file) if item.uri else ""
    note = f'<span class="note" dir="auto">{_html(tile.note)}</span>' if tile.note else ""
    path = f'<span class="path">{_html(folder or ".")}</span>' if item.uri else ""
    match = (f'<span class="match" title="how likely this is a match">{tile.match}</span>'
             if tile.match else "")
    return (
        f'<li>\n{view}\n<div class="about"><span class="rank">{_html(tile.label)}</span>'
        f'<a class="name" title="{name}"{_href(item)}>{name}</a>'
        f'<span class="score" title="{_html(tile.hint)}">{_html(tile.figure)}</span>{match}'
        f"{path}{note}</div>\n</li>"
    )


def _meaning(hit: Hit) -> str:
    is_cosine = hit.bm25 is None and hit.cosine in (None, hit.score)
    return "cosine similarity, -1 to 1" if is_cosine else "higher is better"


def _view(item: Item) -> str:
    """The upper part of a tile: the words, the picture, or why there is none."""
    if item.kind == "text":
        words = f'<blockquote class="words" dir="auto">{_html(item.text)}</blockquote>'
        return f'<div class="view">{words}</div>'
    stream = io.BytesIO()
    try:
        picture_of(item).save(stream, "JPEG", quality=82, optimize=True)
    except MediaError as error:
        return f'<div class="view"><p class="gone">{_html(why_not(error))}</p></div>'
    data = base64.b64encode(stream.getvalue()).decode()
    alt = _html(item.text or split(address_of(item))[1])
    image = f'<img src="data:image/jpeg;base64,{data}" alt="{alt}">'
    return f'<a class="view"{_href(item)}>{image}</a>'


def why_not(error: MediaError) -> str:
    return f"cannot be shown: {str(error).removeprefix('cannot be read: ')}"


def _href(item: Item) -> str:
    """A link to the file, in which browsers go to the moment or the page; to the archive that it is
    in, or to the web."""
    uri = own_uri(item)
    link = locate.link(uri)
    if part_of(item) is not None and locate.own_file(uri) is not None:
        link += f"#{item.uri.rpartition('#')[2]}"
    return f' href="{_html(link)}"' if link else ""


def _html(text: str) -> str:
    return escape(safe_text(text))
