"""What was found in archives, so that one that has not changed is not opened again."""

from __future__ import annotations

from collections.abc import Iterable

from mmsearch.records import Item
from mmsearch.sources import IMPORTED, Scan, Skipped, is_own_caption, locate, own_fingerprint
from mmsearch.storage import Catalog, Row
from mmsearch.uris import is_below, split_member

_SETTING = "archives"
"""{uri: [state, items]}; read by these functions alone, for there may be many."""


def remembered(catalog: Catalog, uri: str, state: str) -> Iterable[Item] | None:
    """The items of an archive, if it was read to its end in this state and they are all there.

    But for the captions that pictures bring. What was deleted, or has lost its vector, is found
    again by reading the archive.
    """
    known = (catalog.setting(_SETTING) or {}).get(uri)
    if known is None or known[0] != state:
        return None
    rows = _inside(catalog, uri)
    if len(rows) != known[1] or not all(row.item.fingerprint for row in rows):
        return None
    return [row.item for row in rows if not is_own_caption(row.item)]


def known_fingerprint(catalog: Catalog, uri: str) -> str:
    """The fingerprint that the picture with a uri was indexed with; empty if it was not, or if it
    came with its vector."""
    row = catalog.find(uri, "image")
    print_ = "" if row is None else row.item.fingerprint
    return "" if print_.startswith(IMPORTED) else own_fingerprint(print_)


def remember(catalog: Catalog, scan: Scan, skipped: Iterable[Skipped]) -> None:
    """Note what a run has read, once all of it is committed.

    An archive of which something was skipped is looked into again, and what it was is
    reported again, as it is of folders.
    """
    known = catalog.setting(_SETTING) or {}
    before = dict(known)
    incomplete = {member.container for one in [*scan.skipped, *skipped]
                  if (member := split_member(one.path))}
    for uri, state in scan.contents.items():
        if state and uri not in incomplete:
            known[uri] = [state, len(_inside(catalog, uri))]
        elif state:
            known.pop(uri, None)
    for uri in [uri for uri in known if uri not in scan.contents]:
        if any(is_below(uri, root) for root in scan.roots) and locate.is_removed(uri):
            del known[uri]
    if known != before:
        catalog.put_settings({_SETTING: known})


def _inside(catalog: Catalog, uri: str) -> list[Row]:
    return list(catalog.below([uri + "!"]))
