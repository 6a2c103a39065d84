"""Keeping a collection in step with folders: real processes, real files, real events."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any

import pytest
from conftest import DEMO, Cli, add
from PIL import Image

from mmsearch.collection import watch as following
from mmsearch.collection.collection import Collection
from mmsearch.collection.reader import Reader
from mmsearch.errors import MissingExtra, UsageError
from mmsearch.ingest.changes import Changes
from mmsearch.storage.lock import writer_lock
from mmsearch.storage.verify import find_problems

LIMIT = 60.0
QUICK = ("import sys, mmsearch.collection.watch as w; w.SETTLED = 0.3; w.TICK = 0.1; "
         "from mmsearch.cli.app import main; main()")
"""The command line, with less time for files to settle."""


class Watching:
    """A `mmsearch watch --json` of its own, and what it prints."""

    def __init__(self, command: Sequence[object]) -> None:
        self.process = subprocess.Popen(
            [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.batches: Queue[dict[str, Any]] = Queue()
        self.messages: Queue[str] = Queue()
        for stream, into, read in ((self.process.stdout, self.batches, json.loads),
                                   (self.process.stderr, self.messages, str)):
            Thread(target=lambda s, q, r: [q.put(r(line)) for line in s],
                   args=(stream, into, read), daemon=True).start()

    def next(self) -> dict[str, Any]:
        """What the next batch did, without zeros."""
        try:
            batch = self.batches.get(timeout=LIMIT)
        except Empty:
            raise AssertionError([*self.messages.queue]) from None
        return {key: value for key, value in batch.items()
                if value and key not in ("time", "seconds", "cpu_seconds", "stages")}

    def until(self, items: int) -> None:
        while self.next().get("items", 0) != items:
            pass

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(LIMIT)


@contextmanager
def watch(index: Path, *args: object, before: Sequence[str] = ()) -> Iterator[Watching]:
    watching = Watching([*before, sys.executable, "-c", QUICK, "watch", *args, "-i", index,
                         "--json"])
    try:
        yield watching
    finally:
        watching.process.kill()
        watching.process.wait()


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "index"


def indexed(index: Path) -> set[str]:
    """The names of the pictures in a sound collection."""
    assert find_problems(index) == []
    reader = Reader.open(index)
    try:
        return {Path(row.item.uri).name for row in reader.vectors("image")[0]}
    finally:
        reader.close()


def picture(path: Path, seed: int) -> None:
    """A small picture like no other."""
    rng = random.Random(seed)
    Image.frombytes("RGB", (8, 8), rng.randbytes(192)).resize((64, 64)).save(path)


def test_a_collection_follows_its_folder(photos: Path, index: Path) -> None:
    with watch(index, photos) as watched:
        assert watched.next() == {"added": 12, "items": 12}
        picture(photos / "new.png", 1)
        assert watched.next() == {"added": 1, "items": 13}  # nothing else was looked at
        picture(photos / "new.png", 2)
        assert watched.next() == {"replaced": 1, "items": 13}
        (photos / "new.png").rename(photos / "renamed.png")
        assert watched.next() == {"moved": 1, "items": 13}
        (photos / "later").mkdir()
        (photos / "renamed.png").rename(photos / "later" / "again.png")
        assert watched.next() == {"moved": 1, "items": 13}
        (photos / "later").rename(photos / "last")
        assert watched.next() == {"moved": 1, "items": 13}
        shutil.copy(photos / "last" / "again.png", photos / "copy.png")
        assert watched.next() == {"copied": 1, "items": 14}
        shutil.rmtree(photos / "last")
        (photos / "copy.png").unlink()
        assert watched.next() == {"removed": 2, "items": 12}
        (photos / "notes.txt").write_text("a line\nanother\n")
        assert watched.next() == {"added": 2, "items": 14}
        (photos / "notes.txt").write_text("another\n")
        assert watched.next()["items"] == 13
        assert watched.end() == 0
        assert [*watched.messages.queue] == []
    assert indexed(index) == {path.name for path in photos.glob("*.jpg")}


def test_a_folder_moved_in_is_taken_whole_and_one_moved_out_goes(
        photos: Path, index: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "notes.rst").touch()  # of a folder that is empty, all is kept
    with watch(index, root) as watched:
        assert watched.next() == {}
        shutil.move(photos, root / "photos")
        assert watched.next() == {"added": 12, "items": 12}
        picture(root / "photos" / "new.png", 1)
        assert watched.next() == {"added": 1, "items": 13}
        shutil.move(root / "photos", photos)
        assert watched.next() == {"removed": 13}


def test_queries_go_on_during_a_burst_of_files(photos: Path, index: Path) -> None:
    with watch(index, photos) as watched:
        watched.next()
        reader, done = Reader.open(index), Event()

        def burst() -> None:
            for number in range(200):
                picture(photos / f"{number}.png", number)
            done.set()

        Thread(target=burst).start()
        found = 0
        while not (done.is_set() and reader.count() == 212):
            hits = reader.search(text="a cat", k=300)
            assert len(hits) >= found  # nothing that was there is ever missing
            found = len(hits)
            assert watched.process.poll() is None
        reader.close()
        assert watched.end() == 0
    assert len(indexed(index)) == 212


def test_a_file_still_being_written_is_not_read(photos: Path, index: Path) -> None:
    """With the times as they are: a second of rest, against writes every 0.05 s."""
    data = (DEMO / "galaxies.jpg").read_bytes()
    watched = Watching([sys.executable, "-m", "mmsearch", "watch", photos, "-i", index, "--json"])
    try:
        assert watched.next()["items"] == 12
        with (photos / "slow.jpg").open("wb", buffering=0) as file:
            for at in range(0, len(data), len(data) // 60):
                file.write(data[at:at + len(data) // 60])
                time.sleep(0.05)
        assert watched.next() == {"added": 1, "items": 13}
    finally:
        watched.process.kill()


def test_a_bad_file_does_not_stop_it_and_is_told_once(photos: Path, index: Path) -> None:
    good = (DEMO / "galaxies.jpg").read_bytes()
    with watch(index, photos) as watched:
        watched.next()
        (photos / "bad.jpg").write_bytes(good[:5000])
        (skipped,) = watched.next()["skipped"]
        assert (Path(skipped["path"]).name, skipped["reason"]) == ("bad.jpg", "truncated JPEG")
        os.utime(photos / "bad.jpg", ns=(1, (photos / "bad.jpg").stat().st_mtime_ns))
        picture(photos / "good.png", 1)
        assert watched.next() == {"added": 1, "items": 13}
        (photos / "bad.jpg").write_bytes(good)
        assert watched.next() == {"added": 1, "items": 14}


def test_a_file_that_may_not_be_read_is_read_once_it_may(photos: Path, index: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    with watch(index, photos) as watched:
        watched.next()
        picture(photos / "new.png", 1)
        (photos / "new.png").chmod(0)
        assert "cannot be read" in watched.next()["skipped"][0]["reason"]
        (photos / "new.png").chmod(0o644)
        assert watched.next() == {"added": 1, "items": 13}


def test_a_file_system_without_events_can_be_polled(
        photos: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "true")
    with watch(index, photos) as watched:
        watched.next()
        (photos / "sub").mkdir()
        picture(photos / "sub" / "new.png", 1)
        assert watched.next() == {"added": 1, "items": 13}
        (photos / "sub").rename(photos / "other")
        assert watched.next() == {"moved": 1, "items": 13}
        assert watched.end() == 0


def test_killed_and_started_again_it_is_in_step(photos: Path, index: Path) -> None:
    rng = random.Random(0)
    for round_ in range(2):
        with watch(index, photos) as watched:
            if round_:
                watched.next()
            Thread(target=lambda r=round_: [picture(photos / f"{r}-{n}.png", 100 * r + n)
                                            for n in range(30)]).start()
            time.sleep(rng.uniform(0.5, 2.5))
            assert watched.end(signal.SIGKILL) == -signal.SIGKILL
        next(photos.glob("*.jpg")).unlink()
    with watch(index, photos) as watched:
        watched.next()
        assert watched.end(signal.SIGINT) == 0
    assert indexed(index) == {path.name for path in photos.iterdir()}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_the_middle_and_loses_nothing(
        photos: Path, index: Path, number: int) -> None:
    add(Collection.create(index), photos)
    (photos / "many.txt").write_text("".join(f"line {n} of many\n" for n in range(20_000)))
    with watch(index, photos) as watched:
        while json.loads((index / "writer.json").read_text() or "{}").get("pid") != \
                watched.process.pid:
            time.sleep(0.01)
        assert watched.end(number) == 0
        assert watched.batches.empty()
    assert len(indexed(index)) == 12


def test_it_waits_for_another_writer(photos: Path, index: Path) -> None:
    with watch(index, photos) as watched:
        watched.next()
        with writer_lock(index):  # while it has nothing to write, it does not hold the lock
            picture(photos / "new.png", 1)
            message = watched.messages.get(timeout=LIMIT)
            assert message.startswith("waiting: ")
            assert f"process {os.getpid()}" in message
        assert watched.next() == {"added": 1, "items": 13}
        add(Collection.open(index), photos)
        assert watched.end() == 0


def test_a_folder_that_is_gone_is_waited_for(photos: Path, index: Path, tmp_path: Path) -> None:
    away = tmp_path / "away"
    with watch(index, photos) as watched:
        watched.next()
        photos.rename(away)
        assert "has vanished" in watched.messages.get(timeout=LIMIT)
        photos.mkdir()  # as what is left of a disk that was unmounted
        (away / "bus.jpg").unlink()
        picture(away / "new.png", 1)
        time.sleep(1)
        assert Reader.open(index).count() == 12
        photos.rmdir()
        away.rename(photos)
        assert watched.next() == {"added": 1, "removed": 1, "unchanged": 11, "items": 12}
        picture(photos / "newer.png", 2)
        assert watched.next() == {"added": 1, "items": 13}
        assert watched.end() == 0
    photos.rename(away)
    for there in (False, True):
        if there:
            photos.mkdir()
        with watch(index, photos) as watched:
            assert watched.next() == {"items": 13}
            assert "has vanished" in watched.messages.get(timeout=LIMIT)


def test_nothing_has_vanished_when_its_disk_goes_during_a_run(photos: Path, index: Path) -> None:
    from mmsearch.sources.folders import Scan, iter_items

    collection = Collection.create(index)
    add(collection, photos)
    scan = Scan()
    items = iter_items([photos], scan=scan)
    next(items)
    photos.rename(photos.parent / "away")
    report = collection.add(items, scan=scan)
    assert (report.removed, collection.count()) == (0, 12)
    assert [one.reason for one in report.skipped if one.path == str(photos)] == [
        "vanished during the run; its items are kept"]


def test_names_that_index_passes_over_are_passed_over(photos: Path, tmp_path: Path) -> None:
    index = photos / "index"  # its own files are no news, either
    with watch(index, photos, "--exclude", "*.gif", "--exclude", "raw/**") as watched:
        watched.next()
        (photos / ".hidden").mkdir()
        (photos / "raw" / "deep").mkdir(parents=True)
        for name in (".hidden/a.png", "raw/a.png", "raw/deep/a.png", "index/a.png", "a.gif",
                     "a.doc"):
            picture(tmp_path / "a.png", 7)
            shutil.copy(tmp_path / "a.png", photos / name)
        (photos / "raw" / "a.png").unlink()
        time.sleep(1)
        picture(photos / "new.png", 1)
        assert watched.next() == {"added": 1, "items": 13}


def test_a_folder_seen_through_links_is_known_by_one_name(
        photos: Path, index: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    picture(outside / "old.png", 1)
    (photos / "real").mkdir()
    for link, target in (("a", "real"), ("b", outside), ("c", outside)):
        (photos / link).symlink_to(target, target_is_directory=True)
    with watch(index, photos) as watched:
        assert watched.next()["items"] == 13
        picture(photos / "a" / "new.png", 2)
        picture(outside / "new.png", 3)
        assert watched.next() == {"added": 2, "items": 15}
    uris = {row.item.uri for row in Reader.open(index).vectors("image")[0]}
    assert {str(photos / name) for name in ("real/new.png", "b/old.png", "b/new.png")} < uris


def test_a_manifest_is_followed_also_when_another_takes_its_place(
        photos: Path, index: Path) -> None:
    manifest = photos.parent / "captions.jsonl"

    def write(*lines: tuple[str, str]) -> None:
        new = manifest.with_suffix(".new")
        new.write_text("".join(json.dumps({"image": f"photos/{image}", "caption": caption}) + "\n"
                               for image, caption in lines))
        new.replace(manifest)

    write(("bus.jpg", "a bus"), ("cat.jpg", "a cat"))
    with watch(index, manifest) as watched:
        assert watched.next()["items"] == 4
        write(("bus.jpg", "a red bus"))
        assert watched.next() == {"replaced": 1, "removed": 2, "unchanged": 1, "items": 2}
        assert watched.end() == 0


def test_folders_that_tell_nothing_are_walked_every_so_often(
        photos: Path, index: Path, tmp_path: Path) -> None:
    limit = ["unshare", "-rm", "sh", "-c",
             'echo 0 > /proc/sys/user/max_inotify_instances; exec "$@"', "sh"]
    if subprocess.run([*limit, "true"], capture_output=True).stderr:
        pytest.skip("this system lets nobody set a limit of his own")
    with watch(index, photos, before=limit) as watched:
        assert watched.process.wait(LIMIT) == 1
        assert "--every 10m" in watched.messages.get(timeout=LIMIT)
    with watch(index, photos, "--every", "0.5s", before=limit) as watched:
        watched.until(12)
        assert "checked every 0.5 s" in watched.messages.get(timeout=LIMIT)
        picture(photos / "new.png", 1)
        assert {"added": 1, "items": 13}.items() <= watched.next().items()
        (photos / "new.png").unlink()
        assert watched.next() == {"removed": 1, "unchanged": 12, "items": 12}
        with writer_lock(index):  # nor does a walk that finds nothing take the lock
            time.sleep(1)
        assert watched.end() == 0
        assert watched.messages.empty()


def test_what_cannot_be_watched_is_said(cli: Cli, photos: Path, tmp_path: Path) -> None:
    nowhere = cli("watch", tmp_path / "nowhere", "-i", "x")
    assert (nowhere.returncode, nowhere.stdout) == (2, "")
    assert "no such file or folder" in nowhere.stderr
    for time_ in ("10", "0s", "soon"):
        done = cli("watch", photos, "--every", time_, "-i", "x")
        assert done.returncode == 2
        assert "--every takes a time such as 90s" in done.stderr
    add(Collection.create(tmp_path / "x"), photos)
    with pytest.raises(UsageError, match="no such file or folder"):
        next(following.follow(Collection.open(tmp_path / "x"), [tmp_path / "nowhere"]))


def test_the_library_watches_too(photos: Path, index: Path, monkeypatch: pytest.MonkeyPatch
                                 ) -> None:
    monkeypatch.setattr(following, "SETTLED", 0.2)
    stop = Event()
    batches = following.follow(Collection.create(index), [photos], stop=stop)
    assert next(batches).items == 12
    picture(photos / "new.png", 1)
    assert next(batches).report.added == 1
    stop.set()
    assert list(batches) == []


def test_the_missing_library_is_named(photos: Path, index: Path, monkeypatch: pytest.MonkeyPatch
                                      ) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with pytest.raises(MissingExtra, match=r"watching folders needs .*mmsearch\[watch\]"):
        following.follow(Collection.create(index), [photos])


def test_a_link_to_a_folder_that_is_watched_adds_nothing(tmp_path: Path) -> None:
    """As `iter_items` has it: each file once, by its real path."""
    folder, other = tmp_path / "photos", tmp_path / "other"
    for path in (folder / "a.jpg", folder / "sub" / "b.jpg", other / "c.jpg"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"pixels")
    changes = Changes([folder])
    for name, target in (("loop", folder), ("again", folder / "sub"), ("up", tmp_path),
                         ("out", other)):
        (folder / name).symlink_to(target)
    found = {name: {str(file.relative_to(folder)) for file in changes.files(folder / name)}
             for name in ("loop", "again", "out", "up")}
    assert found == {"loop": set(), "again": set(), "out": {"out/c.jpg"}, "up": set()}
    assert set(changes.files(folder)) == {folder / "a.jpg", folder / "sub" / "b.jpg"}
