"""What the reranker of a model looks at of pictures, stored while they are indexed, on request."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from mmsearch.encoders import Encoder, reranker_of
from mmsearch.errors import UsageError
from mmsearch.ingest.upkeep import DEAD_SHARE
from mmsearch.storage import Catalog, PlacesWriter, places_facts, prune_places


def check_reranker(encoder: Encoder) -> None:
    """Raises UsageError: the model has none."""
    if reranker_of(encoder) is None:
        raise UsageError(f"the model {encoder.name} has no reranker; leave out --rerank (rerank)")


def places_writer(root: Path, catalog: Catalog, encoder: Encoder
                  ) -> AbstractContextManager[PlacesWriter | None]:
    """Where it is stored, if that was asked for and the model has one."""
    reranker = reranker_of(encoder) if catalog.settings.get("rerank") else None
    return PlacesWriter(root, reranker.made_by) if reranker else nullcontext()


def drop_dead_places(root: Path, catalog: Catalog) -> None:
    """Remove what is stored of pictures that are gone, once it is more than DEAD_SHARE of all:
    finding it takes a look at every item."""
    counts = catalog.counts()
    live = counts.get("image", 0) + counts.get("frame", 0)
    if live < (1 - DEAD_SHARE) * places_facts(root).get("pictures", 0):
        prune_places(root, catalog.path)
