"""The collections of a server, by name, and what else its routes share."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from mmsearch.collection import Collection, Reader
from mmsearch.encoders import BUILTIN
from mmsearch.errors import CollectionNotFound, ModelError
from mmsearch.records import Item
from mmsearch.server.settings import Settings
from mmsearch.server.thumbs import Thumbs
from mmsearch.server.turns import Turns
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
        """Raises NoSuchItem."""
        found = self.reader.rows([id])
        if id not in found:
            raise NoSuchItem(f"there is no item {id} in {self.name!r}")
        return found[id]

    def shown_as(self, row: Stored) -> Stored:
        """The row whose picture stands for an item: itself, or the picture that a text is of."""
        if row.item.kind != "text":
            return row
        beside = self.reader.beside([row.item])
        return next((one for one in beside if one.item.kind == "image"), row)


class NoSuchItem(CollectionNotFound):
    """Also an item that has no such thing: a picture of a text, say."""


class Server:
    """What all routes share."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.ready = False
        self.collections: dict[str, Served] = {}
        for number, path in enumerate(settings.indexes):
            name = _free_name(path.absolute().name or "index", self.collections)
            writable = settings.writable if number == 0 else None
            written = number == 0 and (settings.paths or writable)
            reader = _collection(path, settings.model) if written else Reader.open(
                path, model=settings.model)
            self.collections[name] = Served(name, reader, settings.pixels, writable,
                                            settings.watch and number == 0)
        self.thumbs = Thumbs(settings.thumbs, settings.thumbs_bytes)
        self.decoding = Turns(settings.decoders, settings.waiting, settings.deadline)
        self.writing = Turns(1, settings.waiting, settings.deadline)

    def start(self) -> None:
        """Load the models, so that nobody waits for them."""
        for one in self.collections.values():
            with suppress(ModelError):  # that of vectors made elsewhere cannot be loaded
                one.reader.embed(texts=["a picture"])
        self.ready = True

    def collection(self, name: str | None) -> Served:
        """One by its name; the first, if none is given.

        Raises:
            NoSuchItem: there is no such collection.
        """
        if name is None:
            return next(iter(self.collections.values()))
        if name not in self.collections:
            raise NoSuchItem(f"there is no collection {name!r}; there are: "
                             f"{', '.join(self.collections)}")
        return self.collections[name]

    def close(self) -> None:
        self.ready = False
        self.decoding.close()
        self.writing.close()
        for one in self.collections.values():
            one.reader.close()




def _collection(path: Path, model: str | None) -> Collection:
    try:
        return Collection.open(path, model=model)
    except CollectionNotFound:
        return Collection.create(path, model=model or BUILTIN)


def _free_name(name: str, taken: dict[str, Served]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free
