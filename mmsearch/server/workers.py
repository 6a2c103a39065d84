"""Several processes that answer on one socket, over the same memory-mapped files."""

from __future__ import annotations

import multiprocessing
import signal
import socket
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from types import FrameType

from mmsearch.errors import MmsearchError
from mmsearch.server.settings import Settings

_LOOK = 0.2
"""Seconds between two looks at whether all are alive."""
_PATIENCE = 30.0
"""Seconds after which a process that was told to stop is ended."""
Run = Callable[[Settings, list[socket.socket], Callable[[], None]], None]


def serve_with(run: Run, settings: Settings, sockets: list[socket.socket],
               started: Callable[[], None]) -> None:
    """Keep `settings.workers` processes at work until SIGTERM or SIGINT.

    run: what each does, a function of a module; it calls its last argument once it takes requests.

    Raises:
        MmsearchError: one ended before it took any.
    """
    context = multiprocessing.get_context("spawn")  # not fork: threads, and models in memory
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    ready = context.Semaphore(0)

    def begin() -> BaseProcess:
        process = context.Process(target=_work, args=(run, settings, sockets, ready))
        process.start()
        return process

    processes = [begin() for _ in range(settings.workers)]
    waiting = settings.workers
    while not stopped:
        while waiting and ready.acquire(block=False):
            waiting -= 1
            if waiting == 0:
                started()
        for n, process in enumerate(processes):
            if not process.is_alive():
                if waiting:
                    _end(processes)
                    raise MmsearchError("a process of the server could not start; what it said "
                                        "is above")
                processes[n] = begin()
        time.sleep(_LOOK)
    _end(processes)


def _work(run: Run, settings: Settings, sockets: list[socket.socket], ready: object) -> None:
    run(settings, sockets, ready.release)  # type: ignore[attr-defined]


def _end(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    until = time.monotonic() + _PATIENCE
    for process in processes:
        process.join(max(until - time.monotonic(), 0))
        if process.is_alive():
            process.kill()
            process.join()
