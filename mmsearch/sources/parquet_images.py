"""Pictures in a column of a Parquet file, as Hugging Face datasets keep them: `file.parquet!/17`,
or `file.parquet!/17/cat.jpg` where row 17 has a name for it too.

Rows count from 1. Who asks for them in about their order has each row group read once.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any

from mmsearch.errors import MediaError, MmsearchError
from mmsearch.sources.archives import MAX_MEMBER
from mmsearch.sources.columns import IMAGE_COLUMNS, picture_in, plain_name
from mmsearch.sources.manifests import PICTURE_ROWS, open_parquet
from mmsearch.uris import fingerprint_of, member_name

_OPEN_FILES = 4
_opened: OrderedDict[tuple[str, str], _Pictures] = OrderedDict()
_lock = Lock()


def name_of(line: int, image: str | None) -> str:
    """The name in its uri of the picture in a row."""
    file = member_name((image or "").replace("\\", "/").rpartition("/")[2])
    return f"{line}/{file}" if file else str(line)


def fingerprint_in(data: bytes) -> str:
    return f"{len(data)}:crc={zlib.crc32(data):08x}"


def too_large(data: bytes) -> str:
    """Why a picture is not taken; empty if it is."""
    return f"{len(data):,} bytes, limit {MAX_MEMBER >> 20} MiB" if len(data) > MAX_MEMBER else ""


def read(path: Path, name: str) -> tuple[bytes, str]:
    """A picture's bytes and fingerprint.

    Raises:
        MediaError: it cannot be read, or is not there.
    """
    with _one_reason():
        data = picture_in(_pictures(path).columns(int(name.partition("/")[0]) - 1))
    if data is None:
        raise MediaError("cannot be read: no longer in the file")
    return data, fingerprint_in(data)


def is_removed(path: Path, name: str) -> bool:
    """Whether the file has no such row any more. Raises MediaError where it cannot be read."""
    with _one_reason():
        number = name.partition("/")[0]
        return not number.isdecimal() or int(number) > _pictures(path).rows


@contextmanager
def _one_reason() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # pyarrow raises anything at all on damaged files
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        reason = " ".join(text.split())[:200] or type(error).__name__
        raise MediaError(reason if isinstance(error, MmsearchError) else f"cannot be read: {reason}"
                         ) from error


def _pictures(path: Path) -> _Pictures:
    key = (str(path), fingerprint_of(path.stat()))
    with _lock:
        if (found := _opened.get(key)) is None:
            found = _opened[key] = _Pictures(path)
        _opened.move_to_end(key)
        while len(_opened) > _OPEN_FILES:
            _opened.popitem(last=False)
        return found


class _Pictures:
    """The columns with pictures of one file, read forwards in small batches."""

    def __init__(self, path: Path) -> None:
        self._file = open_parquet(path)
        meta = self._file.metadata
        sizes = [meta.row_group(group).num_rows for group in range(meta.num_row_groups)]
        self._starts = [0, *accumulate(sizes)]
        self.rows = self._starts[-1]
        known = set(map(plain_name, IMAGE_COLUMNS))
        self._wanted = [name for name in self._file.schema_arrow.names
                        if plain_name(name) in known]
        self._kept: deque[tuple[int, list[Mapping[str, Any]]]] = deque(maxlen=2)
        self._group, self._at = -1, 0
        self._batches: Iterator[Any] = iter(())
        self._reading = Lock()

    def columns(self, row: int) -> Mapping[str, Any]:
        """What row `row` (from 0) has in them. Raises IndexError."""
        if not 0 <= row < self.rows:
            raise IndexError(f"no row {row + 1}, there are {self.rows}")
        with self._reading:
            for start, kept in self._kept:  # threads ask in nearly the order of the file
                if start <= row < start + len(kept):
                    return kept[row - start]
            group = bisect_right(self._starts, row) - 1
            if group != self._group or row < self._at:
                self._group, self._at = group, self._starts[group]
                self._batches = self._file.iter_batches(PICTURE_ROWS, row_groups=[group],
                                                        columns=self._wanted)
            for batch in self._batches:
                start, self._at = self._at, self._at + batch.num_rows
                if row < self._at:
                    rows: list[Mapping[str, Any]] = batch.to_pylist()
                    self._kept.append((start, rows))
                    return rows[row - start]
        raise IndexError(f"row {row + 1} is missing")
