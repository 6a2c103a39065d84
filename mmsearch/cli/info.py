"""The command that says what is in a collection: info."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmsearch.cli.options import DEFAULT_INDEX, IndexOption, JsonOption
from mmsearch.cli.tables import Fitted
from mmsearch.cli.terminal import console, print_json


def info(directory: IndexOption = DEFAULT_INDEX, json_: JsonOption = False) -> None:
    """Show what is in a collection: counts, model, size on disk, kind of index.

    Example: mmsearch info -i indexes/default
    """
    from mmsearch.collection import Collection

    facts = Collection.open(directory).info()
    print_json(facts) if json_ else console().print(info_table(facts))


def info_table(info: Mapping[str, Any]) -> Fitted:
    """What `Collection.info` says, with sizes that people read."""
    from mmsearch.cli.present import key_value_table, size_text

    readable = dict(info)
    if isinstance(info.get("bytes"), int):
        del readable["bytes"]
        readable["size on disk"] = size_text(info["bytes"])
    return key_value_table(readable)
