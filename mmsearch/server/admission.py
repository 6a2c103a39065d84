"""How many requests may be under way: who comes too many is told at once, before any work."""

from __future__ import annotations

import asyncio

from mmsearch.server.measures import Measures
from mmsearch.server.problems import Refused


class Admission:
    """most: requests that may be under way, or wait for their turn."""

    def __init__(self, most: int, measures: Measures) -> None:
        self.most, self.measures, self.inside = most, measures, 0
        self._beginning = asyncio.Lock()

    def check(self) -> None:
        """Raises Refused: there are too many."""
        if self.inside >= self.most:
            self.measures.refused.inc()
            raise Refused(429, "too many requests are under way; try again in a moment")

    async def enter(self) -> None:
        """Begin a request, which has to `leave` again.

        They begin one after the other, and before each, all sockets are looked at: so nobody who is
        turned away waits for the beginning of many others.

        Raises:
            Refused: there are too many.
        """
        self.check()
        self.inside += 1
        try:
            async with self._beginning:
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.leave()
            raise

    def leave(self) -> None:
        self.inside -= 1

    def count(self) -> int:
        return self.inside
