"""Remote pictures, videos and documents, through fsspec: `s3://bucket/prefix`, `gs://…`,
`sftp://host/folder`.

An address is only followed where somebody named it, or something above it, on the call. What it
takes to get in (keys, passwords) is the business of fsspec's drivers and their settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from mmsearch.errors import MediaError, MissingExtra, UsageError
from mmsearch.formats import IMAGE_SUFFIXES, SEVERAL_SUFFIXES
from mmsearch.records import Item
from mmsearch.sources.archives import MAX_MEMBER
from mmsearch.sources.globs import Glob, is_wanted
from mmsearch.sources.scan import Scan, Skipped
from mmsearch.uris import REMOTE_SCHEMES, as_mark, scheme_of

_MARKS = ("ETag", "etag", "md5Hash", "checksum", "mtime", "LastModified", "last_modified",
          "modified", "modify", "blob_id", "created")
"""What the drivers call that which changes with a file's content."""
_TIMES = ("mtime", "LastModified", "last_modified", "modified", "updated")


def check(address: str) -> None:
    """Raise UsageError or MissingExtra if there is nothing at an address, or no way to it."""
    filesystem, path = _reach(address)
    try:
        filesystem.invalidate_cache()
        filesystem.info(path)
    except FileNotFoundError as error:
        raise UsageError(f"there is nothing at {address}") from error
    except Exception as error:  # each driver has its own
        raise UsageError(f"{address} cannot be read: {_line(error)}") from error


def items(address: str, exclude: Sequence[str], scan: Scan) -> Iterator[Item]:
    """An item for each picture, video or document at or below an address, in a stable order.

    exclude: as for folders. scan: told of the root, and of what went wrong.
    """
    filesystem, root = _reach(address)
    globs = [Glob(pattern) for pattern in exclude]
    try:
        info = filesystem.info(root)
        if info["type"] == "file":
            yield _item(address, info)
            return
        for info in _files(filesystem, root):
            below = str(info["name"])[len(root):].lstrip("/")
            if _is_picture(below) and is_wanted(globs, below):
                yield _item(_below(address, below), info)
    except Exception as error:  # each driver has its own
        scan.skipped.append(Skipped(address, f"cannot be read: {_line(error)}"))
        scan.incomplete.append(address)
    scan.roots.append(address)


def _files(filesystem: Any, root: str) -> Iterator[dict[str, Any]]:
    """What is known of each file, one folder after the other; fsspec's own walk leaves out folders
    that cannot be listed without a word."""
    folders = [root]
    while folders:
        folder = folders.pop()
        entries = sorted(filesystem.ls(folder, detail=True), key=lambda one: one["name"])
        yield from (one for one in entries if one["type"] == "file")
        folders += [one["name"] for one in reversed(entries) if one["type"] == "directory"
                    and one["name"].rstrip("/") != folder.rstrip("/")]  # as S3 marks empty ones


def read(uri: str) -> tuple[bytes, str]:
    """A picture's bytes and fingerprint.

    Raises:
        MediaError: it cannot be read.
    """
    try:
        filesystem, path = _reach(uri)
        info = filesystem.info(path)
        if (info.get("size") or 0) > MAX_MEMBER:
            raise MediaError(f"{info['size']:,} bytes, limit {MAX_MEMBER >> 20} MiB")
        data: bytes = filesystem.cat_file(path, end=None if info.get("size") else MAX_MEMBER + 1)
        if len(data) > MAX_MEMBER:
            raise MediaError(f"more than {MAX_MEMBER >> 20} MiB")
        return data, _fingerprint(info)
    except MediaError:
        raise
    except Exception as error:  # each driver has its own
        raise MediaError(f"cannot be read: {_line(error)}") from error


def is_removed(uri: str) -> bool:
    """Whether the server reports so; not if it cannot be asked."""
    try:
        filesystem, path = _reach(uri)
        filesystem.info(path)
    except FileNotFoundError:
        return True
    except Exception:  # each driver has its own
        return False
    return False


def _reach(uri: str) -> tuple[Any, str]:
    """The driver for an address and the path as it calls it. No chains (`zip::s3://…`), no drivers
    that run or fetch something else.

    Raises:
        UsageError: there is no such driver, or it cannot start.
        MissingExtra: fsspec is not installed.
    """
    scheme = scheme_of(uri)
    if scheme in ("http", "https"):
        raise UsageError(f"{uri}: a web address is fetched where a manifest names it (--fetch)")
    if scheme not in REMOTE_SCHEMES:
        raise UsageError(f"{scheme}:// addresses cannot be indexed; those that can: "
                         f"{', '.join(sorted(REMOTE_SCHEMES))}")
    if _has_password(uri):
        raise UsageError(f"a password in a {scheme}:// address would be stored in the index and "
                         f"shown: leave it out, and set FSSPEC_{scheme.upper()}_PASSWORD")
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtra(f"reading {scheme}:// addresses", "remote") from error
    try:
        driver = fsspec.get_filesystem_class(scheme)
        return driver(**driver._get_kwargs_from_urls(uri)), str(driver._strip_protocol(uri))
    except ImportError as error:
        raise UsageError(f"reading {scheme}:// addresses needs another package: {error}") from error
    except Exception as error:  # each driver has its own
        raise UsageError(f"{uri} cannot be reached: {_line(error)}") from error


def _has_password(uri: str) -> bool:
    try:
        return urlsplit(uri).password is not None
    except ValueError:  # no host that could be asked for one
        return False


def _below(address: str, path: str) -> str:
    base = address.rstrip("/")
    return f"{base}//{path}" if base.endswith(":") else f"{base}/{path}"


def _item(uri: str, info: dict[str, Any]) -> Item:
    moment = next((info[name] for name in _TIMES if info.get(name)), None)
    if isinstance(moment, int | float):
        moment = datetime.fromtimestamp(moment, UTC)
    time = {"modified": moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")} \
        if isinstance(moment, datetime) else {}
    return Item(uri, "image", "", uri, time, _fingerprint(info))


def _fingerprint(info: dict[str, Any]) -> str:
    """The same whether a file was listed or asked for: drivers then give times in other types."""
    name = next((name for name in _MARKS if info.get(name)), "")
    value = info.get(name)
    if isinstance(value, datetime):
        value = value.timestamp()
    mark = f"{value:.6f}" if isinstance(value, float) else value
    return f"{info.get('size')}:{name}={as_mark(str(mark))}" if name else f"{info.get('size')}:"


def _is_picture(name: str) -> bool:
    return name[name.rfind("."):].lower() in IMAGE_SUFFIXES | SEVERAL_SUFFIXES


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
