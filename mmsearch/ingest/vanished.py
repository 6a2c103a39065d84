"""What a scan of the sources did not come by, and which of it has vanished."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from mmsearch.fragments import file_uri, part_of
from mmsearch.records import Item
from mmsearch.sources import IMPORTED, Scan, Skipped, is_own_caption, locate
from mmsearch.storage import Catalog, Row
from mmsearch.uris import is_below, split_member

MANY = 10
"""Files that nobody is taken to have deleted one by one, without the folder that they were in."""


def items_vanished(catalog: Catalog, scan: Scan, seen: set[int], first_seq: int) -> Iterator[Row]:
    """Items below the roots that a complete scan did not see: their ids are not in `seen`, and
    their vectors are older than this run, whose numbers begin with `first_seq`.

    A picture is dropped when its file was removed, not when it was merely passed over (hidden,
    excluded), and so are captions from inside and beside it (`Work.change` drops them when it is
    described anew); a line of a text when the text is without it; what a manifest brought when that
    manifest no longer names it. What lies in something that could not be read in full, or that went
    away itself meanwhile, stays; so do MANY files of a folder that is empty now, and any of a root,
    for that may be a disk that is not there, and what was imported with its vector: it need never
    have had a file.
    """
    is_removed = lru_cache(4096)(locate.is_removed)

    def unseen(roots: Sequence[str]) -> Iterator[Row]:
        return (row for row in catalog.below(roots) if not (
            row.id in seen or row.seq >= first_seq or row.item.fingerprint.startswith(IMPORTED)))

    for folder in scan.emptied:
        files, enough = set[str](), 1 if folder in scan.roots else MANY
        for row in unseen([folder]):
            files.add(_file_behind(row.item))
            if len(files) == enough:
                scan.keep_emptied(folder)
                break
        else:
            if folder in scan.roots:
                scan.skipped.append(Skipped(folder, "is empty"))
    for row in unseen(scan.roots):
        if any(_part_of(row.item, path) for path in scan.incomplete):
            continue
        manifest = row.item.meta.get("manifest")
        alone = row.item.kind == "text" and part_of(row.item) is None
        dropped = manifest in scan.roots or (
            manifest is None and alone and not is_own_caption(row.item)
            and not _passed_over(row.item, scan))
        if (dropped or is_removed(_file_behind(row.item))) and scan.still_stands(row.item.uri):
            yield row


def _passed_over(item: Item, scan: Scan) -> bool:
    """Whether an item is of an archive that this scan did not look into."""
    member = split_member(item.uri)
    return member is not None and member.container not in scan.contents


def _part_of(item: Item, path: str) -> bool:
    """Whether an item lies below a folder, or in a text file or manifest."""
    return (is_below(item.uri, path)
            or path in (item.meta.get("manifest"), item.meta.get("file")))


def _file_behind(item: Item) -> str:
    return str(item.meta.get("file", item.group)) if item.kind == "text" else file_uri(item)
