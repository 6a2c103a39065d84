"""One writer at a time. The kernel releases the lock when its holder dies, however it dies."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from mmsearch.errors import CollectionBusy, CollectionError, UsageError

LOCK, HOLDER = "lock", "writer.json"


@contextmanager
def writer_lock(root: Path) -> Iterator[None]:
    """Hold the lock of the collection at `root`; the directory is made if need be.

    Raises:
        CollectionBusy: another process holds it; the message says which.
        CollectionError: the directory cannot be written.
        UsageError: it is a file.
    """
    from filelock import FileLock, Timeout

    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / LOCK, timeout=0)
        lock.acquire()
    except Timeout as error:
        raise CollectionBusy(f"{root} is being written by {_holder(root)}; wait for it to end, or "
                             "stop it and run again") from error
    except FileExistsError as error:
        raise UsageError(f"{root} is a file; give a directory with -i") from error
    except OSError as error:
        raise CollectionError(f"{root} cannot be written: {error.strerror}") from error
    try:
        _say_who(root)
        yield
    finally:
        lock.release()


def _say_who(root: Path) -> None:
    who = {"pid": os.getpid(), "host": socket.gethostname(),
           "since": datetime.now().isoformat(" ", "seconds"),
           "command": " ".join(Path(part).name if n == 0 else part
                               for n, part in enumerate(sys.argv[:3]))}
    with suppress(OSError):  # on a full disk the lock holds all the same
        (root / HOLDER).write_text(json.dumps(who), "utf-8")


def _holder(root: Path) -> str:
    try:
        who = json.loads((root / HOLDER).read_text("utf-8"))
        return (f"process {who['pid']} on {who['host']} since {who['since']} ({who['command']})")
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
