"""Items from folders, single files, text files and manifests.

What is yielded for each file:

    picture           one "image" item, uri = its absolute path (see `path_to_uri`); its fingerprint
                      names the files that describe it (`mmsearch.sidecars`), which are no items
    video, PDF        the same: what it holds is found when it is decoded, see `mmsearch.frames`
    .txt              one "text" item a line that is not blank, uri = `path#L3`
    .md               one "text" item a paragraph, uri = `path#L<its first line>`
    manifest          only where named on the call: an "image" item for each picture, and a "text"
                      item `path#caption2` for each caption, in the picture's group

A picture may itself be called `a.jpg#L3`: tell texts from pictures by `kind`, never by the uri.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections import deque
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mmsearch.errors import UsageError
from mmsearch.formats import CONTAINER_HEAD, IMAGE_SUFFIXES, SEVERAL_SUFFIXES, container, sniff
from mmsearch.globs import Glob
from mmsearch.manifests import MANIFEST_SUFFIXES, BadRow, Row, read_rows, storable
from mmsearch.records import Item
from mmsearch.sidecars import Beside, with_sidecars
from mmsearch.texts import lines, paragraphs, pieces, text_encoding

TEXT_SUFFIXES: frozenset[str] = frozenset({".txt", ".md"})
_WANTED = IMAGE_SUFFIXES | SEVERAL_SUFFIXES | TEXT_SUFFIXES
_NOT_PLAIN = re.compile("[\ud800-\udfff\ufffd]")
_ESCAPE = re.compile("\ufffd([0-9A-F]{2})".encode())
_MEASURED = {"size", "width", "height", "modified", "manifest"}
_JUNK = {
    "__macosx",
    "node_modules",
    "@eadir",
    "$recycle.bin",
    "system volume information",
    "lost+found",
}


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
    anchors: device and inode of the folders that were given, by uri; one that is another by the end
        was taken away during the run, with its disk perhaps: nothing below it has vanished.
    links: folders that were reached through a link: the real path, and the one they are known by.
    """

    skipped: list[Skipped] = field(default_factory=list)
    roots: list[str] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    anchors: dict[str, tuple[int, int]] = field(default_factory=dict, compare=False)
    links: dict[str, str] = field(default_factory=dict, compare=False)

    def still_stands(self, uri: str) -> bool:
        """Whether the folders that were given, and that `uri` lies in, are where they were."""
        for anchor, identity in self.anchors.items():
            if uri.startswith(anchor.rstrip("/") + "/") and identity_of(anchor) != identity:
                self.skipped.append(Skipped(anchor, "went away during the run; what is indexed of "
                                                    "it is kept"))
                self.incomplete.append(anchor)
                return False
        return True


def iter_items(paths: Sequence[Path], *, exclude: Sequence[str] = (), scan: Scan) -> Iterator[Item]:
    """Everything that can be indexed in `paths`, each file once, in a stable order.

    exclude: globs for names (`*.gif`) or, with a slash, for paths below the path given
        (`raw/**/*.tif`); files and folders named in `paths` themselves are always taken.
    scan: filled while the iterator runs.
    Raises UsageError at once, before the first item, where one of the paths does not exist.
    """
    given = [(_absolute(path), _status(Path(path))) for path in paths]
    return Walk(given, exclude, scan).items()


def is_wanted(name: str) -> bool:
    """Whether files of this name are taken from folders."""
    return _has_suffix(name, _WANTED)


def identity_of(uri: str) -> tuple[int, int] | None:
    """What tells a file or folder from any other in its place: device and inode; None without."""
    try:
        return _identity(uri_to_path(uri).stat())
    except OSError:
        return None


def path_to_uri(path: str | os.PathLike[str]) -> str:
    """The path as text that can be stored anywhere, and read: itself, for nearly all paths.

    Each byte that is not UTF-8 becomes `\ufffdXX` in hexadecimal, as do the bytes of a real U+FFFD,
    so that `uri_to_path` is the exact inverse for every path that a system can hold. Folders
    keep their meaning: the uri of a file starts with the uri of its folder.
    """
    text = os.fsencode(path).decode("utf-8", "surrogateescape")
    return _NOT_PLAIN.sub(_escaped, text)


def uri_to_path(uri: str) -> Path:
    """The inverse of `path_to_uri`."""
    return Path(os.fsdecode(_ESCAPE.sub(lambda m: bytes.fromhex(m[1].decode()), uri.encode())))


def _escaped(match: re.Match[str]) -> str:
    return "".join(f"\ufffd{byte:02X}" for byte in match[0].encode("utf-8", "surrogateescape"))


# --- the walk -----------------------------------------------------------------------------------


class Walk:
    """One call of `iter_items`: what was given, and what has been seen so far."""

    def __init__(
        self, given: list[tuple[str, os.stat_result]], exclude: Sequence[str], scan: Scan
    ) -> None:
        self.given = given
        self.scan = scan
        self.exclude = [Glob(pattern) for pattern in exclude]
        self.folders_seen: set[tuple[int, int]] = set()
        self.files_given = {_identity(s) for _, s in given if not stat.S_ISDIR(s.st_mode)}
        for path, status in given:
            if stat.S_ISDIR(status.st_mode):
                scan.anchors.setdefault(path_to_uri(path), _identity(status))
        self.links: deque[tuple[str, str]] = deque()
        self.captions_of: dict[str, int] = {}  # image uri in a manifest -> captions so far
        self.beside: dict[str, Beside] = {}  # folder of a named file -> its sidecars
        self.developed = 0  # RAW files beside a picture that was made of them

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
        yield from self.linked()
        if self.developed:
            said = "1 RAW file is" if self.developed == 1 else f"{self.developed} RAW files are"
            self.skip(folders[0], f"{said} not indexed: each has a picture of its name beside it")
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
            self.skip(path, "not a regular file")
        elif _has_suffix(path, MANIFEST_SUFFIXES):
            yield from self.readable(path, self.manifest)
        elif _has_suffix(path, _WANTED) or _is_picture(path):
            yield from self.file(path, status, self.beside_named(path))
        else:
            self.skip(path, "not a kind of file that can be indexed")

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
        return _is_junk(inside[inside.rfind("/") + 1 :]) or any(
            glob.matches(inside) for glob in self.exclude)

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
        if not found and any(folder == path for path, _ in self.given):
            self.skip(folder, "is empty (not mounted?): what was indexed below it is kept; "
                              "`mmsearch delete` drops it")
            self.scan.incomplete.append(path_to_uri(folder))
        return sorted(found, key=lambda entry: entry.name)

    def entry(self, entry: os.DirEntry[str], beside: Beside) -> Iterator[Item]:
        """Items of a file found in a folder."""
        wanted = is_wanted(entry.name) and entry.name not in beside.taken | beside.developed
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
            yield from self.file(entry.path, status, beside)
        else:
            self.skip(entry.path, "not a regular file")

    def file(self, path: str, status: os.stat_result, beside: Beside) -> Iterator[Item]:
        if _has_suffix(path, TEXT_SUFFIXES):
            yield from self.readable(path, lambda p: self.texts(p, status))
            return
        uri = path_to_uri(path)
        if uri not in self.captions_of:
            print_ = with_sidecars(fingerprint_of(status), (
                (path_to_uri(name), fingerprint_of(state))
                for name, state in beside.of(os.path.basename(path))))  # noqa: PTH119
            yield Item(uri, "image", "", uri, _modified(status), print_)

    def beside_named(self, path: str) -> Beside:
        """The sidecars in the folder of a file that was named itself."""
        folder = os.path.dirname(path)  # noqa: PTH120
        if folder not in self.beside:
            entries: list[os.DirEntry[str]] = []
            with suppress(OSError), os.scandir(folder) as listing:
                entries = [entry for entry in listing if not _is_junk(entry.name)]
            self.beside[folder] = Beside(entries)
        return self.beside[folder]

    def texts(self, path: str, status: os.stat_result) -> Iterator[Item]:
        encoding = text_encoding(Path(path))
        if encoding is None:
            self.skip(path, "not text")
            return
        uri, print_ = path_to_uri(path), fingerprint_of(status)
        modified = _modified(status)
        with Path(path).open(encoding=encoding, errors="replace") as handle:
            split = paragraphs if _has_suffix(path, {".md"}) else lines
            for line, text in split(handle):
                meta = {**modified, "file": uri, "line": line}
                yield from text_items(f"{uri}#L{line}", text, "", meta, print_)

    def manifest(self, path: str) -> Iterator[Item]:
        uri, folder = path_to_uri(path), Path(path).parent
        own = {**_modified(Path(path).stat()), "manifest": uri}
        for row in read_rows(Path(path)):
            if isinstance(row, BadRow):
                self.skip(path, row.reason, row.line)
                self.scan.incomplete.append(uri)  # who knows what the row would have named
            elif row.image is None:
                meta = {**_renamed(row.meta), **own}
                for number, text in enumerate(row.captions, 1):
                    ending = f"#L{row.line}" if number == 1 else f"#L{row.line}.caption{number}"
                    yield from text_items(uri + ending, text, f"{uri}#L{row.line}", meta)
            elif (found := _find_image(folder, row.image)) is None:
                self.skip(path, f"image not found: {storable(row.image)}", row.line)
            else:
                yield from self.captioned(row, *found, manifest=uri)

    def captioned(
        self, row: Row, path: str, status: os.stat_result, *, manifest: str
    ) -> Iterator[Item]:
        uri = path_to_uri(path)
        meta = {**_renamed(row.meta), **_modified(status), "manifest": manifest}
        if uri not in self.captions_of:
            self.captions_of[uri] = 0
            yield Item(uri, "image", "", uri, meta, fingerprint_of(status))
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


def _absolute(path: str | os.PathLike[str]) -> str:
    # Not Path.resolve: users know a file by the name of the link that they gave.
    return os.path.abspath(path)  # noqa: PTH100


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def fingerprint_of(status: os.stat_result) -> str:
    """While this stays the same, a file is taken to be unchanged."""
    return f"{status.st_size}:{status.st_mtime_ns}"


def _modified(status: os.stat_result) -> dict[str, Any]:
    try:
        moment = datetime.fromtimestamp(status.st_mtime_ns // 10**9, UTC)
    except (ValueError, OverflowError, OSError):  # a clock far off
        return {}
    return {"modified": moment.strftime("%Y-%m-%dT%H:%M:%SZ")}


def _has_suffix(path: str, suffixes: Container[str]) -> bool:
    return path[path.rfind(".") :].lower() in suffixes  # called for every file: no PurePath


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name.lower() in _JUNK


def _is_picture(path: str) -> bool:
    """By content: a file named on the call is taken whatever its suffix."""
    try:
        with Path(path).open("rb") as handle:
            head = handle.read(CONTAINER_HEAD)
            return (sniff(head[:64]) or container(head)) is not None
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


def text_items(
    uri: str, text: str, group: str, meta: dict[str, Any], fingerprint: str = ""
) -> Iterator[Item]:
    """One item, or several where the text is too long: `uri`, `uri.2`, `uri.3`."""
    for number, piece in enumerate(pieces(text), 1):
        print_ = fingerprint or (
            f"text:{hashlib.blake2b(piece.encode(), digest_size=16).hexdigest()}")
        name = uri if number == 1 else f"{uri}.{number}"
        yield Item(name, "text", piece, group or uri, meta, print_)
