"""Members of zip and tar archives, read where they are: nothing is ever unpacked to a disk.

A zip has a table of its members at its end. A tar has none: its headers are walked once from
front to back, and where members lie is kept. A compressed tar can only be read forwards: whoever
asks for its members in about their order gets them in one pass.

Archives come from strangers. A member's name is only a name, sizes are checked before anything is
taken into memory, and what is unreadable ends in a `MediaError` with its reason.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from threading import Lock

from mmsearch.sources.members import MAX_MEMBER, Archive, Member, one_reason
from mmsearch.uris import fingerprint_of

__all__ = ["MAX_MEMBER", "Archive", "Member", "open_archive"]

_OPEN_ARCHIVES = 4
_opened: OrderedDict[tuple[str, str], Archive] = OrderedDict()
_lock = Lock()


def open_archive(path: Path) -> Archive:
    """The archive at `path`: the one that was opened before, while its file has not changed.

    Raises:
        MediaError: it cannot be read, or is no archive.
    """
    with one_reason():
        key = (str(path), fingerprint_of(path.stat()))
        with _lock:
            if (found := _opened.get(key)) is None:
                found = _opened[key] = _open(path)
            _opened.move_to_end(key)
            while len(_opened) > _OPEN_ARCHIVES:
                _opened.popitem(last=False)  # whoever still reads it keeps it
            return found


def _open(path: Path) -> Archive:
    from mmsearch.sources.tar import Tar
    from mmsearch.sources.zip import Zip

    return Zip(path) if path.name.lower().endswith(".zip") else Tar(path)
