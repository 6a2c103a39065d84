"""The command that finds more like some pictures: similar."""

from __future__ import annotations

from typing import Annotated

import typer

from mmsearch.cli.hits import print_hits, write_sheet
from mmsearch.cli.options import (
    DEFAULT_INDEX,
    DeviceOption,
    FilepathOnlyOption,
    IndexOption,
    JsonOption,
    PreviewOption,
    Print0Option,
    SheetOption,
    WhereOption,
    address_given,
    one_form,
    part_option,
)
from mmsearch.cli.terminal import say
from mmsearch.search import Query


def similar(
    pictures: Annotated[list[str], typer.Argument(
        metavar="PICTURE...", parser=address_given, help="What to find more of, indexed or not.")],
    other: Annotated[list[str] | None, typer.Option(
        "--not", metavar="FILE", help="Less like this picture. Repeatable.")] = None,
    text: Annotated[list[str] | None, typer.Option(
        "--text", metavar="TEXT", help="And what this says. Repeatable.")] = None,
    top: Annotated[int, part_option("k", "-k", "--top")] = Query.k,
    min_score: Annotated[float | None, part_option(
        "min_score", metavar="X", min=0, max=1)] = Query.min_score,
    where: WhereOption = None,
    diverse: Annotated[float | None, part_option(
        "diverse", metavar="LAMBDA")] = Query.diverse,
    directory: IndexOption = DEFAULT_INDEX,
    device: DeviceOption = "cpu",
    json_: JsonOption = False,
    filepath_only: FilepathOnlyOption = False,
    print0: Print0Option = False,
    html: SheetOption = None,
    preview: PreviewOption = False,
) -> None:
    """Find more pictures like some, and less like others.

    What several pictures have in common counts. None of those that you give is shown.

    Example: mmsearch similar cat1.jpg cat2.jpg --not dog.jpg

    Example: mmsearch similar cat.jpg --text "in the snow" -k 20
    """
    from mmsearch.collection import Reader

    one_form(json_, filepath_only or print0, preview)
    collection = Reader.open(directory, device=device)
    session = collection.feedback(
        text=text or (), image=pictures, without_image=other or (), where=where or (),
        min_score=min_score, diverse=diverse)
    hits = session.next(top)
    if not hits:
        collection.check_fields(where or ())
        say("nothing else meets the condition" if where or min_score else
            "there is nothing else in this collection")
    write_sheet(html, hits, *(text or ()), *pictures)
    print_hits(hits, json_=json_, filepath_only=filepath_only, print0=print0, preview=preview)
