"""What the reranker of a model looks at of pictures, stored while they are indexed, on request."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from mmsearch.encoders import Encoder, reranker_of
from mmsearch.errors import UsageError
from mmsearch.storage import Catalog, PlacesWriter


def check_reranker(encoder: Encoder) -> None:
    """Raises UsageError: the model has none."""
    if reranker_of(encoder) is None:
        raise UsageError(f"the model {encoder.name} has no reranker; leave out --rerank (rerank)")


def places_writer(root: Path, catalog: Catalog, encoder: Encoder
                  ) -> AbstractContextManager[PlacesWriter | None]:
    """Where it is stored, if that was asked for and the model has one."""
    reranker = reranker_of(encoder) if catalog.settings.get("rerank") else None
    return PlacesWriter(root, reranker.made_by) if reranker else nullcontext()
