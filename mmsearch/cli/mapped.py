"""A map as JSON, and as one page with its pictures in it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from html import escape
from importlib.resources import files
from posixpath import split
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.cli.present import address_of, shown_path
from mmsearch.cli.terminal import safe_text
from mmsearch.errors import MediaError
from mmsearch.fragments import file_uri, own_uri, part_of
from mmsearch.jsonable import strict
from mmsearch.sources import locate

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmsearch.classification import Cluster, Things
    from mmsearch.collection import Reader
    from mmsearch.records import Ids, Item, Vectors

_SIDE, _ACROSS, _SHEET = 56, 32, 1024
"""Pixels of a thumbnail, thumbnails in a row of a sheet, and on a sheet at most."""
_CAPTION = 120


def map_json(things: Things, of: Ids, groups: Sequence[Cluster], places: Vectors) -> dict[str, Any]:
    """Clusters, and for each item its place (0 to 1 both ways, y upwards) and its cluster."""
    return {
        "clusters": [{"name": one.name, "also": one.also, "confidence": round(one.confidence, 4),
                      "items": len(one.items)} for one in groups],
        "items": [strict({"id": row.id, "uri": row.item.uri, "path": address_of(row.item),
                          "x": round(float(x), 5), "y": round(float(y), 5), "cluster": int(n)})
                  for row, (x, y), n in zip(things.rows, places, of, strict=True)]}


def map_page(collection: Reader, things: Things, of: Ids, groups: Sequence[Cluster],
             places: Vectors, most: int, title: str,
             progress: Callable[[int], None] = lambda done: None) -> str:
    """One HTML page; `most` items have a thumbnail, spread evenly over the map."""
    items = [row.item for row in things.rows]
    captions = {row.item.group: row.item.text for row in collection.beside(items)
                if row.item.kind == "text"} if len(items) <= 20_000 else {}
    chosen = spread(places, most)
    sheets, shown = sprites([items[n] for n in chosen], progress)
    thumbnail = np.full(len(items), -1, np.int64)
    thumbnail[[n for n, there in zip(chosen, shown, strict=True) if there]] = np.arange(sum(shown))
    folders: dict[str, int] = {}
    entries = []
    for item in items:
        folder, name = split(address_of(item))
        place = str(part_of(item) or "")
        entries.append([safe_text(f"{name} · {place}" if place else name),
                        folders.setdefault(safe_text(shown_path(folder)), len(folders)),
                        safe_text(captions.get(item.group, ""))[:_CAPTION]])
    data = {
        "x": packed(places[:, 0]), "y": packed(1 - places[:, 1]),
        "cluster": of.tolist(), "thumbnail": thumbnail.tolist(), "entries": entries,
        "folders": list(folders), **_links(items), "sheets": sheets,
        "side": _SIDE, "across": _ACROSS, "sheet": _SHEET,
        "clusters": [[safe_text(one.name), round(one.confidence, 2), len(one.items),
                      [safe_text(word) for word in one.also]] for one in groups]}
    here = files("mmsearch.cli")
    script = here.joinpath("map.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Template(here.joinpath("map.html").read_text("utf-8")).substitute(
        title=escape(safe_text(title)), summary=f"{len(items):,} pictures, {len(groups)} groups",
        data=json.dumps(strict(data), separators=(",", ":"), ensure_ascii=False).replace(
            "<", "\\u003c"), script=script, digest=digest)


def packed(values: Vectors) -> str:
    """0 to 1 as base64 of little-endian uint16."""
    return base64.b64encode((values * 65535).round().astype("<u2").tobytes()).decode()


def spread(places: Vectors, most: int) -> list[int]:
    """`most` items, as even over the map as can be: one of each cell of a grid, then a second of
    each, until there are enough, in no order of the cells."""
    if most >= len(places):
        return list(range(len(places)))
    cells = max(1, int(np.sqrt(most)))
    cell = np.minimum((places * cells).astype(np.int64), cells - 1) @ [cells, 1]
    order = np.argsort(cell, kind="stable")
    starts = np.flatnonzero(np.diff(cell[order], prepend=-1))
    turn = np.arange(len(order)) - np.repeat(starts, np.diff([*starts, len(order)]))
    chance = np.random.default_rng(0).random(len(order))
    found: list[int] = np.sort(order[np.lexsort((chance, turn))[:most]]).tolist()
    return found


def sprites(items: Sequence[Item], progress: Callable[[int], None]) -> tuple[list[str], list[bool]]:
    """Sheets of thumbnails as data: URLs, and whether each item is on them: what cannot be decoded
    is left out, so the next one has its place."""
    from PIL import Image as Pillow

    def small(item: Item) -> Image | None:
        from mmsearch.media import read_part

        try:
            image = read_part(locate.source(file_uri(item)), part_of(item), _SIDE)
        except MediaError:
            return None
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        return image.crop((left, top, left + side, top + side)).resize((_SIDE, _SIDE))

    sheets: list[str] = []
    shown: list[bool] = []
    sheet, used = Pillow.new("RGB", (_SIDE * _ACROSS, _SIDE * _ACROSS)), 0
    with ThreadPoolExecutor() as pool:
        for image in _in_turn(pool, small, items):
            progress(1)
            shown.append(image is not None)
            if image is None:
                continue
            sheet.paste(image, (used % _ACROSS * _SIDE, used // _ACROSS * _SIDE))
            used += 1
            if used == _SHEET:
                sheets.append(_url(sheet, used))
                sheet, used = Pillow.new("RGB", sheet.size), 0
    if used:
        sheets.append(_url(sheet, used))
    return sheets, shown


def _in_turn(pool: ThreadPoolExecutor, work: Callable[[Item], Image | None], items: Sequence[Item]
             ) -> Iterable[Image | None]:
    for at in range(0, len(items), 256):
        yield from pool.map(work, items[at : at + 256])


def _url(sheet: Image, used: int) -> str:
    rows = -(-used // _ACROSS)
    stream = io.BytesIO()
    sheet.crop((0, 0, sheet.width, rows * _SIDE)).save(stream, "JPEG", quality=72, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _links(items: Sequence[Item]) -> dict[str, Any]:
    """A link to the file of each item, the number of its folder among `bases` and the rest; empty
    where there is none."""
    bases: dict[str, int] = {}
    links = []
    for item in items:
        base, slash, name = (locate.link(own_uri(item)) or "").rpartition("/")
        links.append([bases.setdefault(base + slash, len(bases)), name])
    return {"bases": list(bases), "links": links}
