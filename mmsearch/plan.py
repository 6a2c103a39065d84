"""What a scan of the sources means for a catalog: which items are unchanged, touched, moved,
copied, new or gone. Nothing is decoded here, and only files in doubt are read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmsearch import places
from mmsearch.catalog import Catalog, Change
from mmsearch.errors import MediaError
from mmsearch.ingest import Built, Ready, Shard, content_hash
from mmsearch.records import Item, Kind, Vectors
from mmsearch.rows import Row
from mmsearch.segments import segment_name
from mmsearch.sources import Scan
from mmsearch.uris import is_below, split_member
from mmsearch.vectorsets import IMPORTED

COMMIT_SECONDS = 20.0
FIRST_SHARD, SMALLEST, LARGEST = 256, 64, 4096
_DECODED = {"width", "height", "format", "taken", "camera", "size"}
"""Metadata that decoding adds: not part of what a source says of an item."""


@dataclass
class Plan:
    """Work found so far, taken and emptied by whoever does it."""

    encode: list[Item] = field(default_factory=list)
    ready: list[Ready] = field(default_factory=list)
    update: list[tuple[int, Item]] = field(default_factory=list)


@dataclass
class Planner:
    """Sorts items as they come; `seen` and the counts grow with them.

    vector_of: the stored vector (float32 [dim]) with a sequence number.
    """

    catalog: Catalog
    vector_of: Callable[[int], Vectors]
    plan: Plan = field(default_factory=Plan)
    seen: set[int] = field(default_factory=set)
    unchanged: int = 0
    updated: int = 0
    moved: int = 0
    copies: set[str] = field(default_factory=set)
    """uris of pictures whose vectors are copied."""
    replacing: set[tuple[str, Kind]] = field(default_factory=set)
    """Items that are encoded again."""
    _planned: dict[tuple[str, Kind], Row] = field(default_factory=dict)
    """Rows as they will be once what is planned is committed, where that gives them another uri."""

    def take(self, item: Item) -> None:
        """Decide what is to be done with one item, and put it into the plan."""
        row = self._planned.get((item.uri, item.kind)) or self.catalog.find(item.uri, item.kind)
        if row is not None:
            self.seen.add(row.id)
            self._known(item, row)
        elif item.kind == "text" or not self._elsewhere(item):
            self.plan.encode.append(item)

    def _known(self, item: Item, row: Row) -> None:
        described = _with_manifest(item, row)
        stored = _with_decoded(described, row)
        if stored == row.item:
            self.unchanged += 1
        elif item.fingerprint == row.item.fingerprint and item.text == row.item.text:
            self.updated += 1
            self.plan.update.append((row.id, stored))
        elif (same := self._same_content(item, row)) is not None:
            self.unchanged += 1
            self.plan.update.append((row.id, replace(stored, fingerprint=same)))
        else:
            self.replacing.add((item.uri, item.kind))
            self.plan.encode.append(described)

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
        twins = [row for row in candidates if row.hash == content]
        if not twins:
            return False
        item = replace(item, fingerprint=fingerprint)
        gone = next((row for row in twins if row.id not in self.seen
                     and places.is_gone(row.item.uri)), None)
        if gone is not None:
            self._move(gone, _with_decoded(_with_manifest(item, gone), gone))
        else:
            self.copies.add(item.uri)
            self.plan.ready.append(Ready(_with_decoded(item, twins[0]), content,
                                         self.vector_of(twins[0].seq)))
        return True

    def _move(self, row: Row, item: Item) -> None:
        """A moved picture takes its captions along."""
        self.moved += 1
        self.seen.add(row.id)
        self._rename(row, item)
        for other in self.catalog.group(row.item.group):
            if other.item.kind == "text" and other.item.uri.startswith(row.item.uri + "#"):
                uri = item.uri + other.item.uri[len(row.item.uri):]
                self._rename(other, replace(other.item, uri=uri, group=item.uri))

    def _rename(self, row: Row, item: Item) -> None:
        self.plan.update.append((row.id, item))
        self._planned[item.uri, item.kind] = row._replace(item=item)

    def _hash_of(self, item: Item) -> tuple[str, str] | None:
        try:
            data, fingerprint = places.read(item.uri)
        except MediaError:
            return None  # it will be skipped with its reason where it is decoded
        return content_hash(data), fingerprint


def _with_decoded(item: Item, row: Row) -> Item:
    """The item with what decoding its content found before."""
    decoded = {key: value for key, value in row.item.meta.items() if key in _DECODED}
    return replace(item, meta={**decoded, **item.meta}, group=item.group or item.uri)


def _with_manifest(item: Item, row: Row) -> Item:
    """The item with what a manifest said of it, when its folder is searched again."""
    if "manifest" not in row.item.meta or "manifest" in item.meta:
        return item
    said = {key: value for key, value in row.item.meta.items() if key not in _DECODED}
    return replace(item, meta={**said, **item.meta})


def vanished(catalog: Catalog, scan: Scan, seen: set[int], first_seq: int) -> Iterator[Row]:
    """Items below the roots that a complete scan did not see: their ids are not in `seen`, and
    their vectors are older than this run, whose numbers begin with `first_seq`.

    A picture goes when its file is gone, not when it was merely passed over (hidden, excluded); a
    line of a text when the text is without it; what a manifest brought when that manifest no
    longer names it. What lies in something that could not be read in full stays, and so does
    what was imported with its vector: no file need ever have been there.
    """
    for row in catalog.below(scan.roots):
        if row.id in seen or row.seq >= first_seq or row.item.fingerprint.startswith(IMPORTED):
            continue
        if any(_part_of(row.item, path) for path in scan.incomplete):
            continue
        manifest = row.item.meta.get("manifest")
        dropped = manifest in scan.roots or (manifest is None and row.item.kind == "text"
                                             and not _passed_over(row.item, scan))
        if dropped or _file_is_gone(row.item):
            yield row


def _passed_over(item: Item, scan: Scan) -> bool:
    """Whether an item is of an archive that this scan did not look into."""
    member = split_member(item.uri)
    return member is not None and member.container not in scan.contents


def _part_of(item: Item, path: str) -> bool:
    """Whether an item lies below a folder, or in a text file or manifest."""
    return (is_below(item.uri, path)
            or path in (item.meta.get("manifest"), item.meta.get("file")))


def _file_is_gone(item: Item) -> bool:
    return places.is_gone(item.meta.get("file", item.group) if item.kind == "text" else item.uri)


class Work:
    """Cuts a stream of items into shards, and what comes of them into changes.

    Shards are handed out one after the other; their size follows the encoder's speed, so that
    something is committed every COMMIT_SECONDS or so.
    """

    def __init__(self, root: Path, model: str, planner: Planner, next_seq: int) -> None:
        self.root, self.model, self.planner, self.next_seq = root, model, planner, next_seq
        self.added = self.replaced = self.copied = 0
        self._size = FIRST_SHARD
        self._handed_out = time.monotonic()

    def shards(self, items: Iterable[Item], progress: Callable[[int], None]) -> Iterator[Shard]:
        plan = self.planner.plan
        for item in items:
            waiting = len(plan.encode)
            self.planner.take(item)
            if len(plan.encode) == waiting:
                progress(1)
            if len(plan.encode) + len(plan.ready) >= self._size or len(plan.update) >= LARGEST:
                yield from self._cut()
        yield from self._cut()

    def _cut(self) -> Iterator[Shard]:
        """The plan so far, as one shard a kind."""
        plan = self.planner.plan
        encode, plan.encode, ready, plan.ready = plan.encode, [], plan.ready, []
        kinds: list[Kind] = ["image", "frame", "text"]
        for kind in kinds:
            items = tuple(item for item in encode if item.kind == kind)
            same = tuple(one for one in ready if one.item.kind == kind)
            if rows := len(items) + len(same):
                first, self.next_seq = self.next_seq, self.next_seq + rows
                self._handed_out = time.monotonic()
                yield Shard(self.root, segment_name(kind, first, self.next_seq - 1), kind, first,
                            items, self.model, same)

    def change(self, built: Built) -> Change:
        """What to commit for a built shard, and for all that needed no encoder so far."""
        seconds = max(time.monotonic() - self._handed_out, 0.001)
        size = round(len(built.rows) / seconds * COMMIT_SECONDS)
        self._size = min(max(size, SMALLEST), LARGEST)
        for _, item, _ in built.rows:
            self.replaced += (item.uri, item.kind) in self.planner.replacing
            self.copied += item.uri in self.planner.copies
        self.added += len(built.rows)
        return Change(put=built.rows, update=self.updates(),
                      add_segments=[built.segment] if built.segment else [])

    def updates(self) -> list[tuple[int, Item]]:
        plan = self.planner.plan
        update, plan.update = plan.update, []
        return update
