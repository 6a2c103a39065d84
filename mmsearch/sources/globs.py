"""Which names are passed over: junk, and what the patterns of `--exclude` match."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from mmsearch.uris import nfc

_JUNK = {
    "__macosx",
    "node_modules",
    "@eadir",  # Synology's thumbnails, bin and snapshots
    "#recycle",
    "#snapshot",
    "@recycle",  # QNAP's bin
    "$recycle.bin",
    "system volume information",
    "lost+found",
}


class Glob:
    """A pattern of `exclude`: for a name, or with a slash for the path below the root."""

    def __init__(self, pattern: str) -> None:
        trimmed = nfc(pattern).removeprefix("./").rstrip("/")
        self.parts = trimmed.lstrip("/").split("/")
        self.is_name = "/" not in trimmed

    def matches(self, path: str) -> bool:
        parts = nfc(path).split("/")
        return _parts_match(parts[-1:] if self.is_name else parts, self.parts)


def _parts_match(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_parts_match(parts[at:], pattern[1:]) for at in range(len(parts) + 1))
    return (
        bool(parts) and fnmatchcase(parts[0], pattern[0]) and _parts_match(parts[1:], pattern[1:])
    )


def is_junk(name: str) -> bool:
    return name.startswith(".") or name.lower() in _JUNK


def is_wanted(exclude: Sequence[Glob], path: str) -> bool:
    """Whether a path in an archive or at a remote address is neither junk nor excluded."""
    return not (any(part not in (".", "..") and is_junk(part) for part in path.split("/"))
                or any(glob.matches(path) for glob in exclude))
