"""What every command shares: results to stdout, everything else to stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmsearch.sources import Skipped


def say(message: str) -> None:
    print(message, file=sys.stderr)


def say_skipped(skipped: Sequence[Skipped]) -> None:
    from mmsearch.cli.present import safe_text

    for one in skipped:
        say(f"skipped {safe_text(one.path)}: {safe_text(one.reason)}")


def print_paths(paths: Iterable[str]) -> None:
    """One path a line: to a terminal escaped, for the next program as it is named on disk."""
    import os

    from mmsearch.cli.present import safe_text

    for path in paths:
        if sys.stdout.isatty():
            print(safe_text(path))
        else:
            sys.stdout.buffer.write(os.fsencode(path) + b"\n")


def console(stderr: bool = False) -> Any:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def print_json(value: Any) -> None:
    import json

    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(value, ensure_ascii=not utf8, indent=2, default=str))


def print_json_line(value: Any) -> None:
    """One line at once, for a program that reads while this one goes on."""
    import json

    print(json.dumps(value, default=str), flush=True)


@contextmanager
def progress(what: str, count: Callable[[], int | None]) -> Iterator[Callable[[int], None]]:
    """A bar on stderr with rate and time left, on a terminal only; counting goes on meanwhile."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from threading import Thread

    from rich import progress as bars

    columns = (bars.TextColumn(what), bars.BarColumn(), bars.MofNCompleteColumn(),
               bars.TextColumn("{task.fields[rate]}"), bars.TimeRemainingColumn())
    with bars.Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None, rate="")

        def advance(done: int) -> None:
            bar.advance(task, done)
            speed = bar.tasks[0].speed
            bar.update(task, rate=f"{speed:.0f}/s" if speed else "")

        Thread(target=lambda: bar.update(task, total=count()), daemon=True).start()
        yield advance
