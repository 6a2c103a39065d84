"""The command that says what is in a collection: info."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmsearch.cli.options import DEFAULT_INDEX, JsonOption, PlaceOption, is_address
from mmsearch.cli.tables import Fitted
from mmsearch.cli.terminal import console, print_json


def info(place: PlaceOption = str(DEFAULT_INDEX), json_: JsonOption = False) -> None:
    """Show what is in a collection: counts, model, size on disk, kind of index.

    Example: mmsearch info -i indexes/default
    """
    facts = _facts(place)
    print_json(facts) if json_ else console().print(info_table(facts))


def _facts(place: str) -> dict[str, Any]:
    from mmsearch.cli.answers import server_at
    from mmsearch.collection import Collection

    if not is_address(place):
        return Collection.open(place).info()
    with server_at(place) as remote:
        return remote.info()


def info_table(info: Mapping[str, Any]) -> Fitted:
    """What `Collection.info` says, with sizes that people read."""
    from mmsearch.cli.present import key_value_table, size_text

    readable = dict(info)
    if isinstance(info.get("bytes"), int):
        del readable["bytes"]
        readable["size on disk"] = size_text(info["bytes"])
    return key_value_table(readable)
