"""What a second run notices: changes that size and time do not tell, disks that are not there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from conftest import DEMO, Cli, add
from PIL import Image

from mmsearch.collection.collection import Collection
from mmsearch.errors import CollectionNotFound
from mmsearch.ingest import work
from mmsearch.ingest.vanished import MANY
from mmsearch.records import Item
from mmsearch.sources.sidecars import brought_up
from mmsearch.storage.catalog import Catalog, Change


@pytest.fixture
def index(tmp_path: Path) -> Collection:
    return Collection.create(tmp_path / "index")


def picture(path: Path, colour: str) -> Path:
    """All of one size: uncompressed."""
    Image.new("RGB", (64, 64), colour).save(path, "BMP")
    return path


def stripped(fingerprint: str) -> str:
    """As it was written before it had the time of change."""
    parts = fingerprint.split("/")
    for at in (0, *range(1, len(parts), 2)):
        parts[at] = ":".join(parts[at].split(":")[:2])
    return "/".join(parts)


def as_before(index: Collection) -> None:
    """Give all items the fingerprints that an earlier version wrote."""
    with closing(Catalog(index.path / "catalog.db", write=True)) as catalog:
        for row in list(catalog.rows(None)):
            item = row.item
            old = Item(item.uri, item.kind, item.text, item.group, item.meta,
                       stripped(item.fingerprint))
            catalog.commit(Change(update=[(row.id, old)]))


def fingerprints(index: Collection) -> dict[str, str]:
    with closing(Catalog(index.path / "catalog.db")) as catalog:
        return {row.item.uri: row.item.fingerprint for row in catalog.rows(None)}


@pytest.mark.parametrize("how", ["edited in place", "put in its place", "rsync -t"])
def test_a_change_of_the_same_size_and_time(index: Collection, folder: Path, how: str) -> None:
    file, other = picture(folder / "a.bmp", "red"), picture(folder.parent / "b.bmp", "blue")
    add(index, folder)
    before = file.stat()
    if how == "edited in place":
        file.write_bytes(other.read_bytes())
    else:
        shutil.copyfile(other, folder / ".a.tmp")
        (folder / ".a.tmp").replace(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    report = add(index, folder)
    assert (report.replaced, report.unchanged) == (1, 0)
    assert add(index, folder).unchanged == 1


def test_a_changed_mode_reads_but_does_not_encode(index: Collection, photos: Path) -> None:
    add(index, photos)
    for path in photos.iterdir():
        path.chmod(0o600)
    report = add(index, photos)
    assert (report.unchanged, report.replaced, "encode" in report.stages) == (12, 0, False)


def test_the_first_run_after_an_upgrade_reads_nothing(index: Collection, photos: Path) -> None:
    (photos / "cat.txt").write_text("a cat")
    (photos / "notes.md").write_text("some notes")
    Image.new("RGB", (80, 80)).save(photos / "two.gif", save_all=True, append_images=[
        Image.new("RGB", (80, 80), "red")])
    add(index, photos)
    today = fingerprints(index)
    as_before(index)
    assert fingerprints(index) != today
    moved = sorted(photos.glob("*.jpg"))[-1]
    moved.rename(photos / "moved.jpg")
    for path in set(photos.iterdir()) - {photos / "moved.jpg"}:
        os.utime(path, ns=(1, path.stat().st_mtime_ns))
    as_today = {str(path): path.stat() for path in photos.iterdir()}
    report = add(index, photos)
    assert (report.moved, report.added, report.replaced, report.updated, report.removed) == (
        1, 0, 0, 0, 0)
    assert "encode" not in report.stages
    unread = [path for path in photos.iterdir() if path.stat().st_atime_ns == 1]
    assert {path.name for path in photos.iterdir()} - {path.name for path in unread} <= {
        "moved.jpg", "cat.txt", "notes.md"}
    for uri, now in fingerprints(index).items():
        if uri in as_today:
            assert f":{as_today[uri].st_ctime_ns}" in now
    assert add(index, photos).updated == 0


def test_a_change_is_seen_by_what_an_earlier_version_wrote(index: Collection,
                                                            folder: Path) -> None:
    picture(folder / "a.bmp", "red")
    add(index, folder)
    as_before(index)
    picture(folder / "a.bmp", "blue")
    assert add(index, folder).replaced == 1


@pytest.mark.parametrize(("before", "now", "known"), [
    ("1:2", "1:2:3", "1:2:3"), ("1:2", "1:22:3", "1:2"), ("1:2:3", "1:2:4", "1:2:3"),
    ("1:2/5:6/x.txt", "1:2:3/5:6:7/x.txt", "1:2:3/5:6:7/x.txt"),
    ("1:2/5:6/x.txt", "1:2:3/5:9:7/x.txt", "1:2:3/5:6/x.txt"),
    ("1:2/5:6/x.txt", "1:2:3", "1:2:3/5:6/x.txt"),
    ("1:2", "1:2:3/5:6:7/x.txt", "1:2:3"), ("1:crc=2", "1:crc=2", "1:crc=2"), ("", "1:2:3", ""),
    ("text:ab", "1:2:3", "text:ab")])
def test_fingerprints_of_earlier_versions(before: str, now: str, known: str) -> None:
    assert brought_up(before, now) == known


@pytest.mark.parametrize("flag", ["--reread", "--force"])
def test_reread(cli: Cli, photos: Path, flag: str) -> None:
    (photos / "notes.txt").write_text("a line")
    assert "added 13" in cli("index", photos).stdout
    assert cli("index", photos).stdout == "unchanged 13, items 13, skipped 0\n"
    assert cli("index", photos, flag).stdout == \
        "replaced 12, unchanged 1, items 13, skipped 0\n"
    assert cli("verify").returncode == 0


def test_a_folder_that_is_empty_now_may_be_a_disk(index: Collection, folder: Path) -> None:
    (folder / "disk" / "deep").mkdir(parents=True)
    for n in range(MANY):
        picture(folder / "disk" / "deep" / f"{n}.bmp", f"#{n:06x}")
    picture(folder / "a.bmp", "red")
    add(index, folder)
    shutil.rmtree(folder / "disk" / "deep")
    report = add(index, folder)
    assert (report.removed, [skip.path for skip in report.skipped]) == (0, [str(folder / "disk")])
    assert "is empty (not mounted?)" in report.skipped[0].reason
    assert index.count() == MANY + 1
    (folder / "disk").rmdir()
    assert add(index, folder).removed == MANY


def test_a_link_to_a_disk_that_is_gone(index: Collection, tmp_path: Path, folder: Path) -> None:
    (tmp_path / "disk").mkdir()
    for n in range(MANY):
        picture(tmp_path / "disk" / f"{n}.bmp", f"#{n:06x}")
    picture(folder / "a.bmp", "red")
    (folder / "link").symlink_to(tmp_path / "disk")
    assert add(index, folder).added == MANY + 1
    shutil.rmtree(tmp_path / "disk")
    assert add(index, folder).removed == 0


def test_a_folder_that_held_little_or_whose_pictures_moved(index: Collection,
                                                           folder: Path) -> None:
    (folder / "few").mkdir()
    (folder / "moved").mkdir()
    for n in range(MANY):
        picture(folder / "moved" / f"{n}.bmp", f"#{n:06x}")
    for n in range(MANY - 1):
        picture(folder / "few" / f"{n}.bmp", f"#{n + 100:06x}")
    add(index, folder)
    for n, path in enumerate([*(folder / "few").iterdir(), *(folder / "moved").iterdir()]):
        path.unlink() if path.parent.name == "few" else path.rename(folder / f"new{n}.bmp")
    report = add(index, folder)
    assert (report.removed, report.moved, report.skipped) == (MANY - 1, MANY, [])


def test_what_was_done_in_the_first_seconds_is_kept(tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    first = (DEMO / "bus.jpg").read_bytes()
    for n in range(3000):  # each another content
        (many / f"{n}.jpg").write_bytes(first + n.to_bytes(4, "big"))
    # Tests that a shell runs in the background ignore SIGINT, and so would what they start.
    run = subprocess.Popen([sys.executable, "-m", "mmsearch", "index", many, "-i",
                            tmp_path / "index"], stderr=subprocess.PIPE, text=True,
                           preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    kept, end = 0, time.monotonic() + 120
    while not kept and time.monotonic() < end:  # 5 s, where nothing else runs
        time.sleep(0.2)
        with suppress(CollectionNotFound):
            kept = Collection.open(tmp_path / "index").count()
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130, said
    assert work.FIRST_SHARD <= kept <= Collection.open(tmp_path / "index").count() < 3000


def test_what_was_found_first_is_committed_though_the_walk_takes_long(
        index: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "FIRST_SECONDS", 0.05)

    def items() -> Iterator[Item]:
        yield Item("/t/a", "text", "a")
        time.sleep(0.1)
        yield Item("/t/b", "text", "b")
        assert index.count(find="text") == 2
        yield Item("/t/c", "text", "c")

    assert index.add(items()).added == 3
