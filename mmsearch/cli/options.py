"""Options that several commands share."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import typer

from mmsearch.cli.terminal import say
from mmsearch.errors import UsageError
from mmsearch.search import Query

Device: TypeAlias = Literal["cpu", "cuda", "auto"]
Precision: TypeAlias = Literal["auto", "fp32", "bf16", "int8"]
_PARTS = {part.name: part.metadata["help"] for part in fields(Query)}


def help_of(part: str, more: str = "") -> str:
    """The help of a part of `Query`."""
    return f"{_PARTS[part]} {more}".strip()


def part_option(part: str, *flags: str, more: str = "", **how: Any) -> Any:
    """The option for a part of `Query`, with its help."""
    return typer.Option(*flags, help=help_of(part, more), **how)


def path_given(text: str) -> Path:
    """A path from the command line; an empty one, as of an unset variable, would mean "here".

    Raises:
        UsageError: it is empty.
    """
    if not text:
        raise UsageError("a path is empty (an unset variable?); for the current directory give .")
    return Path(text)


def address_given(text: str) -> str:
    """A path or an address from the command line, likewise."""
    path_given(text)
    return text


def is_address(place: str) -> bool:
    """Whether -i names a server, not a directory."""
    return place.startswith(("http://", "https://"))


def directory_given(text: str | Path) -> Path:
    """The directory of a collection; a default comes as a Path.

    Raises:
        UsageError: it is empty, or the address of a server.
    """
    if is_address(str(text)):
        raise UsageError(f"this command needs the directory of a collection, not {text}; only "
                         "query and info ask a server")
    return path_given(str(text))


for _parser in (path_given, address_given, directory_given):
    _parser.__name__ = "path"  # what help calls their type

IndexOption = Annotated[Path, typer.Option(
    "-i", "--index", envvar="MMSEARCH_INDEX", metavar="DIR", parser=directory_given,
    help="The collection's directory.")]
PlaceOption = Annotated[str, typer.Option(
    "-i", "--index", envvar="MMSEARCH_INDEX", metavar="DIR|URL", parser=address_given,
    help="The collection's directory, or the address of a server: http://HOST:PORT (its token in "
         "MMSEARCH_TOKEN).")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
FilepathOnlyOption = Annotated[bool, typer.Option(
    "--filepath-only", help="Print only paths, one a line, for pipes.")]
SheetOption = Annotated[Path | None, typer.Option(
    "--html", metavar="FILE", help="Write a contact sheet of the results.")]
PreviewOption = Annotated[bool, typer.Option(
    "--preview", help="Show the pictures, in terminals that can (extra `preview`).")]
Print0Option = Annotated[bool, typer.Option(
    "-0", "--print0", help="Like --filepath-only, but end each path with NUL, for `xargs -0`.")]
WhereOption = Annotated[list[str] | None, part_option(
    "where", "--where", metavar="CONDITION", more="Repeatable.")]
ModelOption = Annotated[str | None, typer.Option(
    "--model", metavar="NAME", help="The model: small (built in), good, best, multilingual, a "
                                    "directory that `mmsearch train` wrote, an open_clip model "
                                    "such as ViT-B-32/laion2b_s34b_b79k, or an export on the hub "
                                    "such as Xenova/clip-vit-base-patch32.")]


def _agree(yes: bool) -> bool:
    """Have a terminal asked before a model is downloaded; elsewhere it is told."""
    from mmsearch.encoders import before_download

    def told(what: str) -> bool:
        say(f"mmsearch: downloading {what}")
        return True

    def asked(what: str) -> bool:
        return typer.confirm(f"Download {what}?", default=True, err=True)

    before_download(asked if sys.stdin.isatty() and not yes else told)
    return yes


YesOption = Annotated[bool, typer.Option(
    "--yes", "-y", callback=_agree, help="Download a model without asking first.")]
PrecisionOption = Annotated[Precision | None, typer.Option(
    help="How exactly an open_clip model computes; auto (default) is the fastest that costs no "
         "recall. A new collection remembers it.")]


def with_precision(model: str, precision: Precision | None) -> str:
    """The model's name with a precision, in place of the one it had."""
    from mmsearch.encoders import split_precision

    return model if precision is None else f"{split_precision(model)[0]}@{precision}"


def one_form(json_: bool, paths: bool, preview: bool = False) -> None:
    """Raises UsageError: more than one form of output is asked for."""
    if json_ + paths + preview > 1:
        raise UsageError("--json, --filepath-only (or -0) and --preview exclude each other")


DEFAULT_INDEX = Path("indexes/default")


DeviceOption = Annotated[Device, typer.Option(
    "--device", envvar="MMSEARCH_DEVICE", help="Where to search and to build indexes; auto takes "
    "the CPU, with a warning, if no GPU can hold the vectors.")]


def recall_given(text: str) -> float:
    """What --recall says, as a number.

    Raises:
        UsageError: not a number above 0 and up to 1, nor `exact`.
    """
    try:
        recall = 1.0 if text == "exact" else float(text)
    except ValueError:
        recall = 0.0
    if not 0 < recall <= 1:
        raise UsageError(f"--recall takes a number up to 1, such as 0.95, or exact, not {text!r}")
    return recall


def kind_given(text: str) -> str:
    """A --kind that exists; UsageError, before anything is made."""
    from mmsearch.indexes import choose_spec

    choose_spec(0, kind=text)
    return text


def tiles_given(text: str) -> str:
    """A --tiles that can be read; UsageError otherwise."""
    from mmsearch.media import parse_grid

    parse_grid(text)
    return text


RecallOption = Annotated[float | None, typer.Option(
    "--recall", metavar="R", parser=recall_given,
    help="In large collections, the share of the ten best results that a search must find: 0.95 "
         "(default), 0.99, any other, or 'exact'. Remembered.")]
KindOption = Annotated[str | None, typer.Option(
    "--kind", metavar="KIND", parser=kind_given,
    help="Kind of index, from 1,000 items on: auto (default), hnsw, ivf-rabitq, ivf-pq, ivf-sq8, … "
         "Remembered.")]
TilesOption = Annotated[str | None, typer.Option(
    "--tiles", metavar="COLSxROWS", parser=tiles_given,
    help="Also index parts of large pictures, to find small things in them: 2x2, 3x2, …, or none "
         "(default). Remembered.")]
RerankOption = Annotated[bool | None, typer.Option(
    "--rerank/--no-rerank",
    help="Also store what `mmsearch query --rerank` looks at, 22 kB a picture, so that it need not "
         "read the pictures again. Remembered; --no-rerank removes it.", show_default=False)]
FetchOption = Annotated[bool, typer.Option(
    "--fetch", help="Download the pictures whose web addresses are in a manifest.")]
FetchPrivateOption = Annotated[bool, typer.Option(
    "--fetch-private", help="With --fetch: also allow addresses on this machine and its network.")]
ExcludeOption = Annotated[list[str] | None, typer.Option(
    "--exclude", metavar="GLOB",
    help="Leave out names ('*.gif') or paths ('raw/**'). Repeatable.")]
