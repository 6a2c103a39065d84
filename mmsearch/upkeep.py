"""Housekeeping of a collection: merging, approximate indexes, garbage, checks, figures.

Nothing is changed in place: new directories are written, one transaction swaps the rows that
name them, and only then do the old ones go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from mmsearch.catalog import Catalog, Change
from mmsearch.errors import UsageError
from mmsearch.indexes import EXACT_UP_TO, choose_spec
from mmsearch.lock import HOLDER, LOCK
from mmsearch.opened import Opened, directory
from mmsearch.records import Ids, Kind, SegmentInfo
from mmsearch.segments import (
    TEMPORARY,
    Segment,
    remove,
    segment_name,
    verify_directory,
    write_ann,
    write_segment,
)

FACTOR = 8
"""So many segments of like size become one: a row is rewritten once for each factor of 8."""
_TIER_ROWS = 4096
_LARGEST_MERGED = 256 << 20
"""Segments of so many bytes are left alone until `compact`: merging them gains nothing."""
_REBUILD_SHARE = 0.2


def refuse_foreign(root: Path, catalog: str) -> None:
    """Raise UsageError if `root` holds files but no collection: it is somebody else's folder."""
    if not root.is_dir() or ((root / catalog).exists() and (root / catalog).stat().st_size):
        return
    ours = {LOCK, HOLDER, *(catalog + end for end in ("", "-wal", "-shm", "-journal"))}
    others = [path.name for path in root.iterdir() if path.name not in ours]
    if others:
        raise UsageError(f"{root} is no collection and not empty (it has {others[0]}); give "
                         "another directory with -i")


def remove_garbage(root: Path, catalog: Catalog) -> None:
    """Remove directories that no row of the catalog names: leftovers of a killed writer."""
    named = {directory(root, info) for info in catalog.segments()}
    for path in [*(root / "segments").glob("*"), *root.glob("ann-*"), *root.glob(TEMPORARY + "*")]:
        if path not in named:
            remove(path)


def tidy(root: Path, catalog: Catalog) -> None:
    """After a run: merge what has piled up, build an approximate index where one pays."""
    _swap(root, catalog, _merge_tiers)
    _swap(root, catalog, _renew_anns)


def compact(root: Path, catalog: Catalog) -> None:
    """One segment a kind, without dead rows, and fresh approximate indexes."""
    _swap(root, catalog, _merge_all)
    _swap(root, catalog, _renew_anns)


_Step = Callable[[Path, Catalog, Opened], Change]


def _swap(root: Path, catalog: Catalog, step: _Step) -> None:
    """Write what `step` wants, commit it, remove what it replaced."""
    opened = Opened(root)
    infos = catalog.segments()
    opened.refresh(infos)
    change = step(root, catalog, opened)
    if change:
        catalog.commit(change)
        for info in change.drop_segments:
            remove(directory(root, info))


def _merge_tiers(root: Path, catalog: Catalog, opened: Opened) -> Change:
    """Merge the newest segments while FACTOR of them are of like size."""
    change = Change()
    anns = {info.kind: info for info in catalog.segments() if info.role == "ann"}
    for kind, infos in _by_kind(catalog):
        # What an approximate index covers is merged only when that index is renewed.
        covered = anns[kind].last if kind in anns else 0
        newest = _pile([info for info in infos if info.last > covered])
        if newest:
            _merge(root, catalog, opened, kind, newest, change)
    return change


def _pile(infos: Sequence[SegmentInfo]) -> list[SegmentInfo]:
    """The longest run of newest segments that are due, none larger than the tier they make."""
    due: list[SegmentInfo] = []
    infos = list(takewhile(lambda info: info.bytes < _LARGEST_MERGED, reversed(infos)))[::-1]
    limit = _TIER_ROWS
    while True:
        run = list(takewhile(lambda info: info.rows <= limit, reversed(infos)))  # noqa: B023
        if len(run) >= FACTOR:
            due = run[::-1]
        if len(run) == len(infos):
            return due
        limit *= FACTOR


def _merge_all(root: Path, catalog: Catalog, opened: Opened) -> Change:
    change = Change(drop_segments=[i for i in catalog.segments() if i.role == "ann"])
    for kind, infos in _by_kind(catalog):
        live = len(catalog.select(None, [kind]))
        if len(infos) > 1 or live < infos[0].rows:
            _merge(root, catalog, opened, kind, infos, change)
    return change


def _merge(root: Path, catalog: Catalog, opened: Opened, kind: Kind,
           infos: Sequence[SegmentInfo], change: Change) -> None:
    """Write the live rows of `infos` as one segment, and note the swap in `change`."""
    live = catalog.select(None, [kind])
    parts: list[tuple[Segment, Ids]] = []
    for info in infos:
        segment = opened.segment(info)
        kept = segment.positions(live)
        if len(kept):
            parts.append((segment, kept))
    change.drop_segments.extend(infos)
    if parts:
        ids = np.concatenate([segment.ids[kept] for segment, kept in parts])
        change.add_segments.append(write_segment(
            root, segment_name(kind, int(ids[0]), int(ids[-1])), kind, ids,
            lambda: (block for segment, kept in parts for block in segment.blocks(kept))))


def _renew_anns(root: Path, catalog: Catalog, opened: Opened) -> Change:
    """Build an approximate index where there is none and one pays, or the one there covers too
    little of what has been added since."""
    change = Change()
    old = {info.kind: info for info in catalog.segments() if info.role == "ann"}
    for kind, infos in _by_kind(catalog):
        rows = sum(info.rows for info in infos)
        covered = sum(i.rows for i in infos if kind in old and i.last <= old[kind].last)
        if rows - covered <= max(EXACT_UP_TO, _REBUILD_SHARE * covered):
            continue
        last = max(info.last for info in infos)
        segments = [opened.segment(info) for info in infos]
        change.add_segments.append(
            write_ann(root, f"ann-{kind}-{last:012d}", kind, choose_spec(rows), segments))
        if kind in old:
            change.drop_segments.append(old[kind])
    return change


def _by_kind(catalog: Catalog) -> Iterable[tuple[Kind, list[SegmentInfo]]]:
    infos = [info for info in catalog.segments() if info.role == "vectors"]
    for kind, group in groupby(sorted(infos, key=lambda i: i.kind), key=lambda i: i.kind):
        yield kind, list(group)


def info(root: Path, catalog: Catalog) -> dict[str, Any]:
    """Figures of a collection, JSON-able."""
    counts, infos = catalog.counts(), catalog.segments()
    segments = [info for info in infos if info.role == "vectors"]
    catalogs = [root / (catalog.path.name + end) for end in ("", "-wal")]
    return {
        "path": str(root), "items": sum(counts.values()), "kinds": counts,
        "model": catalog.settings.get("model"), "encoder": catalog.settings.get("encoder"),
        "dim": catalog.settings.get("dim"), "format": catalog.settings["format"],
        "segments": len(segments), "rows": sum(info.rows for info in segments),
        "index": {kind: _index_kind(kind, infos) for kind in counts},
        "bytes": sum(info.bytes for info in infos) + sum(
            path.stat().st_size for path in catalogs if path.exists())}


def _index_kind(kind: str, infos: Sequence[SegmentInfo]) -> str:
    ann = next((i for i in infos if i.role == "ann" and i.kind == kind), None)
    if ann is None:
        return "exact, float16"
    rows = sum(i.rows for i in infos if i.role == "vectors" and i.kind == kind)
    return f"ivf-rabitq over {ann.rows} of {rows} rows, rescored in float16"


def verify(root: Path, catalog: Catalog) -> list[str]:
    """Every checksum and count; one line a problem."""
    if problems := catalog.check():
        return problems
    infos = catalog.segments()
    for info in infos:
        problems += verify_directory(directory(root, info), info)
    return problems or _verify_rows(root, catalog, infos)


def _verify_rows(root: Path, catalog: Catalog, infos: Sequence[SegmentInfo]) -> list[str]:
    """Whether every item has exactly one vector, in a segment of its kind."""
    opened = Opened(root)
    opened.refresh(infos)
    problems = []
    for kind in catalog.counts():
        live = catalog.select(None, [kind])  # type: ignore[list-item]
        parts = [segment.ids for segment in opened.of_kinds([kind])]  # type: ignore[list-item]
        ids = np.sort(np.concatenate(parts)) if parts else np.zeros(0, np.int64)
        if len(np.unique(ids)) != len(ids):
            problems.append(f"{root}: {kind} segments hold the same row twice")
        if missing := len(np.setdiff1d(live, ids)):
            problems.append(f"{root}: {missing} of {len(live)} {kind} items have no vector; "
                            "delete them and index them again")
    return problems
