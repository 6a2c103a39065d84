"""What `mmsearch index --profile` says of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmsearch.cli.terminal import console, say

if TYPE_CHECKING:
    from rich.table import Table

    from mmsearch.collection import AddReport


def say_profile(report: AddReport) -> None:
    """A table of stages, and what limits the run."""
    from mmsearch.stages import bound

    console(stderr=True).print(_table(report))
    say(f"{report.seconds:.1f} s; {bound(report.stages, report.seconds, report.cpu_seconds)}")


def _table(report: AddReport) -> Table:
    from rich.table import Table

    from mmsearch.stages import NAMES

    table = Table("stage", box=None, pad_edge=False, header_style="bold")
    for heading in ("seconds", "CPU s", "of the CPU"):
        table.add_column(heading, justify="right")
    rest = report.cpu_seconds
    for name in NAMES:
        if spent := report.stages.get(name):
            rest -= spent.cpu_seconds
            table.add_row(name, f"{spent.seconds:.1f}", *_computed(spent.cpu_seconds, report))
    table.add_row("other threads", "", *_computed(max(rest, 0.0), report))
    return table


def _computed(seconds: float, report: AddReport) -> tuple[str, str]:
    return f"{seconds:.1f}", f"{seconds / max(report.cpu_seconds, 1e-9):.0%}"
