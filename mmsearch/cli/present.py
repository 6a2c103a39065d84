"""Results as a table, as lines, as JSON, as a web page, as pictures in the terminal.

File names and captions come from strangers: whatever goes to a terminal, a line or a page passes
through `safe_text` first, so that none of them can move a cursor or fake a line.
"""

from __future__ import annotations

import base64
import io
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

from mmsearch.cli.legend import legend, when_and_where
from mmsearch.errors import MediaError, MissingExtra
from mmsearch.fragments import file_uri, part_of
from mmsearch.records import Hit, Item, Problem
from mmsearch.sources import locate

if TYPE_CHECKING:
    from PIL.Image import Image
    from rich.console import Console
    from rich.table import Table

    from mmsearch.evaluation import Report

_THUMBNAIL_SIDE = 320
_PROBLEMS = 100
# What `sources.folders` adds to the path of the file that a text was found in or belongs to; parts
# of files are told by `mmsearch.fragments`.
_PLACE_IN_FILE = re.compile(r"#((caption|embedded)\d+|L\d+(\.caption\d+)?)(\.\d+)?$")
_SHORT_ESCAPES = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}
_TURNS_LINES_AROUND = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def safe_text(text: str) -> str:
    """`text` on one line: control characters, line ends and lone surrogates become escapes.

    Marks that reverse the reading direction go too: they make ``gpj.exe`` read as ``exe.jpg``.
    """
    if text.isprintable():
        return text
    return "".join(_safe_character(character) for character in text)


def _safe_character(character: str) -> str:
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    harmful = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
    if not harmful and character not in _TURNS_LINES_AROUND:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def address_of(item: Item) -> str:
    """Where an item is: the path of its file, as it is named on disk, or its uri if it has no file
    of its own; for a caption, a line, a frame, a page or a tile, of the file that it belongs to.

    It may hold bytes that are not UTF-8: write it with `os.fsencode`.
    """
    uri = _own_uri(item)
    path = locate.own_file(uri)
    return uri if path is None else str(path)


def _own_uri(item: Item) -> str:
    text_alone = item.kind == "text" and part_of(item) is None
    return _PLACE_IN_FILE.sub("", item.uri) if text_alone else file_uri(item)


def filepaths(hits: Iterable[Hit]) -> list[str]:
    """The addresses of the hits, best first, each once, files exactly as they are named on disk.

    Not escaped: escape them with `safe_text` where the output is a terminal.
    """
    return list(dict.fromkeys(address_of(hit.item) for hit in hits))


def hits_tsv(hits: Iterable[Hit]) -> str:
    """One line a hit: rank, score, uri, text (empty for a picture), relevance; with tabs between;
    where there is no relevance, the line ends after what there is."""
    return "".join("\t".join(_line(rank, hit)) + "\n" for rank, hit in enumerate(hits, 1))


def _line(rank: int, hit: Hit) -> list[str]:
    cells = _cells(rank, hit)
    if hit.relevance is None:
        return cells
    return [*cells, *[""] * (4 - len(cells)), f"{hit.relevance:.4f}"]


def _cells(rank: int, hit: Hit) -> list[str]:
    cells = [str(rank), f"{hit.score:.4f}", safe_text(hit.item.uri)]
    if hit.item.kind == "text":
        cells.append(safe_text(hit.item.text))
    return cells


def _place(item: Item) -> str:
    """A part of a file for people: "/videos/clip.mp4 · 0:12"; empty for all else."""
    part = part_of(item)
    return "" if part is None else safe_text(f"{part.file} · {part}")


def _per_cent(hit: Hit) -> str:
    """Relevance for people; rounded down, for no guess is a certainty. What the words name need
    not look like them."""
    if hit.bm25 is not None and hit.relevance is not None and hit.relevance < 0.5:
        return "named"
    return "" if hit.relevance is None else f"{int(100 * hit.relevance)} %"


def hits_json(hits: Iterable[Hit], *, parts: bool = False) -> list[dict[str, Any]]:
    """The hits as values that strict JSON in UTF-8 can hold, whatever their metadata is; a part of
    a file has its `time` in seconds, its `page`, or its `region` in per cent.

    parts: also what their scores are made of, for the modes text and hybrid.
    """
    found: list[dict[str, Any]] = []
    for rank, hit in enumerate(hits, 1):
        item = hit.item
        values = {
            "rank": rank, "score": round(float(hit.score), 6), "uri": item.uri, "kind": item.kind,
            "text": item.text, "group": item.group, "meta": item.meta,
            "relevance": None if hit.relevance is None else round(hit.relevance, 4),
        }  # fmt: skip
        if (part := part_of(item)) is not None:
            values |= part.facts()
        if parts:
            values |= {"cosine": hit.cosine, "bm25": hit.bm25}
        found.append(strict(values))
    return found


def strict(value: Any) -> Any:
    """A value that strict JSON in UTF-8 can hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {strict(str(name)): strict(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int)) else strict(str(value))


# --- tables --------------------------------------------------------------------------------------


def hits_table(hits: Sequence[Hit]) -> Table:
    """Rank, score, relevance, path, text, when and where: the last four where they are known."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    has_relevance = any(hit.relevance is not None for hit in hits)
    if has_relevance:
        table.add_column("match", justify="right", no_wrap=True)
    has_texts = any(hit.item.kind == "text" for hit in hits)
    if has_texts:
        table.add_column("text", overflow="fold", ratio=3)
    table.add_column("path", overflow="fold", ratio=2 if has_texts else None)
    taken = [when_and_where(hit.item) for hit in hits]
    if any(taken):
        table.add_column("taken", overflow="fold")
    for rank, hit in enumerate(hits, 1):
        shown, score, uri, *text = _cells(rank, hit)
        # Text, not str: in a str Rich would read [red] as markup.
        middle = [Text(_per_cent(hit))] if has_relevance else []
        middle += [Text(text[0] if text else "")] if has_texts else []
        last = [Text(safe_text(taken[rank - 1]), "dim")] if any(taken) else []
        where = Text(_place(hit.item) or uri)
        table.add_row(shown, Text(score, "cyan"), *middle, where, *last)
    return table


def key_value_table(mapping: Mapping[str, Any]) -> Table:
    """Two columns; an inner mapping becomes ``outer.inner``, numbers get their thousands apart."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _flattened(mapping):
        table.add_row(Text(safe_text(name)), Text(safe_text(value)))
    return table


def _flattened(mapping: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield prefix + name, _shown(value)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def info_table(info: Mapping[str, Any]) -> Table:
    """What `Collection.info` says, with sizes that people read."""
    readable = dict(info)
    if isinstance(info.get("bytes"), int):
        del readable["bytes"]
        readable["size on disk"] = size_text(info["bytes"])
    return key_value_table(readable)


def size_text(size: float) -> str:
    """A number of bytes as people read it."""
    if size < 1000:
        return f"{size:.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"


def report_table(report: Report) -> Table:
    """An evaluation, one column a direction; recall in per cent with its 95 % interval."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    directions = (report.text_to_image, report.image_to_text)
    for name in ("text to image", "image to text"):
        table.add_column(name, justify="right")
    for k in directions[0].recall:
        shares = [(way.recall[k], *way.intervals[k]) for way in directions]
        cells = (f"{100 * r:.1f}  [{100 * low:.1f}, {100 * high:.1f}]" for r, low, high in shares)
        table.add_row(f"recall@{k} %", *cells)
    table.add_row("MRR", *(f"{way.mrr:.3f}" for way in directions))
    table.add_row("median rank", *(f"{way.median_rank:,}" for way in directions))
    for name in sorted({name for way in directions for name in way.extras}):
        values = (way.extras.get(name) for way in directions)
        table.add_row(name, *("" if value is None else f"{value:.3f}" for value in values))
    table.add_row("queries", *(f"{way.queries:,}" for way in directions))
    table.add_row("gallery", *(f"{way.gallery:,}" for way in directions))
    return table


# --- pictures ------------------------------------------------------------------------------------


def problem_lines(problems: Sequence[Problem]) -> list[str]:
    """What `verify` found, a line each; of very many, the first."""
    lines = [("fixed: " if problem.fixed else "") + safe_text(str(problem))
             for problem in problems[:_PROBLEMS]]
    more = len(problems) - _PROBLEMS
    return [*lines, f"and {more} more (--json has them all)"] if more > 0 else lines


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
        rest, match = _cells(rank, hit), _per_cent(hit)
        rest[2] = _place(hit.item) or rest[2]
        console.print(Text("  ".join([*rest[:2], *([match] if match else []), *rest[2:]])),
                      soft_wrap=True)
        if hit.item.kind == "text":
            continue
        try:
            picture = _picture(hit.item)
        except MediaError as error:
            console.print(Text(safe_text(_why_not(error)), "dim"))
        else:
            console.print(Renderable(picture, width=min(40, console.width), height="auto"))


def _picture(item: Item) -> Image:
    """A picture that fits into a square of _THUMBNAIL_SIDE; MediaError if there is none."""
    from mmsearch.media import picture

    # The shorter side is kept at twice min_side: enough, whatever the shape of the picture.
    image = picture(locate.source(file_uri(item)), part_of(item), _THUMBNAIL_SIDE // 2)
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
             "" if hit.item.kind == "text" else hit.item.text or legend(hit.item), _per_cent(hit))
        for rank, hit in enumerate(hits, 1)
    ]  # fmt: skip
    count = "1 result" if len(hits) == 1 else f"{len(hits)} results"
    return sheet(title, count, [("", tiles)])


def sheet(title: str, summary: str, sections: Sequence[tuple[str, Sequence[Tile]]]) -> str:
    """One HTML page of tiles, in sections with a heading or none.

    It needs no other file, no network and no scripts: the pictures are embedded, some 20 kB each.
    They link to their files; what cannot be decoded becomes a tile that says why.
    """
    parts: list[str] = []
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
    folder, _, file = address_of(item).rpartition("/")
    place = str(part_of(item) or "") or (
        item.uri.rpartition("#")[2] if item.kind == "text" and "#" in item.uri else "")
    name = _html(f"{file} · {place}" if place else file)
    note = f'<span class="note" dir="auto">{_html(tile.note)}</span>' if tile.note else ""
    match = (f'<span class="match" title="how likely this is a match">{tile.match}</span>'
             if tile.match else "")
    return (
        f'<li>\n{view}\n<div class="about"><span class="rank">{_html(tile.label)}</span>'
        f'<a class="name" title="{name}"{_href(item)}>{name}</a>'
        f'<span class="score" title="{_html(tile.hint)}">{_html(tile.figure)}</span>{match}'
        f'<span class="path">{_html(folder or "/")}</span>{note}</div>\n</li>'
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
        _picture(item).save(stream, "JPEG", quality=82, optimize=True)
    except MediaError as error:
        return f'<div class="view"><p class="gone">{_html(_why_not(error))}</p></div>'
    data = base64.b64encode(stream.getvalue()).decode()
    alt = _html(item.text or _file_name(item))
    image = f'<img src="data:image/jpeg;base64,{data}" alt="{alt}">'
    return f'<a class="view"{_href(item)}>{image}</a>'


def _why_not(error: MediaError) -> str:
    return f"cannot be shown: {str(error).removeprefix('cannot be read: ')}"


def _file_name(item: Item) -> str:
    return address_of(item).rpartition("/")[2]


def _href(item: Item) -> str:
    """A link to the file, in which browsers go to the moment or the page; to the archive that it is
    in, or to the web."""
    uri = _own_uri(item)
    link = locate.link(uri)
    if part_of(item) is not None and locate.own_file(uri) is not None:
        link += f"#{item.uri.rpartition('#')[2]}"
    return f' href="{_html(link)}"' if link else ""


def _html(text: str) -> str:
    return escape(safe_text(text))
