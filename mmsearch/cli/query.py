"""Commands that search: query."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmsearch.cli.answers import answered
from mmsearch.cli.hits import print_hits, write_sheet
from mmsearch.cli.options import (
    DEFAULT_INDEX,
    DeviceOption,
    FilepathOnlyOption,
    JsonOption,
    ModelOption,
    PlaceOption,
    PreviewOption,
    Print0Option,
    SheetOption,
    WhereOption,
    YesOption,
    help_of,
    is_address,
    one_form,
    part_option,
)
from mmsearch.cli.terminal import say
from mmsearch.errors import UsageError
from mmsearch.search import Find, Fusion, Mode, Query

if TYPE_CHECKING:
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
    captions: Annotated[bool, part_option(
        "captions", "--captions/--no-captions")] = Query.captions,
    rerank: Annotated[int, part_option("rerank", metavar="N")] = Query.rerank,
    diverse: Annotated[float | None, part_option(
        "diverse", metavar="LAMBDA")] = Query.diverse,
    collapse: Annotated[str | None, part_option("collapse", metavar="COLUMN")] = None,
    no_collapse: Annotated[bool, typer.Option(
        "--no-collapse", help="Show all hits of a file: every frame or page, and with --find any "
                                  "every caption.")] = False,
    multilingual: Annotated[bool | None, part_option(
        "multilingual", "--multilingual/--no-multilingual")] = Query.multilingual,
    spelling: Annotated[bool, part_option("spelling", "--spelling/--no-spelling")] = Query.spelling,
    place: PlaceOption = str(DEFAULT_INDEX),
    model: ModelOption = None,
    yes: YesOption = False,
    device: DeviceOption = "cpu",
    json_: JsonOption = False,
    filepath_only: FilepathOnlyOption = False,
    print0: Print0Option = False,
    html: SheetOption = None,
    preview: PreviewOption = False,
) -> None:
    """Find images by words, images by images, or words by images.

    Example: mmsearch query "a dog on the beach" --where "taken>=2020" -k 5

    Example: mmsearch query --image cat.jpg --find text

    Example: mmsearch query --image street.jpg --crop 50%,0,50%,100%

    Example: mmsearch query "ein Fahrrad"

    Example: mmsearch query IMG_2041 --mode text

    Example: mmsearch query "a dog" -i http://photos.local:8080
    """
    if vector is not None and (texts or image or without or without_image or weight):
        raise UsageError("--vector cannot be combined with texts, pictures, --not, --not-image "
                         "or --weight")
    one_form(json_, filepath_only or print0, preview)
    if is_address(place) and (html or preview):
        raise UsageError(f"--html and --preview need the pictures, which are on the server; open "
                         f"{place} in a browser")
    if mode != "hybrid" and (fusion or text_weight is not None):
        raise UsageError("--fusion and --text-weight need --mode hybrid")
    asked = Query(
        text=texts or (), image=_pictures(image or [], crop or []), vector=_vector(vector),
        without=without or (), without_image=without_image or (), weights=weight or (), find=find,
        k=top, offset=offset, min_score=min_score, where=where or (), mode=mode,
        fusion=fusion or Query.fusion, diverse=diverse, multilingual=multilingual,
        captions=captions, spelling=spelling, rerank=rerank,
        text_weight=Query.text_weight if text_weight is None else text_weight,
        collapse=not no_collapse and (collapse or Query.collapse))
    answer = answered(place, asked, model, device)
    hits = answer.hits
    write_sheet(html, hits, *(texts or ()), *(image or ()), *([vector.name] if vector else ()))
    if collapse and hits and not _have_value(hits, collapse):
        say(f"note: no result has a value of {collapse!r} to collapse by")
    if not hits:
        say(answer.why_nothing)
    print_hits(hits, json_=json_, filepath_only=filepath_only, print0=print0, preview=preview,
               parts=mode != "vector", server=answer.server)


def _have_value(hits: list[Hit], field: str) -> bool:
    from mmsearch.search import has_value

    return any(has_value(hit.item, field) for hit in hits)


def _pictures(images: list[str], areas: list[str]) -> list[Any]:
    if not images and not areas:
        return []
    from mmsearch.media import parse_crops

    return parse_crops(images, areas)


def _vector(file: Path | None) -> Any:
    if file is None:
        return None
    from mmsearch.sources import query_vector

    return query_vector(file)
