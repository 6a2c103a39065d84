"""Whatever a search takes as a picture, as JSON: the server opens no path."""

from __future__ import annotations

import os
from base64 import b64encode
from io import BytesIO
from typing import Any

from mmsearch.fragments import named
from mmsearch.media import Crop
from mmsearch.search import Embedded, example_picture
from mmsearch.sources import locate
from mmsearch.uris import kind_of


def as_json(example: Any) -> dict[str, Any]:
    """See `Query.image`.

    Raises:
        UsageError, MediaError: it is none, or cannot be read here.
    """
    if isinstance(example, Embedded):
        return {"vector": [float(number) for number in example.vector]}
    if isinstance(example, Crop):
        return as_json(example.image) | {"crop": example.area}
    if isinstance(example, str) and kind_of(example) == "web":
        return {"url": example}
    return {"data": b64encode(_file(example)).decode()}


def _file(example: Any) -> bytes:
    """The file of a picture as it is; one that is no file, or a part of one, as PNG."""
    if isinstance(example, bytes | bytearray):
        return bytes(example)
    if isinstance(example, str | os.PathLike):
        uri = locate.uri_of(example)
        if named(uri) is None and (path := locate.own_file(uri)) is not None and path.is_file():
            return path.read_bytes()
    data = BytesIO()
    example_picture(example, None).save(data, "PNG", compress_level=1)
    return data.getvalue()
