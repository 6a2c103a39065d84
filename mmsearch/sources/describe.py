"""A picture's item with all of its metadata: from inside, from the files beside it, from a map."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from mmsearch.metadata import Metadata, caption_key, merge_metadata, with_place_names
from mmsearch.records import Item
from mmsearch.sources import sidecars
from mmsearch.sources.scan import Skipped
from mmsearch.sources.texts import text_items
from mmsearch.uris import fingerprint_of, path_to_uri, uri_to_path

_EMBEDDED = re.compile(r"#embedded\d+(\.\d+)?")


class Described(NamedTuple):
    """captions: text items of the picture's group, in order; skipped: sidecars that were not
    read, for what reason."""

    item: Item
    captions: tuple[Item, ...] = ()
    skipped: tuple[Skipped, ...] = ()


def described(item: Item, decoded: Mapping[str, Any], embedded: tuple[str, ...]) -> Described:
    """What a source says of a picture (`item`), and what it says of itself, put together.

    item: its fingerprint names the sidecars, which are read now.
    decoded: metadata from inside of the file; embedded: captions from there.
    """
    path, read, marks, skipped = uri_to_path(item.uri), list[Metadata](), [], []
    texts: dict[str, str] = {}  # each with the name of its sidecar, "" for the picture itself
    for name in sidecars.names_in(item.fingerprint):
        beside = path.with_name(uri_to_path(name).name)
        try:
            mark = fingerprint_of(beside.stat())  # before it is read: what changes now is seen then
            read.append(sidecars.read(beside))
            texts.update((text, name) for text in read[-1].captions if text not in texts)
        except FileNotFoundError:
            continue
        except OSError as error:
            mark = "0:0"  # that of no file: the next run tries again
            skipped.append(Skipped(path_to_uri(beside), f"cannot be read: {error.strerror}"))
        except ValueError as error:
            skipped.append(Skipped(path_to_uri(beside), str(error)))
        marks.append((name, mark))
    said = set(map(caption_key, texts))
    texts.update((text, "") for text in embedded if caption_key(text) not in said)
    meta = with_place_names(merge_metadata(decoded, *(one.meta for one in read)))
    fingerprint = sidecars.with_sidecars(sidecars.own_fingerprint(item.fingerprint), marks)
    whole = replace(item, meta={**meta, **item.meta}, fingerprint=fingerprint)
    return Described(whole, _captions(item.uri, texts), tuple(skipped))


def _captions(uri: str, texts: Mapping[str, str]) -> tuple[Item, ...]:
    found: list[Item] = []
    counts = {"caption": 0, "embedded": 0}
    for text, name in texts.items():
        kind = "caption" if name else "embedded"
        counts[kind] += 1
        meta = {"sidecar": name} if name else {}
        found += text_items(f"{uri}#{kind}{counts[kind]}", text, uri, meta)
    return tuple(found)


def is_own_caption(item: Item) -> bool:
    """Whether a text came out of a picture or a sidecar of it, so that it stays with the picture
    until that is described anew."""
    if item.kind != "text" or "manifest" in item.meta or not item.uri.startswith(item.group):
        return False
    return "sidecar" in item.meta or _EMBEDDED.fullmatch(item.uri, len(item.group)) is not None
