"""Pictures and their captions: what is searched for, and what should be found.

Any manifest will do (see `sources.manifests`), Karpathy's ``dataset_coco.json`` and
``dataset_flickr8k.json`` among them; and shards of webdataset, as CLIP_benchmark has them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmsearch.errors import UsageError
from mmsearch.sources import MANIFEST_SUFFIXES, BadRow, Row, Scan, iter_items, locate, read_rows
from mmsearch.uris import is_archive, path_to_uri


@dataclass(frozen=True, slots=True)
class Pair:
    """image: an absolute path; captions: in the order of the file, repeats kept, or none;
    languages: of each caption, by the column `lang`, or none if the file has no such;
    id, caption_ids: the picture's `cocoid` and the captions' `sentids` in Karpathy's files;
    address: where a picture is that is in an archive."""

    image: Path
    captions: tuple[str, ...]
    split: str = ""
    languages: tuple[str, ...] = ()
    id: str = ""
    caption_ids: tuple[str, ...] = ()
    address: str = ""

    @property
    def uri(self) -> str:
        return self.address or path_to_uri(self.image)


def pairs_in(path: Path, *, split: str | None = None) -> list[Pair]:
    """The pictures of a manifest, of a tar, or of all tars in a folder, with their captions.

    Of a folder, `split` is the folder in it that is read, as CLIP_benchmark has them.

    UsageError: as `load_pairs`, or the shards cannot be read.
    """
    if not (path.is_dir() or is_archive(path.name)):
        return load_pairs(path, split=split)
    if split is not None and path.is_dir():
        if not (path / split).is_dir():
            folders = ", ".join(sorted(one.name for one in path.iterdir() if one.is_dir()))
            raise UsageError(f"{path} has no folder {split!r}; it has {folders or 'none at all'}")
        path /= split
    scan = Scan()
    captions: dict[str, list[str]] = {}
    for item in iter_items([path], archives=True, scan=scan):
        if item.kind == "image":
            captions.setdefault(item.uri, [])
        elif item.group in captions:
            captions[item.group].append(item.text)
    if scan.skipped:
        raise UsageError(f"{scan.skipped[0].path}: {scan.skipped[0].reason}")
    if not any(captions.values()):
        raise UsageError(f"{path}: no captions; expected tars of pictures with texts beside them "
                         "(0007.jpg, 0007.txt)")
    return [Pair(Path(uri), tuple(texts), split or "", address=uri)
            for uri, texts in captions.items()]


def load_pairs(path: Path, *, split: str | None = None) -> list[Pair]:
    """The pictures of a manifest with their captions, in order of first appearance.

    Rows of the same picture and split become one pair. A picture is looked for beside the manifest,
    then in ``images/`` there. Without `split`, pairs of every split come back.

    UsageError: the file cannot be read, a row is broken or its picture is not there (with the
    line), there is no such split (with those there are), or no captions at all.
    """
    if path.suffix.lower() not in MANIFEST_SUFFIXES:
        known = " ".join(sorted(MANIFEST_SUFFIXES))
        raise UsageError(f"{path}: expected a file of images and captions, one of {known}")
    rows: dict[tuple[str, str], list[Row]] = {}
    others: set[str] = set()
    for row in _good_rows(path):
        name = str(row.meta.get("split", ""))
        if split is not None and name != split:
            others.add(name)
            continue
        rows.setdefault((_find_image(path, row), name), []).append(row)
    if split is not None and not rows:
        found = ", ".join(sorted(filter(None, others))) or "no splits at all"
        raise UsageError(f"{path}: no rows of split {split!r}; the file has {found}")
    pairs = [_pair(image, name, found) for (image, name), found in rows.items()]
    if not any(pair.captions for pair in pairs):
        raise UsageError(f"{path}: no captions; expected a column named caption or captions")
    return pairs


def _pair(image: str, split: str, rows: Sequence[Row]) -> Pair:
    captions = [text for row in rows for text in row.captions]
    languages = [str(row.meta.get("lang", "")) for row in rows for _ in row.captions]
    ids = [one for row in rows for one in row.sentids]
    return Pair(Path(image), tuple(captions), split, tuple(languages) if any(languages) else (),
                id=str(rows[0].meta.get("cocoid", "")),
                caption_ids=tuple(ids) if len(ids) == len(captions) else ())


def _good_rows(path: Path) -> Iterator[Row]:
    try:
        for row in read_rows(path):
            if isinstance(row, BadRow):
                raise UsageError(f"{path}:{row.line}: {row.reason}")
            yield row
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path} cannot be read: {reason}") from error


def _find_image(manifest: Path, row: Row) -> str:
    if row.image is None:
        raise UsageError(f"{manifest}:{row.line}: a caption without an image")
    for candidate in (manifest.parent / row.image, manifest.parent / "images" / row.image):
        try:
            # Not Path.resolve: a collection knows a file by the name of the link, too.
            found = locate.as_on_disk(os.path.abspath(candidate))  # noqa: PTH100
            if Path(found).is_file():
                return found
        except (OSError, ValueError):  # a name that no file can have
            continue
    name = row.image.encode("utf-8", "replace").decode()
    raise UsageError(f"{manifest}:{row.line}: image not found: {name}")
