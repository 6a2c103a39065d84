"""What can be asked of a catalog: all reading goes through the standard library's sqlite3, which is
quick to import."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mmsearch.errors import CollectionError
from mmsearch.records import Ids, Kind, Matches, SegmentInfo
from mmsearch.storage import browse, fulltext
from mmsearch.storage.conditions import Condition
from mmsearch.storage.rows import COLUMNS, ITEM, Row, as_row, where_sql
from mmsearch.storage.schema import FORMAT, READABLE
from mmsearch.storage.sqlite_errors import damaged, plainly
from mmsearch.storage.taught import TaughtPicture, taught_in
from mmsearch.uris import inside_of, nfc

T = TypeVar("T")
SEGMENT = ("name", "role", "kind", "rows", "bytes", "last", "sha256")
_KEPT = 16
_BELOW = ("WHERE i.uri = ? OR (i.uri >= ? AND i.uri < ?) OR (i.uri >= ? AND i.uri < ?) OR "
          "i.manifest = ? OR (i.uri >= ? AND i.uri < ? AND i.kind <> 'image' "
          "AND ? IN (i.grp, json_extract(i.meta, '$.file')))")
_BELOW_NFC = re.sub(r"i\.(uri|manifest|grp)|json_extract\(.*?\)", r"nfc(\g<0>)", _BELOW)
_SHARED = """
SELECT camera, text FROM (
    SELECT i.camera, d.value AS text, substr(i.taken, 1, 10) AS day
    FROM items i, json_each(i.meta, '$.description') d WHERE i.kind = 'image' AND i.camera <> '')
JOIN (SELECT camera, count(*) AS n FROM items WHERE kind = 'image' GROUP BY 1) USING (camera)
GROUP BY camera, text HAVING count(*) >= 12 AND (2 * count(*) >= max(n) OR
    10 * count(*) >= max(n) AND (count(DISTINCT day) >= 10 OR count(day) = 0))"""


def as_segment(row: Sequence[Any]) -> SegmentInfo:
    """Raises ValueError if it is no row that was ever written."""
    if [*map(type, row)] != [str, str, str, int, int, int, str]:
        raise ValueError(f"no such segment: {row}")
    return SegmentInfo(*row)


class CatalogReader:
    """An open catalog; `keep`: whether it may keep the last few answers to what takes long, until
    something is committed."""

    def __init__(self, path: Path, conn: sqlite3.Connection, *, keep: bool) -> None:
        self.path, self._conn, self._keep = path, conn, keep
        self._kept: dict[tuple[Any, ...], Any] = {}
        self.settings = self._read_settings()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All reads inside see one state of the collection, whatever a writer does meanwhile."""
        with self._plainly():
            self._conn.execute("BEGIN")
        try:
            yield
        finally:
            self._conn.execute("ROLLBACK")

    def renew_settings(self) -> None:
        self.settings = self._read_settings()

    def setting(self, key: str) -> Any:
        """A setting as it is now (`settings` are as they were when last read), or None."""
        rows = self._rows("SELECT value FROM settings WHERE key = ?", [key])
        return json.loads(rows[0][0]) if rows else None

    def segments(self) -> list[SegmentInfo]:
        """Segments and approximate indexes, in the order of their names."""
        rows = self._rows(f"SELECT {', '.join(SEGMENT)} FROM segments ORDER BY name")
        try:
            return [as_segment(row) for row in rows]
        except ValueError as error:
            raise damaged(self.path, str(error)) from error

    def counts(self) -> dict[str, int]:
        """Items by kind."""
        kept = self.settings.get("format", 1) > 1
        return dict(self._rows(
            "SELECT kind, items FROM counts WHERE items > 0 ORDER BY kind" if kept else
            "SELECT kind, count(*) FROM items GROUP BY kind ORDER BY kind"))

    def version(self) -> int:
        """A number that changes when another connection has committed something."""
        return int(self._rows("PRAGMA data_version")[0][0])

    def select(self, where: Condition | None, kinds: Sequence[Kind] = ()) -> Ids:
        """Sequence numbers (int64, ascending) of the items that meet a condition; a reader keeps
        the last few answers until something is committed."""
        sql, parameters = where_sql(where, kinds)

        def selected() -> Ids:
            rows = self._rows(f"SELECT i.seq FROM items i{sql} ORDER BY i.seq", parameters)
            found = np.fromiter((row[0] for row in rows), np.int64, len(rows))
            found.flags.writeable = not self._keep
            return found

        return self._once((sql, *parameters), selected)

    def captions_of(self, where: Condition) -> Ids:
        """Sequence numbers (int64, ascending) of the texts in the groups of pictures that meet a
        condition."""
        conditions, parameters = where_sql(where, ("image", "frame"))
        rows = self._rows("SELECT DISTINCT m.seq FROM items i JOIN items m ON m.grp = i.grp AND "
                          f"m.kind = 'text'{conditions} ORDER BY m.seq", parameters)
        return np.array(rows, np.int64).reshape(-1)

    def captioned(self, pictures: Ids, texts: Ids) -> Ids:
        """Pairs of a picture and a text of it, as sequence numbers, int64 [n, 2]: all of these
        pictures, and all of these texts."""
        return np.array(self._rows(fulltext.CAPTIONED, [
            json.dumps(seqs.tolist()) for seqs in (pictures, texts)]), np.int64).reshape(-1, 2)

    def match(self, text: str, k: int, where: Condition | None = None, kinds: Sequence[Kind] = (),
              without: Sequence[str] = (), least: float = 0.0) -> Matches:
        """The k items that the terms of `text` match best, see `storage.fulltext`: sequence
        numbers (int64 [1, n]) and BM25 scores (float32 [1, n], above 0), best first, n <= k.

        An item has all terms or, if none has, any of them. A picture is found by its captions
        too. Items that match one of `without`, all its terms, are left out.

        least: how much an item with only some of the terms must score, as a share of the inverse
            document frequencies of all: one that has but the "a" of "a zebra" says little. If it is
            above 0, a long text that has all terms must have them close to each other.

        Raises:
            CollectionError: made by an older version and not written to since.
        """
        if not self._has_fulltext():
            raise CollectionError(f"{self.path.parent} was made by an older version and has no "
                                  f"full text yet: run `mmsearch compact -i {self.path.parent}`")
        conditions, parameters = where_sql(where, kinds)
        if excluded := fulltext.any_text(without):
            conditions += f"{' AND' if conditions else ' WHERE'} {fulltext.WITHOUT}"
            parameters.append(excluded)
        rows, whole = fulltext.matches(self._rows, text, conditions, parameters, k, least)
        found = np.array(rows, np.float64).reshape(-1, 2)
        return Matches(found[:, 1].astype(np.float32)[None], found[:, 0].astype(np.int64)[None],
                       whole)

    def twins(self, where: Condition | None, kinds: Sequence[Kind] = ()) -> list[Ids]:
        """Sequence numbers (int64, ascending) of items that share a content, for each content."""
        sql, parameters = where_sql(where, kinds)
        rows = self._rows(f"SELECT json_group_array(i.seq) FROM items i{sql} GROUP BY i.hash "
                          "HAVING count(*) > 1 AND i.hash <> ''", parameters)
        return [np.array(sorted(json.loads(row[0])), np.int64) for row in rows]

    def fetch(self, seqs: Iterable[int]) -> dict[int, Row]:
        """Live items by sequence number; a number that is no item's is left out."""
        wanted = json.dumps([int(seq) for seq in seqs])
        return {row.seq: row for row in self._items(
            "WHERE i.seq IN (SELECT value FROM json_each(?))", [wanted])}

    def by_id(self, ids: Iterable[int]) -> dict[int, Row]:
        """Items by their own numbers; a number that is no item's is left out."""
        return {row.id: row for row in self._items(
            "WHERE i.id IN (SELECT value FROM json_each(?))", [json.dumps([*ids])])}

    def first_of(self, groups: Iterable[str], kinds: Sequence[Kind]) -> list[Row]:
        """Of each group, the oldest item of each of these kinds."""
        marks = ", ".join("?" * len(kinds))
        return list(self._items(
            "WHERE i.id IN (SELECT min(id) FROM items WHERE grp IN (SELECT value FROM json_each(?))"
            f" AND kind IN ({marks}) GROUP BY grp, kind)", [json.dumps([*groups]), *kinds]))

    def page(self, where: Condition | None, wanted: browse.Wanted) -> browse.Page:
        """Files, newest first; see `storage.browse`."""
        if wanted.after:
            return browse.page(self._items, self._rows, where, wanted)
        return self._once(("page", where, wanted),
                          lambda: browse.page(self._items, self._rows, where, wanted))

    def facets(self, where: Condition | None) -> list[browse.Facet]:
        """What files can be filtered by; see `storage.browse`."""
        return self._once(("facets", where), lambda: browse.facets(self._rows, where))

    def taught(self, *, pictures: bool = False) -> list[TaughtPicture]:
        """What names were given to, in the order of the names.

        pictures: with the copies of the pictures."""
        try:
            return self._once(("taught", pictures), lambda: taught_in(self._rows, pictures))
        except (ValueError, TypeError) as error:
            raise damaged(self.path, "a name that was taught") from error

    def find(self, uri: str, kind: Kind) -> Row | None:
        return next(self._items("WHERE i.uri = ? AND i.kind = ?", [uri, kind]), None)

    def of_size(self, size: int) -> list[Row]:
        """Pictures, and parts of files, whose file has this size: where moved and copied files are
        looked for."""
        return list(self._items("WHERE i.kind <> 'text' AND i.fingerprint >= ? "
                                "AND i.fingerprint < ?", [f"{size}:", f"{size};"]))

    def known(self, uris: Iterable[str], kind: Kind) -> dict[str, Row]:
        """Those of `uris` that are items of a kind."""
        return {row.item.uri: row for row in self._items(
            "WHERE i.kind = ? AND i.uri IN (SELECT value FROM json_each(?))",
            [kind, json.dumps(list(uris))])}

    def marked(self, first: str, last: str) -> int:
        """How many items have a fingerprint from `first` up to, but not with, `last`."""
        return int(self._rows("SELECT count(*) FROM items WHERE fingerprint >= ? AND "
                              "fingerprint < ?", [first, last])[0][0])

    def outdated(self, source: str, marks: Sequence[str], limit: int) -> list[int]:
        """ids of at most `limit` items of a source (the column `manifest`) whose fingerprints begin
        with none of `marks`, which are of one length."""
        length = len(marks[0])
        return [row[0] for row in self._rows(
            "SELECT id FROM items WHERE manifest = ? AND substr(fingerprint, 1, ?) NOT IN "
            "(SELECT value FROM json_each(?)) LIMIT ?", [source, length, json.dumps(marks), limit])]

    def shared_descriptions(self) -> set[tuple[str, str]]:
        """(camera, description) of a dozen pictures or more, if these are half of what the camera
        took, or a tenth on ten days or more: a person writes the same about an event only."""
        return {tuple(row) for row in self._rows(_SHARED, [])}

    def described_as(self, camera: str, text: str) -> Iterator[Row]:
        """Pictures of a camera with that among their descriptions."""
        return self._items("WHERE i.kind = 'image' AND i.camera = ? AND ? IN "
                           "(SELECT value FROM json_each(i.meta, '$.description'))", [camera, text])

    def saying(self, texts: Iterable[str]) -> list[Row]:
        """Texts that are one of these."""
        return list(self._items("WHERE i.kind = 'text' AND i.text IN "
                                "(SELECT value FROM json_each(?))", [json.dumps([*texts])]))

    def group(self, group: str) -> list[Row]:
        return list(self._items("WHERE i.grp = ?", [group]))

    def rows(self, where: Condition | None = None, kinds: Sequence[Kind] = (),
             order: str = "") -> Iterator[Row]:
        """Items that meet a condition; `order` is a column that they are sorted by."""
        sql, parameters = where_sql(where, kinds)
        return self._items(sql + (f" ORDER BY i.{order}" if order else ""), parameters)

    def count(self, where: Condition | None, kinds: Sequence[Kind] = ()) -> int:
        """How many items meet a condition."""
        sql, parameters = where_sql(where, kinds)
        return int(self._rows(f"SELECT count(*) FROM items i{sql}", parameters)[0][0])

    def meta_types(self, where: Condition | None, kinds: Sequence[Kind]) -> dict[str, set[str]]:
        """The names that metadata has among the items that meet a condition, each with the types of
        its values: those of SQLite's json_each, "large" for integers beyond 64 bits."""
        sql, parameters = where_sql(where, kinds)
        found: dict[str, set[str]] = {}
        for name, kind, held in self._rows(
                "SELECT DISTINCT j.key, j.type, typeof(j.value) FROM items i, json_each(i.meta) j"
                + sql, parameters):
            name = f"meta.{name}" if name in COLUMNS else name
            large = kind == "integer" and held != "integer"
            found.setdefault(name, set()).add("large" if large else kind)
        for column in COLUMNS:
            held = {row[0] for row in self._rows(
                f"SELECT DISTINCT typeof(i.{column}) FROM items i{sql}", parameters)}
            if held - {"null"}:
                found[column] = held - {"null"}
        return found

    def below(self, roots: Sequence[str]) -> Iterator[Row]:
        """Items whose uri is one of `roots`, or below one, or that came out of that file: captions
        of a picture, lines of a text, frames of a video, all that a manifest names."""
        for root in roots:
            yield from self._below(root, _BELOW)

    def named(self, roots: Sequence[str]) -> Iterator[Row]:
        """As `below`, of what somebody typed: where there is nothing below it, of what has that
        name in NFC."""
        for root in roots:
            first = next(self._below(root, _BELOW), None)
            look_alike = first is None and not root.isascii()
            yield from self._below(nfc(root), _BELOW_NFC) if look_alike else self._below(
                root, _BELOW)

    def _below(self, root: str, sql: str) -> Iterator[Row]:
        ends = [(one, one[:-1] + "0") for one in (root.rstrip("/") + "/", inside_of(root))]
        return self._items(
            sql, [root, *ends[0], *ends[1], root, root + "#", root + "$", root])

    def between(self, kind: Kind, first: int, last: int) -> Ids:
        """Sequence numbers (int64, ascending) of the items of a kind from `first` to `last`."""
        rows = self._rows("SELECT seq FROM items WHERE seq BETWEEN ? AND ? AND kind = ? "
                          "ORDER BY seq", [first, last, kind])
        return np.fromiter((row[0] for row in rows), np.int64, len(rows))

    # -- inside ----------------------------------------------------------------------------------

    def _once(self, question: tuple[Any, ...], answer: Callable[[], T]) -> T:
        """An answer, kept until something is committed, if this reader keeps any."""
        if not self._keep:
            return answer()
        key = (*question, self.version())
        if key not in self._kept:
            self._kept = dict([*self._kept.items(), (key, answer())][-_KEPT:])
        found: T = self._kept[key]
        return found

    def _read_settings(self) -> dict[str, Any]:
        rows = self._rows("SELECT key, value FROM settings WHERE key NOT IN ('ruler', 'archives')")
        try:
            values = {key: json.loads(value) for key, value in rows}
        except (ValueError, TypeError) as error:
            raise damaged(self.path, "settings") from error
        if values.get("format", FORMAT) not in READABLE:
            raise CollectionError(f"{self.path} has format {values['format']}, this version reads "
                                  f"{' and '.join(map(str, READABLE))}; upgrade mmsearch")
        return values

    def _has_fulltext(self) -> bool:
        return bool(self._rows("SELECT 1 FROM sqlite_master WHERE name = ?", [fulltext.TABLE]))

    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        with self._plainly():
            return self._conn.execute(sql, parameters).fetchall()

    def _items(self, where: str, parameters: Sequence[Any] = ()) -> Iterator[Row]:
        with self._plainly():
            for row in self._conn.execute(f"SELECT {ITEM} FROM items i {where}", parameters):
                try:
                    found = as_row(row)
                except (ValueError, TypeError) as error:
                    raise damaged(self.path, f"item {row[0]}") from error
                yield found

    def _plainly(self) -> AbstractContextManager[None]:
        return plainly(self.path)
