"""The command that gives names to pictures: teach."""

from __future__ import annotations

from typing import Annotated

import typer

from mmsearch.cli.options import DEFAULT_INDEX, IndexOption, JsonOption
from mmsearch.cli.terminal import print_json, safe_text, say
from mmsearch.errors import UsageError


def teach(
    name: Annotated[str | None, typer.Argument(help="The name, such as Rex.")] = None,
    pictures: Annotated[list[str] | None, typer.Argument(
        metavar="[PICTURE]...", help="A few pictures of it, indexed or not.")] = None,
    is_a: Annotated[str, typer.Option(
        "--is", metavar="WORD", help="A word for what it is, such as dog: finds it much better.",
    )] = "",
    crop: Annotated[list[str] | None, typer.Option(
        metavar="X,Y,W,H", help="Only this part of the picture shows it: in pixels or per cent "
                                "(10%,20%,50%,50%). One for each picture, or one for all.")] = None,
    forget: Annotated[str | None, typer.Option(
        "--forget", metavar="NAME", help="Take a name away.")] = None,
    list_: Annotated[bool, typer.Option(
        "--list", help="List the names, and their pictures.")] = False,
    directory: IndexOption = DEFAULT_INDEX,
    json_: JsonOption = False,
) -> None:
    """Give a name to what a few pictures show: a pet, a product, a place.

    Then `mmsearch query "Rex on the beach"` finds it. Taught again, a name has more pictures. Three
    to five are enough.

    Example: mmsearch teach Rex rex1.jpg rex2.jpg --is dog

    Example: mmsearch teach --list
    """
    from mmsearch.collection import Collection

    if (name is not None) + (forget is not None) + list_ != 1:
        raise UsageError("give a name and its pictures, or --forget NAME, or --list")
    collection = Collection.open(directory)
    if list_:
        names = collection.taught()
        if json_:
            print_json([one._asdict() for one in names])
        for one in () if json_ else names:
            for uri in one.pictures:
                print("\t".join(map(safe_text, (one.name, one.is_a, uri))))
        if not names:
            say("no name was taught yet: mmsearch teach NAME PICTURE...")
    elif forget is not None:
        count = collection.forget(forget)
        if json_:
            print_json({"forgotten": count})
        elif count:
            print(f"forgot {safe_text(forget)}")
        if not count:
            say(f"there is no name {safe_text(forget)}; see mmsearch teach --list")
            raise typer.Exit(1)
    elif name is not None:
        from mmsearch.media import parse_crops
        from mmsearch.storage import key_of

        count = collection.teach(name, parse_crops(pictures or [], crop or []), is_a=is_a)
        if json_:
            print_json({"name": name, "pictures": count})
        else:
            print(f"{safe_text(name)} has {count} picture{'s' * (count != 1)}")
        if not any(one.is_a for one in collection.taught() if key_of(one.name) == key_of(name)):
            say("tip: say what it is, and it is found much better: --is dog, --is shoe, ...")
