"""An item as JSON has it: what the page shows of it, and the links to its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote_plus

from pydantic import BaseModel

from mmsearch.formats import VIDEO_SUFFIXES
from mmsearch.fragments import named, own_uri, part_of
from mmsearch.jsonable import strict
from mmsearch.records import Hit, Item
from mmsearch.server.served import Served, Stored, version_of
from mmsearch.sources import locate
from mmsearch.uris import split_member

TYPES = {
    "JPEG": "image/jpeg", "PNG": "image/png", "GIF": "image/gif", "BMP": "image/bmp",
    "TIFF": "image/tiff", "WebP": "image/webp", "AVIF": "image/avif", "HEIC": "image/heic",
    "JPEG XL": "image/jxl", "PPM": "image/x-portable-pixmap", "RAW": "image/x-raw",
    "PDF": "application/pdf", "MP4": "video/mp4", "WebM": "video/webm",
    "Matroska": "video/x-matroska", "AVI": "video/x-msvideo", "MPEG": "video/mpeg",
    "MPEG-TS": "video/mp2t", "ASF": "video/x-ms-wmv", "FLV": "video/x-flv", "Ogg": "video/ogg"}
"""What is served, by what its first bytes say; nothing else is."""
Media = Literal["image", "video", "pdf", "text"]


class Shown(BaseModel):
    """An item.

    media: what its file is. width, height: upright, in pixels; of a tile, of the tile.
    time, page, region: where in the file it is: seconds, a number from 1, per cent x, y, w, h.
    picture: the id of the picture that a text is of; of anything else, its own.
    """

    id: int
    collection: str
    kind: Literal["image", "text", "frame"]
    media: Media
    media_type: str | None
    uri: str
    path: str
    name: str
    width: int | None
    height: int | None
    taken: str | None
    modified: str | None
    caption: str | None
    text: str
    part: str | None
    time: float | None = None
    page: int | None = None
    region: list[int] | None = None
    picture: int | None
    latitude: float | None
    longitude: float | None
    duration: float | None
    thumb: str | None
    image: str | None


class ShownHit(Shown):
    """A result. relevance: how likely it is a match, 0 to 1; named: the words name it."""

    score: float
    relevance: float | None
    named: bool


def shown(served: Served, items: Sequence[Stored]) -> list[dict[str, Any]]:
    """Items as `Shown`, with the captions of pictures and the pictures of captions."""
    beside: dict[str, dict[str, Stored]] = {}
    for one in served.reader.beside([one.item for one in items]):
        beside.setdefault(one.item.group, {})[one.item.kind] = one
    return [_shown(served.name, one, beside.get(one.item.group, {})) for one in items]


def shown_hits(served: Served, hits: Sequence[Hit]) -> list[dict[str, Any]]:
    """Results as `ShownHit`."""
    # A cosine of float16 rows may be a little above 1.
    return [item | {"score": round(min(hit.score, 1.0) if hit.bm25 is None else hit.score, 6),
                    "relevance": None if hit.relevance is None else round(hit.relevance, 4),
                    "named": hit.bm25 is not None}
            for item, hit in zip(shown(served, hits), hits, strict=True)]


def _shown(collection: str, row: Stored, beside: Mapping[str, Stored]) -> dict[str, Any]:
    item, part = row.item, part_of(row.item)
    meta = item.meta
    of_file = item.kind != "text" or part is not None
    picture = row if of_file else beside.get("image")
    text = beside.get("text")
    caption = text.item.text if item.kind != "text" and text and not part_of(text.item) else None
    facts: dict[str, Any] = part.facts() if part else {}
    media = media_of(item)
    found = {
        "id": row.id, "collection": collection, "kind": item.kind, "media": media,
        "media_type": type_of(item) if of_file else None, "uri": item.uri,
        "path": for_people(own_uri(item)), "name": name_of(item),
        **_pixels(meta, facts.get("region")), "taken": _text(meta.get("taken")),
        "modified": _text(meta.get("modified")), "caption": caption,
        "text": item.text if item.kind == "text" else "", "part": str(part) if part else None,
        **facts, "picture": picture.id if picture else None,
        "latitude": _number(meta.get("latitude")), "longitude": _number(meta.get("longitude")),
        "duration": _number(meta.get("duration")),
        "thumb": link(collection, picture, "thumb") if picture else None,
        "image": link(collection, row, "image") if of_file else None}
    shown: dict[str, Any] = strict(found)
    return shown


def link(collection: str, row: Stored, what: str) -> str:
    """`v` makes the address another one when the content is another."""
    return (f"/v1/items/{row.id}/{what}?collection={quote_plus(collection)}"
            f"&v={version_of(row.item)}")


def media_of(item: Item) -> Media:
    part = part_of(item)
    if item.kind == "text" and part is None:
        return "text"
    suffix = _suffix(item)
    if suffix == ".pdf":
        return "pdf"
    return "video" if suffix in VIDEO_SUFFIXES or "codec" in item.meta else "image"


def type_of(item: Item) -> str | None:
    """What its file is served as, going by what was found in it."""
    known = TYPES.get(str(item.meta.get("format", "")))
    if known is None and media_of(item) == "pdf":
        return TYPES["PDF"]
    return known


def for_people(uri: str) -> str:
    """A path from the home directory on, where it lies there."""
    home = _home()
    return f"~{uri[len(home):]}" if uri.startswith(f"{home}/") and home != "/" else uri


@lru_cache(maxsize=1)
def _home() -> str:
    return str(Path.home())


def name_of(item: Item) -> str:
    uri = own_uri(item)
    member = split_member(uri)
    return (member.name if member else uri).rstrip("/").rpartition("/")[2]


def folder_of(item: Item) -> str:
    uri = own_uri(item)
    return for_people(uri.rpartition("/")[0]) if locate.own_file(uri) else uri.rpartition("/")[0]


def _suffix(item: Item) -> str:
    part = named(item.uri, item.group if item.uri.startswith(f"{item.group}#") else "")
    uri = part.file if part else item.uri
    return uri[uri.rfind("."):].lower()


def _pixels(meta: Mapping[str, Any], region: Sequence[int] | None) -> dict[str, int | None]:
    width, height = (_whole(meta.get(name)) for name in ("width", "height"))
    if region and width and height:
        width, height = max(width * region[2] // 100, 1), max(height * region[3] // 100, 1)
    return {"width": width, "height": height}


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return str(value) if value else None
