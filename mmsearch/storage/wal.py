"""SQLite's write-ahead log: whether it is as it was written, and one altered byte put right.

The log is a header of 32 bytes, then frames: 24 bytes of header and one page each, with running
checksums (https://sqlite.org/fileformat2.html#walformat). SQLite takes the first frame whose
checksum does not fit for the end of the log. That is right for a frame half written by a writer
that was killed; but if a byte was altered, SQLite passes over all that was committed from there on.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

_HEADER, _FRAME = 32, 24
Sums = tuple[int, int]


class Scan(NamedTuple):
    """How far a log fits: `at` is the offset of the first frame that does not (0: the header does
    not), `sums` are the checksums before it, `commits` those that follow it or are in it."""

    at: int
    sums: Sums
    commits: int
    last: bool
    """Whether it is the last frame of its round: it may have been half written."""


def problem(path: Path) -> str:
    """What is wrong with a log; empty if nothing is, or there is none."""
    for _ in range(3):  # a log that is just being written may look odd once
        data = _read(path)
        scan = _scan(data)
        if scan is None or not scan.commits or (scan.last and _mended(data, scan) is None):
            return ""
        found = f"altered after byte {scan.at}: the {scan.commits} commits from there on are lost"
    return found


def mend(path: Path) -> bool:
    """Put altered bytes right, one a frame at most; -> whether the log is sound then."""
    data = _read(path)
    while (scan := _scan(data)) is not None and scan.commits:
        new = _mended(data, scan)
        if new is None:
            return False
        with path.open("r+b") as file:
            file.write(new)
        data = new
    return True


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _scan(data: bytes) -> Scan | None:
    """Where a log stops to fit; None if it does not stop."""
    if len(data) < _HEADER + _FRAME:
        return None
    sums = _sums(data, data[:24], (0, 0))
    if sums != struct.unpack(">2I", data[24:32]):
        return Scan(0, (0, 0), _commits(data, _HEADER, data[_HEADER + 8 : _HEADER + 16]), False)
    for at in range(_HEADER, len(data) - _step(data) + 1, _step(data)):
        new = _sums(data, _covered(data, at), sums)
        if data[at + 8 : at + 16] != data[16:24] or new != struct.unpack(
                ">2I", data[at + 16 : at + 24]):
            after = _commits(data, at + _step(data), data[16:24])
            here = data[at + 4 : at + 8] != bytes(4) and _differ(
                data[at + 8 : at + 16], data[16:24]) <= 1
            return Scan(at, sums, after + here, not after)
        sums = new
    return None


def _step(data: bytes) -> int:
    page: int = struct.unpack(">I", data[8:12])[0]
    return _FRAME + (page if 512 <= page <= 65536 else 4096)


def _covered(data: bytes, at: int) -> bytes:
    return data[at : at + 8] + data[at + _FRAME : at + _step(data)]


def _commits(data: bytes, start: int, salts: bytes) -> int:
    """Frames from `start` on that end a transaction of this round of the log."""
    return sum(data[at + 8 : at + 16] == salts and data[at + 4 : at + 8] != bytes(4)
               for at in range(start, len(data) - _step(data) + 1, _step(data)))


def _differ(a: bytes, b: bytes) -> int:
    return sum(x != y for x, y in zip(a, b, strict=True))


def _sums(log: bytes, part: bytes, sums: Sums) -> Sums:
    one, two = sums
    for a, b in struct.iter_unpack(_order(log) + "2I", part):
        one = (one + a + two) & 0xFFFFFFFF
        two = (two + b + one) & 0xFFFFFFFF
    return one, two


def _order(log: bytes) -> str:
    return ">" if log[3] & 1 else "<"


def _mended(data: bytes, scan: Scan) -> bytes | None:
    """The log with the one byte changed that makes its header or frame fit; None if none does."""
    at, new = scan.at, bytearray(data)
    if not at:
        for n in range(_HEADER):
            for mask in range(1, 256):
                new[n] ^= mask
                head = bytes(new[:_HEADER])
                if _sums(head, head[:24], (0, 0)) == struct.unpack(">2I", head[24:]):
                    return bytes(new)
                new[n] ^= mask
        return None
    wanted: Sums = struct.unpack(">2I", data[at + 16 : at + 24])
    found = _sums(data, _covered(data, at), scan.sums)
    if data[at + 8 : at + 16] != data[16:24]:
        new[at + 8 : at + 16] = data[16:24]
        return bytes(new) if found == wanted else None
    if _differ(struct.pack(">2I", *found), data[at + 16 : at + 24]) == 1:
        new[at + 16 : at + 24] = struct.pack(">2I", *found)
        return bytes(new)
    place = _altered_byte(_covered(data, at), _order(data), found, wanted)
    if place is None:
        return None
    n, value = place
    new[at + n if n < 8 else at + n - 8 + _FRAME] = value
    return bytes(new)


def _altered_byte(part: bytes, order: str, found: Sums, wanted: Sums) -> tuple[int, int] | None:
    """(offset, right value) of the byte that gives `part` other checksums than those wanted.

    The sums are linear: d added to a word adds (x d, y d), modulo 2**32, with an (x, y) that
    depends on the word's place alone.
    """
    words = len(part) // 4
    effect = np.zeros((words, 2), np.uint64)
    one, two = np.array([1, 0], np.uint64), np.array([0, 1], np.uint64)
    low = np.uint64(0xFFFFFFFF)
    for pair in range(words - 2, -1, -2):
        effect[pair + 1] = two
        effect[pair] = one = (one + two) & low
        two = (one + two) & low
    missing = np.array([(w - f) & 0xFFFFFFFF for w, f in zip(wanted, found, strict=True)],
                       np.uint64)
    place = np.arange(len(part))
    shift = 8 * (place % 4 if order == "<" else 3 - place % 4)
    old = np.frombuffer(part, np.uint8).astype(np.int64)
    for value in range(256):
        added = (((value - old) << shift) & 0xFFFFFFFF).astype(np.uint64)
        given = (effect[place // 4] * added[:, None]) & low
        for n in np.flatnonzero((given == missing).all(axis=1) & (old != value)):
            return int(n), value
    return None
