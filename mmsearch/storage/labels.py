"""Labels that `mmsearch classify` writes: two fields of an item's metadata for each set of them,
`label:NAME` and `confidence:NAME`.

They are in the column `meta` like all other metadata, so that conditions, JSON and exports have
them, and outside of the full text, which has what people said.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from mmsearch.metadata import CONFIDENCE, LABEL

# A tile says what its picture says.
_PUT = ("UPDATE items SET meta = json_patch(meta, ?1) WHERE (id = ?2 AND seq = ?3) OR (grp = ?4 "
        "AND kind = 'frame' AND substr(uri, 1, length(grp) + 6) = grp || '#xywh=' AND EXISTS ("
        "SELECT 1 FROM items p WHERE p.id = ?2 AND p.seq = ?3))")
_DROP = "UPDATE items SET meta = json_patch(meta, ?) WHERE json_type(meta, ?) IS NOT NULL"


class Labelled(NamedTuple):
    """id, seq, uri: of an item as it was when it was classified; label: None for none of them;
    confidence: 0 to 1."""

    id: int
    seq: int
    uri: str
    label: str | None
    confidence: float


def put_labels(conn: sqlite3.Connection, name: str, labels: Iterable[Labelled]) -> int:
    """Write a set of labels, and take away those that these items had in it; -> how many items have
    one now. Items that were replaced or removed since are passed over."""
    found = 0
    for one in labels:
        confidence = None if one.label is None else round(one.confidence, 4)
        patch = _patch(name, one.label, confidence)
        done = conn.execute(_PUT, [patch, one.id, one.seq, one.uri]).rowcount
        found += done > 0 and one.label is not None
    return found


def drop_labels(conn: sqlite3.Connection, name: str) -> int:
    """Remove a set of labels; -> how many items had one."""
    key = f'$."{LABEL}{name}"'
    return conn.execute(_DROP, [_patch(name, None, None), key]).rowcount


def _patch(name: str, label: str | None, confidence: float | None) -> str:
    """As JSON Merge Patch (RFC 7396) has it, where null removes a field."""
    return json.dumps({f"{LABEL}{name}": label, f"{CONFIDENCE}{name}": confidence},
                      ensure_ascii=False)
