"""What a scan of the sources means for a catalog: which items are unchanged, touched, moved,
copied or new. Nothing is decoded here, and only files in doubt are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from mmsearch.errors import MediaError
from mmsearch.fragments import file_uri, is_tile, part_of
from mmsearch.ingest.hashes import hash_at, hash_of_file
from mmsearch.ingest.shards import Ready
from mmsearch.media import as_tile, tiling_of
from mmsearch.metadata import CONTAINER_FIELDS, FIELDS, is_label
from mmsearch.records import Item, Kind, Vectors
from mmsearch.sources import (
    brought_up,
    is_own_caption,
    locate,
    own_fingerprint,
    sidecar_marks,
    with_sidecars_of,
)
from mmsearch.storage import Catalog, Row

_DECODED = FIELDS.keys() | CONTAINER_FIELDS
"""Metadata that decoding adds: not part of what a source says of an item; nor are labels."""


@dataclass
class Plan:
    """Work found so far, taken and emptied by whoever does it."""

    encode: list[Item] = field(default_factory=list)
    ready: list[Ready] = field(default_factory=list)
    update: list[tuple[int, Item]] = field(default_factory=list)


@dataclass
class Planner:
    """Sorts items as they come; `seen` and the counts grow with them.

    vector_of: the stored vector (float32 [dim]) with a sequence number, of a kind of item.
    reread: whether pictures are encoded again, whatever tells that they are unchanged.
    lacks: whether those with the content of a hash are, since something of it is not stored.
    """

    catalog: Catalog
    vector_of: Callable[[int, Kind], Vectors]
    reread: bool = False
    lacks: Callable[[str], bool] = lambda hash: False
    plan: Plan = field(default_factory=Plan)
    seen: set[int] = field(default_factory=set)
    unchanged: int = 0
    updated: int = 0
    moved: int = 0
    copies: set[str] = field(default_factory=set)
    """uris of pictures whose vectors are copied."""
    replacing: set[tuple[str, Kind]] = field(default_factory=set)
    """Items that are encoded again."""
    renewing: set[str] = field(default_factory=set)
    """uris of pictures that are described anew, for what lies beside them has changed."""
    was_at: dict[str, str] = field(default_factory=dict)
    """uris of moved pictures, with what they were before."""
    old: dict[str, list[Row]] = field(default_factory=dict)
    """By the uri of a file that is encoded again: what it gave before."""
    _planned: dict[tuple[str, Kind], Row] = field(default_factory=dict)
    """Rows as they will be once what is planned is committed, where that gives them another uri."""
    _moved: dict[str, list[Row]] = field(default_factory=dict)
    """The same for the parts of a file, or the tiles of a picture, by its new uri."""

    def __post_init__(self) -> None:
        self.tiling = tiling_of(self.catalog.setting("tiles"))

    def take(self, item: Item) -> None:
        """Decide what is to be done with one item, and put it into the plan."""
        if is_tile(item):  # out of an archive that is known: it goes with its picture
            return
        row = self._planned.get((item.uri, item.kind)) or self.catalog.find(item.uri, item.kind)
        if row is not None:
            self.seen.add(row.id)
            self._known(item, row)
        elif item.kind == "text":
            self.plan.encode.append(item)
        elif parts := self._parts(item.uri):
            self.seen |= {part.id for part in parts}
            self._known_parts(item, parts)
        elif not self._elsewhere(item):
            self.plan.encode.append(item)

    def _known(self, item: Item, row: Row) -> None:
        described = _with_manifest(item, row)
        row = self._brought_up(row, described.fingerprint)
        stored = _with_decoded(described, row)
        # Without a grid, tiles may have been imported: they are looked for where it matters.
        tiles = self._tiles(row) if self.tiling.grid.tiles or stored != row.item else []
        tiles = [self._brought_up(tile, described.fingerprint) for tile in tiles]
        self.seen.update(tile.id for tile in tiles)
        same_file = own_fingerprint(described.fingerprint) == own_fingerprint(row.item.fingerprint)
        if self.tiling.is_behind(row.item, row.seq) or self._lacks([row, *tiles]) or (
                self.reread and item.kind != "text"):
            self._replace(described, [row, *tiles])
        elif stored == row.item:
            self.unchanged += 1 + len(tiles)
        elif same_file and item.text == row.item.text:
            self.updated += 1 + len(tiles)
            self._update(described, row, tiles)
        elif (same := self._same_content(item, row)) is not None:
            self.unchanged += 1 + len(tiles)
            known = with_sidecars_of(same, described.fingerprint)
            self._update(replace(described, fingerprint=known), row, tiles)
        else:
            self._replace(described, [row, *tiles])

    def _lacks(self, rows: list[Row]) -> bool:
        return any(row.item.kind != "text" and row.hash and self.lacks(row.hash) for row in rows)

    def _parts(self, uri: str) -> list[Row]:
        """What a file of several pictures gave: frames, pages, texts of pages."""
        rows = self._moved.get(uri) or self.catalog.group(uri)
        return [row for row in rows if part_of(row.item) is not None and not is_tile(row.item)]

    def _tiles(self, picture: Row) -> list[Row]:
        if picture.item.kind != "image":
            return []
        uri = picture.item.uri
        rows = self._moved.get(uri) or self.catalog.group(uri)
        return [row for row in rows if is_tile(row.item)]

    def _known_parts(self, file: Item, parts: list[Row]) -> None:
        """As `_known`, for a file that gave several items; it is read again if what lies beside it
        has changed."""
        first = next((part for part in parts if part.item.kind == "frame"), parts[0])
        file = _with_manifest(file, first)
        print_ = file.fingerprint
        parts = [self._brought_up(part, print_) for part in parts]
        if self.reread or self._lacks(parts):
            self._replace(file, parts)
            return
        if any(part.item.fingerprint != print_ for part in parts):
            known = self._hash_of(file)
            if known is None or any(
                    not part.hash
                    or sidecar_marks(part.item.fingerprint) != sidecar_marks(print_)
                    or (part.item.kind == "frame" and hash_of_file(part.hash) != known[0])
                    for part in parts):
                self._replace(file, parts)
                return
            print_ = with_sidecars_of(known[1], print_)
        stored = [(part, _as_part(file, part, print_)) for part in parts]
        changed = [(part.id, item) for part, item in stored if item != part.item]
        self.plan.update += changed
        updated = sum(item != part.item and not _differs_in_change_alone(part.item, item)
                      for part, item in stored)
        self.updated += updated
        self.unchanged += len(parts) - updated

    def _brought_up(self, row: Row, now: str) -> Row:
        """What an earlier version wrote, with the fingerprint that it has today."""
        known = brought_up(row.item.fingerprint, now)
        if known == row.item.fingerprint:
            return row
        row = row._replace(item=replace(row.item, fingerprint=known))
        self.plan.update.append((row.id, row.item))
        return row

    def _replace(self, item: Item, old: list[Row]) -> None:
        self.old[item.uri] = old
        self.replacing |= {(row.item.uri, row.item.kind) for row in old}
        self.plan.encode.append(item)

    def _update(self, item: Item, row: Row, tiles: list[Row]) -> None:
        """Take over the metadata that an item has now, also from files beside a picture."""
        if sidecar_marks(item.fingerprint) == sidecar_marks(row.item.fingerprint):
            item = _with_decoded(item, row)
            self.plan.update.append((row.id, item))
            self.plan.update += [(tile.id, as_tile(tile.item, item)) for tile in tiles]
        else:
            self._renew(item, row, tiles)

    def _renew(self, item: Item, row: Row, tiles: list[Row]) -> None:
        ready = [self._again(item, row), *self._tiles_again(item, tiles)]
        self.renewing |= {one.item.uri for one in ready}
        self.plan.ready += ready

    def _tiles_again(self, picture: Item, tiles: list[Row]) -> list[Ready]:
        return [self._again(as_tile(tile.item, picture), tile) for tile in tiles]

    def _again(self, item: Item, row: Row) -> Ready:
        return Ready(replace(item, group=item.group or item.uri), row.hash,
                     self.vector_of(row.seq, row.item.kind), _decoded(row))

    def _same_content(self, item: Item, row: Row) -> str | None:
        """The new fingerprint of an item whose file was touched but not changed, else None."""
        if item.kind == "text":
            return item.fingerprint if item.text == row.item.text else None
        if (known := self._hash_of(item)) is None:
            return None
        return known[1] if known[0] == row.hash else None

    def _elsewhere(self, item: Item) -> bool:
        """Whether the content of a new path is known from another: moved there, or copied."""
        size = item.fingerprint.partition(":")[0]
        candidates = self.catalog.of_size(int(size)) if size.isdigit() else []
        if not candidates or (known := self._hash_of(item)) is None:
            return False
        content, fingerprint = known
        twins = [row for row in candidates
                 if hash_of_file(row.hash) == content and not is_tile(row.item)]
        if not twins:
            return False
        item = replace(item, fingerprint=with_sidecars_of(fingerprint, item.fingerprint))
        moved = next((row for row in twins if row.id not in self.seen
                     and locate.is_removed(file_uri(row.item))), None)
        twin = moved or twins[0]
        if part_of(twin.item) and (sidecar_marks(item.fingerprint) or self._is_described(twin)):
            return False  # what describes it is read anew, and so it is read as a whole
        if moved is None and (self.tiling.is_behind(twin.item, twin.seq) or self._lacks(
                [twin, *self.catalog.group(file_uri(twin.item))])):
            return False
        if moved is None:
            self._copy(twin, item)
        else:
            self._move(moved, _with_manifest(item, moved))
        return True

    def _is_described(self, part: Row) -> bool:
        """Whether there is more known of the file of a part than its parts."""
        return bool(sidecar_marks(part.item.fingerprint)) or any(
            is_own_caption(row.item) for row in self.catalog.group(part.item.group))

    def _copy(self, row: Row, item: Item) -> None:
        parts = self._parts(file_uri(row.item)) if part_of(row.item) else []
        copies = [Ready(_as_part(item, part, item.fingerprint), part.hash,
                        self.vector_of(part.seq, part.item.kind)) for part in parts]
        for copy in copies or [self._again(item, row),
                               *self._tiles_again(item, self._tiles(row))]:
            self.copies.add(copy.item.uri)
            self.plan.ready.append(copy)

    def _move(self, row: Row, item: Item) -> None:
        """A moved picture takes its captions and tiles along; a moved file, all its frames or
        pages."""
        old = file_uri(row.item)
        parts = self._parts(old) if part_of(row.item) else []
        tiles = self._tiles(row)
        moved = [self._rename(part, _as_part(item, part, item.fingerprint)) for part in parts]
        if self._lacks(moved):
            self._replace(item, moved)
        if not parts:
            self.was_at[item.uri] = old
            known = _with_decoded(item, row)
            moved = [self._rename(row, known), *(
                self._rename(tile, as_tile(tile.item, known)) for tile in tiles)]
            if self.tiling.is_behind(row.item, row.seq) or self._lacks(moved):
                self._replace(item, moved)
            elif sidecar_marks(item.fingerprint) or sidecar_marks(row.item.fingerprint):
                self._renew(item, row, tiles)
        if taken := [*parts, *tiles]:
            self._moved[item.uri] = [
                self._planned[item.uri + part.item.uri[len(old):], part.item.kind]
                for part in taken]
        ids = {row.id, *(part.id for part in taken)}
        self.seen |= ids
        self.moved += len(ids)
        for other in self.catalog.group(row.item.group):
            if (other.item.kind == "text" and other.id not in ids
                    and other.item.uri.startswith(old + "#")):
                uri = item.uri + other.item.uri[len(old):]
                self._rename(other, replace(other.item, uri=uri, group=item.uri))

    def _rename(self, row: Row, item: Item) -> Row:
        self.plan.update.append((row.id, item))
        self._planned[item.uri, item.kind] = renamed = row._replace(item=item)
        return renamed

    def _hash_of(self, item: Item) -> tuple[str, str] | None:
        try:
            return hash_at(item.uri)
        except MediaError:
            return None  # it will be skipped with its reason where it is decoded


def _as_part(file: Item, part: Row, fingerprint: str) -> Item:
    """A part of a file with what a source says of the file now."""
    place = part.item.uri[len(file_uri(part.item)):]
    item = replace(part.item, uri=file.uri + place, group=file.uri, meta=file.meta,
                   fingerprint=fingerprint)
    return _with_decoded(_with_manifest(item, part), part)


def _differs_in_change_alone(one: Item, other: Item) -> bool:
    """Whether all that is new of a file is when it was last changed in any way: moved, say."""
    size, modified, *_ = [*one.fingerprint.split(":"), ""]
    return replace(one, fingerprint=other.fingerprint) == other and \
        other.fingerprint.startswith(f"{size}:{modified}:")


def _decoded(row: Row) -> dict[str, Any]:
    """What decoding an item's content found before, and what it was classified as."""
    return {key: value for key, value in row.item.meta.items() if not _is_said(key)}


def _is_said(key: str) -> bool:
    return key not in _DECODED and not is_label(key)


def _with_decoded(item: Item, row: Row) -> Item:
    return replace(item, meta={**_decoded(row), **item.meta}, group=item.group or item.uri)


def _with_manifest(item: Item, row: Row) -> Item:
    """The item with what a manifest has about it, when its folder is searched again; that counts
    more than what lies beside it."""
    if "manifest" not in row.item.meta or "manifest" in item.meta:
        return item
    listed = {key: value for key, value in row.item.meta.items() if _is_said(key)}
    fingerprint = own_fingerprint(item.fingerprint)
    return replace(item, meta={**listed, **item.meta}, fingerprint=fingerprint)
