"""What guards the rows of the catalog, finds damage in them, and mends it where that is provable.

SQLite finds damage to its structure, but not a letter that changed inside a cell. So the table
`checks` has one value for each row of `items`, `segments` and `settings`, written by the
transaction that writes the row: BLAKE2b (64 bits) of its columns. A value also proves a mended row
right: if one byte is all that changed, it is found by trying.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import blake2b
from typing import NamedTuple

from mmsearch.storage import fulltext

CHECKED = {
    "items": ("id", "seq", "uri", "kind", "text", "grp", "meta", "fingerprint", "hash", "size",
              "taken", "modified", "width", "height", "camera", "manifest", "words"),
    "segments": ("name", "role", "kind", "rows", "bytes", "last", "sha256"),
    "settings": ("key", "value"),
}
"""The columns that a check value covers, the key first. Whoever adds a column adds it here, and
seals all rows anew in the migration that makes it."""
PAGE = 4096
"""Bytes a page of the catalog."""
_TRIED_ROWS, _TRIED_BYTES = 100, 4096
_MASKS = sorted(range(1, 256), key=int.bit_count)
_CHECKS = ("CREATE TABLE checks (part TEXT, key, value INTEGER, PRIMARY KEY (part, key)) "
           "WITHOUT ROWID")
_COUNTED = "SELECT kind, count(*) FROM items GROUP BY kind"


class Row(NamedTuple):
    """A row whose check value does not fit; `rowid` is None if the row is gone."""

    table: str
    rowid: int | None
    key: int | str


class Cell(NamedTuple):
    """A value as stored: its SQLite type, and its bytes (of a number: its decimal digits)."""

    type: str
    value: bytes


# -- sealing: part of every commit -----------------------------------------------------------------


def register(conn: sqlite3.Connection) -> None:
    """Give a connection the SQL function that the statements below use."""
    conn.create_function("row_check", -1, _row_check, deterministic=True)


def create(conn: sqlite3.Connection) -> None:
    """Make the tables of this module for the rows that are there, and what keeps them right."""
    conn.execute(_CHECKS)
    conn.execute("CREATE TABLE counts (kind TEXT PRIMARY KEY, items INTEGER)")
    conn.execute(f"INSERT INTO counts {_COUNTED}")
    conn.execute("CREATE TRIGGER items_added AFTER INSERT ON items BEGIN INSERT INTO counts VALUES "
                 "(new.kind, 1) ON CONFLICT (kind) DO UPDATE SET items = items + 1; END")
    conn.execute("CREATE TRIGGER items_dropped AFTER DELETE ON items BEGIN UPDATE counts "
                 "SET items = items - 1 WHERE kind = old.kind; END")
    for table in CHECKED:
        seal(conn, table)


def seal(conn: sqlite3.Connection, table: str, column: str = "",
         values: Iterable[int | str] = ()) -> None:
    """Write the check values of the rows in which `column` has one of `values`; of all rows if no
    column is given. Belongs into the transaction that writes the rows."""
    sql = (f"INSERT OR REPLACE INTO checks SELECT '{table}', {CHECKED[table][0]}, {_call(table)} "
           f"FROM {table}")
    if column:
        conn.executemany(f"{sql} WHERE {column} = ?", ((value,) for value in values))
    else:
        conn.execute(sql)


def unseal(conn: sqlite3.Connection, table: str, keys: Iterable[int | str]) -> None:
    """Forget the check values of rows that are deleted."""
    conn.executemany("DELETE FROM checks WHERE part = ? AND key = ?",
                     ((table, key) for key in keys))


def _call(table: str) -> str:
    columns = CHECKED[table]
    types = "||','||".join(f"typeof({column})" for column in columns)
    return f"row_check({types}, {', '.join(f'CAST({column} AS BLOB)' for column in columns)})"


def _row_check(types: str, *values: bytes | None) -> int:
    """BLAKE2b-64 of the types, a zero byte, and each value after its length (4 bytes, big-endian;
    none for NULL), as a signed big-endian number."""
    data = bytearray(types.encode() + b"\0")
    for value in values:
        data += b"" if value is None else len(value).to_bytes(4, "big") + value
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big", signed=True)


# -- finding ---------------------------------------------------------------------------------------


def altered(conn: sqlite3.Connection, tables: Iterable[str] = tuple(CHECKED)) -> Iterator[Row]:
    """Rows that are not as they were written, and rows that are gone."""
    for table in tables:
        key = CHECKED[table][0]
        for rowid, raw in conn.execute(
                f"SELECT rowid, CAST({key} AS BLOB) FROM {table} WHERE {_call(table)} IS NOT "
                f"(SELECT value FROM checks WHERE part = '{table}' AND key = +{table}.{key})"):
            text = (raw or b"").decode(errors="replace")
            yield Row(table, rowid, int(text) if table == "items" else text)
        for (lost,) in conn.execute(
                f"SELECT key FROM checks WHERE part = '{table}' AND NOT EXISTS "
                f"(SELECT 1 FROM {table} WHERE {key} = checks.key)"):
            yield Row(table, None, lost)


def structure(conn: sqlite3.Connection) -> list[str]:
    """What SQLite itself finds wrong; nothing if its structure is sound."""
    try:
        found = [str(row[0]) for row in conn.execute("PRAGMA integrity_check")]
    except sqlite3.DatabaseError as error:
        found = [str(error)]
    return [] if found == ["ok"] else found


def miscounted(conn: sqlite3.Connection) -> bool:
    """Whether the numbers of items by kind are not what is there."""
    real = dict(conn.execute(_COUNTED))
    return real != dict(conn.execute("SELECT kind, items FROM counts WHERE items <> 0"))


def full_text_is_bad(conn: sqlite3.Connection) -> bool:
    """Whether the full text is broken, or does not list every item (needs a connection that may
    write, though nothing is written)."""
    table = fulltext.TABLE
    if not conn.execute("SELECT 1 FROM sqlite_master WHERE name = ?", [table]).fetchone():
        return False  # an old format
    try:
        conn.execute(f"INSERT INTO {table}({table}) VALUES ('integrity-check')")
        (same,) = conn.execute(f"SELECT (SELECT count(*) FROM {table}_docsize) = "
                               "(SELECT count(*) FROM items)").fetchone()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_READONLY:
            return False
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:
            raise
        return True
    return not same


# -- mending ---------------------------------------------------------------------------------------


def mend_rows(conn: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """Bring rows back to what was written where one byte of the row, of its key or of its check
    value is all that is wrong. Belongs into a transaction."""
    found = list(rows)
    conn.execute(f"DELETE FROM checks WHERE part NOT IN ({', '.join('?' * len(CHECKED))})",
                 list(CHECKED))
    lost = {row.table: [r.key for r in found if r.rowid is None and r.table == row.table]
            for row in found}
    for row in [row for row in found if row.rowid is not None][:_TRIED_ROWS]:
        _mend(conn, row, lost[row.table])


def _mend(conn: sqlite3.Connection, row: Row, lost: list[int | str]) -> None:
    columns, cells = CHECKED[row.table], _cells(conn, row)
    wanted = _wanted(conn, row.table, row.key)
    if wanted is None:  # the key was altered, of the row or of its check value
        for key in lost:
            was = [Cell(cells[0].type, str(key).encode()), *cells[1:]]
            if _wanted(conn, row.table, key) in (_digest(was), _digest(cells)):
                if _wanted(conn, row.table, key) == _digest(was):
                    _put(conn, row, columns[0], was[0])
                unseal(conn, row.table, [key])
                seal(conn, row.table, "rowid", [row.rowid or 0])
                return
        if not lost:  # then it is the check value that is gone
            seal(conn, row.table, "rowid", [row.rowid or 0])
    elif _one_byte_apart(wanted, _digest(cells)):  # the check value itself was altered
        seal(conn, row.table, "rowid", [row.rowid or 0])
    else:
        for at, cell in _candidates(cells):
            if _digest([*cells[:at], cell, *cells[at + 1:]]) == wanted:
                _put(conn, row, columns[at], cell)
                return


def _cells(conn: sqlite3.Connection, row: Row) -> list[Cell]:
    columns = ", ".join(f"typeof({c}), CAST({c} AS BLOB)" for c in CHECKED[row.table])
    values = conn.execute(f"SELECT {columns} FROM {row.table} WHERE rowid = ?",
                          [row.rowid]).fetchone()
    return [Cell(*pair) for pair in zip(values[::2], values[1::2], strict=True)]


def _digest(cells: list[Cell]) -> int:
    return _row_check(",".join(cell.type for cell in cells), *(cell.value for cell in cells))


def _wanted(conn: sqlite3.Connection, table: str, key: int | str) -> int | None:
    found = conn.execute("SELECT value FROM checks WHERE part = ? AND key = ?", [table, key])
    return next((value for (value,) in found), None)


def _one_byte_apart(a: int, b: int) -> bool:
    return sum(byte > 0 for byte in ((a ^ b) & (1 << 64) - 1).to_bytes(8, "big")) == 1


def _candidates(cells: list[Cell]) -> Iterator[tuple[int, Cell]]:
    """(column, cell as it may have been): one byte of one cell is another."""
    if sum(len(cell.value or b"") for cell in cells) > _TRIED_BYTES:
        return
    for at, (type_, value) in enumerate(cells):
        if type_ == "integer":
            for mask in _MASKS:
                for shift in range(0, 64, 8):
                    changed = int(value) ^ (mask << shift)
                    yield at, Cell(type_, str(changed).encode())
        elif type_ == "text":
            for mask in _MASKS:
                for n, byte in enumerate(value):
                    yield at, Cell(type_, value[:n] + bytes([byte ^ mask]) + value[n + 1:])
        elif type_ == "blob":
            yield at, Cell("text", value)


def _put(conn: sqlite3.Connection, row: Row, column: str, cell: Cell) -> None:
    number = cell.type == "integer"
    conn.execute(f"UPDATE {row.table} SET {column} = {'?' if number else 'CAST(? AS TEXT)'} "
                 "WHERE rowid = ?", [int(cell.value) if number else cell.value, row.rowid])


def make_readable(conn: sqlite3.Connection, rowid: int) -> None:
    """Let an item that cannot be mended no longer stop whoever reads it: what is not UTF-8 or not
    JSON goes, all else stays. Belongs into a transaction."""
    row = Row("items", rowid, rowid)
    for column, cell in zip(CHECKED["items"], _cells(conn, row), strict=True):
        if cell.type in ("text", "blob"):
            text = cell.value.decode(errors="replace").encode()
            if column == "meta" and not _is_object(text):
                text = b"{}"
            if (cell.type, cell.value) != ("text", text):
                _put(conn, row, column, Cell("text", text))


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def rebuild(conn: sqlite3.Connection) -> None:
    """Make anew all that is a function of the rows: indexes, counts, full text, and, if SQLite
    still finds fault with it, the file as a whole."""
    with suppress(sqlite3.DatabaseError):
        conn.execute("REINDEX")
    with suppress(sqlite3.DatabaseError):
        if miscounted(conn):
            conn.execute("DELETE FROM counts")
            conn.execute(f"INSERT INTO counts {_COUNTED}")
    if full_text_is_bad(conn):
        with suppress(sqlite3.DatabaseError):
            for sql in fulltext.LIST_ALL:
                conn.execute(sql)
    if structure(conn):
        with suppress(sqlite3.DatabaseError):
            conn.execute("VACUUM")
    if structure(conn):
        with suppress(sqlite3.DatabaseError):
            _renew(conn)


def _renew(conn: sqlite3.Connection) -> None:
    """Make the indexes and the table `checks` anew, whatever state their pages are in, if all rows
    of the other tables can be read; check values that cannot are taken from the rows."""
    for table in CHECKED:
        conn.execute(f"SELECT sum({_call(table)} IS NULL) FROM {table}").fetchone()
    known: dict[tuple[str, int | str], int] = {}
    for order in ("", "DESC"):
        with suppress(sqlite3.DatabaseError):
            for part, key, value in conn.execute(
                    f"SELECT part, key, value FROM checks ORDER BY part {order}, key {order}"):
                known[part, key] = value
    ours = "FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    indexes = [sql for (sql,) in conn.execute(f"SELECT sql {ours}")]
    conn.execute("PRAGMA writable_schema = ON")
    conn.execute("BEGIN IMMEDIATE")
    conn.execute(f"DELETE {ours}")
    conn.execute("DELETE FROM sqlite_master WHERE tbl_name = 'checks'")
    conn.execute("COMMIT")
    conn.execute("PRAGMA writable_schema = RESET")
    conn.execute("VACUUM")
    conn.execute("BEGIN IMMEDIATE")
    for sql in [*indexes, _CHECKS]:
        conn.execute(sql)
    for table in CHECKED:
        seal(conn, table)
    conn.executemany("INSERT OR REPLACE INTO checks VALUES (?, ?, ?)",
                     ((*name, value) for name, value in known.items()))
    conn.execute("COMMIT")
