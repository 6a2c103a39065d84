"""Commands that search: query."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.commands.options import (
    DEFAULT_INDEX,
    Find,
    IndexOption,
    JsonOption,
    ModelOption,
    WhereOption,
)
from mmsearch.terminal import console, print_json, say

if TYPE_CHECKING:
    from mmsearch.collection import Collection
    from mmsearch.records import Hit


def query(
    texts: Annotated[list[str] | None, typer.Argument(
        metavar="[TEXT]...", help="What to look for, in words.")] = None,
    image: Annotated[list[Path] | None, typer.Option(
        metavar="FILE", help="A picture to look for, indexed or not. Repeatable.")] = None,
    without: Annotated[list[str] | None, typer.Option(
        "--not", metavar="TEXT", help="Keep away from this. Repeatable.")] = None,
    without_image: Annotated[list[Path] | None, typer.Option(
        "--not-image", metavar="FILE", help="Keep away from this picture. Repeatable.")] = None,
    weight: Annotated[list[float] | None, typer.Option(
        "--weight", metavar="W", help="One for each text, then each picture.")] = None,
    find: Annotated[Find, typer.Option(help="What to find.")] = Find.image,
    top: Annotated[int, typer.Option("-k", "--top", help="How many results.")] = 10,
    min_score: Annotated[float | None, typer.Option(
        "--min-score", metavar="X", min=0, max=1,
        help="Leave out results of a lower relevance: how likely a result is a match, 0 to 1, "
             "judged by how far it stands out from unrelated pictures.")] = None,
    where: WhereOption = None,
    directory: IndexOption = DEFAULT_INDEX,
    model: ModelOption = None,
    json_: JsonOption = False,
    filepath_only: Annotated[bool, typer.Option(
        "--filepath-only", help="Print paths alone, one a line, for pipes.")] = False,
    html: Annotated[Path | None, typer.Option(
        metavar="FILE", help="Write a contact sheet of the results.")] = None,
    preview: Annotated[bool, typer.Option(
        "--preview", help="Show the pictures in the terminal, where it can.")] = False,
) -> None:
    """Find images by words, images by images, or words by images.

    Example: mmsearch query "a dog on the beach" --where "taken>=2020" -k 5

    Example: mmsearch query --image cat.jpg --find text
    """
    from mmsearch import present
    from mmsearch.collection import Collection

    collection = Collection.open(directory, model=model)
    hits = collection.search(
        text=texts or (), image=image or (), without=without or (),
        without_image=without_image or (), weights=weight or (), k=top, where=where or (),
        find=find.value, min_score=min_score)
    title = " + ".join([*(texts or ()), *map(str, image or ())])
    if html:
        html.write_text(present.contact_sheet(hits, title=title), "utf-8")
        say(f"wrote {html}")
    if not hits:
        say(_why_nothing(collection, find, bool(where), min_score))
    _print_hits(hits, json_=json_, filepath_only=filepath_only, preview=preview)


def _print_hits(hits: list[Hit], *, json_: bool, filepath_only: bool, preview: bool) -> None:
    from mmsearch import present

    if json_:
        print_json(present.hits_json(hits))
    elif filepath_only:
        for path in present.filepaths(hits):
            if sys.stdout.isatty():
                print(present.safe_text(path))
            else:  # as it is named on disk, for the next program
                sys.stdout.buffer.write(os.fsencode(path) + b"\n")
    elif preview:
        present.preview(hits, console())
    elif sys.stdout.isatty():
        console().print(present.hits_table(hits))
    else:
        print(present.hits_tsv(hits), end="")


def _why_nothing(collection: Collection, find: Find, filtered: bool,
                 min_score: float | None) -> str:
    kinds = collection.info()["kinds"]
    relevant = "" if min_score is None else f"no result has a relevance of {min_score:g} or more"
    if filtered:
        return f"nothing meets the condition{relevant and ', or '}{relevant}"
    if find is not Find.any and find.value not in kinds and kinds:
        return f"no {find.value}s in this collection; try --find {next(iter(kinds))}"
    if relevant and kinds:
        return f"{relevant}; lower --min-score to see what is nearest"
    return "this collection is empty; fill it with `mmsearch index PATH`"
