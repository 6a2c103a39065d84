"""Run a command as a process of its own and measure it: wall time, CPU time, peak memory.

The command is started by a bare interpreter (this file, run as a script), because on Linux a
process's peak memory counts what its parent held at the moment of the start.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

MMSEARCH = (sys.executable, "-c", "from mmsearch.cli.app import main; main()")
"""The command line of the installed package, whatever the PATH."""


def arguments(about: str | None) -> argparse.ArgumentParser:
    """The options that every bench has; about: its docstring."""
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path("build/bench"))
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    return parser


def write_json(file: Path | None, **results: Any) -> None:
    """The figures for programs, where they are wanted, with the machine that they are of."""
    if file:
        file.write_text(json.dumps({"machine": machine(), **results}, indent=1))


@dataclass(frozen=True)
class Measured:
    """One run: seconds of wall and CPU time, peak memory in MB (10^6 bytes), and its output."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    output: str


class CommandFailed(RuntimeError):
    """A measured command ended with another exit code than 0."""


def measure(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Measured:
    """Run `command` and wait for it; `env` is added to this process's environment.

    Raises:
        CommandFailed: it ended with another exit code than 0; the text has its error output.
    """
    read_end, write_end = os.pipe()
    launcher = [sys.executable, "-I", "-S", __file__, str(write_end), *command]
    try:
        done = subprocess.run(
            launcher,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            pass_fds=[write_end],
            capture_output=True,
            text=True,
        )
    finally:
        os.close(write_end)
    with os.fdopen(read_end) as report:
        figures = json.loads(report.read() or "{}")
    if done.returncode:
        raise CommandFailed(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return Measured(**figures, output=done.stdout)


def medians(runs: Sequence[Measured]) -> Measured:
    """The median of each figure, with the output of the last run."""
    return Measured(
        seconds=median(run.seconds for run in runs),
        cpu_seconds=median(run.cpu_seconds for run in runs),
        peak_mb=median(run.peak_mb for run in runs),
        output=runs[-1].output,
    )


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows as aligned text: the first column to the left, the others to the right."""
    cells = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[n]) for row in cells) for n in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if n else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def machine() -> str:
    """What the figures were measured on, in one line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next((x.split(": ")[1] for x in lines if x.startswith("model name")), model)
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{os.cpu_count()} cores ({model}), Python {platform.python_version()}{load}"


def _launch(report: int, command: Sequence[str]) -> int:
    start = time.perf_counter()
    pid = os.posix_spawnp(command[0], list(command), os.environ)
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024
    figures = {
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss * unit / 1e6,
    }
    os.write(report, json.dumps(figures).encode())
    return os.waitstatus_to_exitcode(status) & 0xFF


if __name__ == "__main__":
    sys.exit(_launch(int(sys.argv[1]), sys.argv[2:]))
