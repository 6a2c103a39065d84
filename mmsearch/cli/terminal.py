"""What every command shares: results to stdout, everything else to stderr.

File names and captions come from strangers: whatever goes to a terminal, a line or a page passes
through `safe_text` first, so that none of them can move a cursor or fake a line.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mmsearch.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from mmsearch.sources import Skipped


_TURNS_LINES_AROUND = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def safe_text(text: str) -> str:
    """`text` on one line: control characters, line ends and lone surrogates become escapes.

    Marks that reverse the reading direction go too: they make ``gpj.exe`` read as ``exe.jpg``.
    """
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode() if character in _TURNS_LINES_AROUND
        or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") else character
        for character in text)


def say(message: str) -> None:
    print(message, file=sys.stderr)


def check_folder(option: str, file: Path | None) -> None:
    """UsageError: the folder that a file is to be written to is not there: better now than after
    all work."""
    if file is not None and not file.absolute().parent.is_dir():
        raise UsageError(f"{option} {safe_text(str(file))}: there is no such directory")


def say_skipped(skipped: Sequence[Skipped], *, word: str = "skipped") -> None:
    for one in skipped:
        say(f"{word} {safe_text(one.path)}: {safe_text(one.reason)}")


def say_extras(skipped: Iterable[Skipped]) -> None:
    """How many files were skipped for want of extras, and the one command that installs these."""
    extras = [one.extra for one in skipped if one.extra]
    if extras:
        files = "1 file needs an extra" if len(extras) == 1 else f"{len(extras)} files need extras"
        say(f"{files}: pip install 'mmsearch[{','.join(sorted(set(extras)))}]'")


def print_paths(paths: Iterable[str], *, print0: bool = False) -> None:
    """One path a line: to a terminal escaped, for the next program as it is named on disk.

    print0: end each with a NUL instead, also in a terminal.
    """
    import os

    for path in paths:
        if sys.stdout.isatty() and not print0:
            print(safe_text(path))
        else:
            sys.stdout.buffer.write(os.fsencode(path) + (b"\0" if print0 else b"\n"))


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
