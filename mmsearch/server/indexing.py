"""Bringing a collection in step with folders while it is served."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from threading import Event, Thread

from mmsearch.collection import AddReport, Collection, follow
from mmsearch.errors import CollectionBusy, MmsearchError
from mmsearch.records import Item
from mmsearch.server.served import Progress
from mmsearch.server.shown import for_people
from mmsearch.server.state import Server
from mmsearch.sources import Scan, iter_items
from mmsearch.uris import path_to_uri, split_member, uri_to_path

_log = logging.getLogger("mmsearch.server")
_NAMED = 100
"""Skipped files that are named in the status; the log names all."""
_BUSY = 2.0
"""Seconds until the next try, while another process writes."""


class _Stopped(Exception):
    pass


class Indexing(Thread):
    """Adds what is in `paths`, then, if it is to watch, follows what changes there."""

    def __init__(self, collection: Collection, paths: Sequence[Path], progress: Progress, *,
                 watch: bool) -> None:
        super().__init__(name="mmsearch-indexing", daemon=True)
        self.collection, self.paths, self.progress, self.watch = collection, paths, progress, watch
        self.stop = Event()
        self.skipped: dict[str, tuple[str, int]] = {}
        """By path: why, and when the file was changed last."""
        names = ", ".join(for_people(path_to_uri(path.absolute())) for path in paths)
        progress.state, progress.message = "indexing", f"indexing {names}"

    def run(self) -> None:
        try:
            self._index()
            self.progress.state, self.progress.message = "ready", ""
            if self.watch:
                self._follow()
        except _Stopped:
            pass
        except Exception as error:  # a thread that dies must not do so unseen
            _log.exception("indexing failed") if not isinstance(error, MmsearchError) else \
                _log.error("indexing failed: %s", error)
            self.progress.state = "failed"
            self.progress.error = str(error) if isinstance(error, MmsearchError) else \
                "something went wrong; the log of the server says what"

    def end(self) -> None:
        """Stop after what is under way; what was committed is kept."""
        self.stop.set()
        self.join(10)

    def _index(self) -> None:
        Thread(target=self._count, name="mmsearch-counting", daemon=True).start()
        while True:
            scan = Scan()
            self.progress.done = 0
            try:
                report = self.collection.add(self._items(scan), scan=scan, progress=self._tick)
                break
            except CollectionBusy as error:
                self.progress.message = f"waiting: {error}"
                if self.stop.wait(_BUSY):
                    raise _Stopped from None
        self._note(report)

    def _follow(self) -> None:
        for batch in follow(self.collection, self.paths, stop=self.stop, say=_log.warning):
            self._note(batch.report)

    def _note(self, report: AddReport) -> None:
        """Tell which files were skipped, now and before, as long as they are what they were."""
        for one in report.skipped:
            if self.skipped.get(one.path, ("",))[0] != one.reason:
                _log.warning("skipped %s: %s", one.path, one.reason)
            self.skipped[one.path] = one.reason, _written(one.path)
        self.skipped = {path: known for path, known in self.skipped.items()
                        if known[1] == _written(path)}
        self.progress.skipped = len(self.skipped) + report.more_skipped
        self.progress.skipped_files = [{"path": path, "reason": reason} for path, (reason, _)
                                       in islice(self.skipped.items(), _NAMED)]

    def _items(self, scan: Scan) -> Iterator[Item]:
        for item in iter_items(self.paths, scan=scan):
            if self.stop.is_set():
                raise _Stopped
            yield item

    def _tick(self, done: int) -> None:
        self.progress.done += done
        if self.stop.is_set():
            raise _Stopped

    def _count(self) -> None:
        """In a thread of its own, beside the walk itself."""
        try:
            self.progress.total = sum(1 for _ in self._items(Scan()))
        except (_Stopped, MmsearchError, OSError):
            return


def _written(uri: str) -> int:
    """When a file, or the archive that it is in, was changed last, also in its permissions; 0 if
    there is none."""
    member = split_member(uri)
    try:
        return uri_to_path(member.container if member else uri).stat().st_ctime_ns
    except (OSError, ValueError):
        return 0


def begin(server: Server) -> Indexing | None:
    """Start what the settings ask for."""
    settings = server.settings
    if not settings.paths:
        return None
    served = server.collection(None)
    assert isinstance(served.reader, Collection)
    indexing = Indexing(served.reader, settings.paths, served.progress, watch=settings.watch)
    indexing.start()
    return indexing
