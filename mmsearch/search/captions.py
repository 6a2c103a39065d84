"""Pictures that have captions are looked for by a joint representation, when the query is words.

That is the weighted mean of the picture's vector and its captions' (their mean, at length 1), at
length 1. Its cosine to a query, in deviations above what is foreign (see `search.relevance`), is
put on the scale of pictures without captions, so that it takes its place among them:

    SLOPE * deviations + OFFSET

which is the log odds of a match given the one in units of those given the other. All numbers were
chosen on Flickr8k val and product photos val (one caption is the picture's own, another asks).
`bench/captions.py` measures what this brings.
"""

from __future__ import annotations

import numpy as np

from mmsearch.records import Ids, Kind, Neighbors, Vectors
from mmsearch.search.query import Asked
from mmsearch.search.relevance import SAMPLED, Calibration, scale_of
from mmsearch.storage import Catalog, Opened

PICTURE, SLOPE, OFFSET = 0.6, 0.9, -0.7
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
    captioned, owners = np.unique(pairs[:, 0], return_inverse=True)
    texts, which = np.unique(pairs[:, 1], return_inverse=True)
    dim = len(asked.pictures)
    said = np.zeros((len(captioned), dim), np.float32)
    np.add.at(said, owners, opened.gather(texts, "text", dim)[which])
    seen = np.sum([opened.gather(captioned, kind, dim) for kind in PICTURES], axis=0)

    query = asked.pictures
    plain = scale_of(query, calibration.images, opened.sample(PICTURES, SAMPLED))
    both = scale_of(query, _foreign(calibration), _sample(opened))
    above = (joint(seen, said) @ query - both.centre) / both.spread
    scores = plain.centre + plain.spread * (SLOPE * above + OFFSET)

    bare = ~np.isin(near.ids[0], captioned) & (near.ids[0] >= 0)
    ids = np.concatenate([captioned, near.ids[0][bare]])
    scores = np.concatenate([scores, near.scores[0][bare]]).astype(np.float32)
    order = np.lexsort((ids, -scores))
    return Neighbors(scores[None, order], ids[None, order])


def joint(pictures: Vectors, captions: Vectors) -> Vectors:
    """Vectors of pictures (unit rows) and of their captions (of any length), float32 [n, dim] each,
    -> unit rows."""
    return _unit(PICTURE * pictures + (1 - PICTURE) * _unit(captions))


def _foreign(calibration: Calibration) -> Vectors:
    """Its pictures with their captions, which are as many for each."""
    count, dim = calibration.images.shape
    return joint(calibration.images, calibration.texts.reshape(count, -1, dim).mean(1))


def _sample(opened: Opened) -> Vectors:
    """What the mean of many pictures is with the captions of any, as often as it counts; the mean
    does not depend on which picture and which caption lie side by side."""
    pictures, texts = (opened.sample(kinds, SAMPLED) for kinds in (PICTURES, ("text",)))
    seen, said = pictures.mean(0), texts.mean(0)
    length = PICTURE ** 2 + (1 - PICTURE) ** 2 + 2 * PICTURE * (1 - PICTURE) * float(seen @ said)
    mean: Vectors = (PICTURE * seen + (1 - PICTURE) * said) / np.sqrt(max(length, 1e-12))
    return np.broadcast_to(mean, (min(len(pictures), len(texts)), len(mean)))


def _unit(rows: Vectors) -> Vectors:
    found: Vectors = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return found
