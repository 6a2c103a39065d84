"""The command that writes vectors for other tools: export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from mmsearch.cli.options import DEFAULT_INDEX, IndexOption, JsonOption, WhereOption
from mmsearch.cli.terminal import print_json, progress

Dtype: TypeAlias = Literal["float16", "float32"]
Format: TypeAlias = Literal["parquet", "jsonl"]


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the files are written.")],
    where: WhereOption = None,
    dtype: Annotated[Dtype, typer.Option(
        help="Number type of the vectors; float16 is how they are stored.")] = "float16",
    format_: Annotated[Format, typer.Option(
        "--format", help="Format of the metadata; parquet needs the extra `parquet`.")] = "parquet",
    rows_per_file: Annotated[int, typer.Option(min=1, help="Rows in one file.")] = 1_000_000,
    force: Annotated[bool, typer.Option(
        "--force", help="Replace the export that is there.")] = False,
    directory: IndexOption = DEFAULT_INDEX,
    json_: JsonOption = False,
) -> None:
    """Export vectors (.npy) and metadata (Parquet or JSON lines) for other tools.

    The layout is that of clip-retrieval, autofaiss and embedding-reader; `mmsearch index
    --vectors DIR` reads it back.

    Example: mmsearch export vectors --where "taken>=2020"
    """
    from dataclasses import asdict

    from mmsearch.collection import Collection

    collection = Collection.open(directory)
    items = collection.count(where=where or (), find="any")  # not in the thread that draws
    if not items:
        collection.check_fields(where or ())
    with progress("exporting", lambda: items) as advance:
        done = collection.export(folder, where=where or (), dtype=dtype, format=format_,
                                 rows_per_file=rows_per_file, force=force, progress=advance)
    if json_:
        print_json(asdict(done))
    else:
        counts = ", ".join(f"{rows} {kind}{'s' * (rows != 1)}" for kind, rows in done.items.items())
        print(f"wrote {counts} to {folder} ({len(done.files)} files)")
