"""What a walk over sources reports beyond its items."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from mmsearch.records import Item


@dataclass(frozen=True, slots=True)
class Skipped:
    path: str
    reason: str


@dataclass
class Scan:
    """What a walk saw beyond the items; complete once the iterator has ended.

    skipped: files, folders and rows (`manifest:line`) that were left out, with the reason.
    roots: uris of the paths that were searched; what a collection holds below them, and was not
        seen, has vanished...
    incomplete: ...except below these folders (or in these text files and manifests), which could
        not be read.
    contents: uris of the archives that were read to their end, each with the state it has, on
        which depends what was found; of those that are remembered, with none.
    remembered: set by who keeps such states: the items of the archive with a uri, if all of them
        were found when it had this very state, else None. Its members are not read again then.
    known: set likewise: the fingerprint of the picture with a uri, or empty.
    """

    skipped: list[Skipped] = field(default_factory=list)
    roots: list[str] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    contents: dict[str, str] = field(default_factory=dict)
    remembered: Callable[[str, str], Iterable[Item] | None] = lambda uri, state: None
    known: Callable[[str], str] = lambda uri: ""
