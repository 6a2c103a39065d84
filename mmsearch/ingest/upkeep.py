"""Housekeeping of a collection: merging, approximate indexes, garbage, figures.

Nothing is changed in place: new directories are written, one transaction swaps the rows that
name them, and only then do the old ones go.

What merging costs is in docs/format.md.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate, groupby, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from mmsearch.errors import CollectionDamaged, GpuUnavailable, MissingExtra, UsageError
from mmsearch.indexes import Device, kinds
from mmsearch.ingest.tuning import tuner_for
from mmsearch.media import tiling_of
from mmsearch.records import Ids, IndexSpec, Kind, Problem, SegmentInfo
from mmsearch.storage import (
    HOLDER,
    LOCK,
    TEMPORARY,
    Catalog,
    Change,
    Opened,
    Segment,
    describe,
    directory,
    places_facts,
    prune_places,
    remove,
    retune_ann,
    segment_name,
    strays,
    tuning_of,
    verify_directory,
    write_ann,
    write_segment,
)

FACTOR = 8
"""So many segments of one tier become one of a higher tier."""
_SMALL = 64
"""Segments of up to so many rows are of the lowest tier."""
REINDEX = "reindex-"
"""Begins the name of the directory of a reindex that is not finished (`collection.reindex`)."""
DEAD_SHARE = 0.2
_LARGEST_MERGED = 256 << 20
"""Segments of so many bytes are left alone until `compact`: merging them gains nothing."""
_REBUILD_SHARE = 0.2
"""An approximate index is renewed when so much of its kind is not in it, or is dead in it."""


def refuse_foreign(root: Path, catalog: str) -> None:
    """Raise UsageError if `root` holds files but no collection: it is somebody else's folder."""
    if not root.is_dir() or ((root / catalog).exists() and (root / catalog).stat().st_size):
        return
    ours = {LOCK, HOLDER, *(catalog + end for end in ("", "-wal", "-shm", "-journal"))}
    others = [path.name for path in root.iterdir()
              if path.name not in ours and not path.name.startswith(TEMPORARY + catalog)]
    if others:
        raise UsageError(f"{root} is not a collection, and not empty (it has {others[0]}); give "
                         "another directory with -i")


def remove_garbage(root: Path, catalog: Catalog) -> None:
    """Remove directories that no row of the catalog names: leftovers of a killed writer. But one
    that items need has lost its row to some damage, and gets it again."""
    if found := strays(root, catalog):
        catalog.commit(Change(drop_segments=found, add_segments=found))
    named = {directory(root, info) for info in catalog.segments()}
    for path in [*(root / "segments").glob("*"), *root.glob("ann-*"), *root.glob(TEMPORARY + "*")]:
        if path not in named:
            remove(path)


def remove_unfinished(root: Path, keep: Path | None = None) -> None:
    """Remove what reindexing has left that was not finished, but for the directory `keep`."""
    for path in root.glob(f"{REINDEX}*"):
        if path != keep:
            remove(path)


def tidy(root: Path, catalog: Catalog, device: Device = "cpu") -> None:
    """After a run: merge what has piled up, rewrite what is mostly dead, build an approximate index
    where one pays."""
    merge(root, catalog)
    _swap(root, catalog, _rewrite_dead)
    renew_anns(root, catalog, device)


def merge(root: Path, catalog: Catalog) -> None:
    """Merge what has piled up, until nothing is due."""
    while any(_due(infos) for _, infos in _uncovered(catalog)):
        if not _swap(root, catalog, _merge_tiers):
            return  # what is due is damaged


def compact(root: Path, catalog: Catalog, device: Device = "cpu") -> None:
    """One segment a kind, without dead rows; approximate indexes over them, tuned anew; fresh full
    text; nothing left of a reindex that nobody went on with."""
    remove_unfinished(root)
    catalog.relist()
    prune_places(root, catalog.path, shrink=True)
    _swap(root, catalog, partial(_renew_anns, everything=True, device=device))


def renew_anns(root: Path, catalog: Catalog, device: Device = "cpu") -> None:
    """Build the approximate indexes that are missing or cover too little.

    Where this machine cannot (no GPU for a kind that needs one, say), it warns: what was added is
    searched exactly until one that can comes by.
    """
    try:
        _swap(root, catalog, partial(_renew_anns, device=device))
    except (UsageError, GpuUnavailable, MissingExtra) as error:
        warnings.warn(f"no approximate index was built: {error}", stacklevel=2)


def build_anns(root: Path, catalog: Catalog, opened: Opened, infos: Iterable[SegmentInfo],
               device: Device) -> list[SegmentInfo]:
    """Approximate indexes over the segments, one a kind, for which one pays; below `root`."""
    specs = [(info, _spec(catalog, info.rows)) for info in infos]
    return [write_ann(root, opened.segment(info), info.kind, spec,
                      tuner_for(catalog, opened, info.kind), device)
            for info, spec in specs if spec.kind != "exact"]


_Step = Callable[[Path, Catalog, Opened], Change]


def _swap(root: Path, catalog: Catalog, step: _Step) -> bool:
    """Write what `step` wants, commit it, remove what it replaced; -> whether it wanted anything.
    """
    opened = Opened(root)
    infos = catalog.segments()
    opened.refresh(infos)
    change = step(root, catalog, opened)
    if change:
        catalog.commit(change)
        for info in change.drop_segments:
            remove(directory(root, info))
    return bool(change)


def _merge_tiers(root: Path, catalog: Catalog, opened: Opened) -> Change:
    """Merge the newest segments of a kind while FACTOR of them are of one tier."""
    change = Change()
    for kind, infos in _uncovered(catalog):
        due = _due(infos)
        if due and not any(_damage(root, info) for info in due):
            _merge(root, catalog, opened, kind, due, change)
    return change


def _uncovered(catalog: Catalog) -> Iterator[tuple[Kind, list[SegmentInfo]]]:
    """The segments of each kind that no approximate index covers, oldest first; what one covers is
    merged only when that index is renewed."""
    last = {info.kind: info.last for info in catalog.segments() if info.role == "ann"}
    for kind, infos in _by_kind(catalog):
        yield kind, [info for info in infos if info.last > last.get(kind, 0)]


def _due(infos: Sequence[SegmentInfo]) -> list[SegmentInfo]:
    """The newest segments from the oldest one on that is of a tier with FACTOR segments or more.

    infos: oldest first. A small segment before a larger one counts as of that one's tier: segments
    that are merged are neighbours, so that each keeps a range of numbers of its own.
    """
    small = list(takewhile(lambda info: info.bytes < _LARGEST_MERGED, reversed(infos)))
    infos = small[::-1]
    tiers = list(accumulate((_tier(info.rows) for info in reversed(infos)), max))
    full = [tier for tier in set(tiers) if tiers.count(tier) >= FACTOR]
    return list(infos[-sum(tier <= max(full) for tier in tiers):]) if full else []


def _tier(rows: int) -> int:
    """0 up to _SMALL rows, then one more for each factor of FACTOR."""
    tier = 0
    while rows > _SMALL * FACTOR**tier:
        tier += 1
    return tier


def _rewrite_dead(root: Path, catalog: Catalog, opened: Opened) -> Change:
    """Write segments anew of which more than DEAD_SHARE is dead."""
    change = Change()
    live = catalog.counts()
    rows = {kind: sum(info.rows for info in infos) for kind, infos in _by_kind(catalog)}
    for kind, infos in _uncovered(catalog):
        if rows[kind] == live.get(kind, 0):
            continue  # nothing is dead
        for info in infos:
            first = int(opened.segment(info).ids[0])
            alive = len(catalog.between(kind, first, info.last))
            if alive < (1 - DEAD_SHARE) * info.rows and not _damage(root, info):
                _merge(root, catalog, opened, kind, [info], change)
    return change


def _damage(root: Path, info: SegmentInfo) -> list[Problem]:
    """What is wrong with a segment: merged, its damage would get a checksum that fits."""
    return verify_directory(directory(root, info), info)


def _merge(root: Path, catalog: Catalog, opened: Opened, kind: Kind,
           infos: Sequence[SegmentInfo], change: Change) -> SegmentInfo | None:
    """Write the live rows of `infos` as one segment, and note the swap in `change`."""
    first = int(opened.segment(infos[0]).ids[0])
    live = catalog.between(kind, first, infos[-1].last)
    parts: list[tuple[Segment, Ids]] = []
    for info in infos:
        segment = opened.segment(info)
        kept = segment.positions(live)
        if len(kept):
            parts.append((segment, kept))
    change.drop_segments.extend(infos)
    if not parts:
        return None
    ids = np.concatenate([segment.ids[kept] for segment, kept in parts])
    merged = write_segment(
        root, segment_name(kind, int(ids[0]), int(ids[-1])), kind, ids,
        lambda: (block for segment, kept in parts for block in segment.blocks(kept)))
    change.add_segments.append(merged)
    return merged


def _renew_anns(root: Path, catalog: Catalog, opened: Opened, *, everything: bool = False,
                device: Device = "cpu") -> Change:
    """For each kind: where an approximate index pays and there is none, or the one there has too
    little of what is live now, one segment and an index over it.

    everything: merge whatever can be merged, and tune anew what need not be built anew.
    """
    change = Change()
    for kind, infos in _by_kind(catalog):
        old = [info for info in catalog.segments() if info.role == "ann" and info.kind == kind]
        ann = next((ann for info, ann in opened.anns().items() if info in old), None)
        rows, live = sum(info.rows for info in infos), catalog.counts().get(kind, 0)
        spec = _spec(catalog, rows if old else live)
        tuner = tuner_for(catalog, opened, kind)
        whole = len(infos) == 1 and infos[0].rows == live
        if ann is not None and ann.spec.kind == spec.kind and (
                whole if everything else not _outdated(rows, live, ann.segment.rows)):
            asked = catalog.settings.get("recall", kinds.DEFAULT_RECALL)
            if not ann.tuned or not (everything or ann.tuned.target != asked):
                continue
            if not _damage(root, old[0]):
                change.add_segments.append(retune_ann(root, ann, kind, tuner))
                change.drop_segments.extend(old)
                continue
        builds = spec.kind != "exact"
        if not (builds or everything or old):
            continue
        if damage := [one for info in infos for one in _damage(root, info)]:
            if everything:
                raise CollectionDamaged(f"{damage[0]}; run `mmsearch verify --repair -i {root}`")
            continue
        change.drop_segments.extend(old)
        info = infos[0] if whole else None
        if not whole and (builds or everything):
            info = _merge(root, catalog, opened, kind, infos, change)
        if builds and info is not None:
            segment = Segment(directory(root, info))
            spec = _spec(catalog, segment.rows)  # without the dead, it may be exact again
            if spec.kind != "exact":
                change.add_segments.append(write_ann(root, segment, kind, spec, tuner, device))
    return change


def _spec(catalog: Catalog, rows: int) -> IndexSpec:
    settings = catalog.settings
    return kinds.choose_spec(rows, recall=settings.get("recall", kinds.DEFAULT_RECALL),
                             kind=settings.get("kind", "auto"))


def _outdated(rows: int, live: int, covered: int) -> bool:
    """Whether too much of a kind is outside of its approximate index, or dead."""
    return (rows - covered > max(kinds.EXACT_UP_TO, _REBUILD_SHARE * covered)
            or rows - live > _REBUILD_SHARE * rows)


def _by_kind(catalog: Catalog) -> Iterable[tuple[Kind, list[SegmentInfo]]]:
    infos = [info for info in catalog.segments() if info.role == "vectors"]
    for kind, group in groupby(sorted(infos, key=lambda i: i.kind), key=lambda i: i.kind):
        yield kind, list(group)


def info(root: Path, catalog: Catalog) -> dict[str, Any]:
    """Figures of a collection, JSON-able."""
    counts, infos = catalog.counts(), catalog.segments()
    segments = [info for info in infos if info.role == "vectors"]
    catalogs = [root / (catalog.path.name + end) for end in ("", "-wal")]
    places = places_facts(root)
    return {
        "path": str(root), "items": sum(counts.values()), "kinds": counts,
        "model": catalog.settings.get("model"), "encoder": catalog.settings.get("encoder"),
        "dim": catalog.settings.get("dim"), "format": catalog.settings["format"],
        "segments": len(segments), "rows": sum(info.rows for info in segments),
        "kind": catalog.settings.get("kind", "auto"),
        "recall": catalog.settings.get("recall", kinds.DEFAULT_RECALL),
        "tiles": str(tiling_of(catalog.settings.get("tiles")).grid),
        "index": {kind: _index_kind(root, kind, infos) for kind in counts},
        "names": dict(Counter(one.name for one in catalog.taught())),
        "approximate": {info.kind: facts for info in infos if info.role == "ann"
                        and (facts := _ann_facts(root, info, infos))},
        "rerank": places,
        "bytes": places.get("bytes", 0) + sum(info.bytes for info in infos) + sum(
            path.stat().st_size for path in catalogs if path.exists())}


def _index_kind(root: Path, kind: str, infos: Sequence[SegmentInfo]) -> str:
    """How a kind is searched, and what was measured of it, in a line."""
    ann = next((i for i in infos if i.role == "ann" and i.kind == kind), None)
    facts = _ann_facts(root, ann, infos) if ann else None
    if ann is None or facts is None:
        return "exact, float16"
    rows = sum(i.rows for i in infos if i.role == "vectors" and i.kind == kind)
    covers = f"{facts['kind']} over {ann.rows} of {rows} rows"
    if "recall@10" not in facts:
        return covers
    short = "" if facts["recall@10"] >= facts["target"] - 0.005 else \
        f" (asked for: {facts['target']})"
    return (f"{covers}, recall@10 {facts['recall@10']:.3f}{short} on {facts['queries']:,} "
            f"{facts['source']}, {facts['milliseconds']:.2f} ms")


def _ann_facts(root: Path, info: SegmentInfo, infos: Sequence[SegmentInfo],
               ) -> dict[str, Any] | None:
    """What an approximate index is and what it was tuned to; None if it is not searched."""
    facts = describe(directory(root, info))
    if facts.get("segment") not in {other.name for other in infos}:
        return None
    found = {name: value for name, value in facts["spec"].items() if value}
    if (tuned := tuning_of(facts)) is not None:
        found |= {"target": tuned.target, "recall@10": round(tuned.recall, 4),
                  "queries": tuned.queries, "source": tuned.source,
                  "milliseconds": round(tuned.milliseconds, 3), "width": tuned.effort.width,
                  "rescored": tuned.effort.rescored}
    return {**found, "rows": info.rows, "bytes": info.bytes}
