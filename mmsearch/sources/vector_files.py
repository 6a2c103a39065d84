"""Files of vectors that other tools made: .npy, read a block at a time, brought to unit length.

A file may be larger than memory: no more than a block of it (`BLOCK_BYTES`) is read at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmsearch.errors import UsageError
from mmsearch.records import Vectors

BLOCK_BYTES = 8 << 20
_FLOAT16_STEP = 5e-4
"""A unit vector rounded to float16 is at most 2**-11 longer or shorter."""


@dataclass(frozen=True)
class VectorFile:
    """An open .npy file of floating-point rows: `rows` of `dim` numbers each."""

    path: Path
    rows: int
    dim: int
    dtype: np.dtype[Any]
    offset: int
    by_columns: bool

    @classmethod
    def open(cls, path: Path) -> VectorFile:
        """Read the header alone.

        Raises:
            UsageError: no such file, no .npy, cut short, or not [n, dim] of float16, 32 or 64.
        """
        shape, dtype, offset, by_columns = _header(path)
        if len(shape) != 2 or 0 in shape:
            raise UsageError(f"{path} has the shape {_shape(shape)}; it must be [n, dim], "
                             "one row for each vector")
        return cls(path, *shape, dtype, offset, by_columns)

    @property
    def block_rows(self) -> int:
        return max(1, BLOCK_BYTES // (self.dim * max(4, self.dtype.itemsize)))

    def read(self, first: int, last: int) -> npt.NDArray[Any]:
        """Rows `first` up to, but not with, `last`, as they are: [n, dim]."""
        if self.by_columns:
            mapped = np.load(self.path, mmap_mode="r")
            return np.ascontiguousarray(mapped[first:last])
        # Read, not mapped: a file that shrinks meanwhile is an error then, and no SIGBUS.
        row = self.dim * self.dtype.itemsize
        block = np.fromfile(self.path, self.dtype, (last - first) * self.dim,
                            offset=self.offset + first * row)
        if len(block) != (last - first) * self.dim:
            raise UsageError(f"{self.path} was cut short while it was read")
        return block.reshape(-1, self.dim)

    def blocks(self, first: int, last: int) -> Iterator[npt.NDArray[Any]]:
        for at in range(first, last, self.block_rows):
            yield self.read(at, min(at + self.block_rows, last))

    def usable(self, first: int, last: int) -> npt.NDArray[np.bool_]:
        """Which of these rows have a direction: finite, and not all zero."""
        return np.concatenate([lengths(block) > 0 for block in self.blocks(first, last)])

    def unit_blocks(self, first: int, last: int,
                    wanted: npt.NDArray[np.bool_]) -> Iterator[Vectors]:
        """The `wanted` (bool [last - first]) of these rows at unit length, float32."""
        at = 0
        for block in self.blocks(first, last):
            chosen = wanted[at : at + len(block)]
            at += len(block)
            if chosen.any():
                yield unit_rows(block if chosen.all() else block[chosen])

    def unit_vectors(self, first: int, last: int, wanted: npt.NDArray[np.bool_]) -> Vectors:
        """These rows at unit length, float32 [last - first, dim]; zeros where not `wanted`."""
        out = np.zeros((last - first, self.dim), np.float32)
        if wanted.any():
            out[wanted] = unit_rows(self.read(first, last)[wanted])
        return out


def _header(path: Path) -> tuple[tuple[int, ...], np.dtype[Any], int, bool]:
    """(shape, dtype, where the numbers begin, by columns) of an .npy file."""
    try:
        mapped = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError as error:
        raise UsageError(f"no such file: {path}") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except Exception as error:  # a header may be any text: ValueError, SyntaxError, TokenError, …
        raise UsageError(f"{path} cannot be used as vectors: {_why_not(path)}") from error
    if mapped.dtype.kind != "f" or mapped.dtype.itemsize not in (2, 4, 8):
        raise UsageError(f"{path} holds {mapped.dtype} numbers; float16, float32 or float64 are "
                         "needed")
    by_columns = mapped.flags.f_contiguous and not mapped.flags.c_contiguous
    return mapped.shape, mapped.dtype, mapped.offset, by_columns


def _why_not(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(4096)
    if not head.startswith(b"\x93NUMPY"):
        return "it is no .npy file"
    if b"'O'" in head or b"|O" in head:
        return "it holds Python objects, not numbers"
    if b", 0" in head or b"(0," in head:
        return "it is empty, or cut short"
    return "it is cut short, or its header is damaged"


def _shape(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"


def lengths(block: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The length of each row, float64 [n], whatever its scale; 0 where it is not finite."""
    rows = block.astype(np.float32) if block.itemsize == 2 else block
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.sqrt(np.einsum("ij,ij->i", rows, rows)).astype(np.float64)
    odd = _odd(found)
    if odd.any():
        wide = block[odd].astype(np.float64)
        scale = np.abs(wide).max(axis=1)
        scale[~np.isfinite(scale)] = 0
        largest = np.finfo(np.float64).max / block.shape[1]
        found[odd] = np.minimum(scale, largest) * np.linalg.norm(_scaled(wide, scale), axis=1)
    measured: npt.NDArray[np.float64] = found
    return measured


def unit_rows(block: npt.NDArray[Any]) -> Vectors:
    """Usable rows (see `lengths`) at unit length, float32.

    Rows that are of unit length already, as nearly as float16 holds it, and float16 numbers all,
    are left as they are: what was exported comes back bit for bit.
    """
    found = lengths(block)
    odd = _odd(found)
    with np.errstate(over="ignore"):
        rows = block.astype(np.float32)
    divide = np.where(odd, 1, found).astype(np.float32)
    divide[_stored_before(rows, found)] = 1
    rows /= divide[:, None]
    if odd.any():
        wide = block[odd].astype(np.float64)
        wide = _scaled(wide, np.abs(wide).max(axis=1))
        rows[odd] = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return rows


def _odd(found: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Lengths that float32 may have got wrong, by overflow or underflow."""
    within: npt.NDArray[np.bool_] = (found > 1e-15) & (found < 1e15)
    return ~within


def _scaled(rows: npt.NDArray[np.float64],
            scale: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rows divided by their largest number; zeros where there is none."""
    divided: npt.NDArray[np.float64] = np.zeros_like(rows)
    np.divide(rows, scale[:, None], out=divided, where=scale[:, None] > 0)
    return divided


def _stored_before(rows: Vectors,
                   found: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which rows are unit vectors in float16."""
    stored: npt.NDArray[np.bool_] = np.abs(found - 1) <= _FLOAT16_STEP
    for columns in (slice(8), slice(None)):  # most of what is not tells so at once
        near = np.flatnonzero(stored)
        numbers = rows[near, columns]
        stored[near] = (numbers.astype(np.float16) == numbers).all(axis=1)
    return stored


def query_vector(path: Path) -> Vectors:
    """A query from a .npy file: its one row, or the first, float32 [dim]."""
    shape, *_ = _header(path)
    if len(shape) not in (1, 2) or 0 in shape:
        raise UsageError(f"{path} has the shape {_shape(shape)}; a query is [dim], or the first "
                         "row of [n, dim]")
    mapped = np.load(path, mmap_mode="r")
    query: Vectors = np.array(mapped if len(shape) == 1 else mapped[0], np.float32)
    return query
