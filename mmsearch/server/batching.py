"""Searches that arrive at about the same time are made together: one call of the model, one look at
the vectors.

While a batch is searched, what arrives waits for the next one. Only when the last batch had company
is it worth to wait a moment for more; a lonely search starts at once.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Any

from mmsearch.errors import MmsearchError
from mmsearch.indexes import at_most
from mmsearch.records import Hit
from mmsearch.search import Query
from mmsearch.server.measures import Measures
from mmsearch.server.served import Served
from mmsearch.server.turns import TooLate

WINDOW = 0.002
"""Seconds that a batch waits for more."""
Finish = Callable[[Sequence[Hit]], Any]


@dataclass(eq=False)
class _Job:
    """finish: makes the answer of the hits, in the thread of the batch."""

    served: Served
    query: Query
    finish: Finish
    future: asyncio.Future[Any]
    since: float


class Batches:
    """A queue of searches and the threads that make them.

    deadline: seconds from asking to the answer; threads: batches that are made at the same time;
    largest: of a batch.
    """

    def __init__(self, measures: Measures, deadline: float, threads: int, largest: int) -> None:
        self.measures, self.deadline, self.largest = measures, deadline, largest
        self._jobs: deque[_Job] = deque()
        self._changed = Condition()
        self._closed = False
        self.threads, self._running = threads, 0
        for _ in range(threads):
            Thread(target=self._run, name="mmsearch-search", daemon=True).start()

    async def search(self, served: Served, query: Query, finish: Finish) -> Any:
        """What `finish` makes of the hits of a query.

        Raises:
            TooLate; what `Reader.search` does.
        """
        loop = asyncio.get_running_loop()
        job = _Job(served, query, finish, loop.create_future(), time.perf_counter())
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()
        try:
            return await asyncio.wait_for(job.future, self.deadline)
        except TimeoutError:
            raise TooLate(f"no answer within {self.deadline:g} seconds; try again") from None

    def count(self) -> int:
        """How many wait."""
        return len(self._jobs)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    # -- in a thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        company = False
        while batch := self._take(company):
            company = len(batch) > 1
            self.measures.batch.observe(len(batch))
            by_collection: dict[str, list[_Job]] = {}
            for job in batch:
                self.measures.took("wait", time.perf_counter() - job.since)
                by_collection.setdefault(job.served.name, []).append(job)
            with at_most(1 if self._is_busy() else self.threads):
                for jobs in by_collection.values():
                    self._search(jobs)
            with self._changed:
                self._running -= 1

    def _take(self, company: bool) -> list[_Job]:
        """The next batch; nothing at the end."""
        with self._changed:
            while not self._jobs and not self._closed:
                self._changed.wait()
            if company and self._jobs:
                until = self._jobs[0].since + WINDOW
                while len(self._jobs) < self.largest and (left := until - time.perf_counter()) > 0:
                    self._changed.wait(left)
            batch = [self._jobs.popleft() for _ in range(min(len(self._jobs), self.largest))]
            live = [job for job in batch if not job.future.cancelled()]
            self._running += bool(live)
        return live or (self._take(company) if batch else [])

    def _is_busy(self) -> bool:
        """Whether all cores have a batch of their own; if not, one may have them all."""
        return self._running > 1 or bool(self._jobs)

    def _search(self, jobs: Sequence[_Job]) -> None:
        answers: list[Any]
        try:
            found = jobs[0].served.reader.search_many(
                [job.query for job in jobs], took=self.measures.took)
        except Exception as error:  # of any kind: whoever waits must be told
            answers = [error] * len(jobs)
        else:
            done = time.perf_counter()
            answers = [_finished(job, hits) for job, hits in zip(jobs, found, strict=True)]
            self.measures.took("show", time.perf_counter() - done)
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Job, Any]]] = {}
        for job, answer in zip(jobs, answers, strict=True):
            by_loop.setdefault(job.future.get_loop(), []).append((job, answer))
        for loop, told in by_loop.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_tell, told)


def _finished(job: _Job, hits: list[Hit] | MmsearchError) -> Any:
    if isinstance(hits, MmsearchError):
        return hits
    try:
        return job.finish(hits)
    except Exception as error:  # likewise
        return error


def _tell(told: Sequence[tuple[_Job, Any]]) -> None:
    for job, answer in told:
        if job.future.done():  # it was too late
            continue
        if isinstance(answer, Exception):
            job.future.set_exception(answer)
        else:
            job.future.set_result(answer)
