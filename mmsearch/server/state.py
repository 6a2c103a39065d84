"""What all routes share: the collections by name, and the threads that work for them."""

from __future__ import annotations

import gc
from contextlib import suppress
from pathlib import Path
from threading import Thread

from mmsearch.client import socket_in
from mmsearch.collection import Collection, Reader
from mmsearch.encoders import BUILTIN
from mmsearch.errors import CollectionNotFound, MmsearchError, ModelError
from mmsearch.server.admission import Admission
from mmsearch.server.batching import Batches
from mmsearch.server.measures import Measures, TextCache
from mmsearch.server.served import Served, free_name, named
from mmsearch.server.settings import Settings
from mmsearch.server.thumbs import Thumbs
from mmsearch.server.turns import Turns
from mmsearch.storage import Wanted

_FETCHED = 16
"""Pictures that are fetched from the web at the same time."""


class Server:
    """What all routes share."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.ready = False
        self.collections: dict[str, Served] = {}
        for number, path in enumerate(settings.indexes):
            name = free_name(path, self.collections)
            writable = settings.writable.absolute() if settings.writable and number == 0 else None
            written = number == 0 and (settings.paths or writable)
            reader = collection_at(path, settings.model) if written else Reader.open(
                path, model=settings.model)
            self.collections[name] = Served(name, reader, settings.pixels, writable,
                                            settings.watch and number == 0)
        self.own = dict(zip(map(socket_in, settings.indexes), self.collections, strict=True))
        self.thumbs = Thumbs(settings.thumbs, settings.thumbs_bytes)
        self.decoding = Turns(settings.decoders, settings.deadline)
        self.measures = Measures()
        self.measures.registry.register(TextCache(
            {name: one.reader.texts for name, one in self.collections.items()}))
        self.batches = Batches(self.measures, settings.deadline, settings.decoders,
                               settings.largest_batch)
        self.admission = Admission(settings.waiting, self.measures)
        for what, count in (("request", self.admission.count), ("search", self.batches.count),
                            ("decode", self.decoding.count)):
            self.measures.watch(what, count)
        self.fetching = Turns(_FETCHED, settings.deadline)
        self.writing = Turns(1, settings.deadline)

    def start(self) -> None:
        """Load the models, so that nobody waits for them."""
        for one in self.collections.values():
            with suppress(ModelError):  # that of vectors made elsewhere cannot be loaded
                one.reader.embed(texts=["a picture"])
            with suppress(MmsearchError):  # what the page asks first, which then is there
                one.reader.page(Wanted(60))
                one.reader.facets()
        _keep()
        self.ready = True
        Thread(target=self._warm, name="mmsearch-warming", daemon=True).start()

    def _warm(self) -> None:
        """Load what only some searches need, beside the first of the others."""
        for one in self.collections.values():
            with suppress(MmsearchError):
                one.reader.embed(texts=["ein Hund im Schnee"])
        _keep()

    def collection(self, name: str | None) -> Served:
        """See `served.named`."""
        return named(self.collections, name)

    def close(self) -> None:
        self.ready = False
        self.decoding.close()
        self.fetching.close()
        self.batches.close()
        self.writing.close()
        for one in self.collections.values():
            one.reader.close()


def _keep() -> None:
    """What is loaded by now stays: to look through it for garbage holds all requests up, for more
    than 100 ms each time."""
    gc.collect()
    gc.freeze()


def collection_at(path: Path, model: str | None) -> Collection:
    """The collection in a directory; made where there is none."""
    try:
        return Collection.open(path, model=model)
    except CollectionNotFound:
        return Collection.create(path, model=model or BUILTIN)
