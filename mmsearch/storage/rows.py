"""An item and its row in the table `items`: one from the other, both ways."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

from mmsearch.metadata import is_label
from mmsearch.records import Item, Kind
from mmsearch.storage import fulltext
from mmsearch.storage.conditions import Condition

KINDS = frozenset(get_args(Kind))
COLUMNS = ("size", "taken", "modified", "width", "height", "camera", "manifest")
"""Metadata with a column of its own; all other metadata is JSON in the column `meta`. There, a
manifest's column of the same name lives too: as `meta.size`, say, in `Item.meta` and in filters."""
ITEM = "i.id, i.seq, i.uri, i.kind, i.text, i.grp, i.meta, i.fingerprint, i.hash, " + ", ".join(
    f"i.{column}" for column in COLUMNS)


class Row(NamedTuple):
    """An item as stored: `id` is its own for life, `seq` that of its present vector, `hash` that
    of the content the vector was made from."""

    id: int
    seq: int
    item: Item
    hash: str


def as_row(row: Sequence[Any]) -> Row:
    """Raises ValueError or TypeError if it is no row that was ever written."""
    id, seq, uri, kind, text, group, meta, fingerprint, hash = row[:9]
    known = {name: value for name, value in zip(COLUMNS, row[9:], strict=True)
             if value is not None}
    rest = {f"meta.{key}" if key in COLUMNS else key: value
            for key, value in dict(json.loads(meta)).items()}
    if kind not in KINDS or {*map(type, row[2:9])} != {str} or bytes in map(type, row[9:]):
        raise ValueError(f"no such item: {row}")
    return Row(id, seq, Item(uri, kind, text, group, rest | known, fingerprint), hash)


def described(item: Item) -> tuple[Any, ...]:
    """The columns that describe an item, in the order of `_DESCRIBED`."""
    rest = {key.removeprefix("meta.") if key.removeprefix("meta.") in COLUMNS else key: value
            for key, value in item.meta.items() if key not in COLUMNS}
    meta = _to_json(rest) if rest else "{}"
    said = meta if not any(map(is_label, rest)) else _to_json(
        {key: value for key, value in rest.items() if not is_label(key)})
    words = fulltext.words(item.uri, item.kind, item.text, item.meta.get("camera") or "", said)
    return (item.uri, item.kind, item.text, item.group or item.uri, meta, item.fingerprint, words,
            *map(item.meta.get, COLUMNS))


_to_json = json.JSONEncoder(ensure_ascii=False, sort_keys=True, allow_nan=False).encode
_DESCRIBED = ("uri", "kind", "text", "grp", "meta", "fingerprint", "words", *COLUMNS)
PUT = (*_DESCRIBED, "hash", "seq")
"""The columns that a new item brings; its id is the next one."""
SQL_PUT = (f"INSERT INTO items ({', '.join(PUT)}) VALUES ({', '.join('?' * len(PUT))}) "
           "ON CONFLICT (uri, kind) DO UPDATE SET "
           + ", ".join(f"{column} = excluded.{column}" for column in PUT))
SQL_UPDATE = f"UPDATE items SET {', '.join(f'{column} = ?' for column in _DESCRIBED)} WHERE id = ?"
SQL_KNOWN = ("SELECT t.id FROM json_each(?) j CROSS JOIN items t WHERE t.uri = json_extract("
             "j.value, '$[0]') AND t.kind = json_extract(j.value, '$[1]')")
_COUNTED = ("INSERT INTO counts SELECT kind, {} FROM items WHERE {} GROUP BY kind "
            "ON CONFLICT (kind) DO UPDATE SET items = items + excluded.items")
COUNT_DROPPED = _COUNTED.format("-count(*)", "id IN (SELECT value FROM json_each(?))")
COUNT_NEW = _COUNTED.format("count(*)", "id > ?")


def where_sql(where: Condition | None, kinds: Sequence[Kind]) -> tuple[str, list[Any]]:
    """The WHERE clause (with a space before it, or empty) and its parameters."""
    clauses: list[str] = []
    parameters: list[Any] = []
    if where is not None:
        clauses.append(f"({where.sql})")
        parameters.extend(where.params)
    if kinds:
        clauses.append(f"i.kind IN ({', '.join('?' * len(kinds))})")
        parameters.extend(kinds)
    return (" WHERE " + " AND ".join(clauses) if clauses else ""), parameters
