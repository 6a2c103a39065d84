"""A run over items, cut into shards, each of which is built and then committed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from mmsearch.fragments import file_uri, is_named_container, is_tile, room
from mmsearch.ingest.plan import Planner
from mmsearch.ingest.shards import Built, Shard, build_shard
from mmsearch.records import Item, Kind
from mmsearch.sources import is_own_caption, locate
from mmsearch.storage import Change, Row, segment_name

COMMIT_SECONDS, FIRST_SECONDS = 20.0, 3.0
FIRST_SHARD, SMALLEST, LARGEST = 16, 64, 4096
"""The first is for those who stop after some seconds, and to find out how long one takes."""
_SEVERAL = 64
"""A file of many pictures takes the time of so many, as far as the size of a shard goes."""


class Work:
    """Cuts a stream of items into shards, and what comes of them into changes.

    Shards are handed out one after the other; their size follows the encoder's speed, so that
    something is committed after FIRST_SECONDS, then after twice as long each time, up to
    COMMIT_SECONDS: whoever searches meanwhile soon finds something.
    """

    def __init__(self, root: Path, model: str, planner: Planner, next_seq: int) -> None:
        self.root, self.model, self.planner, self.next_seq = root, model, planner, next_seq
        self.added = self.replaced = self.copied = self.removed = 0
        self.captioned = False
        """Whether pictures brought captions that were not there."""
        self._refused: set[str] = set()
        """Addresses that gave no picture: their captions would be of nothing."""
        self._size, self._wait = FIRST_SHARD, FIRST_SECONDS
        self._handed_out = time.monotonic()

    def shards(self, items: Iterable[Item], progress: Callable[[int], None]) -> Iterator[Shard]:
        plan = self.planner.plan
        several, since = 0, time.monotonic()
        for item in items:
            waiting = len(plan.encode)
            self.planner.take(item)
            if len(plan.encode) == waiting:
                progress(1)
            else:
                several += is_named_container(item)
            size = (len(plan.encode) * (1 + self.planner.tiling.grid.tiles) + len(plan.ready)
                    + several * (_SEVERAL - 1))
            if size >= self._size or len(plan.update) >= LARGEST or (
                    size and time.monotonic() - since > self._wait):
                yield from self._cut()
                several, since = 0, time.monotonic()
                self._wait = min(2 * self._wait, COMMIT_SECONDS)
        yield from self._cut()

    def _cut(self) -> Iterator[Shard]:
        """The plan so far, as one shard a kind."""
        plan = self.planner.plan
        encode, plan.encode, ready, plan.ready = plan.encode, [], plan.ready, []
        grid = self.planner.tiling.grid
        kinds: list[Kind] = ["image", "frame", "text"]
        for kind in kinds:
            items = tuple(item for item in encode if item.kind == kind
                          and item.group not in self._refused)
            same = tuple(one for one in ready if _goes_with(one.item) == kind)
            tiles = len(items) * grid.tiles if kind == "image" else 0
            if rows := sum(map(room, items)) + tiles + len(same):
                first, self.next_seq = self.next_seq, self.next_seq + rows
                self._handed_out = time.monotonic()
                yield Shard(self.root, segment_name(kind, first, self.next_seq - 1), kind, first,
                            items, self.model, same, grid=grid)
        if len(plan.update) >= LARGEST:  # to be committed, though nothing goes with it
            yield Shard(self.root, "", "text", self.next_seq, (), self.model)

    def change(self, built: Built) -> Change:
        """What to commit for a built shard, and for all that needed no encoder so far."""
        seconds = max(time.monotonic() - self._handed_out, 0.001)
        self._refused |= {one.path for one in built.skipped if locate.is_far(one.path)}
        if built.rows:
            size = round(len(built.rows) / seconds * self._wait)
            self._size = min(max(size, SMALLEST), LARGEST)
        for _, item, _ in built.rows:
            self.replaced += (item.uri, item.kind) in self.planner.replacing
            self.copied += item.uri in self.planner.copies
            self.added += item.uri not in self.planner.renewing
        change = Change(put=built.rows, update=self.updates(), drop=self._outlived(built),
                        add_segments=list(built.segments))
        self._add_captions(change, built)
        self.removed += len(change.drop)
        return change

    def _outlived(self, built: Built) -> list[int]:
        """ids of what files gave before that have now been encoded again, and give no more: fewer
        frames, others, or one picture."""
        new = {(item.uri, item.kind) for _, item, _ in built.rows}
        files = {file_uri(item) for _, item, _ in built.rows} & self.planner.old.keys()
        return [row.id for file in sorted(files) for row in self.planner.old.pop(file)
                if (row.item.uri, row.item.kind) not in new]

    def _add_captions(self, change: Change, built: Built) -> None:
        """Also the captions that pictures brought, those that they no longer bring taken away: in
        one commit with the pictures, which would not be looked at again."""
        before: dict[str, Row] = {}
        for uri in sorted(built.described):
            was = self.planner.was_at.get(uri, uri)
            before.update({uri + row.item.uri[len(was):]: row
                           for row in self.planner.catalog.group(was) if is_own_caption(row.item)})
        fresh = tuple(one for one in built.captions if one.item.uri not in before
                      or not _is_same(before[one.item.uri].item, one.item))
        removed = before.keys() - {one.item.uri for one in built.captions}
        change.drop = [*change.drop, *(before[uri].id for uri in removed
                                       if before[uri].id not in self.planner.seen)]
        if fresh:
            self.captioned = True
            first, self.next_seq = self.next_seq, self.next_seq + len(fresh)
            captions = build_shard(Shard(self.root, segment_name("text", first, self.next_seq - 1),
                                         "text", first, (), self.model, fresh))
            again = sum(one.item.uri in before for one in fresh)
            self.replaced += again
            self.added += len(fresh)
            change.put = [*built.rows, *captions.rows]
            change.add_segments = [*change.add_segments, *captions.segments]

    def updates(self) -> list[tuple[int, Item]]:
        plan = self.planner.plan
        update, plan.update = plan.update, []
        return update


def _goes_with(item: Item) -> Kind:
    """The kind of shard for an item with a known vector: tiles are committed with their picture."""
    return "image" if is_tile(item) else item.kind


def _is_same(one: Item, other: Item) -> bool:
    return (one.text, one.meta) == (other.text, other.meta)
