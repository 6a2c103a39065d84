"""Requests with a body: JSON, or a form with that JSON in the field `query` and files beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from mmsearch.server.problems import Refused

M = TypeVar("M", bound=BaseModel)
_MOST_FILES = 64
_MOST_JSON = 8_000_000


class Uploaded(NamedTuple):
    """A file that was sent, and what its sender calls it."""

    name: str
    data: bytes


async def read(request: Request, model: type[M], *fields: str, query: str = "query"
               ) -> tuple[M, dict[str, list[Uploaded]]]:
    """What a request asks for, and the files that came with it, by the names of their fields.

    Raises:
        Refused: it is of no type that is known here, too large, or has other fields.
        ValidationError: the JSON does not fit the model.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return model.model_validate_json(await request.body() or b"{}"), {}
    if kind != "multipart/form-data":
        raise Refused(415, "send application/json, or multipart/form-data with files")
    try:
        async with request.form(max_files=_MOST_FILES, max_fields=8,
                                max_part_size=_MOST_JSON) as form:
            files: dict[str, list[Uploaded]] = {name: [] for name in fields}
            text = "{}"
            for name, value in form.multi_items():
                if isinstance(value, UploadFile) and name in files:
                    files[name].append(Uploaded(value.filename or "", await value.read()))
                elif isinstance(value, str) and name == query:
                    text = value
                else:
                    raise Refused(422, f"the form has a field {name[:100]!r} that means nothing "
                                       f"here; files go into {' or '.join(fields)}, the JSON into "
                                       f"{query}")
    except HTTPException as error:  # what starlette says of a broken or too large form
        raise Refused(400, f"the form cannot be read: {error.detail}") from error
    return model.model_validate_json(text), files


def openapi(model: type[BaseModel], *fields: str) -> dict[str, Any]:
    """What the OpenAPI says of such a body; the schemas themselves are added by `app`."""
    content: dict[str, Any] = {"application/json": {"schema": _schema(model)}}
    if fields:
        content |= _form(model, fields)
    return {"requestBody": {"required": True, "content": content}}


def openapi_form(model: type[BaseModel], *fields: str) -> dict[str, Any]:
    """Likewise, of a form alone."""
    return {"requestBody": {"required": True, "content": _form(model, fields)}}


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _form(model: type[BaseModel], fields: Sequence[str]) -> dict[str, Any]:
    file = {"type": "string", "format": "binary"}
    schema = {"type": "object", "additionalProperties": False, "properties": {
        "query": _schema(model), **{name: {"type": "array", "items": file} for name in fields}}}
    return {"multipart/form-data": {
        "schema": schema, "encoding": {"query": {"contentType": "application/json"}}}}
