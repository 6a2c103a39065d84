"""Commands that move vectors in and out: export, and `index --vectors`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from mmsearch.cli.options import DEFAULT_INDEX, Device, IndexOption, JsonOption, WhereOption
from mmsearch.cli.terminal import print_json, progress, say

if TYPE_CHECKING:
    from mmsearch.collection import AddReport, Collection


As: TypeAlias = Literal["image", "text"]
Dtype: TypeAlias = Literal["float16", "float32"]
Format: TypeAlias = Literal["parquet", "jsonl"]
VectorsOption = Annotated[Path | None, typer.Option(
    "--vectors", metavar="FILE", help="Vectors made elsewhere, in place of PATH: .npy, or a folder "
                                      "of clip-retrieval or `mmsearch export`.")]
ManifestOption = Annotated[Path | None, typer.Option(
    "--manifest", metavar="FILE", help="What they are of, a row a vector: .parquet, .jsonl, .csv.")]
AsOption = Annotated[As, typer.Option("--as", help="What the vectors are of.")]


def import_vectors(path: Path, manifest: Path | None, kind: As, directory: Path,
                   model: str | None, recall: float | None, index_kind: str | None,
                   device: Device) -> tuple[Collection, AddReport]:
    """What `mmsearch index --vectors` does."""
    from mmsearch.collection import Collection
    from mmsearch.encoders import EXTERNAL
    from mmsearch.sources import find_vectors

    found = find_vectors(path, manifest, kind)
    collection = Collection.for_vectors(directory, found, model=model or "", device=device)
    collection.configure(recall=recall, kind=index_kind)
    with progress("importing", lambda: found.rows) as advance:
        report = collection.add_vectors(found, model=model or "", progress=advance)
    if str(collection.info()["encoder"]).startswith(EXTERNAL):
        say("note: " + (f"the model {collection.model} cannot be loaded here"
                        if collection.model else "nobody said which model made these vectors "
                        "(--model)") + "; search by vector (--vector) or by picture (--image)")
    return collection, report


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the files are written.")],
    where: WhereOption = None,
    dtype: Annotated[Dtype, typer.Option(help="float16 is what is stored.")] = "float16",
    format_: Annotated[Format, typer.Option(
        "--format", help="Of the descriptions; Parquet needs the extra `parquet`.")]
        = "parquet",
    rows_per_file: Annotated[int, typer.Option(min=1, help="Rows in one file.")] = 1_000_000,
    force: Annotated[bool, typer.Option(
        "--force", help="Replace the export that is there.")] = False,
    directory: IndexOption = DEFAULT_INDEX,
    json_: JsonOption = False,
) -> None:
    """Write vectors (.npy) and what they are of (Parquet or JSON lines), for other tools.

    The layout is that of clip-retrieval, autofaiss and embedding-reader; `mmsearch index
    --vectors DIR` reads it back.

    Example: mmsearch export vectors --where "taken>=2020"
    """
    from dataclasses import asdict

    from mmsearch.collection import Collection

    collection = Collection.open(directory)
    with progress("exporting", lambda: sum(collection.info()["kinds"].values())) as advance:
        done = collection.export(folder, where=where or (), dtype=dtype,
                                 format=format_, rows_per_file=rows_per_file, force=force,
                                 progress=advance)
    if json_:
        print_json(asdict(done))
    else:
        counts = ", ".join(f"{kind} {rows}" for kind, rows in done.items.items())
        print(f"wrote {counts} to {folder} ({len(done.files)} files)")
