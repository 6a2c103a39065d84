"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Find(StrEnum):
    image = "image"
    text = "text"
    any = "any"


class Mode(StrEnum):
    vector = "vector"
    text = "text"
    hybrid = "hybrid"


class Fusion(StrEnum):
    weighted = "weighted"
    rrf = "rrf"


IndexOption = Annotated[Path, typer.Option(
    "-i", "--index", envvar="MMSEARCH_INDEX", help="The collection's directory.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
WhereOption = Annotated[list[str] | None, typer.Option(
    "--where", metavar="CONDITION",
    help="Only items that meet this: 'year>=2020 and camera ~ canon'. Repeatable.")]
ModelOption = Annotated[str | None, typer.Option(
    "--model", metavar="NAME", help="builtin, a directory that `mmsearch train` wrote, or an "
                                    "open_clip model such as ViT-B-32/laion2b_s34b_b79k.")]
DEFAULT_INDEX = Path("indexes/default")
