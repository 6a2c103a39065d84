"""What tells one content from another: the hash of a file, of bytes, of a part of a file."""

from __future__ import annotations

import os
from functools import partial
from hashlib import blake2b, file_digest
from pathlib import Path

from mmsearch.errors import MediaError
from mmsearch.records import Item
from mmsearch.sources import locate
from mmsearch.uris import fingerprint_of


def hash_at(uri: str) -> tuple[str, str]:
    """The `content_hash` of what is at an address, and its fingerprint; a file may be larger than
    memory.

    Raises:
        MediaError: it cannot be read.
    """
    if (path := locate.own_file(uri)) is not None:
        return file_hash(path)
    data, fingerprint = locate.read(uri)
    return content_hash(data), fingerprint


def file_hash(path: Path) -> tuple[str, str]:
    try:
        with path.open("rb") as file:
            fingerprint = fingerprint_of(os.fstat(file.fileno()))
            return file_digest(file, partial(blake2b, digest_size=16)).hexdigest(), fingerprint
    except OSError as error:
        raise MediaError(f"cannot be read: {error.strerror}") from error


def part_hash(hash: str, item: Item) -> str:
    """What is stored as the hash of a part: that of its file, and which part it is."""
    return f"{hash}#{item.uri.rpartition('#')[2]}"


def hash_of_file(hash: str) -> str:
    """The inverse: the hash of the file that a stored hash is of, or of a part of."""
    return hash.partition("#")[0]


def content_hash(data: bytes) -> str:
    """What tells one content from another: BLAKE2b, 128 bits, in hexadecimal."""
    return blake2b(data, digest_size=16).hexdigest()
