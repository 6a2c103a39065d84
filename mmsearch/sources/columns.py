"""What the columns of a row mean, whatever file it is from: image, captions, and metadata.

The image column is the first of `IMAGE_COLUMNS` that holds a string (or, in Parquet, the picture
itself), in a table also of `ADDRESS_COLUMNS`; the caption column the first of `CAPTION_COLUMNS`
that holds text; every other column describes the row. Case, spaces, `_` and `-` make no difference
to a name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

IMAGE_COLUMNS = ("image", "image_path", "filepath", "file", "filename", "path")
ADDRESS_COLUMNS = ("image_url", "img_url", "url")
CAPTION_COLUMNS = ("caption", "captions", "text", "title", "sentences", "raw")
MOST_NESTED = 32
"""Lists and objects in each other that metadata may have; what lies deeper is left out."""


def picture_in(columns: Mapping[str, Any]) -> bytes | None:
    """The picture that a row of Parquet holds: bytes, or {"bytes": ..., "path": ...}."""
    value = columns.get(_image(columns, _by_name(tuple(columns)), IMAGE_COLUMNS)[0] or "")
    data = value.get("bytes") if isinstance(value, dict) else value
    return data if isinstance(data, bytes) else None


def split_columns(columns: Mapping[str, Any], addresses: Sequence[str] = (),
                  ) -> tuple[str | None, tuple[str, ...], dict[str, Any]]:
    """A row's image as it was written, its captions, and what every other column says.

    addresses: names of columns that may have the image where those of `IMAGE_COLUMNS` do not.
    """
    by_name = _by_name(tuple(columns))
    image_column, image = _image(columns, by_name, (*IMAGE_COLUMNS, *addresses))
    caption_column, captions = _captions(columns, by_name)
    used = [image_column, caption_column, by_name.get("sentids")]
    if image_column == by_name.get("filepath"):
        used.append(by_name.get("filename"))
    return image, captions, _flat(columns, used)


def plain_name(column: str) -> str:
    """What the name of a column is compared as."""
    return re.sub(r"[\s_-]+", "", column).lower()


def holds_image(columns: Iterable[str]) -> bool:
    """Whether one of the columns of a table may be that of the image."""
    known = set(map(plain_name, (*IMAGE_COLUMNS, *ADDRESS_COLUMNS)))
    return not known.isdisjoint(map(plain_name, columns))


@lru_cache(maxsize=256)
def _by_name(columns: tuple[str, ...]) -> Mapping[str, str]:
    """Columns by their names as they are known here; most rows have the same as the one before."""
    known = {plain_name(name): name
             for name in (*IMAGE_COLUMNS, *ADDRESS_COLUMNS, *CAPTION_COLUMNS, "sentids")}
    found: dict[str, str] = {}
    for name in columns:
        if (plain := plain_name(name)) in known:
            found.setdefault(known[plain], name)
    return found


def _image(columns: Mapping[str, Any], by_name: Mapping[str, str], names: Iterable[str],
           ) -> tuple[str | None, str | None]:
    for column in names:
        value = columns.get(by_name.get(column, ""))
        if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
            path = value.get("path")
            return by_name[column], path if isinstance(path, str) else None
        if isinstance(value, dict):
            value = value.get("path")
        if isinstance(value, bytes):
            return by_name[column], None
        if isinstance(value, (str, int)) and not isinstance(value, bool) and str(value).strip():
            image = str(value)
            name = columns.get(by_name.get("filename", ""))
            if column == "filepath" and isinstance(name, str) and Path(image).name != name:
                image = f"{image}/{name}"  # Karpathy's files name the folder and the file apart
            return by_name[column], image
    return None, None


def _captions(
    columns: Mapping[str, Any], by_name: Mapping[str, str]
) -> tuple[str | None, tuple[str, ...]]:
    for column in CAPTION_COLUMNS:
        value = columns.get(by_name.get(column, ""))
        captions = tuple(_texts(value if isinstance(value, list) else [value]))
        if captions:
            return by_name[column], captions
    return None, ()


def _texts(values: Iterable[object]) -> Iterator[str]:
    for value in values:
        if isinstance(value, dict):
            value = value.get("raw")
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            text = storable(str(value)).strip()
            if text:
                yield text


def _flat(columns: Mapping[str, Any], used: Container[str | None]) -> dict[str, Any]:
    """The columns but for those `used`; nested objects become columns of their own, named
    `outer.inner` where `inner` is taken."""
    flat, nested = {}, []
    for name, value in columns.items():
        if isinstance(value, dict) and name not in used:
            nested.append((name, value))
        elif name not in used:
            flat[name] = value
    for name, outer in nested:
        for inner, value in outer.items():
            flat[f"{name}.{inner}" if inner in flat else inner] = value
    stored = {}
    for name, value in flat.items():
        if (value := value if type(value) is int else _storable_value(value)) is not None:
            stored[storable(name)] = value
    return stored


def _storable_value(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list | dict) and depth >= MOST_NESTED:
        return None  # what writes, stores and shows it later goes in as deep
    if isinstance(value, list):
        return [_storable_value(one, depth + 1) for one in value]
    if isinstance(value, dict):
        return {storable(name): _storable_value(one, depth + 1) for name, one in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None  # 1e999: neither strict JSON nor SQLite knows infinity
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, bytes | bytearray):
        return None  # a picture in a column of Parquet: no metadata
    return value.isoformat() if hasattr(value, "isoformat") else storable(str(value))


def storable(text: str) -> str:
    """`text` without what UTF-8, JSON or SQLite cannot hold: lone surrogates and NUL."""
    if text.isascii():
        return text.replace("\0", "")
    try:
        text.encode()
    except UnicodeEncodeError:
        try:  # bytes that were not UTF-8: most often an old Windows or Latin-1 file
            text = text.encode("utf-8", "surrogateescape").decode("latin-1")
        except UnicodeEncodeError:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\0", "")
