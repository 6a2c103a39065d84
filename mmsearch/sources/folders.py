"""Items from folders, single files, text files, archives and manifests.

What is yielded for each file:

    picture           one "image" item, uri = its absolute path (see `path_to_uri`); its fingerprint
                      names the files that describe it (`sources.sidecars`), which are no items
    video, PDF        the same: what it holds is found when it is decoded, see `media.frames`
    .txt              one "text" item a line that is not blank, uri = `path#L3`
    .md               one "text" item a paragraph, uri = `path#L<its first line>`
    manifest          only where named on the call: an "image" item for each picture, and a "text"
                      item `path#caption2` for each caption, in the picture's group
    archive           only where named on the call, or asked for: what it holds, as above, with
                      uris such as `path!/member.jpg`; see `sources.webdataset` for tars

A picture may itself be called `a.jpg#L3`: tell texts from pictures by `kind`, never by the uri.
"""

from __future__ import annotations

import io
import os
import stat
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path

from mmsearch.errors import MediaError, UsageError
from mmsearch.formats import CONTAINER_HEAD, IMAGE_SUFFIXES, SEVERAL_SUFFIXES, container, sniff
from mmsearch.records import Item
from mmsearch.sources import remote
from mmsearch.sources.archives import open_archive
from mmsearch.sources.globs import Glob, is_junk, is_wanted as is_wanted_inside
from mmsearch.sources.listing import Listing, modified, moment, renamed
from mmsearch.sources.locate import as_on_disk
from mmsearch.sources.manifests import MANIFEST_SUFFIXES
from mmsearch.sources.scan import Scan as Scan, Skipped as Skipped, identity, identity_of
from mmsearch.sources.sidecars import Beside, is_boilerplate, with_sidecars
from mmsearch.sources.texts import line_items, text_encoding, text_items
from mmsearch.sources.webdataset import Sample, samples
from mmsearch.uris import (
    expand_braces,
    fingerprint_of,
    is_archive,
    member_uri,
    path_to_uri,
    scheme_of,
)

TEXT_SUFFIXES: frozenset[str] = frozenset({".txt", ".md"})
_WANTED = IMAGE_SUFFIXES | SEVERAL_SUFFIXES | TEXT_SUFFIXES


def iter_items(paths: Sequence[Path | str], *, exclude: Sequence[str] = (), archives: bool = False,
               scan: Scan) -> Iterator[Item]:
    """Everything that can be indexed in `paths`, each file once, in a stable order.

    paths: a path that does not exist and has braces stands for several: `shard-{000..009}.tar`.
    archives: look into those that are found in folders, too.
    exclude: globs for names (`*.gif`) or, with a slash, for paths below the path given
        (`raw/**/*.tif`); files and folders named in `paths` themselves are always taken.
    scan: filled while the iterator runs.
    Raises UsageError at once, before the first item, where one of the paths does not exist.
    """
    each = [one for path in paths for one in _several(path)]
    far = [path for path in each if isinstance(path, str) and scheme_of(path)]
    for address in far:
        remote.check(address)
    given = [_given(path) for path in each if path not in far]
    return chain(Walk(given, exclude, scan, archives).items(), chain.from_iterable(
        remote.items(one, exclude, scan) for one in far))


def is_wanted(name: str) -> bool:
    """Whether files of this name are taken from folders."""
    return _has_suffix(name, _WANTED)


# --- the walk -----------------------------------------------------------------------------------


class Walk:
    """One call of `iter_items`: what was given, and what has been seen so far."""

    def __init__(
        self, given: list[tuple[str, os.stat_result]], exclude: Sequence[str], scan: Scan,
        archives: bool = False,
    ) -> None:
        self.given = given
        self.archives = archives
        self.rules = "|".join(exclude)
        self.scan = scan
        self.exclude = [Glob(pattern) for pattern in exclude]
        self.folders_seen: set[tuple[int, int]] = set()
        self.files_given = {identity(s) for _, s in given if not stat.S_ISDIR(s.st_mode)}
        for path, status in given:
            if stat.S_ISDIR(status.st_mode):
                scan.anchors.setdefault(path_to_uri(path), identity(status))
        self.links: deque[tuple[str, str]] = deque()
        self.listing = Listing(scan)
        self.beside: dict[str, Beside] = {}  # folder of a named file -> its sidecars
        self.left_closed = 0  # archives in folders
        self.developed = 0  # RAW files beside a picture that was made of them

    def items(self) -> Iterator[Item]:
        folders = [path for path, status in self.given if stat.S_ISDIR(status.st_mode)]
        files: dict[tuple[int, int], tuple[str, os.stat_result]] = {}
        for path, status in self.given:
            if not stat.S_ISDIR(status.st_mode):
                files.setdefault(identity(status), (path, status))
        # Manifests first: what they say about a picture is more than its file in a folder tells.
        named = sorted(files.values(), key=lambda f: not _has_suffix(f[0], MANIFEST_SUFFIXES))
        for path, status in named:
            yield from self.named_file(path, status)
        for path in folders:
            yield from self.tree(path, path)
        yield from self.linked()
        if self.developed:
            what = "1 RAW file is" if self.developed == 1 else f"{self.developed} RAW files are"
            self.scan.skip(folders[0], f"{what} not indexed: each has a picture of its name beside "
                                       "it")
        if self.left_closed:
            what = "1 archive" if self.left_closed == 1 else f"{self.left_closed} archives"
            self.scan.notes.append(f"{what} inside folders not looked into; --archives does that")
        self.scan.roots += dict.fromkeys(path_to_uri(path) for path, _ in self.given)

    def linked(self) -> Iterator[Item]:
        """Linked folders last, so that a folder reached both ways is known by its real path."""
        while self.links:
            path, root = self.links.popleft()
            if identity_of(path_to_uri(path)) not in self.folders_seen:
                self.scan.links[os.path.realpath(path)] = path
            yield from self.tree(path, root)

    def named_file(self, path: str, status: os.stat_result) -> Iterator[Item]:
        if not stat.S_ISREG(status.st_mode):
            self.scan.skip(path, "not a regular file")
        elif _has_suffix(path, MANIFEST_SUFFIXES):
            yield from self.readable(path, self.listing.items)
        elif is_archive(path):
            yield from self.archive(path, status)
        elif _has_suffix(path, _WANTED) or _is_picture(path):
            yield from self.file(path, status, self.beside_named(path))
        else:
            self.scan.skip(path, "not a kind of file that can be indexed")

    def tree(self, folder: str, root: str) -> Iterator[Item]:
        """Everything below `folder`: its files by name, then its folders by name."""
        stack = [folder]
        while stack:
            below: list[str] = []
            entries = [one for one in self.entries(stack.pop())
                       if not self.passes_over(one.path, root)]
            beside = Beside(entries)
            self.developed += len(beside.developed)
            for entry in entries:
                try:
                    if not entry.is_dir():
                        yield from self.entry(entry, beside)
                    elif entry.is_symlink():
                        self.links.append((entry.path, root))
                    else:
                        below.append(entry.path)
                except OSError as error:
                    self.unreadable(entry.path, error)
            stack += reversed(below)

    def passes_over(self, path: str, root: str) -> bool:
        """Whether the name of a file or folder, or its path below `root`, keeps it out."""
        inside = path[len(root.rstrip(os.sep)) + 1 :].replace(os.sep, "/")
        return is_junk(inside[inside.rfind("/") + 1 :]) or any(
            glob.matches(inside) for glob in self.exclude)

    def entries(self, folder: str) -> list[os.DirEntry[str]]:
        """Sorted entries; none for a folder seen before, a collection, or what cannot be read."""
        found: list[os.DirEntry[str]] = []
        try:
            this = identity(Path(folder).stat())
            if this in self.folders_seen:
                return []
            self.folders_seen.add(this)
            with os.scandir(folder) as listing:
                found.extend(listing)
            if not found:
                self.scan.emptied.append(path_to_uri(folder))
        except OSError as error:
            self.unreadable(folder, error)
        if {"catalog.db", "segments"} <= {entry.name for entry in found}:
            if any(folder == path for path, _ in self.given):
                self.scan.skip(folder, "a collection of mmsearch")
            return []
        return sorted(found, key=lambda entry: entry.name)

    def entry(self, entry: os.DirEntry[str], beside: Beside) -> Iterator[Item]:
        """Items of a file found in a folder."""
        left_out = beside.taken | beside.developed | beside.boilerplate
        wanted = (is_wanted(entry.name) and entry.name not in left_out) or (
            self.archives and is_archive(entry.name))
        if not wanted and not entry.is_symlink():
            self.left_closed += is_archive(entry.name)
            return
        try:
            status = entry.stat()
        except FileNotFoundError:
            why = "broken symbolic link" if entry.is_symlink() else "vanished during the run"
            self.scan.skip(entry.path, why)
            if entry.is_symlink():
                self.scan.emptied.append(path_to_uri(entry.path))
            return
        if not wanted or identity(status) in self.files_given:
            return
        if stat.S_ISREG(status.st_mode):
            yield from self.file(entry.path, status, beside)
        else:
            self.scan.skip(entry.path, "not a regular file")

    def file(self, path: str, status: os.stat_result, beside: Beside) -> Iterator[Item]:
        if _has_suffix(path, TEXT_SUFFIXES):
            yield from self.readable(path, lambda p: self.texts(p, status))
            return
        if is_archive(path):
            yield from self.archive(path, status)
            return
        uri = path_to_uri(path)
        if uri not in self.listing.captions_of:
            print_ = with_sidecars(fingerprint_of(status), (
                (path_to_uri(name), fingerprint_of(state))
                for name, state in beside.of(os.path.basename(path))))  # noqa: PTH119
            yield Item(uri, "image", "", uri, modified(status), print_)

    def beside_named(self, path: str) -> Beside:
        """The sidecars in the folder of a file that was named itself."""
        folder = os.path.dirname(path)  # noqa: PTH120
        if folder not in self.beside:
            entries: list[os.DirEntry[str]] = []
            with suppress(OSError), os.scandir(folder) as listing:
                entries = [entry for entry in listing if not is_junk(entry.name)]
            self.beside[folder] = Beside(entries)
        return self.beside[folder]

    def texts(self, path: str, status: os.stat_result) -> Iterator[Item]:
        encoding = text_encoding(Path(path))
        if encoding is None:
            self.scan.skip(path, "not text")
            return
        with Path(path).open(encoding=encoding, errors="replace") as handle:
            yield from self.some(path, "no text in it", line_items(
                path_to_uri(path), handle, modified(status), fingerprint_of(status)))

    def archive(self, path: str, status: os.stat_result) -> Iterator[Item]:
        uri, state = path_to_uri(path), f"{fingerprint_of(status)}|{self.rules}"
        nothing = "no picture and no text in it that could be indexed"
        if (known := self.scan.remembered(uri, state)) is not None:
            yield from self.some(path, nothing, known)
            self.scan.contents[uri] = ""
            return
        try:
            wanted = partial(is_wanted_inside, self.exclude)
            found = samples(open_archive(Path(path)).members(), wanted,
                            pictures=IMAGE_SUFFIXES | SEVERAL_SUFFIXES, texts=TEXT_SUFFIXES,
                            in_groups=not _has_suffix(path, {".zip"}))
            yield from self.some(path, nothing, chain.from_iterable(
                self.sample(uri, sample) for sample in found))
            self.scan.contents[uri] = state
        except MediaError as error:
            self.scan.skip(path, str(error))
            self.scan.incomplete.append(uri)

    def sample(self, archive: str, sample: Sample) -> Iterator[Item]:
        problems = [*sample.problems, *((one, one.problem) for one in sample.pictures)]
        self.scan.skipped += [Skipped(member_uri(archive, member.name), problem)
                              for member, problem in problems if problem]
        captions = sample.captions
        for member in (one for one in sample.pictures if not one.problem):
            uri = member_uri(archive, member.name)
            meta = {**renamed(sample.columns), **moment(member.modified)}
            yield Item(uri, "image", "", uri, meta, member.fingerprint)
            for number, text in enumerate(captions, 1):
                yield from text_items(f"{uri}#caption{number}", text, uri, meta)
            captions = ()
        for member, text in sample.texts:
            if not is_boilerplate(member.name.rpartition("/")[2]):
                yield from line_items(member_uri(archive, member.name), io.StringIO(text),
                                   moment(member.modified), member.fingerprint)

    def readable(self, path: str, read: Callable[[str], Iterator[Item]]) -> Iterator[Item]:
        """The items that `read` finds, up to where the file cannot be read any further."""
        try:
            yield from read(path)
        except OSError as error:
            self.unreadable(path, error)
        except UsageError as error:  # a damaged manifest must not cost the other files
            self.scan.skip(path, str(error).removeprefix(f"{path} "))
            self.scan.incomplete.append(path_to_uri(path))

    def some(self, path: str, otherwise: str, items: Iterable[Item]) -> Iterator[Item]:
        """The items of a file; where there are none, and nothing else was reported, that is."""
        before, item = len(self.scan.skipped), None
        for item in items:
            yield item
        if item is None and len(self.scan.skipped) == before:
            self.scan.skip(path, otherwise)

    def unreadable(self, path: str, error: OSError) -> None:
        self.scan.skip(path, f"cannot be read: {error.strerror or error}")
        if not isinstance(error, FileNotFoundError):
            self.scan.incomplete.append(path_to_uri(path))


def _given(path: Path | str) -> tuple[str, os.stat_result]:
    try:
        name = as_on_disk(path)
        return name, Path(name).stat()
    except FileNotFoundError as error:
        raise UsageError(f"no such file or folder: {path_to_uri(path)}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path_to_uri(path)} cannot be read: {reason}") from error


def _several(path: Path | str) -> Iterator[Path | str]:
    names = expand_braces(str(path)) if not os.path.lexists(path) else ()
    yield from list(names) or (path,)


def _has_suffix(path: str, suffixes: Container[str]) -> bool:
    return path[path.rfind(".") :].lower() in suffixes  # called for every file: no PurePath


def _is_picture(path: str) -> bool:
    """By content: a file named on the call is taken whatever its suffix."""
    try:
        with Path(path).open("rb") as handle:
            head = handle.read(CONTAINER_HEAD)
            return (sniff(head[:64]) or container(head)) is not None
    except OSError:
        return False
