"""Items from folders, single files, text files, archives and manifests.

What is yielded for each file:

    picture           one "image" item, uri = its absolute path (see `path_to_uri`)
    .txt              one "text" item a line that is not blank, uri = `path#L3`
    .md               one "text" item a paragraph, uri = `path#L<its first line>`
    manifest          only where named on the call: an "image" item for each picture, and a "text"
                      item `path#caption2` for each caption, in the picture's group
    archive           only where named on the call, or asked for: what it holds, as above, with
                      uris such as `path!/member.jpg`; see `mmsearch.samples` for tars

A picture may itself be called `a.jpg#L3`: tell texts from pictures by `kind`, never by the uri.
"""

from __future__ import annotations

import io
import os
import stat
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from mmsearch import places, stores, web
from mmsearch.archives import open_archive
from mmsearch.errors import MediaError, UsageError
from mmsearch.formats import IMAGE_SUFFIXES, sniff
from mmsearch.globs import Glob, is_junk, is_wanted
from mmsearch.manifests import MANIFEST_SUFFIXES, BadRow, Row, read_rows, storable
from mmsearch.records import Item
from mmsearch.samples import Sample, samples
from mmsearch.scanned import Scan as Scan
from mmsearch.scanned import Skipped as Skipped
from mmsearch.texts import line_items, text_encoding, text_items
from mmsearch.uris import (
    expand_braces,
    fingerprint_of,
    is_archive,
    kind_of,
    member_uri,
    path_to_uri,
    scheme_of,
    uri_to_path,
)

TEXT_SUFFIXES: frozenset[str] = frozenset({".txt", ".md"})
_WANTED = IMAGE_SUFFIXES | TEXT_SUFFIXES
UNKNOWN = "?"
"""The fingerprint of what is on the web, before it is fetched."""
_MEASURED = {"size", "width", "height", "modified", "manifest"}


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
        stores.check(address)
    given = [(_absolute(path), _status(Path(path))) for path in each if path not in far]
    return chain(_Walk(given, exclude, scan, archives).items(), chain.from_iterable(
        stores.items(one, exclude, scan) for one in far))


# --- the walk -----------------------------------------------------------------------------------


class _Walk:
    """One call of `iter_items`: what was given, and what has been seen so far."""

    def __init__(
        self, given: list[tuple[str, os.stat_result]], exclude: Sequence[str], scan: Scan,
        archives: bool,
    ) -> None:
        self.given = given
        self.archives = archives
        self.rules = "|".join(exclude)
        self.scan = scan
        self.exclude = [Glob(pattern) for pattern in exclude]
        self.folders_seen: set[tuple[int, int]] = set()
        self.files_given = {_identity(s) for _, s in given if not stat.S_ISDIR(s.st_mode)}
        self.links: deque[tuple[str, str]] = deque()
        self.captions_of: dict[str, int] = {}  # image uri in a manifest -> captions so far

    def items(self) -> Iterator[Item]:
        folders = [path for path, status in self.given if stat.S_ISDIR(status.st_mode)]
        files: dict[tuple[int, int], tuple[str, os.stat_result]] = {}
        for path, status in self.given:
            if not stat.S_ISDIR(status.st_mode):
                files.setdefault(_identity(status), (path, status))
        # Manifests first: what they say about a picture is more than its file in a folder tells.
        named = sorted(files.values(), key=lambda f: not _has_suffix(f[0], MANIFEST_SUFFIXES))
        for path, status in named:
            yield from self.named_file(path, status)
        for path in folders:
            yield from self.tree(path, path)
        # Linked folders last, so that a folder reached both ways is known by its real path.
        while self.links:
            path, root = self.links.popleft()
            yield from self.tree(path, root)
        self.scan.roots += dict.fromkeys(path_to_uri(path) for path, _ in self.given)

    def named_file(self, path: str, status: os.stat_result) -> Iterator[Item]:
        if not stat.S_ISREG(status.st_mode):
            self.skip(path, "not a regular file")
        elif _has_suffix(path, MANIFEST_SUFFIXES):
            yield from self.readable(path, self.manifest)
        elif is_archive(path):
            yield from self.archive(path, status)
        elif _has_suffix(path, _WANTED) or _is_picture(path):
            yield from self.file(path, status)
        else:
            self.skip(path, "not a kind of file that can be indexed")

    def tree(self, folder: str, root: str) -> Iterator[Item]:
        """Everything below `folder`: its files by name, then its folders by name."""
        stack = [folder]
        while stack:
            below: list[str] = []
            for entry in self.entries(stack.pop()):
                inside = entry.path[len(root.rstrip(os.sep)) + 1 :].replace(os.sep, "/")
                if is_junk(entry.name) or any(g.matches(inside) for g in self.exclude):
                    continue
                try:
                    if not entry.is_dir():
                        yield from self.entry(entry)
                    elif entry.is_symlink():
                        self.links.append((entry.path, root))
                    else:
                        below.append(entry.path)
                except OSError as error:
                    self.unreadable(entry.path, error)
            stack += reversed(below)

    def entries(self, folder: str) -> list[os.DirEntry[str]]:
        """Sorted entries; none for a folder seen before, a collection, or what cannot be read."""
        found: list[os.DirEntry[str]] = []
        try:
            identity = _identity(Path(folder).stat())
            if identity in self.folders_seen:
                return []
            self.folders_seen.add(identity)
            with os.scandir(folder) as listing:
                found.extend(listing)
        except OSError as error:
            self.unreadable(folder, error)
        if {"catalog.db", "segments"} <= {entry.name for entry in found}:
            if any(folder == path for path, _ in self.given):
                self.skip(folder, "a collection of mmsearch")
            return []
        return sorted(found, key=lambda entry: entry.name)

    def entry(self, entry: os.DirEntry[str]) -> Iterator[Item]:
        """Items of a file found in a folder."""
        wanted = _has_suffix(entry.name, _WANTED) or (self.archives and is_archive(entry.name))
        if not wanted and not entry.is_symlink():
            return
        try:
            status = entry.stat()
        except FileNotFoundError:
            gone = "broken symbolic link" if entry.is_symlink() else "vanished during the run"
            self.skip(entry.path, gone)
            return
        if not wanted or _identity(status) in self.files_given:
            return
        if stat.S_ISREG(status.st_mode):
            yield from self.file(entry.path, status)
        else:
            self.skip(entry.path, "not a regular file")

    def file(self, path: str, status: os.stat_result) -> Iterator[Item]:
        if _has_suffix(path, TEXT_SUFFIXES):
            yield from self.readable(path, lambda p: self.texts(p, status))
            return
        if is_archive(path):
            yield from self.archive(path, status)
            return
        uri = path_to_uri(path)
        if uri not in self.captions_of:
            yield Item(uri, "image", "", uri, _modified(status), fingerprint_of(status))

    def texts(self, path: str, status: os.stat_result) -> Iterator[Item]:
        encoding = text_encoding(Path(path))
        if encoding is None:
            self.skip(path, "not text")
            return
        with Path(path).open(encoding=encoding, errors="replace") as handle:
            yield from line_items(path_to_uri(path), handle, _modified(status),
                                   fingerprint_of(status))

    def archive(self, path: str, status: os.stat_result) -> Iterator[Item]:
        uri, state = path_to_uri(path), f"{fingerprint_of(status)}|{self.rules}"
        if (known := self.scan.remembered(uri, state)) is not None:
            yield from known
            self.scan.contents[uri] = ""
            return
        try:
            found = samples(open_archive(Path(path)).members(), partial(is_wanted, self.exclude),
                            pictures=IMAGE_SUFFIXES, texts=TEXT_SUFFIXES,
                            in_groups=not _has_suffix(path, {".zip"}))
            for sample in found:
                yield from self.sample(uri, sample)
            self.scan.contents[uri] = state
        except MediaError as error:
            self.skip(path, str(error))
            self.scan.incomplete.append(uri)

    def sample(self, archive: str, sample: Sample) -> Iterator[Item]:
        problems = [*sample.problems, *((one, one.problem) for one in sample.pictures)]
        self.scan.skipped += [Skipped(member_uri(archive, member.name), problem)
                              for member, problem in problems if problem]
        captions = sample.captions
        for member in (one for one in sample.pictures if not one.problem):
            uri = member_uri(archive, member.name)
            meta = {**_renamed(sample.columns), **_moment(member.modified)}
            yield Item(uri, "image", "", uri, meta, member.fingerprint)
            for number, text in enumerate(captions, 1):
                yield from text_items(f"{uri}#caption{number}", text, uri, meta)
            captions = ()
        for member, text in sample.texts:
            yield from line_items(member_uri(archive, member.name), io.StringIO(text),
                                   _moment(member.modified), member.fingerprint)

    def manifest(self, path: str) -> Iterator[Item]:
        uri, folder = path_to_uri(path), Path(path).parent
        own = {**_modified(Path(path).stat()), "manifest": uri}
        on_the_web = 0
        for row, checked in self.asked(read_rows(Path(path))):
            if isinstance(row, BadRow):
                self.skip(path, row.reason, row.line)
                self.scan.incomplete.append(uri)  # who knows what the row would have named
            elif row.data is not None:
                yield from self.embedded(row, row.data, uri, own)
            elif row.image is None:
                meta = {**_renamed(row.meta), **own}
                for number, text in enumerate(row.captions, 1):
                    ending = f"#L{row.line}" if number == 1 else f"#L{row.line}.caption{number}"
                    yield from text_items(uri + ending, text, f"{uri}#L{row.line}", meta)
            elif kind_of(row.image) == "web" and not web.is_allowed():
                on_the_web += 1
            elif kind_of(row.image) != "file":
                yield from self.addressed(row, row.image, path, checked)
            elif (found := _find_image(folder, row.image)) is None:
                self.skip(path, f"image not found: {storable(row.image)}", row.line)
            else:
                yield from self.captioned(row, path_to_uri(found[0]), fingerprint_of(found[1]),
                                          {**_modified(found[1]), "manifest": uri})
        if on_the_web:
            self.skip(path, f"{on_the_web:,} pictures are on the web: --fetch downloads them")
            self.scan.incomplete.append(uri)

    def asked(
        self, rows: Iterable[Row | BadRow]
    ) -> Iterator[tuple[Row | BadRow, Future[str] | None]]:
        """The rows; those on the web with the fingerprint that they have now, if they had one."""
        def address(row: Row | BadRow) -> str:
            image = (row.image if isinstance(row, Row) else "") or ""
            return image if kind_of(image) == "web" else ""

        if web.is_allowed():
            return web.checks(rows, address, self.scan.known)
        return ((row, None) for row in rows)

    def addressed(
        self, row: Row, image: str, path: str, checked: Future[str] | None
    ) -> Iterator[Item]:
        """A picture that is not a file of its own: on the web, or a member of an archive."""
        uri, manifest = image, path_to_uri(path)
        try:
            if kind_of(image) == "web":
                fingerprint = checked.result() if checked else ""
            elif kind_of(image) == "member":
                uri = places.locate(os.path.join(Path(path).parent, image))  # noqa: PTH118
                if not (fingerprint := places.fingerprint(uri)):
                    self.skip(path, f"image not found: {storable(image)}", row.line)
                    return
            else:
                raise MediaError("such an address is only read where it is named on the call")
        except MediaError as error:
            self.skip(path, f"{storable(image)}: {error}", row.line)
            if not isinstance(error, web.Gone):
                self.scan.incomplete.append(manifest)
        else:
            yield from self.captioned(row, storable(uri), fingerprint or UNKNOWN,
                                      {"manifest": manifest})

    def embedded(self, row: Row, data: bytes, manifest: str, own: dict[str, Any]) -> Iterator[Item]:
        """A picture that the row itself holds, and its captions."""
        from mmsearch import embedded

        uri = member_uri(manifest, embedded.name_of(row.line, row.image))
        if problem := embedded.too_large(data):
            self.scan.skipped.append(Skipped(uri, problem))
        else:
            yield from self.captioned(row, uri, embedded.fingerprint_in(data), own)

    def captioned(
        self, row: Row, uri: str, fingerprint: str, own: dict[str, Any]
    ) -> Iterator[Item]:
        meta = {**_renamed(row.meta), **own}
        if uri not in self.captions_of:
            self.captions_of[uri] = 0
            yield Item(uri, "image", "", uri, meta, fingerprint)
        for text in row.captions:
            self.captions_of[uri] += 1
            yield from text_items(f"{uri}#caption{self.captions_of[uri]}", text, uri, meta)

    def readable(self, path: str, read: Callable[[str], Iterator[Item]]) -> Iterator[Item]:
        """The items that `read` finds, up to where the file cannot be read any further."""
        try:
            yield from read(path)
        except OSError as error:
            self.unreadable(path, error)

    def unreadable(self, path: str, error: OSError) -> None:
        self.skip(path, f"cannot be read: {error.strerror or error}")
        if not isinstance(error, FileNotFoundError):
            self.scan.incomplete.append(path_to_uri(path))

    def skip(self, path: str, reason: str, line: int | None = None) -> None:
        where = path_to_uri(path) if line is None else f"{path_to_uri(path)}:{line}"
        self.scan.skipped.append(Skipped(where, reason))


def _renamed(columns: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest's columns, those called like something measured as `meta.size`, say; what a
    manifest says in words of when and with what a picture was taken is taken at its word."""
    return {f"meta.{name}" if name in _MEASURED
            or (name in ("taken", "camera") and not isinstance(value, str)) else name: value
            for name, value in columns.items()}


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except FileNotFoundError as error:
        raise UsageError(f"no such file or folder: {path_to_uri(path)}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path_to_uri(path)} cannot be read: {reason}") from error


def _several(path: Path | str) -> Iterator[Path | str]:
    names = expand_braces(str(path)) if not os.path.lexists(path) else ()
    yield from list(names) or (path,)


def _absolute(path: str | os.PathLike[str]) -> str:
    # Not Path.resolve: users know a file by the name of the link that they gave.
    return os.path.abspath(path)  # noqa: PTH100


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _modified(status: os.stat_result) -> dict[str, Any]:
    return _moment(status.st_mtime_ns // 10**9)


def _moment(seconds: float | None) -> dict[str, Any]:
    if seconds is None:
        return {}
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):  # a clock far off
        return {}
    return {"modified": moment.strftime("%Y-%m-%dT%H:%M:%SZ")}


def _has_suffix(path: str, suffixes: Container[str]) -> bool:
    return path[path.rfind(".") :].lower() in suffixes  # called for every file: no PurePath


def _is_picture(path: str) -> bool:
    """By content: a file named on the call is taken whatever its suffix."""
    try:
        with Path(path).open("rb") as handle:
            return sniff(handle.read(64)) is not None
    except OSError:
        return False


def _find_image(folder: Path, name: str) -> tuple[str, os.stat_result] | None:
    """The regular file that a manifest means; `images/` is where Karpathy's files keep them."""
    for given in (Path(name), Path("images", name)):
        try:
            # Also by its uri, as in what a collection exports.
            candidate = folder / given if "\ufffd" not in name else folder / uri_to_path(str(given))
            status = candidate.stat()
        except (OSError, ValueError):
            continue
        if stat.S_ISREG(status.st_mode):
            return _absolute(candidate), status
    return None
