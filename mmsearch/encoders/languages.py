"""Whether a text is English, of one word already: what decides which text tower takes a query.

Each word, and each sequence of two to four letters in it, has a weight, fitted by
`tools/build_languages.py` to tell English from 20 other languages in Latin letters. What is written
in other letters is not English.
How often it is right: docs/multilingual.md.
"""

from __future__ import annotations

import math
import re
import unicodedata
from functools import lru_cache
from zlib import crc32

import numpy as np

from mmsearch.encoders.load import BUILTIN_DIR
from mmsearch.records import Ids, Vectors

TABLE = "english.npy"
"""int8 [ROWS]: the weight of all that has this row, in units of `UNIT`."""
ROWS, UNIT = 1 << 20, 0.5
ENGLISH, DOUBTFUL, FOREIGN = -1.5, -2.5, -4.0
"""Texts of the first log odds and more are taken for English; of the second and more, if they are
so with their words spelled right; of the third and less, they surely are not. Below zero: most who
ask an English model ask in English, and many words belong to several languages."""
_WORD = re.compile(r"[^\W\d_]+")
_LATIN = re.compile(r"[a-z\u00aa-\u024f\u1e00-\u1eff]")


def words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def features(word: str) -> tuple[Ids, Vectors]:
    """The rows of the word itself and of all sequences of letters in it, and how much each counts:
    the word as much as all others."""
    marked = f"<{word}>"
    parts = [marked[at:at + n] for n in (2, 3, 4) for at in range(len(marked) - n + 1)]
    shares = np.array([0.5, *[0.5 / len(parts)] * len(parts)], np.float32)
    return np.array([crc32(part.encode()) % ROWS for part in (word, *parts)], np.int64), shares


def log_odds(text: str) -> float:
    """That a text is English: the weights of its words, added up; the more words, the less each
    counts, since they are of one language. Without a word 0."""
    found = words(text)
    letters = "".join(found)
    if 2 * len(_LATIN.findall(letters)) < len(letters):
        return -math.inf
    total = sum(map(_weight, found))
    return UNIT * total / math.sqrt(len(found) or 1)


def is_english(text: str) -> bool:
    return log_odds(text) >= ENGLISH


@lru_cache(maxsize=10_000)
def _weight(word: str) -> float:
    """A query's words are looked at several times, and the next queries have most of them again."""
    rows, shares = features(word)
    return float(shares @ _table()[rows])


@lru_cache(maxsize=1)
def _table() -> np.ndarray[tuple[int], np.dtype[np.int8]]:
    table: np.ndarray[tuple[int], np.dtype[np.int8]] = np.load(BUILTIN_DIR / TABLE, mmap_mode="r")
    return table
