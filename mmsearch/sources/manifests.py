"""Rows of a manifest, pictures with captions and other columns: JSONL, CSV, TSV, JSON, Parquet.

    {"image": "cats/1.jpg", "captions": ["a cat", "a grey cat"], "year": 2021}

What the columns mean, `sources.columns` says. Nothing here looks at the pictures: `sources.listing`
turns rows into items, evaluation and training read them as is.
"""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO, TypeAlias

from mmsearch.errors import MissingExtra, UsageError
from mmsearch.sources.columns import ADDRESS_COLUMNS, picture_in, split_columns

MANIFEST_SUFFIXES: frozenset[str] = frozenset(
    {".jsonl", ".ndjson", ".csv", ".tsv", ".json", ".parquet"})
MOST_IN_A_FIELD = 131_072
"""Characters of a field of CSV."""
NOTHING = "no image and no caption"
PARQUET_ROWS, PICTURE_ROWS = 4096, 64
"""Rows of Parquet that are Python objects at a time; fewer where they may hold pictures."""


@dataclass(frozen=True, slots=True)
class Row:
    """line: in the file, from 1 (in JSON: the position in its list); image: as it was written;
    data: the picture itself, where the row has it; sentids: the captions' ids in Karpathy's files.
    """

    line: int
    image: str | None
    captions: tuple[str, ...]
    meta: dict[str, Any]
    data: bytes | None = None
    sentids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BadRow:
    line: int
    reason: str


def read_rows(path: Path) -> Iterator[Row | BadRow]:
    """Every row of a manifest in order, one at a time except for `.json`, which is read whole.

    `.json` is a list of rows, or Karpathy's layout: {"images": [{"filename", "sentences", ...}]}.
    Raises OSError where the file itself cannot be read, MissingExtra for Parquet without pyarrow.
    """
    for line, found in read_columns(path):
        yield BadRow(line, found) if isinstance(found, str) else _row(line, found)


def read_columns(path: Path, start: int = 0) -> Found:
    """Every row as it is written, from number `start` (of rows, from 0) on: its line, and its
    columns or what is wrong with it. Rows before `start` are passed over unread where they can be.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        yield from _parquet_rows(path, start)
        return
    with _opened(path) as handle:
        if suffix in (".csv", ".tsv", ".json"):
            rows = _json_rows(handle) if suffix == ".json" else _csv_rows(handle)
            yield from islice(rows, start, None)
        else:
            yield from _jsonl_rows(handle, start)


def count_rows(path: Path) -> int:
    """How many rows `read_columns` gives, without parsing what need not be."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        with _parquet(path) as file:
            return int(file.metadata.num_rows)
    if suffix in (".csv", ".tsv", ".json"):
        return sum(1 for _ in read_columns(path))
    with _opened(path) as handle:
        return sum(1 for text in handle if text.strip())


def column_names(path: Path) -> list[str] | None:
    """The columns that every row has, where the format says so (Parquet, CSV); else None."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        with _parquet(path) as file:
            return list(file.schema_arrow.names)
    if suffix in (".csv", ".tsv"):
        with _opened(path) as handle:
            return _header(handle)[0]
    return None


Found: TypeAlias = Iterator[tuple[int, Mapping[str, Any] | str]]


def _opened(path: Path) -> TextIO:
    with path.open("rb") as handle:
        head = handle.read(2)
    utf16 = head in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    # Bytes that are not UTF-8 survive as surrogates: in a file name they are the right ones.
    return path.open(encoding="utf-16" if utf16 else "utf-8-sig",
                     errors="replace" if utf16 else "surrogateescape", newline="")


def open_parquet(path: Path) -> Any:
    """Buffered: a row group may be as large as the file, and is not needed at once."""
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingExtra(f"reading {path.name}", "parquet") from error
    return parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    with _damage(f"{path} is no Parquet file, or damaged"):
        file = open_parquet(path)
    with file:
        yield file


@contextmanager
def _damage(what: str) -> Iterator[None]:
    """What pyarrow makes of damaged files, any error at all, as a UsageError of one line; but for
    an OSError of the system, which says that the file cannot be read."""
    try:
        yield
    except Exception as error:
        if isinstance(error, MissingExtra) or (isinstance(error, OSError) and error.errno):
            raise
        lines = str(error).splitlines() or [type(error).__name__]
        raise UsageError(f"{what}: {lines[0][:200]}") from error


def _parquet_rows(path: Path, start: int) -> Found:
    with _parquet(path) as file, _damage(f"{path} is damaged"):
        at, groups = 0, list(range(file.num_row_groups))
        while groups and at + (rows := file.metadata.row_group(groups[0]).num_rows) <= start:
            at += rows  # passed over unread
            del groups[0]
        for batch in file.iter_batches(_batch_rows(file), row_groups=groups):
            skip = min(max(start - at, 0), batch.num_rows)
            yield from enumerate(batch.slice(skip).to_pylist(), at + skip + 1)
            at += batch.num_rows


def _batch_rows(file: Any) -> int:
    types = [str(field.type) for field in file.schema_arrow]
    return PICTURE_ROWS if any("binary" in one for one in types) else PARQUET_ROWS


def _jsonl_rows(handle: TextIO, start: int) -> Found:
    lines = ((line, text) for line, text in enumerate(handle, 1) if text.strip())
    for line, text in islice(lines, start, None):
        try:
            found = json.loads(text, parse_constant=lambda _: None)
        except (ValueError, RecursionError) as error:
            yield line, f"invalid JSON: {error}"
            continue
        yield line, found if isinstance(found, dict) else "not a JSON object"


def _json_rows(handle: TextIO) -> Found:
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


def _header(handle: TextIO) -> tuple[list[str], str, int]:
    """The names in the first line, what separates them, and how many lines that took."""
    header, lines = handle.readline(), 1
    delimiter = max(",\t;|", key=header.count)  # not only commas: European Excel writes semicolons
    if said := re.fullmatch(r'"?sep=(.)"?[,;\t|]*', header.rstrip("\r\n"), re.I):  # Excel, too
        delimiter, header, lines = said[1], handle.readline(), 2
    cells = next(csv.reader([header], delimiter=delimiter, skipinitialspace=True), [])
    return [name.strip() for name in cells], delimiter, lines


def _csv_rows(handle: TextIO) -> Found:
    names, delimiter, above = _header(handle)
    csv.field_size_limit(MOST_IN_A_FIELD)  # of the process: other libraries raise it
    reader = csv.reader(handle, delimiter=delimiter, skipinitialspace=True)
    while True:
        line = reader.line_num + above + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, f"invalid CSV: {error}"
            continue
        if any(cells := [cell.strip() for cell in cells]):
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
    data = picture_in(columns)
    image, captions, meta = split_columns(columns, ADDRESS_COLUMNS if data is None else ())
    if image is None and data is None and not captions:
        return BadRow(line, NOTHING)
    ids = columns.get("sentids")
    sentids = tuple(map(str, ids)) if isinstance(ids, list) and len(ids) == len(captions) else ()
    return Row(line, image, captions, meta, data, sentids)
