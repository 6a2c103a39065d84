"""What has become of some files and folders out of many, looked at without walking the rest."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

from mmsearch.records import Item
from mmsearch.sources import Scan, Walk, is_sidecar, is_wanted
from mmsearch.uris import path_to_uri


class Changes:
    """Looks at single paths by the rules by which `sources.folders.iter_items` walks whole trees.

    roots: absolute paths of folders and files, those that `iter_items` would be given.
    exclude: the same globs.
    """

    def __init__(self, roots: Sequence[Path], exclude: Sequence[str] = ()) -> None:
        self.roots, self.exclude = list(roots), exclude
        self._walk = Walk([], exclude, Scan())
        self._shown = {os.path.realpath(root): root for root in roots}
        """Real paths of roots and of folders reached through links, and what they are known by."""

    def learn(self, scan: Scan) -> None:
        """Take over which links a walk has followed."""
        for real, path in scan.links.items():
            self._shown.setdefault(real, Path(path))

    def files(self, path: Path) -> Iterator[Path]:
        """A path itself if it is a file of a wanted kind, or was removed; all such files below it
        if it is a folder. Nothing where a walk would not come by."""
        path = self._known_as(path)
        if path in self.roots and not path.is_dir():
            yield path
        elif self._is_passed_over(path):
            return
        elif path.is_dir():
            if path.is_symlink() and self._known_as(path / "any") == path / "any":
                self._shown.setdefault(os.path.realpath(path), path)
            yield from self._below(path)
        elif is_wanted(path.name) or is_sidecar(path.name) or not os.path.lexists(path):
            yield path

    def items(self, files: Iterable[Path], scan: Scan) -> Iterator[Item]:
        """What `iter_items` would find in these files, as `files` gave them; with `scan`, what a
        collection holds of them, or below them, and is no longer there, has vanished."""
        files = list(files)
        given = [(str(root), root.stat()) for root in self.roots if root.exists()]
        walk = Walk(given, self.exclude, scan)
        beside = {file.parent: walk.beside_named(str(file)) for file in files}
        described = {file.with_name(name) for file in files
                     for name in beside[file.parent].described_by(file.name)}
        for file in dict.fromkeys([*files, *sorted(described)]):
            if not os.path.lexists(file):
                continue
            if file in self.roots:
                yield from walk.named_file(str(file), file.stat())
            else:
                yield from walk.entry(cast("os.DirEntry[str]", _Entry(file)), beside[file.parent])
        scan.roots += map(path_to_uri, files)

    def _below(self, folder: Path) -> Iterator[Path]:
        root = str(self._root_of(folder))
        for at, folders, names in os.walk(folder):
            # What a link leads back to is known by its real path.
            if _is_collection(Path(at)) or self._known_as(Path(at, "any")) != Path(at, "any"):
                folders.clear()
                continue
            folders[:] = [name for name in folders
                          if not self._walk.passes_over(f"{at}/{name}", root)]
            yield from (Path(at, name) for name in names if is_wanted(name)
                        and not self._walk.passes_over(f"{at}/{name}", root))

    def _known_as(self, path: Path) -> Path:
        """The path by which a walk comes to a file: what is seen through a link, and can be reached
        without it, has two."""
        real = Path(os.path.realpath(path.parent))
        above = next((p for p in (real, *real.parents) if str(p) in self._shown), None)
        if path in self.roots or above is None:
            return path
        return self._shown[str(above)] / real.relative_to(above) / path.name

    def _root_of(self, path: Path) -> Path | None:
        return next((root for root in self.roots if path.is_relative_to(root)), None)

    def _is_passed_over(self, path: Path) -> bool:
        """Whether a walk leaves out a path, or a folder that it lies in."""
        if (root := self._root_of(path)) is None:
            return True
        ways = [way for way in (path, *path.parents) if way.is_relative_to(root) and way != root]
        return (any(self._walk.passes_over(str(way), str(root)) for way in ways)
                or any(_is_collection(way) for way in (*ways[1:], root)))


class _Entry:
    """As much of an os.DirEntry as `Walk.entry` needs."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = str(path), path.name
        self.is_symlink, self.stat = path.is_symlink, path.stat


def _is_collection(folder: Path) -> bool:
    """As `Walk.entries` tells it."""
    return os.path.lexists(folder / "catalog.db") and os.path.lexists(folder / "segments")
