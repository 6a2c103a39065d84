"""Run a command and look at its process while it runs: its own memory, its open files.

Linux only: everything is read from /proc. Memory of its own is what the process has allocated
(`RssAnon`); pages of files that it maps are the kernel's, which may drop them at any time.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

NEVER = float("inf")


@dataclass(frozen=True)
class Sample:
    """seconds since the start; own memory in MB (10^6 bytes); open file descriptors; files done."""

    seconds: float
    own_mb: float
    descriptors: int
    done: int


@dataclass(frozen=True)
class Sampled:
    """code: of the process, negative for the signal that ended it; `stalled` if we ended it,
    since nothing had been done for too long."""

    code: int
    stalled: bool
    seconds: float
    output: str
    errors: str
    samples: list[Sample]

    def peak_mb(self) -> float:
        return max((one.own_mb for one in self.samples), default=0.0)

    def at(self, done: int) -> Sample:
        """The first sample with so many files done, or the last of all."""
        return next((one for one in self.samples if one.done >= done), self.samples[-1])


def run_sampled(command: Sequence[str], done: Callable[[], int], *, every: float = 0.25,
                patience: float = NEVER) -> Sampled:
    """Run `command` to its end.

    done: how many files it is through with, asked for at every sample.
    every: seconds between two samples.
    patience: seconds of CPU time without anything done after which it is ended as one that hangs.
    """
    samples: list[Sample] = []
    stalled = False
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=errors)
        before, busy_at = -1, 0.0
        while process.poll() is None:
            with suppress(OSError, KeyError):  # it has just ended
                now, busy = done(), cpu_seconds(process.pid)
                samples.append(Sample(time.perf_counter() - start, own_mb(process.pid),
                                      descriptors(process.pid), now))
                if now != before:
                    before, busy_at = now, busy
                elif busy - busy_at > patience:
                    stalled = True
                    process.kill()
            with suppress(subprocess.TimeoutExpired):
                process.wait(every)
        seconds = time.perf_counter() - start
        output.seek(0)
        errors.seek(0)
        return Sampled(process.returncode, stalled, seconds, output.read(), errors.read(), samples)


def own_mb(pid: int) -> float:
    """Memory that a process has allocated, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["RssAnon"].split()[0]) * 1024 / 1e6


def descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
