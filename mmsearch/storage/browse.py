"""Looking through a collection without a query: its files, newest first, and what they can be
filtered by.

Listed is each picture, and of each video or document its first frame or page.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any, Literal, NamedTuple, TypeAlias

from mmsearch.errors import UsageError
from mmsearch.metadata import LABEL
from mmsearch.storage.conditions import Condition
from mmsearch.storage.rows import Row

Order: TypeAlias = Literal["taken", "added"]
_Items = Callable[[str, Sequence[Any]], Iterator[Row]]
_Rows = Callable[[str, Sequence[Any]], list[Any]]
_LISTED = ("(i.kind = 'image' OR i.kind = 'frame' AND NOT EXISTS (SELECT 1 FROM items f WHERE "
           "f.grp = i.grp AND (f.kind = 'image' OR f.kind = 'frame' AND f.id < i.id)))")
_MOST = 50
_MOST_MONTHS = 1200
_VALUES = {"cameras": ("camera", "i.camera"),
           "countries": ("country", "json_extract(i.meta, '$.country')"),
           "cities": ("city", "json_extract(i.meta, '$.city')"),
           "ratings": ("rating", "json_extract(i.meta, '$.rating')")}
_LISTS = {"people": "people", "keywords": "keywords", "colours": "colour"}
_SET = re.compile(rf"{LABEL}[\w.-]+")
_TYPES = {"image": "codec is missing and pages is missing", "video": "codec exists",
          "document": "pages exists"}


class Wanted(NamedTuple):
    """Which page: `k` files behind the one whose cursor is `after`; "taken" by date, those without
    one last, "added" by when they came into the collection."""

    k: int = 50
    after: str = ""
    order: Order = "taken"


class Page(NamedTuple):
    """rows: of this page; cursor: for the next one, empty at the end; total: of all pages."""

    rows: list[Row]
    cursor: str
    total: int


class Value(NamedTuple):
    """How many files have a value, and the condition that they meet."""

    value: str
    files: int
    where: str


class Facet(NamedTuple):
    """name: of what there are several, as "cities"; field: what conditions call it."""

    name: str
    field: str
    values: list[Value]


def page(items: _Items, rows: _Rows, where: Condition | None, wanted: Wanted) -> Page:
    """Raises UsageError for what is no cursor."""
    clause, params = _clause(where)
    total = int(rows(f"SELECT count(*) FROM items i WHERE {clause}", params)[0][0])
    by_date = wanted.order == "taken"
    if wanted.after:
        taken, last = _place(wanted.after)
        if by_date:
            clause += " AND (coalesce(i.taken, ''), i.id) < (?, ?)"
            params = [*params, taken, last]
        else:
            clause += " AND i.id < ?"
            params = [*params, last]
    order = "coalesce(i.taken, '') DESC, i.id DESC" if by_date else "i.id DESC"
    found = list(items(f"WHERE {clause} ORDER BY {order} LIMIT ?", [*params, wanted.k + 1]))
    more = len(found) > wanted.k
    del found[wanted.k:]
    cursor = f"{found[-1].item.meta.get('taken', '')}~{found[-1].id}" if more else ""
    return Page(found, cursor, total)


def facets(rows: _Rows, where: Condition | None) -> list[Facet]:
    """Values with how many files have them, most frequent first, dates newest first; facets
    without any are left out."""
    clause, params = _clause(where)

    def counted(value: str, source: str = "items i", most: int = _MOST, order: str = "2 DESC, 1"
                ) -> list[tuple[str, int]]:
        return [(str(one), files) for one, files in rows(
            f"SELECT {value}, count(*) FROM {source} WHERE {clause} AND {value} <> '' "
            f"GROUP BY 1 ORDER BY {order} LIMIT {most}", params)]

    found = [Facet(name, "taken", [Value(one, files, f"taken = {one}") for one, files in counted(
        f"substr(i.taken, 1, {length})", most=_MOST_MONTHS, order="1 DESC")])
        for name, length in (("years", 4), ("months", 7))]
    for name, (field, value) in _VALUES.items():
        found.append(Facet(name, field, [Value(one, files, f"{field} = {quoted(one)}")
                                         for one, files in counted(value)]))
    for name, field in _LISTS.items():
        values = counted("j.value", f"items i, json_each(i.meta, '$.{field}') j")
        found.append(Facet(name, field, [Value(one, files, f"{field} = {quoted(one)}")
                                         for one, files in values]))
    found += [*_labels(rows, clause, params), _folders(rows, clause, params),
              _types(rows, clause, params)]
    return [facet for facet in found if facet.values]


def quoted(value: str) -> str:
    """A value as a condition takes it, whatever is in it."""
    return "'" + value.replace("'", "''") + "'"


def _clause(where: Condition | None) -> tuple[str, list[Any]]:
    return (_LISTED, []) if where is None else (f"{_LISTED} AND ({where.sql})", [*where.params])


def _place(cursor: str) -> tuple[str, int]:
    taken, _, last = cursor.rpartition("~")
    if not (last.isascii() and last.isdecimal()) or len(last) > 18:
        raise UsageError(f"{cursor!r} is not the cursor of a page; pass that of the last page")
    return taken, int(last)


def _labels(rows: _Rows, clause: str, params: Sequence[Any]) -> Iterator[Facet]:
    """What `mmsearch classify --save` found: a facet for each set, called as its field is."""
    found = rows(
        f"SELECT j.key, j.value, count(*) FROM items i, json_each(i.meta) j WHERE {clause} "
        f"AND instr(i.meta, '\"{LABEL}') AND j.key GLOB '{LABEL}*' AND j.type = 'text' "
        "GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2", params)
    for field, values in groupby(found, key=lambda row: row[0]):
        if not _SET.fullmatch(field):  # a column of somebody's table
            continue
        yield Facet(field, field, [Value(one, files, f"{field} = {quoted(one)}")
                                   for _, one, files in islice(values, _MOST)])


def _folders(rows: _Rows, clause: str, params: Sequence[Any]) -> Facet:
    """Folders with what lies in them at any depth, below those that hold everything."""
    file = "CASE i.kind WHEN 'frame' THEN i.grp ELSE i.uri END"
    inside: Counter[str] = Counter()
    for folder, files in rows(
            f"SELECT rtrim({file}, replace({file}, '/', '')), count(*) FROM items i WHERE {clause} "
            "GROUP BY 1", params):
        while len(folder) > 1:
            inside[folder] += files
            folder = folder[: folder.rstrip("/").rfind("/") + 1]
    every = max(inside.values(), default=0)
    best = [one for one in inside.most_common() if one[1] < every][:_MOST]
    return Facet("folders", "path", [Value(folder.rstrip("/"), files, f"path ~ {quoted(folder)}")
                                     for folder, files in best])


def _types(rows: _Rows, clause: str, params: Sequence[Any]) -> Facet:
    kind = ("CASE WHEN json_extract(i.meta, '$.codec') IS NOT NULL THEN 'video' "
            "WHEN json_extract(i.meta, '$.pages') IS NOT NULL THEN 'document' ELSE 'image' END")
    found = rows(f"SELECT {kind}, count(*) FROM items i WHERE {clause} GROUP BY 1 "
                 "ORDER BY 2 DESC", params)
    return Facet("types", "", [Value(one, files, _TYPES[one]) for one, files in found])
