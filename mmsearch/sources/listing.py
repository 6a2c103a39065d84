"""Items of what manifests name: files, pictures in their rows, members of archives, the web."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mmsearch.errors import MediaError
from mmsearch.records import Item
from mmsearch.sources import locate, web
from mmsearch.sources.columns import CAPTION_COLUMNS, holds_image, plain_name, storable
from mmsearch.sources.manifests import NOTHING, BadRow, Row, read_columns, read_rows
from mmsearch.sources.scan import Scan, Skipped
from mmsearch.sources.texts import text_items
from mmsearch.uris import fingerprint_of, kind_of, member_uri, path_to_uri, uri_to_path

UNKNOWN = "?"
"""The fingerprint of what is on the web, before it is fetched."""
_MEASURED = {"size", "width", "height", "modified", "manifest"}


class Listing:
    """The manifests of one call; captions_of: uris of pictures, with how many captions so far."""

    def __init__(self, scan: Scan) -> None:
        self.scan = scan
        self.captions_of: dict[str, int] = {}

    def items(self, path: str) -> Iterator[Item]:
        uri, folder = path_to_uri(path), Path(path).parent
        own = {**modified(Path(path).stat()), "manifest": uri}
        on_the_web, with_image, row = 0, 0, None
        empty: list[int] | None = []
        """Lines with nothing in them, as long as there is nothing in any."""
        for row, checked in self.asked(read_rows(Path(path))):
            with_image += isinstance(row, Row) and (row.image or row.data) is not None
            if isinstance(row, BadRow) and row.reason == NOTHING and empty is not None:
                empty.append(row.line)
                continue
            for line in empty or ():
                self.scan.skip(path, NOTHING, line)
            empty = None
            if isinstance(row, BadRow):
                self.scan.skip(path, row.reason, row.line)
                self.scan.incomplete.append(uri)  # who knows what the row would have named
            elif row.data is not None:
                yield from self.pictured(row, row.data, uri, own)
            elif row.image is None:
                meta = {**renamed(row.meta), **own}
                for number, text in enumerate(row.captions, 1):
                    ending = f"#L{row.line}" if number == 1 else f"#L{row.line}.caption{number}"
                    yield from text_items(uri + ending, text, f"{uri}#L{row.line}", meta)
            elif kind_of(row.image) == "web" and not web.is_allowed():
                on_the_web += 1
            elif kind_of(row.image) != "file":
                yield from self.addressed(row, row.image, path, checked)
            elif (found := _find_image(folder, row.image)) is None:
                self.scan.skip(path, f"image not found: {storable(row.image)}", row.line)
            else:
                yield from self.captioned(row, path_to_uri(found[0]), fingerprint_of(found[1]),
                                          {**modified(found[1]), "manifest": uri})
        if row is None:
            self.scan.skip(path, "no rows in it")
        elif not with_image:
            self.without_image(path, empty or ())
        if on_the_web:
            are = "1 picture is" if on_the_web == 1 else f"{on_the_web:,} pictures are"
            self.scan.skip(path, f"{are} on the web; to download, add --fetch")
            self.scan.incomplete.append(uri)

    def without_image(self, path: str, empty: Sequence[int]) -> None:
        """Say what there is in place of an image, but for captions; and, if nothing is, that."""
        names = next((list(row) for _, row in read_columns(Path(path))
                      if not isinstance(row, str)), [])
        there = storable(", ".join(names)) or "none"
        others = set(map(plain_name, names)) - set(map(plain_name, CAPTION_COLUMNS))
        if holds_image(names):
            for line in empty:
                self.scan.skip(path, NOTHING, line)
        elif empty:
            self.scan.skip(path, f"no column is an image or a caption; there are {there}")
        elif others:
            self.scan.notes.append(f"{path_to_uri(path)}: no column is an image, so that each row "
                                   f"is a text; there are {there}")
        if empty:
            self.scan.incomplete.append(path_to_uri(path))

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
                fingerprint = ""
                with suppress(ValueError):  # no path at all
                    uri = locate.uri_of(os.path.join(Path(path).parent, image))  # noqa: PTH118
                    fingerprint = locate.fingerprint(uri)
                if not fingerprint:
                    self.scan.skip(path, f"image not found: {storable(image)}", row.line)
                    return
            else:
                raise MediaError("an address of this kind is read only from the command line, "
                                 "not from a manifest")
        except MediaError as error:
            self.scan.skip(path, f"{storable(image)}: {error}", row.line)
            if not isinstance(error, web.NotFound):
                self.scan.incomplete.append(manifest)
        else:
            yield from self.captioned(row, storable(uri), fingerprint or UNKNOWN,
                                      {"manifest": manifest})

    def pictured(self, row: Row, data: bytes, manifest: str, own: dict[str, Any]) -> Iterator[Item]:
        """A picture that the row itself holds, and its captions."""
        from mmsearch.sources import parquet_images

        uri = member_uri(manifest, parquet_images.name_of(row.line, row.image))
        if problem := parquet_images.too_large(data):
            self.scan.skipped.append(Skipped(uri, problem))
        else:
            yield from self.captioned(row, uri, parquet_images.fingerprint_in(data), own)

    def captioned(
        self, row: Row, uri: str, fingerprint: str, own: dict[str, Any]
    ) -> Iterator[Item]:
        meta = {**renamed(row.meta), **own}
        if uri not in self.captions_of:
            self.captions_of[uri] = 0
            yield Item(uri, "image", "", uri, meta, fingerprint)
        for text in row.captions:
            self.captions_of[uri] += 1
            yield from text_items(f"{uri}#caption{self.captions_of[uri]}", text, uri, meta)


def renamed(columns: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest's columns, those called like something measured as `meta.size`, say; what a
    manifest says in words of when and with what a picture was taken is taken at its word."""
    return {f"meta.{name}" if name in _MEASURED
            or (name in ("taken", "camera") and not isinstance(value, str)) else name: value
            for name, value in columns.items()}


def modified(status: os.stat_result) -> dict[str, Any]:
    return moment(status.st_mtime_ns // 10**9)


def moment(seconds: float | None) -> dict[str, Any]:
    if seconds is None:
        return {}
    try:
        time = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):  # a clock far off
        return {}
    return {"modified": time.strftime("%Y-%m-%dT%H:%M:%SZ")}


def _find_image(folder: Path, name: str) -> tuple[str, os.stat_result] | None:
    """The regular file that a manifest means; `images/` is where Karpathy's files keep them."""
    for given in (Path(name), Path("images", name)):
        try:
            # Also by its uri, as in what a collection exports.
            candidate = folder / given if "\ufffd" not in name else folder / uri_to_path(str(given))
            found = locate.as_on_disk(candidate)
            status = Path(found).stat()
        except (OSError, ValueError):
            continue
        if stat.S_ISREG(status.st_mode):
            return found, status
    return None
