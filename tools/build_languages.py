"""Make the table by which a query is taken for English or not.

    python tools/build_languages.py DATA

A logistic regression on words and the sequences of letters in them, as
`mmsearch.encoders.languages` has them, fitted to words and short lists of words as often as they
are used (PyPI package wordfreq), to the names that the built-in model knows, and to captions of
split train. What a fifth of tuxpaint_stamps is called in each language is left out, to choose by.
Written to mmsearch/encoders/builtin/english.npy.
"""

from __future__ import annotations

import random
import sys
import unicodedata
from functools import lru_cache
from pathlib import Path

import numpy as np
import scipy.sparse
import wordfreq
from build_multilingual import SETS, rows
from scipy.optimize import minimize

from mmsearch.encoders.languages import ROWS, TABLE, UNIT, features, words
from mmsearch.encoders.load import BUILTIN_DIR

DRAWN = {"en": 200_000} | dict.fromkeys(("de", "fr", "es", "it", "nl", "pt", "pl", "tr"), 40_000) \
    | dict.fromkeys(("cs", "sv", "vi", "id", "da", "nb", "fi", "hu", "ro", "sk", "sl", "ca", "sh"),
                    8_000)
"""Words and lists of words, by language."""
TAMED = 0.8
"""Words are drawn by this power of their frequency."""
STRENGTH = 5e-8
encoded = lru_cache(1 << 20)(features)


def drawn(language: str, number: int) -> list[str]:
    """Words, and lists of up to six; in every tenth the accents left out, as people type."""
    rng = np.random.default_rng(0)
    frequency = wordfreq.get_frequency_dict(language, "best")
    known = sorted(frequency, key=lambda word: (-frequency[word], word))
    known = known[: 60_000 if language == "en" else 30_000]
    shares = np.array([frequency[word] for word in known]) ** TAMED
    lengths = rng.choice([1, 1, 1, 2, 2, 3, 4, 6], number)
    picked = rng.choice(known, lengths.sum(), p=shares / shares.sum())
    texts = [" ".join(part) for part in np.split(picked, lengths.cumsum()[:-1])]
    return [plain(text) if language != "en" and rng.random() < 0.1 else text for text in texts]


def plain(text: str) -> str:
    return "".join(one for one in unicodedata.normalize("NFD", text)
                   if not unicodedata.combining(one))


def english(data: Path, without: set[str]) -> list[str]:
    rng = random.Random(0)
    names = [name.decode() for name in np.load(BUILTIN_DIR / "names.npy")["word"]]
    texts = [rng.choice(["", "", "", "a ", "the ", "two "]) + name
             for name in names for _ in range(12)]
    for name in SETS:
        found = [text for row in rows(data / name / "pairs.jsonl", "train", "en")
                 if row["image"] not in without for text in row["captions"]]
        texts += rng.sample(found, min(len(found), 8_000))
    return texts + drawn("en", DRAWN["en"])


def foreign(data: Path, without: set[str]) -> list[str]:
    rng, texts = random.Random(0), []
    stamps, flickr = (data / name / "pairs_multilingual.jsonl.gz"
                      for name in ("tuxpaint_stamps", "flickr8k"))
    for language in ("cs", "de", "es", "fr", "it", "nl", "pl", "pt_BR", "sv", "tr", "vi"):
        texts += 2 * [row["captions"][0] for row in rows(stamps, "train", language)
                      if row["image"] not in without]
    for language in ("cs", "de", "fr"):
        texts += [rng.choice(row["captions"]) for row in rows(flickr, "train", language)[::2]]
    for language, number in DRAWN.items():
        texts += drawn(language, number) if language != "en" else []
    return texts


def matrix(texts: list[str]) -> scipy.sparse.csr_matrix:
    """What `languages.log_odds` multiplies the weights by: float32 [texts, ROWS]."""
    columns, values, ends = [], [], [0]
    for text in texts:
        found = [encoded(word) for word in words(text)]
        columns += [at for at, _ in found]
        values += [shares / np.float32(len(found) ** 0.5) for _, shares in found]
        ends.append(ends[-1] + sum(len(at) for at, _ in found))
    return scipy.sparse.csr_matrix(
        (np.concatenate(values), np.concatenate(columns), ends), (len(texts), ROWS))


def fit(x: scipy.sparse.csr_matrix, sign: np.ndarray) -> np.ndarray:
    """Weights float [ROWS]; sign: of each text, 1 if it is English, else -1. Both count the same,
    and there is no intercept: a text that says nothing has the log odds 0."""
    weight = np.where(sign > 0, 0.5 / (sign > 0).sum(), 0.5 / (sign < 0).sum()).astype(np.float32)
    transposed = x.T.tocsr()

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (x @ weights.astype(np.float32))
        slope = transposed @ (-weight * sign / (1 + np.exp(margin)))
        return (float((weight * np.logaddexp(0, -margin)).sum()) + STRENGTH * weights @ weights / 2,
                slope + STRENGTH * weights)

    return minimize(loss, np.zeros(ROWS), jac=True, method="L-BFGS-B", options={"maxiter": 100}).x


def main() -> None:
    data = Path(sys.argv[1])
    stamps = rows(data / "tuxpaint_stamps/pairs_multilingual.jsonl.gz", "train", "de")
    without = {row["image"] for row in stamps[::5]}
    ours, others = english(data, without), foreign(data, without)
    sign = np.repeat(np.array([1, -1], np.float32), [len(ours), len(others)])
    weights = fit(matrix(ours + others), sign)
    np.save(BUILTIN_DIR / TABLE, np.clip(np.round(weights / UNIT), -127, 127).astype(np.int8))
    print(f"{len(ours)} English texts, {len(others)} others; wrote {BUILTIN_DIR / TABLE}")


if __name__ == "__main__":
    main()
