"""The command that keeps a collection in step with folders: watch."""

from __future__ import annotations

import re
import signal
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmsearch.cli.options import (
    DEFAULT_INDEX,
    DeviceOption,
    ExcludeOption,
    IndexOption,
    JsonOption,
    KindOption,
    ModelOption,
    RecallOption,
    RerankOption,
    TilesOption,
    YesOption,
    path_given,
)
from mmsearch.cli.target import Target, facts_of, say_report, share_one_heap
from mmsearch.cli.terminal import print_json_line, safe_text, say
from mmsearch.errors import CollectionBusy, UsageError

if TYPE_CHECKING:
    from mmsearch.collection import Collection

_SECONDS = {"s": 1, "m": 60, "h": 3600}


def _seconds(text: str) -> float:
    """What --every says.

    Raises:
        UsageError: not a time above 0.
    """
    match: Any = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if match is None or not float(match[1]):
        raise UsageError(f"--every takes a time such as 90s, 10m or 1h, not {text!r}")
    return float(match[1]) * _SECONDS[match[2]]


def watch(
    paths: Annotated[list[Path], typer.Argument(
        metavar="PATH...", parser=path_given,
        help="Folders, files, or manifests, as for `mmsearch index`.")],
    directory: IndexOption = DEFAULT_INDEX,
    exclude: ExcludeOption = None,
    every: Annotated[float | None, typer.Option(
        metavar="TIME", parser=_seconds,
        help="Check all files again at this interval: 90s, 10m, 1h. For network drives, which do "
             "not report changes.")] = None,
    model: ModelOption = None,
    yes: YesOption = False,
    recall: RecallOption = None,
    kind: KindOption = None,
    tiles: TilesOption = None,
    rerank: RerankOption = None,
    device: DeviceOption = "cpu",
    json_: JsonOption = False,
) -> None:
    """Keep an index up to date while files are added, changed, moved and deleted.

    It starts like `mmsearch index`, then prints a line for each batch of changes. You can
    search meanwhile. Stop it with Ctrl-C or SIGTERM; finished work is kept. If a watched folder
    vanishes, as when its disk is unplugged, its items stay.

    Example: mmsearch watch ~/Pictures

    Example: mmsearch watch /mnt/nas/photos --every 10m --json
    """
    from mmsearch.collection import follow

    target = Target(directory, model=model, recall=recall, kind=kind, tiles=tiles,
                    rerank=rerank, device=device)
    share_one_heap()
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: _end(stop, number))
    missing = [path for path in paths if not path.exists()]
    if missing and not target.exists():
        raise UsageError(f"no such file or folder: {missing[0]}")
    for batch in follow(_open(target, stop), paths, exclude=exclude or (), every=every, stop=stop,
                        say=_say):
        facts = facts_of(batch.report) | {"items": batch.items}
        now = datetime.now().isoformat(" ", "seconds")
        if json_:
            print_json_line({"time": now, **facts})
        else:
            say_report(batch.report, facts, f"{now} ")


def _open(target: Target, stop: Event) -> Collection:
    """Open the collection, waiting for the writer's lock if that takes it."""
    said = False
    while True:
        try:
            return target.open()
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
    say(safe_text(message))
