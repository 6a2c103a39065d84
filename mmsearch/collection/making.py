"""Making an empty collection."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from mmsearch.encoders import Encoder, pinned_name
from mmsearch.ingest import upkeep
from mmsearch.storage import CATALOG, Catalog, create_catalog, damaged, writer_lock


def make_collection(root: Path, encoder: Encoder, model: str) -> None:
    """Make an empty collection, unless there is one."""
    upkeep.refuse_foreign(root, CATALOG)  # before the lock, which leaves a file
    with writer_lock(root):
        upkeep.refuse_foreign(root, CATALOG)
        made = {"encoder": encoder.name, "dim": encoder.dim, "model": pinned_name(model, encoder)}
        path = root / CATALOG
        if not path.exists() or not path.stat().st_size:
            create_catalog(path, made)
        with closing(Catalog(path, write=True)) as catalog:
            if "encoder" not in catalog.settings and catalog.segments():
                raise damaged(path, "settings")
            if "encoder" not in catalog.settings:  # killed, in an earlier version
                catalog.put_settings(made)
