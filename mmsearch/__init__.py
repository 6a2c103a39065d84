"""mmsearch: find images by words, images by images, and words by images.

    from mmsearch import Collection

    for hit in Collection.open("indexes/default").search(text="a dog on the beach"):
        print(hit.score, hit.item.uri)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmsearch.client import connect
    from mmsearch.collection import AddReport, Collection
    from mmsearch.encoders import Encoder, load_encoder
    from mmsearch.errors import MmsearchError
    from mmsearch.records import Hit, Item
    from mmsearch.search import Query
    from mmsearch.sources import Scan, iter_items

__version__ = "0.1.0"
__all__ = ["AddReport", "Collection", "Encoder", "Hit", "Item", "MmsearchError", "Query",
           "Scan", "connect", "iter_items", "load_encoder"]
_HOME = {"AddReport": "collection", "Collection": "collection", "connect": "client",
         "Encoder": "encoders", "load_encoder": "encoders", "MmsearchError": "errors",
         "Hit": "records", "Item": "records", "Query": "search", "Scan": "sources",
         "iter_items": "sources"}


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import mmsearch` costs nothing."""
    if name not in _HOME:
        raise AttributeError(f"module 'mmsearch' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"mmsearch.{_HOME[name]}"), name)
