"""Members of zip and tar archives, read where they are: nothing is ever unpacked to a disk.

A zip has a table of its members at its end. A tar has none: its headers are walked once from
front to back, and where members lie is kept. A compressed tar can only be read forwards: whoever
asks for its members in about their order gets them in one pass.

Archives come from strangers. A member's name is only a name, sizes are checked before anything is
taken into memory, and what is unreadable ends in a `MediaError` with its reason.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from threading import Lock

from mmsearch.sources.members import MAX_MEMBER, Archive, Member, one_reason
from mmsearch.uris import fingerprint_of

__all__ = ["MAX_MEMBER", "Archive", "Member", "open_archive"]

_lock = Lock()


def open_archive(path: Path) -> Archive:
    """The archive at `path`: the one that was opened before, while its file has not changed.

    Raises:
        MediaError: it cannot be read, or is no archive.
    """
    with one_reason(), _lock:
        return _open(path, fingerprint_of(path.stat()))


@lru_cache(maxsize=4)
def _open(path: Path, fingerprint: str) -> Archive:
    from mmsearch.sources.tar import Tar
    from mmsearch.sources.zip import Zip

    return Zip(path) if path.name.lower().endswith(".zip") else Tar(path)
