"""A collection as files that other tools read: NumPy and Parquet, or JSON lines.

    DIR/img_emb/img_emb_0.npy          [n, dim], the pictures' vectors, of unit length
        metadata/metadata_0.parquet    row n of each describes the same picture
        texts/text_emb/text_emb_0.npy, texts/metadata/metadata_0.parquet     the same of texts
        mmsearch.json                  what made the vectors, and which files belong together

This is the layout of clip-retrieval, autofaiss and embedding-reader. Texts have a folder of their
own, as those tools take row n of `text_emb` for the caption of row n of `img_emb`, and here a
picture may have any number of captions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias

import numpy as np

from mmsearch.encoders import EXTERNAL
from mmsearch.errors import CollectionDamaged, MissingExtra, UsageError
from mmsearch.records import Kind
from mmsearch.sources import EXPORT, EXPORT_FORMAT, EXPORTED
from mmsearch.storage import TEMPORARY, Catalog, Condition, Opened, Row, written_whole

FOLDERS: dict[Kind, tuple[str, str]] = {
    "image": ("", "img_emb"), "frame": ("frames", "img_emb"), "text": ("texts", "text_emb")}
_BATCH = 4096
_ARROW = {"integer": "int64", "real": "float64", "text": "string", "true": "bool", "false": "bool"}
"""Arrow's types for those of `Catalog.meta_types`; what has another, or several, is in `meta`."""

Format: TypeAlias = Literal["parquet", "jsonl"]


@dataclass(frozen=True)
class Plan:
    """What to write. dtype: "float16", as stored, or "float32"."""

    directory: Path
    dtype: str = "float16"
    format: Format = "parquet"
    rows_per_file: int = 1_000_000
    condition: Condition | None = None
    force: bool = False


@dataclass
class Exported:
    """What was written: items by kind, and the files, relative to the directory."""

    directory: str
    items: dict[str, int] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)


def export_items(catalog: Catalog, opened: Opened, plan: Plan,
           progress: Callable[[int], None]) -> Exported:
    """Write the live items and their vectors, in the order they came in; from one snapshot.

    Raises:
        UsageError: there is nothing to export, or the directory has files (and not `force`).
        MissingExtra: Parquet without pyarrow.
        CollectionDamaged: an item has no vector.
    """
    if plan.rows_per_file < 1:
        raise UsageError(f"--rows-per-file must be at least 1, not {plan.rows_per_file}")
    counts = {kind: rows for kind in FOLDERS if (rows := catalog.count(plan.condition, [kind]))}
    if not counts:
        raise UsageError("nothing to export: " + ("nothing meets the condition" if plan.condition
                                                  else "the collection is empty"))
    _make_room(plan)
    done = Exported(str(plan.directory), {str(kind): rows for kind, rows in counts.items()})
    parts = []
    for kind, rows in counts.items():
        for part in _export_kind(catalog, opened, plan, kind, rows, progress):
            parts.append(part)
            done.files += [part["vectors"], part["metadata"]]
    model, encoder = catalog.settings["model"], catalog.settings["encoder"].removeprefix(EXTERNAL)
    said = {"format": EXPORT_FORMAT, "model": model, "encoder": "" if encoder == model else encoder,
            "dim": catalog.settings["dim"], "dtype": plan.dtype, "normalised": True,
            "count": done.items, "parts": parts}
    with written_whole(plan.directory / EXPORT) as file:
        file.write(json.dumps(said, indent=1).encode())
    (plan.directory / _BEGUN).unlink()
    done.files.append(EXPORT)
    return done


_BEGUN = f"{TEMPORARY}{EXPORT}-begun"
"""There while an export is not whole."""


def _make_room(plan: Plan) -> None:
    """Nothing that is there is written over; with `force`, the files of an older export go first,
    and no others."""
    if plan.directory.exists() and not plan.directory.is_dir():
        raise UsageError(f"{plan.directory} is a file; give a directory")
    if plan.directory.is_dir() and any(plan.directory.iterdir()) and not plan.force:
        raise UsageError(f"{plan.directory} is not empty; give another directory, or --force to "
                         "replace the export that is there")
    whole, begun = plan.directory / EXPORT, plan.directory / _BEGUN
    names: list[str | Path] = []
    if whole.exists():
        names = [part[what] for part in json.loads(whole.read_bytes())["parts"]
                 for what in ("vectors", "metadata")]
    elif begun.exists():  # stopped half-way: all that is there is its own
        names = [path.relative_to(plan.directory) for folder, vectors in FOLDERS.values()
                 for path in [*(plan.directory / folder / vectors).glob("*"),
                              *(plan.directory / folder / "metadata").glob("*")]]
    elif plan.directory.is_dir() and any(plan.directory.iterdir()):
        raise UsageError(f"{plan.directory} holds no export of mmsearch (no {EXPORT}), so there is "
                         "nothing to replace; empty it, or give another directory")
    if plan.format == "parquet":
        _arrow()  # before anything is written or removed
    plan.directory.mkdir(parents=True, exist_ok=True)
    begun.touch()
    whole.unlink(missing_ok=True)  # what is left is no whole export any more
    for name in map(Path, names):
        if not name.is_absolute() and ".." not in name.parts:
            (plan.directory / name).unlink(missing_ok=True)


def _export_kind(catalog: Catalog, opened: Opened, plan: Plan, kind: Kind, rows: int,
                 progress: Callable[[int], None]) -> Iterator[dict[str, Any]]:
    folder, vectors = FOLDERS[kind]
    types = catalog.meta_types(plan.condition, [kind])
    columns = {name: _ARROW[next(iter(found))] for name, found in sorted(types.items())
               if name not in EXPORTED and len({_ARROW.get(one) for one in found}) == 1
               and found <= set(_ARROW)}
    live = catalog.rows(plan.condition, [kind], order="seq")
    count = -(-rows // plan.rows_per_file)
    for part in range(count):
        here = min(plan.rows_per_file, rows - part * plan.rows_per_file)
        number = f"{part:0{len(str(count - 1))}d}"
        names = [str(Path(folder, vectors, f"{vectors}_{number}.npy")),
                 str(Path(folder, "metadata", f"metadata_{number}.{plan.format}"))]
        with ExitStack() as stack:
            files = [stack.enter_context(written_whole(plan.directory / name)) for name in names]
            write = stack.enter_context(_writer(files[1], plan.format, columns))
            np.lib.format.write_array_header_1_0(files[0], {
                "descr": np.lib.format.dtype_to_descr(np.dtype(plan.dtype)), "fortran_order": False,
                "shape": (here, int(catalog.settings["dim"]))})
            part_of_live = islice(live, here)
            while batch := list(islice(part_of_live, _BATCH)):
                files[0].write(_vectors(opened, batch, kind, catalog, plan.dtype))
                write([_columns(row, columns) for row in batch])
                progress(len(batch))
        yield {"kind": kind, "vectors": names[0], "metadata": names[1], "rows": here}


def _vectors(opened: Opened, batch: Sequence[Row], kind: Kind, catalog: Catalog,
             dtype: str) -> bytes:
    seqs = np.array([row.seq for row in batch], np.int64)
    vectors = opened.gather(seqs, kind, int(catalog.settings["dim"]))
    if not vectors.any(axis=1).all():
        root = catalog.path.parent
        raise CollectionDamaged(f"items of {root} have no vector; run `mmsearch verify --repair "
                                f"-i {root}`")
    return vectors.astype(dtype).tobytes()


def _columns(row: Row, columns: dict[str, str]) -> dict[str, Any]:
    item = row.item
    rest = {name: value for name, value in item.meta.items() if name not in columns}
    return {"id": row.id, "uri": item.uri, "kind": item.kind, "text": item.text,
            "group": item.group, "hash": row.hash or "",
            "meta": json.dumps(rest, ensure_ascii=False) if rest else None,
            **{name: item.meta[name] for name in columns if name in item.meta}}


_Write: TypeAlias = Callable[[list[dict[str, Any]]], None]


@contextmanager
def _writer(file: BinaryIO, format: Format, columns: dict[str, str]) -> Iterator[_Write]:
    if format == "jsonl":
        def write_lines(rows: list[dict[str, Any]]) -> None:
            file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())

        yield write_lines
        return
    arrow, parquet = _arrow()
    schema = arrow.schema({"id": "int64", **dict.fromkeys(EXPORTED[1:], "string"), **columns})
    with parquet.ParquetWriter(file, schema) as writer:
        yield lambda rows: writer.write_batch(arrow.RecordBatch.from_pylist(rows, schema))


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtra("writing Parquet", "parquet", "write --format jsonl") from error
    return pyarrow, parquet
