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
from mmsearch.cli.terminal import print_json, safe_text, say


def delete(
    paths: Annotated[list[str] | None, typer.Argument(
        metavar="[PATH]...", parser=address_given,
        help="Files, folders with all that is in them, members of archives, or addresses.")] = None,
    where: WhereOption = None,
    directory: IndexOption = DEFAULT_INDEX,
    json_: JsonOption = False,
) -> None:
    """Remove items from a collection; your files stay, and `index` would add them again.

    The exit code is 1 if nothing is indexed at one of the paths, or nothing meets the condition.

    Example: mmsearch delete ~/Pictures/screenshots
    """
    from mmsearch.collection import Collection
    from mmsearch.sources import uri_of

    uris = {path: uri_of(path) for path in paths or ()}
    collection = Collection.open(directory)
    missing = [path for path, uri in uris.items() if not collection.holds([uri])]
    count = collection.delete(list(uris.values()), where=where or ())
    if not count:
        collection.check_fields(where or ())
    print_json({"deleted": count}) if json_ else print(
        f"deleted {count} item{'s' * (count != 1)}" if count else "deleted nothing")
    for path in missing:
        say(f"nothing is indexed at or below {safe_text(path)}")
    if not count and where and len(missing) < len(uris or [""]):
        say("nothing meets the condition")
    if missing or not count:
        raise typer.Exit(1)
