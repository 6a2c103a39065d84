"""Rows of a manifest: pictures with captions and other columns, from JSONL, CSV, TSV or JSON.

    {"image": "cats/1.jpg", "captions": ["a cat", "a grey cat"], "year": 2021}

The image column is the first of `IMAGE_COLUMNS` that holds a string, the caption column the first
of `CAPTION_COLUMNS` that holds text; every other column describes the row. Nothing here looks
at the pictures: `mmsearch.sources` turns rows into items, evaluation and training read them as is.
"""

from __future__ import annotations

import codecs
import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

MANIFEST_SUFFIXES: frozenset[str] = frozenset({".jsonl", ".ndjson", ".csv", ".tsv", ".json"})
IMAGE_COLUMNS = ("image", "image_path", "filepath", "file", "filename", "path")
CAPTION_COLUMNS = ("caption", "captions", "text", "title", "sentences", "raw")


@dataclass(frozen=True, slots=True)
class Row:
    """line: in the file, from 1 (in JSON: the position in its list); image: as it was written."""

    line: int
    image: str | None
    captions: tuple[str, ...]
    meta: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BadRow:
    line: int
    reason: str


def read_rows(path: Path) -> Iterator[Row | BadRow]:
    """Every row of a manifest in order, one at a time except for `.json`, which is read whole.

    `.json` is a list of rows, or Karpathy's layout: {"images": [{"filename", "sentences", ...}]}.
    Raises OSError where the file itself cannot be read.
    """
    readers = {".csv": _csv_rows, ".tsv": _csv_rows, ".json": _json_rows}
    encoding = _encoding(path)
    # Bytes that are not UTF-8 survive as surrogates: in a file name they are the right ones.
    errors = "surrogateescape" if encoding.startswith("utf-8") else "replace"
    with path.open(encoding=encoding, errors=errors, newline="") as handle:
        for line, found in readers.get(path.suffix.lower(), _jsonl_rows)(handle):
            yield BadRow(line, found) if isinstance(found, str) else _row(line, found)


_Found = Iterator[tuple[int, Mapping[str, Any] | str]]  # a line and its columns, or what is wrong


def _encoding(path: Path) -> str:
    with path.open("rb") as handle:
        head = handle.read(2)
    return "utf-16" if head in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def _jsonl_rows(handle: TextIO) -> _Found:
    for line, text in enumerate(handle, 1):
        if text.strip():
            try:
                found = json.loads(text, parse_constant=lambda _: None)
            except (ValueError, RecursionError) as error:
                yield line, f"invalid JSON: {error}"
                continue
            yield line, found if isinstance(found, dict) else "not a JSON object"


def _json_rows(handle: TextIO) -> _Found:
    try:
        found = json.load(handle, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        yield 1, f"invalid JSON: {error}"
        return
    rows = found.get("images") if isinstance(found, dict) else found
    if not isinstance(rows, list):
        yield 1, 'neither a list of rows nor {"images": [...]}'
        return
    for position, row in enumerate(rows, 1):
        yield position, row if isinstance(row, dict) else "not a JSON object"


def _csv_rows(handle: TextIO) -> _Found:
    header = handle.readline()
    delimiter = max(",\t;|", key=header.count)  # not only commas: European Excel writes semicolons
    names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
    reader = csv.reader(handle, delimiter=delimiter)
    while True:
        line = reader.line_num + 2
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, f"invalid CSV: {error}"
            continue
        if any(cells):
            yield line, {n: _cell(c) for n, c in zip(names, cells, strict=False) if n and c}


def _cell(text: str) -> object:
    """The number or the JSON list that a cell spells out; "007" and "1e5" stay text."""
    for number in (int, float):
        try:
            value = number(text)
        except ValueError:
            continue
        if str(value) == text and text not in ("inf", "-inf", "nan"):
            return value
    if text.startswith("["):
        try:
            return json.loads(text, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            return text
    return text


def _row(line: int, columns: Mapping[str, Any]) -> Row | BadRow:
    by_name = {name.strip().lower(): name for name in columns}
    image_column, image = _image(columns, by_name)
    caption_column, captions = _captions(columns, by_name)
    if image is None and not captions:
        return BadRow(line, "no image and no caption")
    used = {image_column, caption_column, by_name.get("sentids")}
    if image_column == by_name.get("filepath"):
        used.add(by_name.get("filename"))
    rest = {name: value for name, value in columns.items() if name not in used}
    return Row(line, image, captions, _flat(rest))


def _image(columns: Mapping[str, Any], by_name: dict[str, str]) -> tuple[str | None, str | None]:
    for column in IMAGE_COLUMNS:
        value = columns.get(by_name.get(column, ""))
        if isinstance(value, (str, int)) and not isinstance(value, bool) and str(value).strip():
            image = str(value)
            name = columns.get(by_name.get("filename", ""))
            if column == "filepath" and isinstance(name, str) and Path(image).name != name:
                image = f"{image}/{name}"  # Karpathy's files name the folder and the file apart
            return by_name[column], image
    return None, None


def _captions(
    columns: Mapping[str, Any], by_name: dict[str, str]
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


def _flat(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Nested objects become columns of their own, named `outer.inner` where `inner` is taken."""
    flat = {name: value for name, value in columns.items() if not isinstance(value, dict)}
    for name, value in columns.items():
        if isinstance(value, dict):
            for inner, inner_value in value.items():
                flat[f"{name}.{inner}" if inner in flat else inner] = inner_value
    stored = {storable(name): _storable_value(value) for name, value in flat.items()}
    return {name: value for name, value in stored.items() if value is not None}


def _storable_value(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [_storable_value(one) for one in value]
    if isinstance(value, dict):
        return {storable(name): _storable_value(one) for name, one in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None  # 1e999: neither strict JSON nor SQLite knows infinity
    return value


def storable(text: str) -> str:
    """`text` without what UTF-8, JSON or SQLite cannot hold: lone surrogates and NUL."""
    try:
        text.encode()
    except UnicodeEncodeError:
        try:  # bytes that were not UTF-8: most often an old Windows or Latin-1 file
            text = text.encode("utf-8", "surrogateescape").decode("latin-1")
        except UnicodeEncodeError:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\0", "")
