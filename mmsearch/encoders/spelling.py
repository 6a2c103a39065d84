"""Misspelt words of queries: a text tower cuts a word that it does not know into pieces of others.

A word that no list has is replaced by one that is a single slip away: a letter too many, too few or
another, or two that have changed places (Norvig 2007, How to Write a Spelling Corrector). Of words
of four letters, which are often one slip from several others, only the last is taken back, and only
where it makes a name: "brid" is a bird, "meer" stays. So does what stands in a query for a name,
with a capital or with other signs in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from functools import lru_cache
from string import ascii_lowercase

_WORD = re.compile(r"(?<![\w'.-])[a-z]{4,25}(?![\w'.-])")
_SHORT = 4
_LONGEST = 300
"""Letters of a text that is corrected: longer ones are no queries that somebody typed."""
_ENDINGS = ("s", "es", "ed", "d", "ing", "er", "r", "ly", "y")


class Spelling:
    """
    names: words that people ask for; they are taken before others.
    rank: the number of a word in the tokenizer's vocabulary, which is lower the more common it is.
    words: all others, in lower case; asked for when a word is neither common nor a name.
    """

    def __init__(self, names: Collection[str], rank: Callable[[str], int | None],
                 words: Callable[[], Collection[str]]) -> None:
        self._names, self._rank, self._words = names, rank, words
        self._meant = lru_cache(10_000)(self._right)  # a query's are asked for more than once

    def corrected(self, text: str) -> str:
        if len(text) > _LONGEST:
            return text
        return _WORD.sub(lambda match: self._meant(match[0]) or match[0], text)

    def knows(self, text: str) -> bool:
        """Whether any word of a text is one that is known."""
        return any(self._is_known(word) for word in re.findall(r"[^\W\d_]+", text.lower()))

    def _right(self, word: str) -> str | None:
        """The word that was meant; None if it is one, or could be any."""
        if self._is_known(word):
            return None
        if len(word) == _SHORT:
            found = [other for other in swaps(word) if other in self._names]
        else:
            words = self._words()
            found = [other for other in slips(word) if other in words or other in self._names]
        return min(found, key=lambda other: (
            other not in self._names, self._rank(other) or 1e9, other), default=None)

    def _is_known(self, word: str) -> bool:
        if self._rank(word) is not None or word in self._names:
            return True
        words = self._words()
        return any(stem in words or stem in self._names for stem in (
            word, *(word.removesuffix(end) for end in _ENDINGS if word.endswith(end))))


def swaps(word: str) -> Iterator[str]:
    """A word with two neighbours in the other order."""
    for at in range(len(word) - 1):
        yield word[:at] + word[at + 1] + word[at] + word[at + 2:]


def slips(word: str) -> Iterator[str]:
    """What a word may have been before one slip; some of them more than once."""
    yield from swaps(word)
    for at in range(len(word) + 1):
        before, after = word[:at], word[at:]
        if after:
            yield before + after[1:]
        for letter in ascii_lowercase:
            yield before + letter + after
            if after:
                yield before + letter + after[1:]
