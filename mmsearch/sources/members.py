"""What every kind of archive has in common: members, limits, and one way to fail."""

from __future__ import annotations

import lzma
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol
from zipfile import BadZipFile

from mmsearch.errors import MediaError

MAX_MEMBER = 256 << 20
"""Bytes of one member, at most: so much is taken into memory for each thread that decodes."""
BOMB_BYTES, BOMB_RATIO = 1 << 30, 200
"""What unpacks to more than so many bytes, and so many times its size, holds no pictures."""
UNREADABLE = (OSError, EOFError, ValueError, OverflowError, LookupError, RuntimeError,
              RecursionError, MemoryError, struct.error, zlib.error, lzma.LZMAError, BadZipFile,
              tarfile.TarError)
"""What the readers of the standard library raise on damaged and hostile archives."""


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in an archive.

    name: as in uris. modified: seconds since 1970. problem: why it cannot be read, or empty.
    read: its bytes; only until the next member is asked for. Raises MediaError.
    """

    name: str
    size: int
    fingerprint: str
    modified: float | None
    problem: str
    read: Callable[[], bytes]


class Archive(Protocol):
    def members(self) -> Iterator[Member]:
        """Each name once, in the order of the archive. Raises MediaError where it is damaged, after
        all that could be read."""

    def read(self, name: str) -> tuple[bytes, str]:
        """A member's bytes and fingerprint. Raises MediaError."""

    def fingerprint(self, name: str) -> str | None:
        """A member's fingerprint; None if there is none of this name. Raises MediaError where that
        cannot be told."""


@contextmanager
def one_reason() -> Iterator[None]:
    """Whatever goes wrong with an archive, as a MediaError of one line."""
    try:
        yield
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.strerror:
            raise MediaError(f"cannot be read: {error.strerror}") from error
        text = " ".join(str(error).split())[:120]
        raise MediaError(f"damaged archive: {text or type(error).__name__}") from error


def too_large(size: int) -> str:
    """Why a member of so many bytes is not read; empty if it is."""
    limit = f"limit {MAX_MEMBER >> 20} MiB"
    return f"{size:,} bytes in an archive, {limit}: unpack it" if size > MAX_MEMBER else ""


def refuse_bomb(unpacked: int, packed: int) -> None:
    if unpacked > max(BOMB_BYTES, BOMB_RATIO * packed):
        raise MediaError(f"decompression bomb: {packed:,} bytes become {unpacked:,} or more")
