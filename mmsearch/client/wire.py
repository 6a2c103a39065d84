"""Queries as JSON, and of JSON hits and errors: what `POST /v1/hits` takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from mmsearch import errors
from mmsearch.errors import CollectionBusy, MmsearchError, UsageError
from mmsearch.records import Hit, Item
from mmsearch.search import Query, several

_PICTURES = ("image", "without_image")
_STATUS: dict[int, type[MmsearchError]] = {400: UsageError, 422: UsageError, 503: CollectionBusy}
"""For what the server itself says."""


def as_json(query: Query, picture: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """The parts of a query that are not as they are by default.

    picture: makes JSON of whatever `Query.image` takes.
    """
    given = {part.name: getattr(query, part.name) for part in fields(Query)
             if getattr(query, part.name) is not part.default}
    for name in _PICTURES:
        if name in given:
            given[name] = [picture(one) for one in several(given[name])]
    for name in ("vector", "weights"):
        if given.get(name) is not None:
            given[name] = [float(number) for number in given[name]]
    return {name: list(value) if isinstance(value, tuple) else value
            for name, value in given.items()}


def hit_of(row: Mapping[str, Any]) -> Hit:
    """Raises TypeError, LookupError: it is none."""
    return Hit(**{**row, "item": Item(**row["item"])})


def error_of(status: int, problem: Mapping[str, Any]) -> MmsearchError:
    """The error that the library would have raised, or the nearest to it."""
    kind = getattr(errors, str(problem.get("error")), None)
    if not (isinstance(kind, type) and issubclass(kind, MmsearchError)):
        kind = _STATUS.get(status, MmsearchError)
    error = kind.__new__(kind)  # some are made of other things than their sentence
    Exception.__init__(error, str(problem["detail"]))
    return error
