"""One collection that is served."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from mmsearch.collection import Reader
from mmsearch.errors import CollectionNotFound, ItemNotFound
from mmsearch.records import Item
from mmsearch.storage import Row

LARGEST_ID = 2**63 - 1


class Stored(Protocol):
    """An item with its id: a `Hit`, or a `Row`."""

    @property
    def id(self) -> int: ...
    @property
    def item(self) -> Item: ...


def version_of(item: Item) -> str:
    """Another text when the content of an item is another."""
    return sha256(f"{item.uri}\n{item.fingerprint}".encode("utf-8", "replace")).hexdigest()[:12]


@dataclass
class Progress:
    """How far a collection is: "ready", "indexing" or "failed"."""

    state: str = "ready"
    done: int = 0
    total: int | None = None
    message: str = ""
    error: str | None = None
    skipped: int = 0
    skipped_files: list[dict[str, str]] = field(default_factory=list)
    """The first of them, each with `path` and `reason`."""


@dataclass
class Served:
    """One collection."""

    name: str
    reader: Reader
    pixels: int
    """Of a picture that is sent, at most."""
    writable: Path | None = None
    watching: bool = False
    progress: Progress = field(default_factory=Progress)

    def row(self, id: int) -> Row:
        """Raises ItemNotFound."""
        found = self.reader.rows([id])
        if id not in found:
            raise ItemNotFound(f"there is no item {id} in {self.name!r}")
        return found[id]

    def shown_as(self, row: Stored) -> Stored:
        """The row whose picture stands for an item: itself, or the picture that a text is of."""
        if row.item.kind != "text":
            return row
        beside = self.reader.beside([row.item])
        return next((one for one in beside if one.item.kind == "image"), row)


def free_name(path: Path, taken: Container[str]) -> str:
    """What the collection in a directory is called: as its directory, with a number if need be."""
    name = free = path.absolute().name or "index"
    number = 1
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free


class NoSuchItem(CollectionNotFound):
    """Also an item that has no such thing: a picture of a text, say."""


def named(collections: Mapping[str, Served], name: str | None) -> Served:
    """One by its name; the first, if none is given.

    Raises:
        NoSuchItem: there is no such collection.
    """
    if name is None:
        return next(iter(collections.values()))
    if name not in collections:
        raise NoSuchItem(f"there is no collection {name!r}; there are: {', '.join(collections)}")
    return collections[name]
