"""Errors as problem details (RFC 9457): the sentences of the library, and nothing else."""

from __future__ import annotations

import builtins
import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from mmsearch.errors import (
    CollectionBusy,
    FileChanged,
    ItemNotFound,
    MediaError,
    MissingExtra,
    MmsearchError,
    UsageError,
)
from mmsearch.jsonable import strict
from mmsearch.server.served import NoSuchItem
from mmsearch.server.turns import TooLate

_log = logging.getLogger("mmsearch.server")
_STATUS: list[tuple[type[MmsearchError], int]] = [
    (NoSuchItem, 404), (ItemNotFound, 404), (FileChanged, 409), (MediaError, 415),
    (MissingExtra, 415),
    (UsageError, 400), (TooLate, 503), (CollectionBusy, 503)]
_AGAIN = {429: "1", 503: "2"}
"""Seconds after which to try again."""


class Refused(Exception):
    """A request that is answered with a status and a sentence."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers


class Wrong(BaseModel):
    """One thing that is wrong in a request: where, and what."""

    where: str
    message: str


class Problem(BaseModel):
    """RFC 9457; `detail` is a sentence for people. error: which of `mmsearch.errors` it is."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    error: str | None = None
    errors: list[Wrong] | None = None


_CONTENT = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


def known_only(request: Request) -> None:
    """A dependency of routes: no other parameters than they have; a misspelt one would be
    overlooked."""
    known = {part.alias for part in request.scope["route"].dependant.query_params}
    if unknown := sorted(set(request.query_params) - known):
        raise Refused(422, f"there is no parameter {strict(unknown[0])[:100]!r} here; there are: "
                           f"{', '.join(sorted(known)) or 'none'}")


RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "what is wrong with the request", "content": _CONTENT},
    "503": {"description": "busy; try again", "content": _CONTENT}}
"""For the routes, so that the OpenAPI tells."""


class ProblemResponse(JSONResponse):
    media_type = "application/problem+json"


def problem(status: int, detail: str, errors: list[dict[str, str]] | None = None,
            headers: dict[str, str] | None = None, error: str | None = None) -> ProblemResponse:
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status,
            "detail": strict(detail)} | ({"errors": errors} if errors else {}) | (
                {"error": error} if error else {})
    headers = {"Cache-Control": "no-store"} | (headers or {})
    if status in _AGAIN:
        headers.setdefault("Retry-After", _AGAIN[status])
    return ProblemResponse(body, status, headers)


def status_of(error: MmsearchError) -> int:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def _of_library(_: Request, error: Exception) -> Response:
    assert isinstance(error, MmsearchError)
    status = status_of(error)
    if status == 500:
        _log.error("%s: %s", type(error).__name__, error)
    public = next(kind.__name__ for kind in type(error).__mro__
                  if kind.__module__ == MmsearchError.__module__)
    return problem(status, str(error), error=public)


def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return problem(error.status, error.detail,
                   headers={name.replace("_", "-"): value for name, value in error.headers.items()})


def _of_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = {404: "there is nothing at this address", 405: "this address does not take that"}
    return problem(error.status_code, detail.get(error.status_code, str(error.detail)),
                   headers=dict(error.headers or {}))


def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError | ValidationError)
    wrong = [{"where": strict(".".join(str(part) for part in one["loc"] if _is_name(part))),
              "message": strict(one["msg"])} for one in error.errors()[:20]]
    first = ": ".join(filter(None, wrong[0].values())) if wrong else "it cannot be read"
    return problem(422, f"the request does not fit: {first}", wrong)


def _is_name(part: int | str) -> bool:
    """Of a field or a place, not of a type that pydantic has tried: "list[constrained-str]"."""
    return isinstance(part, int) or (part.isidentifier() and not isinstance(
        getattr(builtins, part, None), type))


def _unknown(_: Request, error: Exception) -> Response:
    return problem(500, "something went wrong in the server; its log says what")


def add_problems(app: FastAPI) -> None:
    app.add_exception_handler(MmsearchError, _of_library)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ValidationError, _invalid)
    app.add_exception_handler(Exception, _unknown)
