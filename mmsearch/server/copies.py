"""Duplicates: looked for once in a while, since that takes long; whoever asks is told how far it
is."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock, Thread
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query as Param
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from mmsearch.errors import MmsearchError, UsageError
from mmsearch.server.problems import RESPONSES
from mmsearch.server.served import Served
from mmsearch.server.shown import Shown, shown
from mmsearch.server.state import Server

_MOST = 500
_KEPT = 8
"""Answers that are kept, until their collections change."""


class Copy(BaseModel):
    """says: "keep" for the best of a group, else how it is related to that: "copy", "same pixels",
    "same", "mirrored", "similar", …. likeness: how much of the detail agrees, 0 to 1. problem: why
    the file does not count."""

    item: Shown
    says: str
    likeness: float
    bytes: int
    problem: str


class Copies(BaseModel):
    items: list[Copy]
    freed: int


class Found(BaseModel):
    """total: groups in all, of which the 500 largest are here; freed: bytes of what need not be."""

    state: Literal["done"]
    groups: list[Copies]
    total: int
    freed: int


class Running(BaseModel):
    """Ask again in a second."""

    state: Literal["running"]
    done: int
    total: int


@dataclass
class _Job:
    total: int
    done: int = 0
    answer: dict[str, Any] | None = None
    error: MmsearchError | None = None
    lock: Lock = field(default_factory=Lock)

    @property
    def is_running(self) -> bool:
        return self.answer is None and self.error is None

    def tick(self, done: int) -> None:
        with self.lock:
            self.done += done


def routes(server: Server) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["about"], responses=RESPONSES)
    jobs: dict[tuple[Any, ...], _Job] = {}
    starting = Lock()

    def job_of(served: Served, threshold: float, exact: bool) -> _Job:
        key = served.name, threshold, exact, served.reader.stamp()
        with starting:
            if key not in jobs:
                if running := [job for job in jobs.values() if job.is_running]:
                    return running[0]  # one at a time
                while len(jobs) >= _KEPT:
                    del jobs[next(iter(jobs))]
                jobs[key] = _Job(served.reader.count())
                Thread(target=_look, args=(served, threshold, exact, jobs[key]),
                       name="mmsearch-duplicates", daemon=True).start()
            return jobs[key]

    @router.get("/duplicates", response_model=Found,
                responses={202: {"model": Running, "description": "not yet"}})
    def duplicates(threshold: Annotated[float, Param(gt=0, le=1)] = 0.8, exact: bool = False,
                   collection: str | None = None) -> JSONResponse:
        """Groups of the same picture, largest first; the one to keep is first in each."""
        job = job_of(server.collection(collection), threshold, exact)
        if job.error is not None:
            raise job.error
        if job.answer is None:
            return JSONResponse({"state": "running", "done": min(job.done, job.total),
                                 "total": job.total}, 202, {"Retry-After": "1"})
        return JSONResponse(job.answer)

    return router


def _look(served: Served, threshold: float, exact: bool, job: _Job) -> None:
    try:
        found = served.reader.duplicates(threshold=threshold, exact=exact, progress=job.tick)
        groups = found.groups[:_MOST]
        rows = served.reader.of_uris([one.item.uri for group in groups for one in group.members])
        items = {item["uri"]: item for item in shown(served, rows)}
        job.answer = {"state": "done", "total": len(found.groups),
                      "freed": sum(group.freed for group in found.groups), "groups": [
            {"freed": group.freed, "items": [
                {"item": items[one.item.uri], "says": one.how or "keep",
                 "likeness": round(one.score, 4), "bytes": one.bytes, "problem": one.problem}
                for one in group.members if one.item.uri in items]} for group in groups]}
    except MmsearchError as error:
        job.error = error
    except Exception:
        job.error = UsageError("the search for duplicates failed")
        raise
