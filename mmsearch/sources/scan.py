"""What a walk over sources reports beyond its items."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from mmsearch.errors import MissingExtra, MmsearchError
from mmsearch.records import Item
from mmsearch.uris import path_to_uri, uri_to_path

_LONGEST = 300


@dataclass(frozen=True, slots=True)
class Skipped:
    """reason: one line that can be read, whatever of a damaged file was put into it; extra: of the
    package, that would read the file."""

    path: str
    reason: str
    extra: str = ""

    @classmethod
    def because(cls, path: str, error: MmsearchError) -> Skipped:
        extra = error.extra if isinstance(error, MissingExtra) else ""
        return cls(path, str(error), extra)

    def __post_init__(self) -> None:
        line = " ".join(self.reason.split())
        if not line.isprintable():
            line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
        object.__setattr__(self, "reason", line[:_LONGEST])


@dataclass
class Scan:
    """What a walk saw beyond the items; complete once the iterator has ended.

    skipped: files, folders and rows (`manifest:line`) that were left out, with the reason.
    notes: what somebody should know of what was not.
    roots: uris of the paths that were searched; what a collection holds below them, and was not
        seen, has vanished...
    incomplete: ...except below these folders (or in these text files and manifests), which could
        not be read.
    emptied: uris of folders below the roots that are empty, and of links that lead nowhere: a disk
        may be gone; if much was there, or it is a root, nothing of it has vanished.
    anchors: device and inode of the folders that were given, by uri; one that is another by the end
        was taken away during the run, with its disk perhaps: nothing below it has vanished.
    links: folders that were reached through a link: the real path, and the one they are known by.
    contents: uris of the archives that were read to their end, each with the state it has, on
        which depends what was found; of those that are remembered, with none.
    remembered: set by who keeps such states: the items of the archive with a uri, if all of them
        were found when it had this very state, else None. Its members are not read again then.
    known: set likewise: the fingerprint of the picture with a uri, or empty.
    """

    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    roots: list[str] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    emptied: list[str] = field(default_factory=list)
    anchors: dict[str, tuple[int, int]] = field(default_factory=dict, compare=False)
    links: dict[str, str] = field(default_factory=dict, compare=False)
    contents: dict[str, str] = field(default_factory=dict)
    remembered: Callable[[str, str], Iterable[Item] | None] = lambda uri, state: None
    known: Callable[[str], str] = lambda uri: ""

    def skip(self, path: str, reason: str, line: int | None = None) -> None:
        where = path_to_uri(path) if line is None else f"{path_to_uri(path)}:{line}"
        self.skipped.append(Skipped(where, reason))

    def keep_emptied(self, uri: str) -> None:
        self.skipped.append(Skipped(uri, "is empty (not mounted?): its items are kept; `mmsearch "
                                         "delete` drops them"))
        self.incomplete.append(uri)

    def still_stands(self, uri: str) -> bool:
        """Whether the folders that were given, and that `uri` lies in, are where they were."""
        for anchor, identity in self.anchors.items():
            if uri.startswith(anchor.rstrip("/") + "/") and identity_of(anchor) != identity:
                self.skipped.append(Skipped(anchor, "vanished during the run; its items are kept"))
                self.incomplete.append(anchor)
                return False
        return True


def identity_of(uri: str) -> tuple[int, int] | None:
    """What tells a file or folder from any other in its place: device and inode; None without."""
    try:
        return identity(uri_to_path(uri).stat())
    except OSError:
        return None


def identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
