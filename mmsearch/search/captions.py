"""Pictures that have captions are found by both: late fusion, when the query is words.

u and v say how many deviations a picture and the best of its captions are nearer to the query than
what is foreign (see `search.relevance`). A picture then counts as one without captions would of

    PICTURE * u + CAPTION * v + OFFSET

deviations: the log odds of a match, given both, in units of those given the picture alone. So it
takes its place among pictures that have no captions. Fitted to Flickr8k val and product photos val
(one caption of each is its own, the others ask). `bench/captions.py` measures what it brings.
"""

from __future__ import annotations

import numpy as np

from mmsearch.records import Ids, Kind, Neighbors, Vectors
from mmsearch.search.query import Asked
from mmsearch.search.relevance import SAMPLED, Calibration, Floats, Scale, scale_of
from mmsearch.storage import Catalog, Opened

PICTURE, CAPTION, OFFSET = 0.6, 0.4, -0.6
PICTURES: tuple[Kind, ...] = ("image", "frame")


def with_captions(catalog: Catalog, opened: Opened, asked: Asked, calibration: Calibration,
                  near: Neighbors, captions: Neighbors, allowed: Ids | None) -> Neighbors:
    """The pictures of one search ([1, n] each), and those that the captions near to it belong to,
    by both; scores stay those of pictures without captions.

    allowed: sequence numbers (ascending) of the pictures that may be found; None: all.
    """
    seqs, texts = near.ids[0][near.ids[0] >= 0], captions.ids[0][captions.ids[0] >= 0]
    pairs = catalog.captioned(seqs, texts)
    if allowed is not None:
        pairs = pairs[np.isin(pairs[:, 0], allowed)]
    if not len(pairs):
        return near
    seqs = np.union1d(seqs, pairs[:, 0])
    looked = _cosines(opened, PICTURES, seqs, asked.pictures)
    known = dict(zip(near.ids[0].tolist(), near.scores[0].tolist(), strict=True))
    cosines = np.array([known.get(seq, cosine) for seq, cosine in zip(
        seqs.tolist(), looked.tolist(), strict=True)], np.float64)

    texts, owners = np.unique(pairs[:, 1]), np.searchsorted(seqs, pairs[:, 0])
    said = _cosines(opened, ("text",), texts, asked.texts)[np.searchsorted(texts, pairs[:, 1])]
    best = np.full(len(seqs), -np.inf)
    np.maximum.at(best, owners, said)

    pictures = scale_of(asked.pictures, calibration.images, opened.sample(PICTURES, SAMPLED))
    words = scale_of(asked.texts, calibration.texts, opened.sample(("text",), SAMPLED))
    scores = np.where(np.isfinite(best), _both(cosines, best, pictures, words), cosines)
    order = np.lexsort((seqs, -scores))
    return Neighbors(scores[None, order].astype(np.float32), seqs[None, order])


def _both(cosines: Floats, best: Floats, pictures: Scale, words: Scale) -> Floats:
    u = (cosines - pictures.centre) / pictures.spread
    v = (best - words.centre) / words.spread
    found: Floats = pictures.centre + pictures.spread * (PICTURE * u + CAPTION * v + OFFSET)
    return found


def _cosines(opened: Opened, kinds: tuple[Kind, ...], seqs: Ids, query: Vectors) -> Vectors:
    """Of stored vectors (numbers ascending, each of one of these kinds) to a query."""
    found: Vectors = sum(opened.gather(seqs, kind, len(query)) for kind in kinds) @ query
    return found
