"""Commands that search: query."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmsearch.cli.options import (
    DEFAULT_INDEX,
    Device,
    DeviceOption,
    Find,
    Fusion,
    IndexOption,
    JsonOption,
    Mode,
    ModelOption,
    WhereOption,
)
from mmsearch.cli.terminal import console, print_json, print_paths, say
from mmsearch.errors import UsageError

if TYPE_CHECKING:
    from mmsearch.collection import Reader
    from mmsearch.records import Hit


def query(
    texts: Annotated[list[str] | None, typer.Argument(
        metavar="[TEXT]...", help="What to look for, in words.")] = None,
    image: Annotated[list[str] | None, typer.Option(
        metavar="FILE", help="A picture to look for, indexed or not. Repeatable.")] = None,
    crop: Annotated[list[str] | None, typer.Option(
        metavar="X,Y,W,H", help="Search by this part of the --image: in pixels of the upright "
                                "picture or per cent (10%,20%,50%,50%). One for each, or one for "
                                "all.")] = None,
    vector: Annotated[Path | None, typer.Option(
        metavar="FILE", help="A query that the same model embedded: .npy, its first row.")] = None,
    without: Annotated[list[str] | None, typer.Option(
        "--not", metavar="TEXT", help="Keep away from this. Repeatable.")] = None,
    without_image: Annotated[list[str] | None, typer.Option(
        "--not-image", metavar="FILE", help="Keep away from this picture. Repeatable.")] = None,
    weight: Annotated[list[float] | None, typer.Option(
        "--weight", metavar="W", help="One for each text, then each picture.")] = None,
    find: Annotated[Find, typer.Option(help="What to find.")] = Find.image,
    top: Annotated[int, typer.Option("-k", "--top", help="How many results.")] = 10,
    offset: Annotated[int, typer.Option(
        metavar="N", help="Pass over the first N results: the next page.")] = 0,
    min_score: Annotated[float | None, typer.Option(
        "--min-score", metavar="X", min=0, max=1,
        help="Leave out results of a lower relevance: how likely a result is a match, 0 to 1, "
             "judged by how far it stands out from unrelated pictures.")] = None,
    where: WhereOption = None,
    mode: Annotated[Mode, typer.Option(
        help="Compare meanings, match words (in captions, file names, paths, metadata), or both."
    )] = Mode.vector,
    fusion: Annotated[Fusion | None, typer.Option(
        help="How hybrid adds the two up: by scores or by ranks.", show_default="weighted"
    )] = None,
    text_weight: Annotated[float | None, typer.Option(
        "--text-weight", metavar="W", help="How much words count in hybrid, 0 to 1.",
        show_default="0.51")] = None,
    diverse: Annotated[float | None, typer.Option(
        metavar="LAMBDA", help="Results that differ: 1 keeps the ranking, 0 only spreads; try 0.5."
    )] = None,
    collapse: Annotated[str | None, typer.Option(
        metavar="COLUMN", help="One result for each folder ('folder') or value of a metadata "
                               "column, not for each group.")] = None,
    no_collapse: Annotated[bool, typer.Option(
        "--no-collapse", help="Show a picture and each of its captions.")] = False,
    multilingual: Annotated[bool, typer.Option(
        "--multilingual", help="Texts in other languages than English, for the built-in model: "
                               "Arabic, Chinese, Dutch, French, German, Italian, Japanese, Korean, "
                               "Polish, Portuguese, Russian, Spanish, Thai, Turkish. Needs the "
                               "extra of that name.")] = False,
    directory: IndexOption = DEFAULT_INDEX,
    model: ModelOption = None,
    device: DeviceOption = Device.cpu,
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

    Example: mmsearch query --image street.jpg --crop 50%,0,50%,100%

    Example: mmsearch query "ein Fahrrad" --multilingual

    Example: mmsearch query IMG_2041 --mode text
    """
    from mmsearch.cli import present
    from mmsearch.collection import Reader
    from mmsearch.media import parse_crops
    from mmsearch.search import has_value

    images = parse_crops(image or [], crop or [])
    collection = Reader.open(directory, model=model, device=device.value)
    if vector is not None and (texts or image or without or without_image or weight):
        raise UsageError("--vector is a whole query: give it alone")
    if mode is not Mode.hybrid and (fusion or text_weight is not None):
        raise UsageError("--fusion and --text-weight say how words and meanings are added up: add "
                         "--mode hybrid")
    hits = collection.search(
        vector=None if vector is None else _vector(vector),
        text=texts or (), image=images, without=without or (),
        without_image=without_image or (), weights=weight or (), k=top, where=where or (),
        find=find.value, mode=mode.value, offset=offset, diverse=diverse,
        fusion=(fusion or Fusion.weighted).value, text_weight=text_weight, min_score=min_score,
        collapse=not no_collapse and (collapse or True), multilingual=multilingual)
    title = " + ".join([*(texts or ()), *map(str, image or ()),
                        *([vector.name] if vector else ())])
    if html:
        html.write_text(present.contact_sheet(hits, title=title), "utf-8")
        say(f"wrote {html}")
    if collapse and hits and not any(has_value(hit.item, collapse) for hit in hits):
        say(f"note: no result has a value of {collapse!r} to collapse by")
    if not hits:
        say(_why_nothing(collection, find, where or (), mode, offset, min_score))
    _print_hits(hits, json_=json_, filepath_only=filepath_only, preview=preview,
                parts=mode is not Mode.vector)


def _print_hits(hits: list[Hit], *, json_: bool, filepath_only: bool, preview: bool,
                parts: bool) -> None:
    from mmsearch.cli import present

    if json_:
        print_json(present.hits_json(hits, parts=parts))
    elif filepath_only:
        print_paths(present.filepaths(hits))
    elif preview:
        present.preview(hits, console())
    elif sys.stdout.isatty():
        console().print(present.hits_table(hits))
    else:
        print(present.hits_tsv(hits), end="")


def _vector(file: Path) -> Any:
    from mmsearch.sources import query_vector

    return query_vector(file)


def unknown_fields(collection: Reader, where: Sequence[str]) -> str:
    """What to say of fields in conditions that no item of a collection has; empty if all are."""
    from mmsearch.storage import COLUMNS, parse_where

    columns = collection.columns()
    unknown = sorted(parse_where(where).columns - set(columns))
    known = ", ".join(dict.fromkeys([*COLUMNS, *columns]))
    return f"no item has a field {', '.join(map(repr, unknown))}; there are {known}" \
        if unknown else ""


def _why_nothing(collection: Reader, find: Find, where: Sequence[str], mode: Mode,
                 offset: int, min_score: float | None) -> str:
    filtered = bool(where)
    kinds = collection.info()["kinds"]
    relevant = "" if min_score is None else f"no result has a relevance of {min_score:g} or more"
    if offset and not relevant:
        return f"there are no results beyond the first {offset}; lower --offset"
    if mode is Mode.text and kinds:
        return "no item has these words" + (" and meets the condition" if filtered else "")
    if filtered and (hint := unknown_fields(collection, where)):
        return hint
    if filtered:
        return f"nothing meets the condition{relevant and ', or '}{relevant}"
    if find is not Find.any and find.value not in kinds and kinds:
        return f"no {find.value}s in this collection; try --find {next(iter(kinds))}"
    if relevant and kinds:
        return f"{relevant}; lower --min-score to see what is nearest"
    return "this collection is empty; fill it with `mmsearch index PATH`"
