"""The exact index's file, written a block at a time: memory stays the same whatever its size.

FAISS builds a flat index in memory, which for a segment of a gigabyte takes two or three. The file
of a flat float16 index is a header, the number of bytes, and the vectors one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mmsearch.indexes._faiss import load_faiss
from mmsearch.indexes.exact import ExactIndex
from mmsearch.records import IndexSpec, Vectors

_ROWS = slice(8, 16)
"""Where the header has the number of rows, int64, after a tag and the dimension."""


def write_flat(path: Path, blocks: Iterator[Vectors], rows: int) -> None:
    """Write the file that ``ExactIndex.build(blocks).save(path)`` writes.

    blocks: float32 [n, dim], `rows` of them in all.
    """
    first = next(blocks)
    dim = first.shape[1]
    if not _as_known(dim):  # another version of FAISS: through memory then
        index = ExactIndex.build(_chained(first, blocks), IndexSpec("exact"))
        index.save(path)
        return
    written = 0
    with path.open("wb") as file:
        file.write(_header(dim, rows))
        for block in _chained(first, blocks):
            file.write(block.astype("<f2").tobytes())
            written += len(block)
    if written != rows:
        raise ValueError(f"{written} vectors came, {rows} were announced")


def _header(dim: int, rows: int) -> bytes:
    header = bytearray(_serialized(dim, 0))
    header[_ROWS] = rows.to_bytes(8, "little")
    header[-8:] = (rows * dim * 2).to_bytes(8, "little")
    return bytes(header)


def _as_known(dim: int) -> bool:
    """Whether this FAISS lays out its files as is written above."""
    return _serialized(dim, 1) == _header(dim, 1) + bytes(2 * dim)


def _serialized(dim: int, rows: int) -> bytes:
    """What FAISS writes for so many vectors of zeros."""
    faiss = load_faiss()
    index = faiss.IndexScalarQuantizer(
        dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index.add(np.zeros((rows, dim), np.float32))
    return bytes(faiss.serialize_index(index))


def _chained(first: Vectors, rest: Iterator[Vectors]) -> Iterator[Vectors]:
    yield first
    yield from rest
