"""What a comparison of `--where` is in SQL: always bound parameters, never pasted values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from mmsearch.uris import nfc

_TEXT_COLUMNS = {
    "path": "i.uri", "uri": "i.uri", "kind": "i.kind", "text": "i.text", "group": "i.grp",
    "camera": "i.camera", "manifest": "i.manifest",
}  # fmt: skip
_DATE_COLUMNS = {"taken": "i.taken", "modified": "i.modified"}
_NUMBER_COLUMNS = {"width": "i.width", "height": "i.height", "size": "i.size"}
COLUMNS = _TEXT_COLUMNS | _DATE_COLUMNS | _NUMBER_COLUMNS
"""The fields that every collection has, and where: the rest is metadata."""

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_DATE = re.compile(r"\d{4}(-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d(\.\d+)?Z?)?)?)?)?)?", re.ASCII)
_EARLIEST = "0001-01-01T00:00:00"
_LOOKS_LIKE_DATE = "[0-9][0-9][0-9][0-9]-[0-9][0-9]*"


@dataclass(frozen=True, slots=True)
class Condition:
    """An SQL expression on the table ``items i``, with one ``?`` for each of `params`.

    columns: the fields it names that are no columns of that table: metadata.
    """

    sql: str
    params: tuple[str | int | float, ...] = ()
    columns: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Value:
    text: str
    quoted: bool

    @property
    def is_pattern(self) -> bool:
        return not self.quoted and ("*" in self.text or "?" in self.text)

    @property
    def is_number(self) -> bool:
        return not self.quoted and _NUMBER.fullmatch(self.text) is not None

    @property
    def is_date(self) -> bool:
        return _DATE.fullmatch(self.text) is not None


class Field:
    """One field and how its values compare."""

    def __init__(self, name: str, *, of_list: bool = False) -> None:
        """of_list: one of the values of a list, as `compare` goes through them."""
        self.name = name
        known = name in COLUMNS
        self.columns: frozenset[str] = frozenset(
            () if known else {name.removeprefix("meta.")})
        self.path = "" if known else f'$."{name.removeprefix("meta.")}"'
        # json_extract and json_each turn true and false into 1 and 0.
        text = ("CAST(CASE {} WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' ELSE {} END "
                "AS TEXT)")
        if not self.path:
            self.value = self.text = Condition(COLUMNS[name])
        elif of_list:
            self.value = Condition("j.atom")
            self.text = Condition(text.format("j.type", "j.atom"))
        else:
            self.value = Condition("json_extract(i.meta, ?)", (self.path,))
            self.text = Condition(text.format("json_type(i.meta, ?)", self.value.sql),
                                  (self.path, self.path))

    def missing(self) -> Condition:
        return Condition(f"COALESCE({self.value.sql}, '') = ''", self.value.params)

    def compare(self, operator: str, value: Value) -> Condition:
        """ValueError: the field cannot be compared with `value`; the text is what was expected."""
        value = replace(value, text=nfc(value.text))
        if operator == "!=":
            return negate(self.compare("=", value))
        alone = self.compare_one(operator, value)
        if not self.path:
            return alone
        each = Field(self.name, of_list=True).compare_one(operator, value)
        return Condition(
            "CASE json_type(i.meta, ?) WHEN 'array' THEN EXISTS (SELECT 1 FROM json_each(i.meta, ?)"
            f" j WHERE {each.sql}) ELSE {alone.sql} END",
            (self.path, self.path, *each.params, *alone.params))

    def compare_one(self, operator: str, value: Value) -> Condition:
        if operator == "~":
            return self.matches(f"*{''.join(map(_either_case, value.text))}*")
        if value.is_pattern and operator in ("=", "=="):
            return self.matches(value.text.replace("[", "[[]"))
        operator = "=" if operator == "==" else operator
        if self.name in _NUMBER_COLUMNS:
            if not _NUMBER.fullmatch(value.text):
                raise ValueError("expected a number")
            return self.compare_number(operator, value.text)
        if self.name in _DATE_COLUMNS:
            if not value.is_date:
                raise ValueError("expected a date such as 2021, 2021-05 or 2021-05-30")
            _check_date(value.text)
            return self.compare_date(operator, value.text)
        if self.name in _TEXT_COLUMNS:
            return self.compare_text(operator, value.text)
        either = []
        if value.is_number:
            either.append(self.compare_number(operator, value.text))
        if value.is_date and not value.quoted:
            either.append(self.compare_date(operator, value.text))
        return join("OR", either) if either else self.compare_text(operator, value.text)

    def matches(self, pattern: str) -> Condition:
        if not pattern.strip("*"):
            pattern = "?*"  # an empty field is a missing one
        return Condition(f"nfc({self.text.sql}) GLOB ?", (*self.text.params, pattern))

    def compare_text(self, operator: str, text: str) -> Condition:
        # Equality cannot hold for an empty field; as it is, it can use an index.
        plain = operator == "=" and text.isascii()
        sql = self.text.sql if plain else f"nfc(NULLIF({self.text.sql}, ''))"
        return Condition(f"{sql} {operator} ?", (*self.text.params, text))

    def compare_number(self, operator: str, text: str) -> Condition:
        """NUMERIC affinity on the right makes SQLite read text on the left as a number.

        Text that is no number stays text, and in SQLite any text is greater than any number.
        """
        sql = f"{self.value.sql} {operator} CAST(? AS NUMERIC)"
        params = (*self.value.params, _number(text))
        if not operator.startswith(">"):
            return Condition(sql, params)
        no_text = f"{self.value.sql} <= CAST(9e999 AS REAL)"
        return Condition(f"({sql} AND {no_text})", (*params, *self.value.params))

    def compare_date(self, operator: str, text: str) -> Condition:
        value = f"NULLIF({self.value.sql}, '')"
        prefix = text.replace(" ", "T").removesuffix("Z")
        sql = f"substr(replace({value}, ' ', 'T'), 1, ?) {operator} ?"
        compared = Condition(sql, (*self.value.params, len(prefix), prefix))
        if self.name in _DATE_COLUMNS:
            return compared
        is_date = Condition(f"{self.value.sql} GLOB ?", (*self.value.params, _LOOKS_LIKE_DATE))
        return join("AND", [is_date, compared])


def _check_date(text: str) -> None:
    """ValueError for what no calendar and no clock shows."""
    known = text.removesuffix("Z").partition(".")[0]
    whole = known + _EARLIEST[len(known):]
    for length, what in ((len("2021-05-30"), "day"), (None, "time")):
        try:
            datetime.fromisoformat(whole[:length])
        except ValueError:
            raise ValueError(f"there is no such {what}") from None


def _number(text: str) -> int | float:
    try:
        whole = int(text)
    except ValueError:  # a fraction, an exponent, or more digits than Python reads
        return float(text)
    return whole if -(2**63) <= whole < 2**63 else float(text)


def _either_case(character: str) -> str:
    """A GLOB pattern for a character in upper and lower case, beyond ASCII too."""
    if character in "*?[":
        return f"[{character}]"
    cases = {character, character.lower(), character.upper()}
    single = sorted(case for case in cases if len(case) == 1)
    return character if len(single) == 1 else f"[{''.join(single)}]"


def join(word: str, parts: Sequence[Condition]) -> Condition:
    if len(parts) == 1:
        return parts[0]
    sql = f" {word} ".join(part.sql for part in parts)
    return Condition(f"({sql})", tuple(param for part in parts for param in part.params),
                     frozenset().union(*(part.columns for part in parts)))


def negate(condition: Condition) -> Condition:
    """True wherever `condition` is not, unlike SQL's NOT also where a field is missing."""
    return Condition(f"(({condition.sql}) IS NOT TRUE)", condition.params, condition.columns)
