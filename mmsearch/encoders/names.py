"""A memory of names: what a query is called is moved towards what the image tower sees under it.

A small text tower learned sentences; of most names (koala, accordion) it has never seen a picture.
The memory has a key for every name, the text tower's features of it, and a value, the direction in
which pictures of it lie. A query that is a name attends to the keys that it is like; one that has
names among its words is moved to their values, the further the less it is near them.
What the values are made of: docs/names.md, `tools/build_names.py`.

Only queries for pictures are moved: pictures and captions are indexed as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from mmsearch.records import Ids, Vectors

_CALLED = re.compile(
    r"\s*(?:an? |the )?(?:photo(?:graph)?|picture|image)s? of (?:an? |the )?", re.IGNORECASE)

_WORD = re.compile(r"\w[\w'-]*")
_KIND = re.compile(r"\bclip[ -]?art\b")
"""Words of what a picture is, not of what it shows."""

ENDINGS = (("ies", "y"), ("ves", "f"), ("es", ""), ("s", ""))
"""Of plurals, and what the singular has instead."""

_ATTENDED = 16
"""Names that a query attends to: of more, the share is nothing."""


def called(text: str) -> str:
    """What is asked for: "a photo of a koala" is called koala."""
    return text[match.end():] or text if (match := _CALLED.match(text)) else text


class Names:
    """The table of a model directory, memory-mapped: a row is a `word`, the `key`, int8 [F], and
    the `value`, float16 [dim], of length 1 at most.

    keys: other features of the same names, [n, F]; `moved` then takes these.
    settings: "strength", how far a query that is a name is moved, in lengths of its own vector;
        "sharpness", attention is exp(likeness / sharpness), a likeness is a cosine to a key;
        "least", the likeness from which on a query is moved, the further the more it is like;
        "within", how far a query is moved by names among its words, for each 1 that its cosine to
        their values is below "near".
    """

    def __init__(self, path: Path, settings: Mapping[str, float],
                 keys: Vectors | None = None) -> None:
        self.table = np.load(path, mmap_mode="r")
        self.settings = settings
        self.keys = (self.table["key"] if keys is None else keys).astype(np.float32)
        self.lengths = np.sqrt(np.einsum("nf,nf->n", self.keys, self.keys))
        if not _ATTENDED < len(self.table) == len(self.keys) or not self.lengths.all():
            raise ValueError("not a table of names")

    def queries(self, texts: Sequence[str], run: Callable[[Sequence[str]], tuple[Vectors, Vectors]]
                ) -> tuple[Vectors, Vectors]:
        """Vectors of at least one text, moved by the names in it, and as they are, [n, dim] each.

        run: the text tower: texts -> vectors [n, dim] and features [n, F].
        """
        names = [called(text) for text in texts]
        other = [n for n, name in enumerate(names) if name != texts[n]]
        vectors, features = run([*texts, *[names[n] for n in other]])
        features[other] = features[len(texts):]
        plain = vectors[:len(texts)]
        moved = self.moved(plain, features[:len(texts)])
        rest = np.flatnonzero((moved == plain).all(1))  # no names themselves, they may contain some
        moved[rest] = self.moved_within(plain[rest], [names[n] for n in rest])
        return moved, plain

    def moved(self, vectors: Vectors, features: Vectors) -> Vectors:
        """Query vectors, float32 [n, dim], by the text tower's features [n, F] of their names."""
        lengths = np.linalg.norm(features, axis=1, keepdims=True) * self.lengths
        likeness = features @ self.keys.T / lengths
        nearest = np.argpartition(-likeness, _ATTENDED, axis=1)[:, :_ATTENDED]
        out: Vectors = vectors.copy()
        for n in np.flatnonzero(likeness.max(1) > self.settings["least"]):
            out[n] += self._value(likeness[n, nearest[n]], nearest[n])
            out[n] /= np.linalg.norm(out[n])
        return out

    def moved_within(self, vectors: Vectors, texts: Sequence[str]) -> Vectors:
        """Vectors of queries, float32 [n, dim], by the names among their words: a koala in a tree.

        The text tower has learned what most words of captions look like, and then is near their
        values already. So a sentence hardly moves, and a word that it never saw a picture of does.
        """
        out: Vectors = vectors.copy()
        if "within" not in self.settings:
            return out
        for n, text in enumerate(texts):
            words = _WORD.findall(_KIND.sub(" ", text.lower()))
            if rows := list(self._among(words)):
                values = self.table["value"][rows].astype(np.float32)
                near = values @ vectors[n] / np.linalg.norm(values, axis=1)
                lacking = np.maximum(self.settings["near"] - near, 0)
                out[n] += self.settings["within"] * (lacking @ values) / len(rows)
                out[n] /= np.linalg.norm(out[n])
        return out

    def _among(self, words: Sequence[str]) -> Iterator[int]:
        """The rows of the names among words, the longest first; each word belongs to one."""
        at = 0
        while at < len(words):
            longest = self._most_words.get(words[at], 1)
            for end in range(min(len(words), at + longest), at, -1):
                if (row := self._row(" ".join(words[at:end]))) is not None:
                    yield row
                    break
            else:
                end = at + 1
            at = end

    def _row(self, name: str) -> int | None:
        """Of a name, or of what it is the plural of."""
        singulars = (name.removesuffix(ending) + instead for ending, instead in ENDINGS
                     if name.endswith(ending))
        return next((self._rows[one] for one in (name, *singulars) if one in self._rows), None)

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {word.decode(): row for row, word in enumerate(self.table["word"])}

    @cached_property
    def _most_words(self) -> dict[str, int]:
        """Of the names that begin with a word."""
        found: dict[str, int] = {}
        for words in map(str.split, self._rows):
            found[words[0]] = max(found.get(words[0], 1), len(words))
        return found

    def _value(self, likeness: Vectors, rows: Ids) -> Vectors:
        best, least = likeness.max(), self.settings["least"]
        share = np.exp((likeness - best) / self.settings["sharpness"])
        share *= self.settings["strength"] * (best - least) / (1 - least) / share.sum()
        found: Vectors = share @ self.table["value"][rows].astype(np.float32)
        return found
