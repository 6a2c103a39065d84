"""Work that takes a thread for a while, a few at a time: who waits too long is told to come again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mmsearch.errors import MmsearchError

T = TypeVar("T")


class TooLate(MmsearchError):
    """An answer was not there in time."""


class Turns:
    """Threads of their own for one kind of work.

    at_once: how many; deadline: seconds, from asking to the end.
    """

    def __init__(self, at_once: int, deadline: float) -> None:
        self.deadline, self.busy = deadline, 0
        self._threads = ThreadPoolExecutor(at_once, "mmsearch-work")

    async def run(self, work: Callable[[], T]) -> T:
        """Do a piece of work in its turn. One that is late goes on to its end, but nobody waits.

        Raises:
            TooLate.
        """
        self.busy += 1
        future = self._threads.submit(work)
        future.add_done_callback(self._done(asyncio.get_running_loop()))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self.deadline)
        except TimeoutError:
            raise TooLate(f"no answer within {self.deadline:g} seconds; try again") from None

    def count(self) -> int:
        """How many are waiting or under way."""
        return self.busy

    def _done(self, loop: asyncio.AbstractEventLoop) -> Callable[[object], None]:
        def free() -> None:
            self.busy -= 1

        def from_any_thread(_: object) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(free)

        return from_any_thread

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
