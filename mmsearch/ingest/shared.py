"""Descriptions that many pictures of one camera share, which are no captions, whatever their words.

They are told by counting at the end of a run (`Catalog.shared_descriptions`). What more pictures
show to be wrong is undone: the setting `shared` knows what went.
"""

from __future__ import annotations

from mmsearch.ingest.shards import Shard, build_shard
from mmsearch.ingest.work import Work
from mmsearch.records import Item
from mmsearch.sources import is_own_caption, text_items
from mmsearch.storage import Catalog, Change, Row, segment_name


def settle_captions(work: Work, first_seq: int) -> None:
    """Drop captions, or bring them back, after a run that began with `first_seq`."""
    catalog = work.planner.catalog
    gone = {(str(camera), str(text)) for camera, text in catalog.setting("shared") or ()}
    if not (work.captioned or gone):
        return  # nothing that could be dropped came, and nothing went: spare the look at all
    shared = catalog.shared_descriptions()
    drop = {row.id: (row, known) for row, known in _captions(catalog, shared)}
    back = [item for known in sorted(gone - shared) for item in _missing(catalog, *known)]
    change = Change(drop=list(drop))
    if back:
        first, work.next_seq = work.next_seq, work.next_seq + len(back)
        built = build_shard(Shard(work.root, segment_name("text", first, work.next_seq - 1),
                                  "text", first, tuple(back), work.model))
        change.put, change.add_segments = built.rows, built.segments
    went = {known for _, known in drop.values()}
    if went - gone:  # first: a run that is killed in between must know what to bring back
        catalog.put_settings({"shared": sorted(gone | went)})
    if drop or back:
        catalog.commit(change)
    if (now := (gone & shared) | went) != gone | went:
        catalog.put_settings({"shared": sorted(now)})
    fresh = sum(row.seq >= first_seq for row, _ in drop.values())  # as if they had never come
    work.added += len(back) - fresh
    work.removed += len(drop) - fresh


def _captions(catalog: Catalog, shared: set[tuple[str, str]]
              ) -> list[tuple[Row, tuple[str, str]]]:
    """Captions from inside of pictures that are among `shared`, each with which of them."""
    found = []
    for row in catalog.saying({text for _, text in shared}):
        uri, inside, _ = row.item.uri.rpartition("#embedded")
        picture = catalog.find(uri, "image") if inside and is_own_caption(row.item) else None
        if picture is not None:
            known = (str(picture.item.meta.get("camera", "")), row.item.text)
            if known in shared:
                found.append((row, known))
    return found


def _missing(catalog: Catalog, camera: str, text: str) -> list[Item]:
    found: list[Item] = []
    for picture in list(catalog.described_as(camera, text)):
        group, uri = picture.item.group, picture.item.uri
        known = [row.item for row in catalog.group(group) if row.item.kind == "text"]
        if all(item.text != text for item in known):
            taken = {item.uri for item in known}
            number = next(n for n in range(1, len(known) + 2) if f"{uri}#embedded{n}" not in taken)
            found += text_items(f"{uri}#embedded{number}", text, group, {})
    return found
