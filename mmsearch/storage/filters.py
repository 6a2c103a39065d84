"""``--where`` conditions: a small language, read here and turned into bound SQL, never pasted.

    year>=2020 and not (camera ~ canon or path = */drafts/*)

condition   comparisons joined by ``and``, ``or``, ``not`` and parentheses; any case; ``not`` binds
            tightest, ``or`` loosest; several conditions must all hold
comparison  FIELD = != < <= > >= VALUE       ``==`` is ``=``
            FIELD ~ VALUE                    contains, upper and lower case alike
            FIELD [not] in (VALUE, VALUE)    any of them, each compared as by ``=``
            FIELD is [not] missing, FIELD exists
FIELD       path (or uri), kind, text, group, taken, modified, width, height, camera, size; what
            pictures and the files beside them say (docs/metadata.md): iso, city, keywords, ...;
            any other name is a column of the manifest; ``meta.size`` is a manifest column named
            like one of the first; ``label:flower`` and ``confidence:flower`` are what `mmsearch
            classify --save flower` found; a name with spaces goes in quotes
VALUE       a bare word, or '…' or "…" with nothing special in it but a doubled quote, which
            stands for itself

What a comparison means:

- ``*`` and ``?`` in a bare value after ``=``, ``!=`` or ``in`` are wildcards for the whole field
  (case matters): ``path = */2021/*``.
- A bare number compares as a number, with JSON numbers and with text that is one ("2020").
- A bare date, ``2021``, ``2021-05``, ``2021-05-30`` or ``2021-05-30T18:00``, compares with as much
  of a date as it gives: ``taken = 2021-05`` is that month, ``taken > 2021`` starts with 2022.
- Everything else compares as text, character by character; JSON true and false are such words.
- A list meets a comparison if one of its values does: ``keywords = beach``, ``colour = red``.
- A field is missing when it is absent, null or empty. A missing field satisfies ``is missing`` and
  whatever is negated: ``a != b`` is exactly ``not a = b``, so ``camera != Canon`` keeps pictures
  without a camera.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from mmsearch.errors import FilterError
from mmsearch.storage.conditions import Condition, Field, Value, join, negate

# SQLite refuses SQL beyond some depth, parameter count and pattern length; these stay far below.
_MAX_CONDITION, _MAX_VALUE, _MAX_DEPTH, _MAX_COMPARISONS = 20_000, 4_000, 16, 500

_NAME = re.compile(r"[^\W\d][\w.:-]*")
_OPERATOR = re.compile(r"==|!=|<=|>=|=|<|>|~")


def parse_where(conditions: Sequence[str]) -> Condition:
    """All of `conditions` together; without any, a condition that every item meets.

    FilterError: one cannot be read; the message says where, and what was expected there.
    """
    parsed: list[Condition] = []
    comparisons = 0
    for condition in conditions:
        parser = _Parser(condition, comparisons)
        parsed.append(parser.condition())
        comparisons = parser.comparisons
    return join("AND", parsed) if parsed else Condition("1")


class _Parser:
    """Recursive descent over one condition; every method reads one rule of the grammar."""

    def __init__(self, source: str, comparisons: int) -> None:
        self.source, self.at, self.depth, self.comparisons = source, 0, 0, comparisons
        if len(source) > _MAX_CONDITION:
            raise FilterError(f"a condition may have {_MAX_CONDITION} characters at most")
        for place, character in enumerate(source):
            if character == "\0" or "\ud800" <= character <= "\udfff":
                raise self.error("expected text, found a byte that is none", at=place)

    def condition(self) -> Condition:
        result = self.any_of()
        if self.skip_space() < len(self.source):
            raise self.error("expected and, or, or the end (a value with spaces needs quotes)")
        return result

    def any_of(self) -> Condition:
        parts = [self.all_of()]
        while self.word("or"):
            parts.append(self.all_of())
        return join("OR", parts)

    def all_of(self) -> Condition:
        parts = [self.one()]
        while self.word("and"):
            parts.append(self.one())
        return join("AND", parts)

    def one(self) -> Condition:
        if self.word("not"):
            return negate(self.nested(self.one))
        if self.take("("):
            inside = self.nested(self.any_of)
            if not self.take(")"):
                raise self.error("expected ), `and` or `or`")
            return inside
        return self.comparison()

    def comparison(self) -> Condition:
        self.count_comparison()
        field = Field(self.field_name())
        return replace(self.compared(field), columns=field.columns)

    def compared(self, field: Field) -> Condition:
        if self.word("exists"):
            return negate(field.missing())
        if self.word("is"):
            negated = self.word("not")
            if not self.word("missing"):
                raise self.error("expected missing")
            return negate(field.missing()) if negated else field.missing()
        if self.word("not"):
            if not self.word("in"):
                raise self.error("expected in")
            return negate(self.one_of(field))
        if self.word("in"):
            return self.one_of(field)
        operator = _OPERATOR.match(self.source, self.skip_space())
        if operator is None:
            raise self.error("expected = != < <= > >= ~ in, is missing or exists")
        self.at = operator.end()
        return self.compare(field, operator[0])

    def one_of(self, field: Field) -> Condition:
        if not self.take("("):
            raise self.error("expected ( and a list of values")
        parts = [self.compare(field, "=", in_list=True)]
        while self.take(","):
            self.count_comparison()
            parts.append(self.compare(field, "=", in_list=True))
        if not self.take(")"):
            raise self.error("expected , or ) after a value of the list")
        return join("OR", parts)

    def compare(self, field: Field, operator: str, *, in_list: bool = False) -> Condition:
        start = self.skip_space()
        value = self.value(in_list)
        if not value.text:
            raise self.error("expected a value that is not empty (or: is missing)", at=start)
        if len(value.text) > _MAX_VALUE:
            raise self.error(f"expected a value of {_MAX_VALUE} characters at most", at=start)
        try:
            return field.compare(operator, value)
        except ValueError as wrong:
            raise self.error(str(wrong), at=start) from None

    def value(self, in_list: bool) -> Value:
        start = self.skip_space()
        if self.source[start : start + 1] in ("'", '"'):
            return Value(self.quoted(), quoted=True)
        open_brackets = 0
        for character in self.source[start:]:
            open_brackets += (character == "(") - (character == ")")
            ends_list_value = in_list and character == ","
            # Below zero it closes a bracket that was opened before the value.
            if character.isspace() or ends_list_value or open_brackets < 0:
                break
            self.at += 1
        if self.at == start:
            raise self.error("expected a value")
        return Value(self.source[start : self.at], quoted=False)

    def field_name(self) -> str:
        start = self.skip_space()
        if self.source[start : start + 1] in ("'", '"'):
            name = self.quoted()
            if not name or '"' in name or "\\" in name:
                raise self.error('expected a field name without " and \\', at=start)
            return name
        match = _NAME.match(self.source, start)
        if match is None:
            raise self.error("expected a field name")
        self.at = match.end()
        return match[0]

    def quoted(self) -> str:
        start, quote = self.at, self.source[self.at]
        pieces: list[str] = []
        while True:
            end = self.source.find(quote, self.at + 1)
            if end < 0:
                raise self.error(f"expected a closing {quote}", at=start)
            pieces.append(self.source[self.at + 1 : end])
            self.at = end + 1
            if self.source[self.at : self.at + 1] != quote:
                return quote.join(pieces)

    def nested(self, rule: Callable[[], Condition]) -> Condition:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise self.error(f"expected at most {_MAX_DEPTH} levels of brackets and not")
        result = rule()
        self.depth -= 1
        return result

    def count_comparison(self) -> None:
        self.comparisons += 1
        if self.comparisons > _MAX_COMPARISONS:
            raise self.error(f"expected {_MAX_COMPARISONS} comparisons at most")

    def skip_space(self) -> int:
        while self.source[self.at : self.at + 1].isspace():
            self.at += 1
        return self.at

    def take(self, character: str) -> bool:
        found = self.source.startswith(character, self.skip_space())
        self.at += len(character) if found else 0
        return found

    def word(self, word: str) -> bool:
        match = _NAME.match(self.source, self.skip_space())
        found = match is not None and match[0].lower() == word
        self.at += len(word) if found else 0
        return found

    def error(self, expected: str, *, at: int | None = None) -> FilterError:
        place = self.skip_space() if at is None else at
        found = repr(self.source[place : place + 20]) if self.source[place:] else "the end"
        shown = self.source if len(self.source) <= 80 else self.source[:77] + "..."
        return FilterError(f"cannot read the condition {shown!r}: {expected} at character "
                           f"{place + 1}, found {found}")
