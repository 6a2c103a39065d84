"""The command that keeps a collection in step with folders: watch."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import Annotated, Any, TypeVar

import typer

from mmsearch.cli.index import counts_of, facts_of, open_or_create, share_one_heap
from mmsearch.cli.options import (
    DEFAULT_INDEX,
    DeviceOption,
    IndexOption,
    JsonOption,
    KindOption,
    ModelOption,
    RecallOption,
    TilesOption,
    check_kind,
    check_tiles,
    path_given,
    recall_of,
)
from mmsearch.cli.terminal import print_json_line, say, say_skipped
from mmsearch.errors import CollectionBusy, UsageError

T = TypeVar("T")
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def watch(
    paths: Annotated[list[Path], typer.Argument(
        metavar="PATH...", parser=path_given,
        help="Folders, files, or manifests, as for `mmsearch index`.")],
    directory: IndexOption = DEFAULT_INDEX,
    exclude: Annotated[list[str] | None, typer.Option(
        metavar="GLOB", help="Leave out names ('*.gif') or paths ('raw/**'). Repeatable.")] = None,
    every: Annotated[str | None, typer.Option(
        metavar="TIME", help="Look at everything again after so long: 90s, 10m, 1h. For network "
                             "drives, which do not tell what changes.")] = None,
    model: ModelOption = None,
    recall: RecallOption = None,
    kind: KindOption = None,
    tiles: TilesOption = None,
    device: DeviceOption = "cpu",
    json_: JsonOption = False,
) -> None:
    """Keep an index up to date while pictures and texts come, change, move and go.

    It begins as `mmsearch index` does, and prints a line each time that something was done. Queries
    go on meanwhile. It ends at Ctrl-C or SIGTERM, and keeps what was committed. A folder given that
    is gone, as with its disk, is waited for: nothing of it is dropped.

    Example: mmsearch watch ~/Pictures

    Example: mmsearch watch /mnt/nas/photos --every 10m --json
    """
    from mmsearch.collection import follow as follow

    check_kind(kind)
    check_tiles(tiles)
    share_one_heap()
    wanted, seconds, stop = recall_of(recall), _seconds(every), Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: _end(stop, number))
    missing = [path for path in paths if not path.exists()]
    if missing and not (directory / "catalog.db").exists():
        raise UsageError(f"no such file or folder: {missing[0]}")
    collection = _begin(stop, lambda: open_or_create(directory, model, None, device))
    _begin(stop, lambda: collection.configure(recall=wanted, kind=kind, tiles=tiles))
    for batch in follow(collection, paths, exclude=exclude or (), every=seconds, stop=stop,
                        say=_say):
        facts = facts_of(batch.report) | {"items": batch.items}
        now = datetime.now().isoformat(" ", "seconds")
        if json_:
            print_json_line({"time": now, **facts})
        else:
            say_skipped(batch.report.skipped)
            print(f"{now} {counts_of(facts)}", flush=True)


def _begin(stop: Event, work: Callable[[], T]) -> T:
    """Do what needs the writer's lock, once it is to be had."""
    said = False
    while True:
        try:
            return work()
        except CollectionBusy as error:
            if not said:
                _say(f"waiting: {error}")
            said = True
            if stop.wait(1):
                raise


def _end(stop: Event, number: int) -> None:
    """End after what is under way; asked a second time, at once."""
    stop.set()
    signal.signal(number, signal.SIG_DFL)


def _say(message: str) -> None:
    from mmsearch.cli.present import safe_text

    say(safe_text(message))


def _seconds(text: str | None) -> float | None:
    """What --every says.

    Raises:
        UsageError: not a time above 0.
    """
    if text is None:
        return None
    match: Any = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if match is None or not float(match[1]):
        raise UsageError(f"--every takes a time such as 90s, 10m or 1h, not {text!r}")
    return float(match[1]) * _SECONDS[match[2]]
