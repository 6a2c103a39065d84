"""The mode hybrid: late fusion of how near a vector is and how well words match.

By scores, words are put on the scale of cosines: a row that has all of them stands NAMED deviations
above what is foreign to the query (see `search.relevance`) if none matches better, the others in
proportion to their BM25. So what is named comes first, and else meanings decide. If no row has all
words, those with some of them count PARTLY as much, by scores and by ranks: a sentence shares words
with many pictures that it does not describe. The numbers were chosen on splits for that, of
Flickr8k, product photos and clip art; `bench/captions.py` measures what they bring
(docs/queries.md).
"""

from __future__ import annotations

import numpy as np

from mmsearch.indexes import reciprocal_rank, weighted_scores
from mmsearch.records import Neighbors
from mmsearch.search.looks import KINDS, Prepared
from mmsearch.search.relevance import SAMPLED, Scale, scale_of
from mmsearch.storage import Opened

NAMED, PARTLY = 8.0, 0.12
LEAST = 0.8
"""See `Catalog.match`: what shares but an "a" with a query has none of its words."""


def fused(opened: Opened, prepared: Prepared, cosines: dict[int, float], bm25s: dict[int, float],
          whole: bool) -> Neighbors:
    """What vectors and words found (scores by sequence number) as one ranking, [1, n].

    whole: whether what words found has all of them.
    """
    query, counts = prepared.query, 1.0 if whole else PARTLY
    if query.fusion == "rrf":
        return reciprocal_rank([_ranking(cosines), _ranking(bm25s)],
                               (1 - query.text_weight, query.text_weight * counts))
    centre, spread = _scale(opened, prepared, cosines)
    step = NAMED * counts * spread / max(bm25s.values(), default=1.0)
    words = {seq: centre + step * bm25 for seq, bm25 in bm25s.items()}
    return weighted_scores([_ranking(cosines), _ranking(words)],
                           (1 - query.text_weight, query.text_weight),
                           (min(cosines.values(), default=0.0), centre))


def _scale(opened: Opened, prepared: Prepared, cosines: dict[int, float]) -> Scale:
    """Of the query's cosines; where nothing was calibrated, the best of those found stands for
    NAMED deviations above the worst."""
    asked, known = prepared.asked, prepared.calibration
    if asked is None or known is None:
        low, high = min(cosines.values(), default=0.0), max(cosines.values(), default=1.0)
        return Scale(low, (high - low or 1.0) / NAMED)
    if prepared.query.find == "text" or not opened.rows(KINDS["image"]):
        return scale_of(asked.texts, known.texts, opened.sample(KINDS["text"], SAMPLED))
    return scale_of(asked.pictures, known.images, opened.sample(KINDS["image"], SAMPLED))


def _ranking(scores: dict[int, float]) -> Neighbors:
    return Neighbors(np.array([[*scores.values()]], np.float32), np.array([[*scores]], np.int64))
