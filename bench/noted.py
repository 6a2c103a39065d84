"""The command line of mmsearch, with a note of when each file is begun and when it is done.

    python bench/noted.py NOTES index PATH...

A note is a line of JSON: {"begun": uri}, {"done": uri, "wall": seconds} or, for what the walk over
the folders reads (manifests, texts, archives), {"walked": path, "wall": seconds}. Where decoding
fails with another error than those that say what is wrong with a file, {"failed": uri, "error":
text} comes in place of "done". They are written at once, so that a process that dies leaves behind
which files it was at.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from mmsearch.errors import MediaError

T = TypeVar("T")


def main() -> None:
    notes = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(**said: Any) -> None:
        os.write(notes, json.dumps(said).encode() + b"\n")

    from mmsearch.cli.app import main
    from mmsearch.ingest import shards
    from mmsearch.sources import folders

    shards._prepare = decoding(shards._prepare, note)
    folders.Walk.named_file = walking(folders.Walk.named_file, note)
    folders.Walk.file = walking(folders.Walk.file, note)
    main()


def decoding(prepare: Callable[..., Iterable[T]], note: Callable[..., None]
             ) -> Callable[..., Iterable[T]]:
    """The same; what comes of a file may be drawn from it one by one, in another thread."""
    @wraps(prepare)
    def noted(*given: Any) -> Iterable[T]:
        item = given[-1]
        note(begun=item.uri)
        start = time.perf_counter()
        try:
            found = prepare(*given)
        except MediaError:
            note(done=item.uri, wall=time.perf_counter() - start)
            raise
        except Exception as error:
            note(failed=item.uri, error=repr(error))
            raise
        spent = time.perf_counter() - start
        if isinstance(found, list):
            note(done=item.uri, wall=spent)
            return found
        return drawn(found, lambda more: note(done=item.uri, wall=spent + more))

    return noted


def walking(walk: Callable[..., Iterator[T]], note: Callable[..., None]
            ) -> Callable[..., Iterator[T]]:
    @wraps(walk)
    def noted(self: Any, path: str, *rest: Any) -> Iterator[T]:
        note(begun=path)
        return drawn(walk(self, path, *rest), lambda spent: note(walked=path, wall=spent))

    return noted


def drawn(found: Iterable[T], done: Callable[[float], None]) -> Iterator[T]:
    """The same; `done` is told the seconds that it took, without those of whoever draws."""
    spent, each = 0.0, iter(found)
    try:
        while True:
            start = time.perf_counter()
            try:
                one = next(each)
            except StopIteration:
                return
            finally:
                spent += time.perf_counter() - start
            yield one
    finally:
        done(spent)


def read(path: Path) -> list[dict[str, Any]]:
    """The notes so far, but for one that is being written."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().splitlines(keepends=True)
            if line.endswith(b"\n")]


if __name__ == "__main__":
    main()
