"""Names that a person gave to a few pictures: queries that have one among their words find it.

No model knows who Rex is. So a query is read with a word for what Rex is in the place of the name
("a dog on the beach"), and its vector t is moved towards his pictures:

    t + s c        c: the mean of the vectors of his pictures, less that of pictures in general

If nobody said what Rex is, the word is "thing", and what the text tower makes of "thing" alone is
taken off: of "a thing on the beach" the beach is left, of the name alone only c. Words and pictures
lie in cones of their own, and cosines across vary otherwise than cosines within; so s is in
proportion to how much the texts of the calibration set tell its pictures apart, compared with its
pictures among themselves. What it gives: docs/teaching.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mmsearch.records import Vectors
from mmsearch.search.relevance import Calibration
from mmsearch.storage import TaughtPicture, key_of
from mmsearch.uris import nfc

THING = "thing"
STRENGTH = {"known": 0.6, "thing": 1.0}
"""How much the pictures of a name count beside the words of a query, where it is known what it is,
and where they are all that is known; chosen by bench/teach.py."""
_WORD = re.compile(r"\w+")
_SAYS_NOTHING = frozenset({
    "a", "an", "the", "my", "our", "your", "his", "her", "this", "that", "of", "photo", "photos",
    "photograph", "photographs", "picture", "pictures", "image", "images"})


class _Name(NamedTuple):
    is_a: str
    value: Vectors


class _Reading(NamedTuple):
    """A text with words in the place of its names. values: those of the names, float32 [n, dim].
    less: what is taken off the words: nothing, "thing", or all, where they say nothing."""

    sentence: str
    values: Vectors
    less: str


class Names:
    """The names that were taught, all by pictures of one encoder, for queries to it."""

    def __init__(self, taught: Sequence[TaughtPicture], calibration: Calibration,
                 strength: Mapping[str, float] = STRENGTH) -> None:
        centre = calibration.images.mean(0)
        scale = _spread(calibration.texts, calibration) / _spread(
            calibration.images - centre, calibration)
        self._strength = {whose: share * scale for whose, share in strength.items()}
        self._names: dict[str, _Name] = {}
        for key in dict.fromkeys(key_of(one.name) for one in taught):
            those = [one for one in taught if key_of(one.name) == key]
            mean = _unit(np.mean([one.vector for one in those], axis=0))
            self._names[key] = _Name(those[0].is_a, _unit(mean - centre))
        # Both ways: of Weiß, Weiß and WEISS.
        self._written = sorted({one.name for one in taught} | self._names.keys(),
                               key=len, reverse=True)
        either = "|".join(re.escape(one).replace(r"\ ", r"\s+") for one in self._written)
        self._pattern = re.compile(rf"(?<!\w)({either})(?:(e?s)|(['\u2019]s?))?(?!\w)",
                                   re.IGNORECASE)

    def wordings(self, texts: Iterable[str]) -> Iterator[str]:
        """All that is to be encoded for some texts."""
        for text in texts:
            yield text
            if (reading := self._read(text)) is not None:
                yield from (reading.sentence, THING)

    def moved(self, texts: Iterable[str], known: Mapping[str, tuple[Vectors, Vectors]]
              ) -> dict[str, tuple[Vectors, Vectors]]:
        """Of each text the vector for pictures and that for texts, float32 [dim] each. The first is
        moved by the names in it; those of texts without a name are what they were.

        known: the same of all `wordings`, as the encoder made them."""
        return {text: known[text] if (reading := self._read(text)) is None else
                (self._vector(reading, known), known[text][1]) for text in texts}

    def outside(self, text: str, change: Callable[[str], str]) -> str:
        """A text with what is not a name changed."""
        at, parts = 0, []
        for match in self._pattern.finditer(text):
            parts += [change(text[at:match.start()]), match[0]]
            at = match.end()
        return "".join([*parts, change(text[at:])])

    def _read(self, text: str) -> _Reading | None:
        names: list[_Name] = []

        def word(match: re.Match[str]) -> str:
            names.append(name := self._called(" ".join(match[1].split())))
            return (name.is_a or THING) + ("s" if match[2] else match[3] or "")

        sentence = self._pattern.sub(word, nfc(text))
        if not names:
            return None
        values = np.stack([name.value for name in names])
        if any(name.is_a for name in names):
            return _Reading(sentence, values, "")
        rest = _WORD.findall(self._pattern.sub(" ", nfc(text)).lower())
        return _Reading(sentence, values,
                        sentence if _SAYS_NOTHING.issuperset(rest) else THING)

    def _called(self, written: str) -> _Name:
        """The name that the pattern found, which takes more letters for the same than `key_of`: the
        Turkish İ for i."""
        if (known := self._names.get(key_of(written))) is not None:
            return known
        return next(self._names[key_of(one)] for one in self._written
                    if re.fullmatch(re.escape(one), written, re.IGNORECASE))

    def _vector(self, reading: _Reading, known: Mapping[str, tuple[Vectors, Vectors]]) -> Vectors:
        words, value = known[reading.sentence][0], reading.values.mean(0)
        if not reading.less:
            return _unit(words + self._strength["known"] * value)
        return _unit(words - known[reading.less][0] + self._strength["thing"] * value)


def _spread(rows: Vectors, calibration: Calibration) -> float:
    """How much the cosines of a row to the pictures of the calibration set differ."""
    cosines = _unit(rows) @ calibration.images.T
    return float(np.median(cosines.std(axis=1)))


def _unit(rows: Vectors) -> Vectors:
    found: Vectors = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return found
