"""Names that a person gave to a few pictures: the table `taught`, a row a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmsearch.records import Vectors
from mmsearch.uris import nfc

CREATE = """CREATE TABLE taught (key TEXT, name TEXT, is_a TEXT, uri TEXT, encoder TEXT,
    vector BLOB, picture BLOB, PRIMARY KEY (key, uri))"""
COLUMNS = "key, name, is_a, uri, encoder, vector, picture"
THERE = "SELECT 1 FROM sqlite_master WHERE name = 'taught'"
"""Whether the catalog has the table: one that no later version has written to lacks it."""
PUT = f"INSERT OR REPLACE INTO taught ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, eq=False)
class TaughtPicture:
    """One picture of a name.

    is_a: a word for what it is ("dog"), or "".
    uri: where the picture came from; it need not be there any more.
    encoder: what made `vector`, float32 [dim], of unit length.
    picture: a small JPEG of it, to be encoded by another model; None where there is only a vector.
    """

    name: str
    is_a: str
    uri: str
    encoder: str
    vector: Vectors
    picture: bytes | None = None

    def row(self) -> tuple[Any, ...]:
        return (key_of(self.name), self.name, self.is_a, self.uri, self.encoder,
                self.vector.astype("<f2").tobytes(), self.picture)


def key_of(name: str) -> str:
    """The same for two spellings of one name: Rex and rex."""
    return nfc(name).casefold()


def as_taught(row: Sequence[Any]) -> TaughtPicture:
    """Raises ValueError or TypeError if it is no row that was ever written."""
    _, name, is_a, uri, encoder, vector, picture = row
    return TaughtPicture(name, is_a, uri, encoder,
                         np.frombuffer(vector, "<f2").astype(np.float32), picture)


def taught_in(rows: Callable[[str], list[Any]], pictures: bool) -> list[TaughtPicture]:
    """What names were given to, in the order of the names.

    rows: reads a catalog; pictures: with the copies of the pictures.

    Raises ValueError or TypeError as `as_taught`.
    """
    if not rows(THERE):
        return []
    columns = COLUMNS if pictures else COLUMNS.replace("picture", "NULL")
    return [as_taught(row) for row in rows(f"SELECT {columns} FROM taught ORDER BY key, uri")]
