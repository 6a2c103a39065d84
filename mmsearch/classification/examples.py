"""Labelled items: a folder of folders, a table with a column of labels, items of a collection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from mmsearch.classification.choices import Features, Find
from mmsearch.classification.things import Things, gather
from mmsearch.collection import Collection, Reader
from mmsearch.errors import UsageError
from mmsearch.records import Item
from mmsearch.sources import Scan, Skipped, iter_items, locate

COLUMN = "label"


@dataclass
class Examples:
    """Things with a label each, and files that could not be read."""

    things: Things
    labels: list[str]
    skipped: list[Skipped] = field(default_factory=list)


def read_examples(collection: Reader, path: Path, features: Features, *, find: Find = "image",
                  column: str = COLUMN, split: str = "",
                  progress: Callable[[int], None] = lambda done: None) -> Examples:
    """Examples of a folder, whose folders are the labels, or of a table of pictures and captions
    with their label in a column. What the collection has is taken from there; the rest is encoded.

    split: only rows of a table whose column `split` says that.

    Raises:
        UsageError: there is nothing at `path`, no labels, or no texts for features that need them.
    """
    scan = Scan()
    folder = f"{locate.uri_of(path).rstrip('/')}/" if path.is_dir() else ""
    items: list[Item] = []
    labels: dict[str, str] = {}
    others: set[str] = set()
    for item in iter_items([path], scan=scan):
        others.update(item.meta)
        if split and str(item.meta.get("split", "")) != split:
            continue
        if label := _label(item, folder, column):
            labels[item.group or item.uri] = label
            items.append(item)
    if not labels:
        rows = f" in rows of split {split!r}" if split else ""
        expected = "folders named after the labels, with files" if folder else \
            f"a table with a column {column!r} (another: --column)"
        raise UsageError(f"{path} has nothing that is labelled{rows}; expected {expected}"
                         + _columns(others))
    parts = [_labelled(collection, labels, features, find)]
    known = {row.item.group or row.item.uri for row in parts[0].rows}
    new = [item for item in items if (item.group or item.uri) not in known]
    skipped = list(scan.skipped)
    if new:
        with TemporaryDirectory(prefix="mmsearch-examples-") as directory:
            other = Collection.create(Path(directory) / "index", model=collection.model)
            skipped += other.add(new, progress=progress).skipped
            parts.append(_labelled(other, labels, features, find))
            other.close()
    things = joined(parts)
    if len(skipped) < len(labels):
        _check_any(things, features, path)
    found = [labels[row.item.group or row.item.uri] for row in things.rows]
    return Examples(things, found, skipped)


def where_examples(collection: Reader, conditions: Sequence[tuple[str, str]], features: Features,
                   *, find: Find = "image") -> Examples:
    """Items of a collection: (label, condition) each.

    Raises:
        UsageError: nothing meets a condition, or one item is an example of two labels.
    """
    parts, labels, seen = [], [], dict[int, str]()
    for label, condition in conditions:
        things = gather(collection, features, find=find, where=condition)
        if not things.rows:
            what = "picture with a text" if (find, features) == ("image", "text") else "item"
            raise UsageError(f"no {what} meets {condition!r}, so there is no example of {label!r}")
        new = [n for n, row in enumerate(things.rows) if row.id not in seen]
        for row in things.rows:
            if seen.setdefault(row.id, label) != label:
                raise UsageError(f"{row.item.uri} is an example of {seen[row.id]!r} and {label!r}")
        parts.append(things[new])
        labels += [label] * len(new)
    return Examples(joined(parts), labels)


def _check_any(things: Things, features: Features, path: Path) -> None:
    if features != "image" and not things.texts.any():
        raise UsageError(f"none of the examples in {path} has a text, which the features "
                         f"{features!r} need; take 'image', or a table with their captions")
    if not things.rows:
        raise UsageError(f"none of the examples in {path} is a picture; "
                         "to label texts: --find text --features text")


def _columns(names: set[str]) -> str:
    """Of a table, as people know them."""
    known = sorted(name.removeprefix("meta.") for name in names - {"manifest", "modified"})
    return f"; it has {', '.join(known[:20])}" if known else ""


def joined(parts: Sequence[Things]) -> Things:
    return Things([row for part in parts for row in part.rows],
                  np.concatenate([part.images for part in parts]),
                  np.concatenate([part.texts for part in parts]))


def _labelled(collection: Reader, labels: dict[str, str], features: Features, find: Find) -> Things:
    things = gather(collection, features, find=find)
    return things[[n for n, row in enumerate(things.rows)
                   if (row.item.group or row.item.uri) in labels]]


def _label(item: Item, folder: str, column: str) -> str:
    """The first folder below `folder`, or what the column says."""
    if folder:
        inside, slash, _ = item.uri.removeprefix(folder).partition("/")
        return inside if slash and item.uri.startswith(folder) else ""
    value = item.meta.get(column, item.meta.get(f"meta.{column}"))
    return "" if value is None or isinstance(value, (list, dict)) else str(value).strip()
