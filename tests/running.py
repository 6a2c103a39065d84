"""Runs the command line inside the process of the tests: what it prints, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from contextlib import ExitStack, chdir
from pathlib import Path
from tempfile import TemporaryFile

from mmsearch.cli import main


def run_here(*args: object, cwd: Path, check: bool = False, text: bool = True
             ) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` of `mmsearch ARGS…`, but that it starts no process: a second less."""
    command = ["mmsearch", *map(str, args)]
    with ExitStack() as stack:
        out, err = (stack.enter_context(TemporaryFile("w+", encoding="utf-8", newline=""))
                    for _ in range(2))
        stdin = stack.enter_context(Path(os.devnull).open())
        stdout = os.dup(1)  # a command whose output has nowhere to go closes it
        stack.callback(lambda: (os.dup2(stdout, 1), os.close(stdout)))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            stack.callback(signal.signal, number, signal.getsignal(number))
        for name, value in (("argv", command), ("stdin", stdin), ("stdout", out), ("stderr", err)):
            stack.callback(setattr, sys, name, getattr(sys, name))
            setattr(sys, name, value)
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(chdir(cwd))
        code = _ended()
        printed = [_read(file, text) for file in (out, err)]
    done = subprocess.CompletedProcess(command, code, *printed)
    if check:
        done.check_returncode()
    return done


def _ended() -> int:
    try:
        main()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def _read(file: object, text: bool) -> object:
    file.flush()  # type: ignore[attr-defined]
    file.buffer.seek(0)  # type: ignore[attr-defined]
    found: bytes = file.buffer.read()  # type: ignore[attr-defined]
    return found.decode() if text else found
