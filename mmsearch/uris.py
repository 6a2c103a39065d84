"""Addresses: what an item's uri says about where its bytes are. Nothing is opened here.

    /photos/a.jpg                a file, by its absolute path
    /data/s.tar!/img/1.jpg       a member of an archive
    /data/f.parquet!/17/a.jpg    the picture in row 17 of a Parquet file
    https://example.org/a.jpg    the web
    s3://bucket/a.jpg            a remote file, through fsspec

The marks that tell them apart (`.tar!/`, `scheme://`) cannot occur in the uri of a file: an
absolute path begins with no scheme, and `path_to_uri` escapes the `!` of a folder called `s.tar!`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias
from unicodedata import normalize

from mmsearch.errors import UsageError

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
REMOTE_SCHEMES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "hf", "hdfs",
                            "sftp", "ssh", "ftp", "ftps", "smb", "webdav", "memory", "file"})
"""Schemes that fsspec may be asked for: no `http` (see `sources.web`), and none that chain or run
others."""
_MAX_BRACES = 100_000

Where: TypeAlias = Literal["file", "member", "web", "remote"]

_CONTAINER = r"\.(?:zip|tar|tgz|tbz2|txz|tar\.(?:gz|bz2|xz)|parquet)"
_MEMBER = re.compile(rf"(.*?{_CONTAINER})!/(.+)", re.I | re.S)
_MARK = re.compile(rf"({_CONTAINER})!(?=/|$)", re.I)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.I)
_NOT_PLAIN = re.compile("[\0\ud800-\udfff\ufffd]")
_ESCAPE = re.compile("\ufffd([0-9A-F]{2})".encode())


class Member(NamedTuple):
    """What is inside a file: the uri of the file, and the name in it as the uri has it."""

    container: str
    name: str


def path_to_uri(path: str | os.PathLike[str]) -> str:
    """The path as text that can be stored anywhere, and read: itself, for nearly all paths.

    Each byte that is not UTF-8 becomes `\ufffdXX` in hexadecimal, as do the bytes of a real U+FFFD
    and the `!` of a folder called `a.zip!`, so that `uri_to_path` is the exact inverse for every
    path that a system can hold. Folders keep their meaning: the uri of a file starts with the uri
    of its folder.
    """
    return _MARK.sub("\\1\ufffd21", _plain(os.fsencode(path).decode("utf-8", "surrogateescape")))


def uri_to_path(uri: str) -> Path:
    """The inverse of `path_to_uri`; a path that somebody typed stays itself.

    ValueError: `uri` holds half of a surrogate pair, as no path does.
    """
    data = uri.encode("utf-8", "surrogateescape")
    return Path(os.fsdecode(_ESCAPE.sub(lambda m: bytes.fromhex(m[1].decode()), data)))


def member_uri(container: str, name: str) -> str:
    """The uri of a member. Its name is only a name: `..`, a leading slash or a backslash stay as
    they are, and no file is ever looked for under it.

    name: as `member_name` gives it.
    """
    return f"{container}!/{name}"


def member_name(name: str) -> str:
    """A name in an archive, as a uri has it: what UTF-8 cannot hold, and NUL, escaped."""
    return _plain(name)


def split_member(uri: str) -> Member | None:
    """The two halves of a member's uri; None for every other."""
    found = None if scheme_of(uri) else _MEMBER.fullmatch(uri)
    return Member(found[1], found[2]) if found else None


def scheme_of(uri: str) -> str:
    """`s3` for `s3://bucket/a.jpg`, in lower case; empty for files and members."""
    found = _SCHEME.match(uri)
    return found[1].lower() if found else ""


def kind_of(uri: str) -> Where:
    if scheme := scheme_of(uri):
        return "web" if scheme in ("http", "https") else "remote"
    return "member" if split_member(uri) else "file"


def nfc(text: str) -> str:
    """What two names are compared as: macOS and what it packs spell "é" as two characters (NFD),
    others as one. Stored is what was found."""
    return text if text.isascii() else normalize("NFC", text)


def is_archive(name: str) -> bool:
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def is_below(uri: str, root: str) -> bool:
    """Whether an item is what `root` names, lies below that folder, or came out of that file."""
    return uri == root or uri.startswith((root.rstrip("/") + "/", root + "#", root + "!/"))


def inside_of(root: str) -> str:
    """What the uris begin with that lie in a folder, or in a file that has members."""
    is_container = re.search(rf"{_CONTAINER}$", root, re.I) and not scheme_of(root)
    return f"{root}!/" if is_container else root.rstrip("/") + "/"


def expand_braces(name: str) -> Iterator[str]:
    """`s-{000..002}.tar` as `s-000.tar`, `s-001.tar`, `s-002.tar`; `{a,b}` as `a` and `b`.

    Raises:
        UsageError: more names than anybody means.
    """
    found = re.search(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}", name)
    if not found:
        yield name
        return
    if found[3] is None:
        first, last = int(found[1]), int(found[2])
        if abs(last - first) >= _MAX_BRACES:
            raise UsageError(f"{name} stands for more than {_MAX_BRACES:,} names")
        step, width = (1 if last >= first else -1), len(found[1])
        middles = [f"{n:0{width}d}" for n in range(first, last + step, step)]
    else:
        middles = found[3].split(",")
    before, after = name[:found.start()], name[found.end():]
    yield from chain.from_iterable(expand_braces(before + middle + after) for middle in middles)


def fingerprint_of(status: os.stat_result) -> str:
    """While this stays the same, a file is taken to be unchanged.

    The time of change (st_ctime) is there because programs set that of modification: `rsync -t`,
    and whoever edits in place.
    """
    return f"{written_of(status)}:{status.st_ctime_ns}"


def written_of(status: os.stat_result) -> str:
    """Size and time alone, as earlier versions had it."""
    return f"{status.st_size}:{status.st_mtime_ns}"


def is_unchanged(now: str, before: str) -> bool:
    """Whether a file is as it was: `before` may have been written without the time of change."""
    return now == before or (before.count(":") == 1 and now.startswith(f"{before}:"))


def as_mark(text: str) -> str:
    """What a server says as a fingerprint can hold it, without a slash: see `sources.sidecars`."""
    return text.replace("%", "%25").replace("/", "%2F")


def from_mark(mark: str) -> str:
    """The inverse of `as_mark`."""
    return mark.replace("%2F", "/").replace("%25", "%")


def _plain(text: str) -> str:
    return _NOT_PLAIN.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    try:
        data = match[0].encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a pair, in a name out of JSON
        data = match[0].encode("utf-8", "surrogatepass")
    return "".join(f"\ufffd{byte:02X}" for byte in data)
