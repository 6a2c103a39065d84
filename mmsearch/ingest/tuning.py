"""Which queries an approximate index is tuned on: cross-modal ones, as it will be asked."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

import numpy as np

from mmsearch.encoders import load_encoder
from mmsearch.errors import MmsearchError
from mmsearch.indexes import DEFAULT_RECALL, RescoredIndex, tune_index
from mmsearch.records import Ids, Kind, Tuning, Vectors
from mmsearch.storage import Catalog, Opened, Tuner

QUERIES, QUERIES_LARGE, LARGE = 2000, 1000, 2_000_000
"""Half of them tune and half of them measure; fewer where exact answers take long to find."""
FEWEST = 200
"""With fewer of its own, a collection is tuned on the texts that come with the package."""


def tuner_for(catalog: Catalog, opened: Opened, kind: Kind) -> Tuner:
    """What tunes an index over the rows of `kind` to the recall that the collection asks for."""
    target = float(catalog.settings.get("recall", DEFAULT_RECALL))

    def tuner(index: RescoredIndex) -> Tuning:
        limit = QUERIES if index.rows <= LARGE else QUERIES_LARGE
        queries, source = _queries(catalog, opened, kind, limit)
        return tune_index(index, queries, target, source)

    return tuner


def _queries(catalog: Catalog, opened: Opened, kind: Kind, limit: int) -> tuple[Vectors, str]:
    """float32 [<= limit, dim], and what they are."""
    other: Kind = "image" if kind == "text" else "text"
    dim = int(catalog.settings["dim"])
    own = catalog.select(None, [other])
    if len(own) >= FEWEST:
        what = "text" if other == "text" else "picture"
        return opened.gather(_evenly(own, limit), other, dim), f"{what} queries"
    if kind != "text":
        model = str(catalog.settings.get("model"))
        try:
            encoder = load_encoder(model)
            if (encoder.name, encoder.dim) == (catalog.settings.get("encoder"), dim):
                return _shipped(model)[:limit], "text queries"
        except MmsearchError:
            pass  # vectors from elsewhere, by a model that is not here
    rows = _evenly(catalog.select(None, [kind]), limit)
    return opened.gather(rows, kind, dim), "vectors of its own (text queries would find fewer)"


@lru_cache(maxsize=1)
def _shipped(model: str) -> Vectors:
    """The texts that come with the package, embedded: they take seconds."""
    texts = files("mmsearch.ingest").joinpath("queries.txt").read_text("utf-8").splitlines()
    return load_encoder(model).encode_texts(texts)


def _evenly(rows: Ids, wanted: int) -> Ids:
    return rows[np.linspace(0, len(rows) - 1, min(wanted, len(rows))).astype(np.int64)]
