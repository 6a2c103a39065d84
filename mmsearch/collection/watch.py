"""Keeping a collection in step with folders while they change.

    for batch in follow(Collection.create("indexes/default"), [Path("photos")]):
        print(batch.report.added, batch.items)

The system tells which files change (through the library watchfiles). A file is looked at once its
size and time have stayed the same for a second, with all that changed around the same time, so
that a file moved is seen to go here and to come there. Only what changed is looked at; the writer's
lock is held while that is written, and not otherwise.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event

from mmsearch.collection.collection import Collection
from mmsearch.collection.report import AddReport
from mmsearch.errors import (
    CollectionBusy,
    CollectionDamaged,
    CollectionError,
    CollectionNotFound,
    MissingExtra,
    MmsearchError,
    UsageError,
)
from mmsearch.ingest import Changes
from mmsearch.records import Item
from mmsearch.sources import Scan, identity_of, iter_items, locate, own_fingerprint
from mmsearch.uris import fingerprint_of, path_to_uri, uri_to_path

TICK = 0.25
"""Seconds between two looks at what waits, and at whether the folders are still there."""
SETTLED = 1.0
"""Seconds for which a file has to stay the same before it is read."""
PATIENCE = 10.0
"""Seconds after which what has settled is taken in though other files still change."""
_AGAIN = {CollectionBusy: 1.0, CollectionError: 30.0}
"""Seconds until the next try, while another process writes, or the disk is full."""
_Items = Callable[[Scan], Iterator[Item]]


@dataclass(frozen=True)
class Batch:
    """Something was brought in step: what was done, and the items in the collection after it."""

    report: AddReport
    items: int


def follow(collection: Collection, paths: Sequence[Path], *, exclude: Sequence[str] = (),
          every: float | None = None, stop: Event | None = None,
          say: Callable[[str], None] = lambda message: None) -> Iterator[Batch]:
    """Bring a collection up to date with `paths`, as `Collection.add` does, and keep it so; a batch
    each time that something was done, the first of them when all is up to date.

    A folder in `paths` that has vanished, or an empty one in its place, may mean an unplugged disk:
    nothing of it is dropped, and it is walked when it is back.

    exclude: as for `iter_items`.
    every: seconds after which all files are checked again: for network drives, which do not report
        changes.
    stop: once set, ends this within a second or so; what was committed is kept.
    say: called with what a person should know: a folder has vanished, another process writes.

    Raises:
        MissingExtra: watchfiles is not installed.
        UsageError: one of the paths does not exist, and nothing is indexed below it.
        MmsearchError: the system cannot watch this many folders, and `every` is None.
        ModelError, CollectionDamaged: as for `Collection.add`; its other errors are tried again.
    """
    watch = _Watch(collection, paths, exclude, every, stop or Event(), say)
    for root in watch.roots:
        if not root.exists() and not collection.holds([path_to_uri(root)]):
            raise UsageError(f"no such file or folder: {path_to_uri(root)}")
    try:
        import watchfiles  # noqa: F401
    except ImportError:
        raise MissingExtra("watching folders", "watch") from None
    return watch.batches()


class _Stopped(Exception):
    pass


@dataclass
class _Waiting:
    """Files that changed: the fingerprint of each, and since when it has been that."""

    files: dict[Path, tuple[str, float]] = field(default_factory=dict)
    first: float = 0.0
    last: float = 0.0

    def put(self, file: Path) -> None:
        self.last = time.monotonic()
        self.first = self.first if self.files else self.last
        self.files[file] = _fingerprint(file), self.last

    def take(self) -> list[Path]:
        """Those that have settled, once nothing else happens, or for too long."""
        now = time.monotonic()
        if now - self.last < SETTLED and now - self.first < PATIENCE:
            return []
        ready = []
        for file, (before, since) in list(self.files.items()):
            if (fingerprint := _fingerprint(file)) != before:
                self.files[file] = fingerprint, now
            elif now - since >= SETTLED:
                ready.append(file)
                del self.files[file]
        self.first = now
        return ready


class _Watch:
    """One call of `watch`."""

    def __init__(self, collection: Collection, paths: Sequence[Path], exclude: Sequence[str],
                 every: float | None, stop: Event, say: Callable[[str], None]) -> None:
        self.roots = [Path(locate.as_on_disk(path)) for path in paths]
        self.collection, self.exclude, self.stop, self.say = collection, exclude, stop, say
        self.every = every
        self.changes = Changes(self.roots, exclude)
        self.waiting = _Waiting()
        self.here: dict[Path, tuple[int, int]] = {}
        """Device and inode of each root that is there."""
        self.files: dict[Path, str] = {}
        """Fingerprints of the roots that are files: no event tells that another took its place."""
        self.unreadable: dict[str, str] = {}
        """Fingerprints of files that could not be decoded, by uri: read again only when changed."""
        self.skipped: set[tuple[str, str, str]] = set()
        """Path, reason, size and time of what was reported as skipped."""
        self.told: set[str] = set()

    def batches(self) -> Iterator[Batch]:
        first = True
        while not self.stop.is_set():
            self.here = self._present()
            self.files = {root: _fingerprint(root) for root in self.here if not root.is_dir()}
            with closing(self._events()) as events:
                next(events, None)  # from here on nothing is missed
                if (batch := self._walk(always=first)) is not None:
                    yield batch
                    first = False
                yield from self._follow(events)

    def _follow(self, events: Iterator[set[Path]]) -> Iterator[Batch]:
        """React to events until a root comes or goes."""
        walked = time.monotonic()
        for changed in events:
            if self._present() != self.here:
                return
            for path in [*changed, *self._changed_roots()]:
                for file in self.changes.files(path):
                    self.waiting.put(file)
            batch = None
            if self.every and time.monotonic() - walked >= self.every:
                batch = self._walk()
                walked = time.monotonic()
            elif files := self.waiting.take():
                batch = self._bring(partial(self.changes.items, files))
            if batch is not None:
                yield batch

    # -- what the system tells -------------------------------------------------------------------

    def _events(self) -> Generator[set[Path]]:
        """What changed since the last look, every TICK or so; from the first set on, all of it."""
        from watchfiles import Change, watch as notifications

        folders = [root for root in self.here if root not in self.files]
        milliseconds = int(TICK * 1000)
        try:
            # With its name, a folder gets a changed time too: what is new in it has its own event.
            for changes in notifications(
                    *folders, watch_filter=lambda change, path:
                    change is not Change.modified or not Path(path).is_dir(),
                    debounce=2 * milliseconds, rust_timeout=milliseconds, yield_on_timeout=True,
                    stop_event=self.stop, ignore_permission_denied=True):
                yield {Path(path) for _, path in changes}
        except FileNotFoundError:  # a folder went away just now: begin again
            self.stop.wait(TICK)
            yield set()
            return
        except (OSError, RuntimeError) as error:
            if self.every is None:
                raise MmsearchError(
                    f"the system cannot watch this many folders ({error}); raise its limit (on "
                    "Linux: sysctl fs.inotify), or add --every 10m") from error
            self._tell(f"the system cannot watch these folders ({error}): they are checked every "
                       f"{self.every:g} s")
        while not self.stop.wait(TICK):
            yield set()

    def _changed_roots(self) -> Iterator[Path]:
        for root, before in self.files.items():
            if (now := _fingerprint(root)) != before:
                self.files[root] = now
                yield root

    def _present(self) -> dict[Path, tuple[int, int]]:
        """The roots that are there. One that is empty in place of another, or from the start while
        the collection has something of it, is taken for a disk that is not there."""
        found: dict[Path, tuple[int, int]] = {}
        for root in self.roots:
            uri = path_to_uri(root)
            identity = identity_of(uri)
            gone = identity is None or (identity != self.here.get(root) and _is_empty(root)
                                        and self.collection.holds([uri]))
            if identity is not None and not gone:
                # A file that another took the place of is still the same root.
                found[root] = identity if root.is_dir() else (0, 0)
            self._tell(f"{uri} has vanished, or is empty: its items are kept until it is back",
                       when=gone)
        return found

    # -- bringing the collection in step ---------------------------------------------------------

    def _walk(self, *, always: bool = False) -> Batch | None:
        """Look at everything; always: a batch even if there is nothing to be done, as the first is.

        Pictures that changed just now wait, as those do of which an event tells.
        """
        def items(scan: Scan) -> Iterator[Item]:
            for item in iter_items(list(self.here), exclude=self.exclude, scan=scan):
                if item.kind == "image" and not always and _is_fresh(item):
                    self.waiting.put(uri_to_path(item.uri))
                else:
                    yield item

        return self._bring(items, always)

    def _bring(self, items: _Items, always: bool = False) -> Batch | None:
        """Take in what is new in `items`, however often it takes."""
        while not self.stop.is_set():
            try:
                # Without the lock first: most of what is told changes nothing.
                if not always and self.collection.in_step(*self._known(items)):
                    return None
                return self._add(items)
            except _Stopped:
                return None
            except UsageError:
                return None  # a root went away just now
            except (CollectionNotFound, CollectionDamaged):
                raise
            except CollectionError as error:
                self._tell(f"waiting: {error}")
                self.stop.wait(_AGAIN[CollectionBusy if isinstance(error, CollectionBusy)
                                      else CollectionError])
        return None

    def _add(self, items: _Items) -> Batch:
        tried: dict[str, str] = {}
        known, scan = self._known(items)

        def noted() -> Iterator[Item]:
            for item in known:
                tried[item.uri] = item.fingerprint
                yield item

        report = self.collection.add(noted(), scan=scan, progress=self._progress)
        self.changes.learn(scan)
        # What could not be opened may be allowed tomorrow, and look the same.
        self.unreadable |= {one.path: tried[one.path] for one in report.skipped
                            if one.path in tried and not one.reason.startswith("cannot be read")}
        skipped = {(one.path, one.reason, _written(tried.get(one.path, ""))): one
                   for one in report.skipped}
        report.skipped = [one for key, one in skipped.items() if key not in self.skipped]
        self.skipped |= skipped.keys()
        self.told = {message for message in self.told if not message.startswith("waiting")}
        return Batch(report, sum(self.collection.info()["kinds"].values()))

    def _known(self, items: _Items) -> tuple[Iterator[Item], Scan]:
        """The items but for those that cannot be decoded, and the scan that they report to."""
        scan = Scan(anchors={path_to_uri(root): identity for root, identity in self.here.items()
                             if root not in self.files})
        return (item for item in items(scan)
                if self.unreadable.get(item.uri) != item.fingerprint), scan

    def _progress(self, done: int) -> None:
        if self.stop.is_set():
            raise _Stopped

    def _tell(self, message: str, *, when: bool = True) -> None:
        """Say something once, until it is no longer so."""
        if when and message not in self.told:
            self.say(message)
        self.told = self.told | {message} if when else self.told - {message}


def _is_empty(folder: Path) -> bool:
    try:
        with os.scandir(folder) as listing:
            return next(listing, None) is None
    except OSError:
        return False


def _is_fresh(item: Item) -> bool:
    """Whether its file changed less than SETTLED seconds ago, as far as clocks agree."""
    changed = "".join(own_fingerprint(item.fingerprint).split(":")[1:2])
    return changed.isdigit() and abs(time.time() - int(changed) / 1e9) < SETTLED


def _written(fingerprint: str) -> str:
    return ":".join(fingerprint.split(":")[:2])


def _fingerprint(file: Path) -> str:
    """Its size and time; empty if it is not there."""
    try:
        return fingerprint_of(file.stat())
    except OSError:
        return ""
