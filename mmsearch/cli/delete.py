"""The command that removes items: delete."""

from __future__ import annotations

from typing import Annotated

import typer

from mmsearch.cli.options import (
    DEFAULT_INDEX,
    IndexOption,
    JsonOption,
    WhereOption,
    address_given,
)
from mmsearch.cli.query import unknown_fields
from mmsearch.cli.terminal import print_json, say


def delete(
    paths: Annotated[list[str] | None, typer.Argument(
        metavar="[PATH]...", parser=address_given,
        help="Files, members of archives, addresses, or folders with all below them.")] = None,
    where: WhereOption = None,
    directory: IndexOption = DEFAULT_INDEX,
    json_: JsonOption = False,
) -> None:
    """Remove items from a collection; the files themselves are not touched.

    Example: mmsearch delete ~/Pictures/screenshots
    """
    from mmsearch.collection import Collection
    from mmsearch.sources import uri_of

    uris = [uri_of(path) for path in paths or ()]
    collection = Collection.open(directory)
    count = collection.delete(uris, where=where or ())
    if not count and where and (hint := unknown_fields(collection, where)):
        say(hint)
    print_json({"deleted": count}) if json_ else print(f"deleted {count} items")
