"""Vectors that other tools made, and what describes them: which files belong together, and the
item that each row is of.

    FILE.npy                          [n, dim], with or without a manifest of a row a vector
    DIR/*.npy                         parts of one, in the order of their numbers
    DIR/img_emb/img_emb_0.npy         clip-retrieval: row n of each of them belongs together
        text_emb/text_emb_0.npy
        metadata/metadata_0.parquet
    DIR/mmsearch.json                 what `mmsearch export` wrote
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from mmsearch.errors import UsageError
from mmsearch.records import Item, Kind
from mmsearch.sources.columns import (
    CAPTION_COLUMNS,
    IMAGE_COLUMNS,
    plain_name,
    split_columns,
    storable,
)
from mmsearch.sources.manifests import MANIFEST_SUFFIXES, column_names, count_rows, read_columns
from mmsearch.sources.vector_files import VectorFile
from mmsearch.uris import path_to_uri, written_of

EXPORT = "mmsearch.json"
"""Written last by `mmsearch export`: what the files beside it are."""
EXPORT_FORMAT = 1
EXPORTED = ("id", "uri", "kind", "text", "group", "hash", "meta")
"""Columns of an export that are no metadata; `meta` is JSON of what has no column of its own."""
IMPORTED = "npy:"
"""Begins the fingerprint of every item whose vector was imported."""
_PLACE_COLUMNS = ("url", "key")
"""Columns that say which picture a row is of, where no column of `IMAGE_COLUMNS` does."""
_MEASURED: dict[str, type | tuple[()]] = {
    "size": (), "modified": (), "manifest": (), "width": int, "height": int, "taken": str,
    "camera": str}
"""Metadata with columns of its own, and what a manifest may say of it in its own name: nothing of
the file or the manifest, which mmsearch knows better."""


class Described(NamedTuple):
    """What a manifest says of row number `row`: an item, or why there is none."""

    row: int
    item: Item | None
    hash: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Part:
    """One file of vectors and what describes its rows.

    source: the uri of what was imported, this file or the folder that it is a part of.
    first: the number of its first row in all parts of its kind.
    base: the folder that names of pictures are relative to.
    own: whether `mmsearch export` wrote the description.
    captioned: whether the captions of its pictures have vectors of their own.
    """

    file: VectorFile
    manifest: Path | None
    kind: Kind
    source: str
    base: Path
    first: int = 0
    own: bool = False
    captioned: bool = False

    @cached_property
    def mark(self) -> str:
        """Begins the fingerprints of its items; another one once a file has changed."""
        states = [written_of(path.stat()) for path in (self.file.path, self.manifest) if path]
        given = [str(getattr(self, one.name)) for one in fields(self)]
        state = json.dumps([*given, states])
        return f"{IMPORTED}{blake2b(state.encode('utf-8', 'replace'), digest_size=6).hexdigest()}:"

    @cached_property
    def _uri(self) -> str:
        return path_to_uri(self.file.path)

    def fingerprint(self, row: int) -> str:
        """Sorts like the rows."""
        return f"{self.mark}{row:010d}"

    def items(self, first: int, last: int) -> Iterator[Described]:
        """What rows `first` up to, but not with, `last` are.

        Raises:
            UsageError: the manifest ends before.
        """
        if self.manifest is None:
            for row in range(first, last):
                yield Described(row, self._item(row, None, (), {}))
            return
        rows = iter(range(first, last))
        for row, (_, columns) in zip(rows, read_columns(self.manifest, first), strict=False):
            if isinstance(columns, str):
                yield Described(row, None, problem=columns)
            else:
                yield self._exported(row, columns) if self.own else self._foreign(row, columns)
        if next(rows, None) is not None:
            raise UsageError(f"{self.manifest} became shorter while it was read; run again")

    def _foreign(self, row: int, columns: Mapping[str, Any]) -> Described:
        image, captions, meta = split_columns(columns)
        if self.kind == "text" and not captions:
            return Described(row, None, problem="no caption")
        return Described(row, self._item(row, _place(image, meta, self.base), captions, meta))

    def _item(self, row: int, place: str | None, captions: Sequence[str],
              meta: Mapping[str, Any]) -> Item:
        uri = place or f"{self._uri}#{row}"
        if self.kind == "text" and place:
            uri = f"{place}#caption{self.first + row + 1}"
        text = "" if self.captioned else "\n".join(captions)
        return Item(uri, self.kind, text, place or uri, {**_renamed(meta), "manifest": self.source},
                    self.fingerprint(row))

    def _exported(self, row: int, columns: Mapping[str, Any]) -> Described:
        meta = {name: value for name, value in columns.items()
                if name not in EXPORTED and value is not None}
        try:
            rest = json.loads(columns.get("meta") or "{}")
            item = Item(str(columns["uri"]), self.kind, columns.get("text") or "",
                        columns.get("group") or "", {**meta, **rest, "manifest": self.source},
                        self.fingerprint(row))
        except (KeyError, ValueError, TypeError) as error:
            return Described(row, None, problem=f"not as it was exported ({error!r})")
        return Described(row, item, columns.get("hash") or "")


def _place(image: str | None, meta: Mapping[str, Any], base: Path) -> str | None:
    """The uri of the picture that a row is of: a path or an address."""
    url, key = (str(meta.get(name) or meta.get(name.upper()) or "") for name in _PLACE_COLUMNS)
    if image and (not url or re.search(r"[./\\]", image)):
        return _absolute(image, base)
    if url:  # the image is a mere number, as in a tar of img2dataset
        return url
    return _absolute(image or key, base) if image or key else None


def _absolute(name: str, base: Path) -> str:
    if "://" in name:
        return storable(name)
    return path_to_uri(os.path.abspath(base / storable(name)))  # noqa: PTH100


def _renamed(meta: Mapping[str, Any]) -> dict[str, Any]:
    return {f"meta.{name}" if name in _MEASURED and not isinstance(value, _MEASURED[name])
            else name: value for name, value in meta.items()}


@dataclass(frozen=True)
class VectorSet:
    """All that one call imports.

    model, encoder: what made the vectors, as far as the files say: a name that `load_encoder` may
        know, and the name with a hash that the encoder gave itself.
    """

    path: Path
    parts: tuple[Part, ...]
    model: str = ""
    encoder: str = ""

    @property
    def dim(self) -> int:
        return self.parts[0].file.dim

    @property
    def rows(self) -> int:
        return sum(part.file.rows for part in self.parts)

    @property
    def source(self) -> str:
        return self.parts[0].source


def find_vectors(path: Path, manifest: Path | None = None, kind: Kind = "image") -> VectorSet:
    """The parts at `path`, checked: shapes, widths, and as many rows described as there are.

    Args:
        path: an .npy file or a folder, see the top of this file.
        manifest: a file of a row a vector; for a folder of parts, the folder of their manifests.
        kind: what the vectors are of; in clip-retrieval's folders and in exports, the folder says.

    Raises:
        UsageError: files that are missing, damaged, or do not fit together.
        MissingExtra: Parquet without pyarrow.
    """
    root = Path(os.path.abspath(path))  # noqa: PTH100 (keeps the name of a link)
    manifest = manifest and Path(os.path.abspath(manifest))  # noqa: PTH100
    model = encoder = ""
    if (root / EXPORT).is_file():
        model, encoder, found = _of_export(root)
    elif any((root / folder).is_dir() for folder in _CLIP_RETRIEVAL):
        found = _of_clip_retrieval(root)
    elif root.is_dir():
        found = _of_folder(root, manifest, kind)
    else:
        file = VectorFile.open(root)
        base = (manifest or root).parent
        found = iter([Part(file, manifest, kind, path_to_uri(root), base)])
    parts = tuple(found)
    if not parts:
        raise UsageError(f"no vectors in {path}: neither .npy files nor img_emb/ or text_emb/")
    if manifest is not None and all(part.manifest is None or part.base == root for part in parts):
        raise UsageError(f"{path} has manifests of its own; leave out --manifest")
    _check(parts)
    return VectorSet(root, parts, model, encoder)


def _of_folder(root: Path, manifests: Path | None, kind: Kind) -> Iterator[Part]:
    """Every .npy in a folder; manifests lie beside them under the same name, or in a folder."""
    if manifests is not None and not manifests.is_dir():
        raise UsageError(f"{root} is a folder of parts: --manifest must be the folder of their "
                         "manifests, not a file")
    described = _numbered(manifests, MANIFEST_SUFFIXES) if manifests else {}
    first = 0
    for number, path in _numbered(root, {".npy"}).items():
        beside = (path.with_suffix(suffix) for suffix in sorted(MANIFEST_SUFFIXES))
        manifest = described.get(number) or next((one for one in beside if one.is_file()), None)
        if manifests is not None and number not in described:
            raise UsageError(f"no manifest for {path} in {manifests}")
        part = Part(VectorFile.open(path), manifest, kind, path_to_uri(root),
                    manifests or root, first)
        yield part
        first += part.file.rows


_CLIP_RETRIEVAL: dict[str, Kind] = {"img_emb": "image", "text_emb": "text"}


def _of_clip_retrieval(root: Path) -> Iterator[Part]:
    described = _numbered(root / "metadata", MANIFEST_SUFFIXES)
    captioned = bool(_numbered(root / "text_emb", {".npy"}))
    for folder, kind in _CLIP_RETRIEVAL.items():
        first = 0
        for number, path in _numbered(root / folder, {".npy"}).items():
            if described and number not in described:
                raise UsageError(f"no metadata for {path} in {root / 'metadata'}")
            part = Part(VectorFile.open(path), described.get(number), kind, path_to_uri(root), root,
                        first, captioned=captioned and kind == "image")
            yield part
            first += part.file.rows


def _numbered(folder: Path, suffixes: Container[str]) -> dict[int, Path]:
    """The files of a folder by the last number in their names; by position, if one has none."""
    if not folder.is_dir():
        return {}
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes
                   and not path.name.startswith("."))
    numbers = [re.findall(r"\d+", path.stem) for path in files]
    by_number = {int(found[-1]): path for found, path in zip(numbers, files, strict=True) if found}
    if len(by_number) < len(files):
        by_number = dict(enumerate(files))
    return dict(sorted(by_number.items()))


def _of_export(root: Path) -> tuple[str, str, Iterator[Part]]:
    try:
        written = json.loads((root / EXPORT).read_text("utf-8"))
        if written["format"] != EXPORT_FORMAT:
            raise UsageError(f"{root / EXPORT} has format {written['format']}, this version reads "
                             f"{EXPORT_FORMAT}; upgrade mmsearch")
        listed = [(_inside(root, one["vectors"]), _inside(root, one["metadata"]),
                   _KINDS[one["kind"]]) for one in written["parts"]]
        model, encoder = str(written["model"] or ""), str(written["encoder"] or "")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{root / EXPORT} is damaged ({error!r}); export again") from error
    return model, encoder, (
        Part(VectorFile.open(vectors), metadata, kind, path_to_uri(root), root, own=True)
        for vectors, metadata, kind in listed)


_KINDS: dict[str, Kind] = {"image": "image", "text": "text", "frame": "frame"}


def _inside(root: Path, name: str) -> Path:
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{name} lies elsewhere")
    return path


def _check(found: Sequence[Part]) -> None:
    widths = {part.file.dim: part.file.path for part in found}
    if len(widths) > 1:
        raise UsageError("vectors of several lengths: " + ", ".join(
            f"{dim} in {path}" for dim, path in sorted(widths.items())))
    for manifest, rows, path, own in dict.fromkeys(
            (part.manifest, part.file.rows, part.file.path, part.own) for part in found):
        if manifest is not None:
            _check_manifest(manifest, rows, path, own)


def _check_manifest(manifest: Path, rows: int, path: Path, own: bool) -> None:
    if not manifest.is_file():
        raise UsageError(f"no such file: {manifest}")
    if manifest.suffix.lower() not in MANIFEST_SUFFIXES:
        raise UsageError(f"{manifest} is not a manifest: give one of the types "
                         f"{', '.join(sorted(MANIFEST_SUFFIXES))}")
    names = column_names(manifest)
    known = ("uri",) if own else (*IMAGE_COLUMNS, *_PLACE_COLUMNS, *CAPTION_COLUMNS)
    if names is not None and not set(map(plain_name, names)) & set(map(plain_name, known)):
        raise UsageError(f"{manifest} has none of the columns {', '.join(known)}; it has "
                         f"{', '.join(names[:10]) or 'none'}")
    if (described := count_rows(manifest)) != rows:
        raise UsageError(f"{manifest} has {described} rows for the {rows} vectors in {path}; it "
                         "must have one row for each vector, in the same order")
