"""What goes wrong in real life: kills, full disks, damage, a second writer. Nothing is lost."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import pytest
from conftest import Cli, add, somebody_else

from mmsearch.collection.collection import Collection
from mmsearch.collection.repair import repair_collection
from mmsearch.errors import (
    CollectionBusy,
    CollectionDamaged,
    CollectionError,
    CollectionNotFound,
    MmsearchError,
)
from mmsearch.storage.catalog import CATALOG, Catalog
from mmsearch.storage.lock import writer_lock
from mmsearch.storage.verify import find_problems

MMSEARCH = [sys.executable, "-m", "mmsearch"]


def may_mount() -> None:
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a file system of his own")


def many_lines(path: Path, lines: int) -> Path:
    rng = random.Random(0)
    words = ["red", "blue", "dog", "cat", "sea", "sun", "old", "new", "car", "tree", "house"]
    path.write_text("".join(f"{' '.join(rng.sample(words, 4))} {n}\n" for n in range(lines)))
    return path


def committed(index: Path) -> set[str]:
    """The uris of a sound collection; none if nothing has been committed yet."""
    try:
        collection = Collection.open(index)
    except CollectionNotFound:
        return set()
    with collection:
        assert collection.verify() == []
        return {row.item.uri for row in collection.vectors("text")[0]}


def test_sigkill_at_random_moments_loses_nothing_committed(tmp_path: Path) -> None:
    """What was committed stays, and a last run completes (bench/crash.py does it a hundred times).
    """
    lines = 2500
    notes, index = many_lines(tmp_path / "notes.txt", lines), tmp_path / "index"
    command = [*MMSEARCH, "index", str(notes), "-i", str(index)]
    rng, before, interrupted = random.Random(1), set[str](), 0
    for _ in range(6):
        run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.2, 3.0))
        run.send_signal(signal.SIGKILL)
        interrupted += run.wait() == -signal.SIGKILL
        after = committed(index)
        assert before <= after
        before = after
    assert interrupted
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert len(committed(index)) == lines, done.stdout
    names = {path.name for path in (index / "segments").iterdir()}
    assert names == {info.name for info in Catalog(index / CATALOG).segments()}


CHURN = Path(__file__).parents[2] / "bench" / "churn.py"


@pytest.mark.parametrize("storm", [[], ["--storm"]])
def test_readers_see_whole_changes_while_writers_are_killed(
        tmp_path: Path, storm: list[str]) -> None:
    """With a writer that changes, merges and compacts (see there)."""
    done = subprocess.run([sys.executable, CHURN, "--cache", tmp_path, "--kills", "3", "--seconds",
                           "1.5", *storm], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout.splitlines()[0])
    assert counts["kills"] == 3
    assert min(counts[what] for what in ("searches", "add", "compact")) > 0


def test_a_full_disk_during_a_merge_loses_nothing(tmp_path: Path, photos: Path) -> None:
    may_mount()
    index, disk = tmp_path / "index", tmp_path / "disk"
    collection = Collection.create(index)
    add(collection, many_lines(tmp_path / "notes.txt", 1500))
    add(collection, photos)
    collection.delete([f"{tmp_path}/notes.txt#L{n}" for n in range(1, 9)])
    collection.close()
    disk.mkdir()
    run = " ".join(MMSEARCH)
    script = f"""
        size=$(du -sk {index} | cut -f1)
        mount -t tmpfs -o size=$((size + 600))k none {disk} && cp -r {index}/. {disk} || exit 90
        {run} compact -i {disk}; echo "status $?"
        ls {disk}/segments | grep -c tmp
        {run} verify -i {disk} || exit 91
        {run} info -i {disk} --json
        mount -o remount,size=$((3 * size))k {disk} && {run} compact -i {disk} || exit 92
        {run} verify -i {disk} || exit 93
    """
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "status 1\n0\n" in done.stdout
    assert '"items": 1504' in done.stdout
    assert [line for line in done.stderr.splitlines() if line.startswith("mmsearch:")]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("part", [0.0, 0.3, 0.999])
def test_every_file_cut_short_is_named_and_no_command_breaks(
        tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, part: float) -> None:
    monkeypatch.setattr("mmsearch.indexes.kinds.EXACT_UP_TO", 10)
    monkeypatch.setattr("mmsearch.indexes.kinds.AUTO", "ivf-rabitq")  # so few train no other
    collection = Collection.create(tmp_path / "sound")
    add(collection, photos)
    collection.close()
    files = [path.relative_to(tmp_path / "sound") for path in (tmp_path / "sound").rglob("*")
             if path.is_file() and path.stat().st_size
             and path.name not in ("writer.json", "catalog.db-shm")]
    assert {"index.faiss", "ids.npy", "catalog.db"} < {path.name for path in files}
    for file in files:
        index = tmp_path / "index"
        shutil.copytree(tmp_path / "sound", index)
        os.truncate(index / file, int((index / file).stat().st_size * part))
        assert file.name in "\n".join(map(str, find_problems(index)))
        for attempt in (lambda index=index: Collection.open(index).search(text="a cat"),
                        lambda index=index: Collection.open(index).info(),
                        lambda index=index: add(Collection.open(index), photos)):
            try:
                attempt()
            except MmsearchError as error:  # one clear sentence, and nothing else
                assert ("verify" in str(error)) == (f"verify --repair -i {index}" in str(error))
        repair_collection(index)
        if file.name != "catalog.db":
            assert find_problems(index) == []
            assert len(Collection.open(index).search(
                text="a cat", k=20, where="width >= 1")) == 12
        shutil.rmtree(index)


def test_a_second_writer_is_told_who_the_first_is(tmp_path: Path, photos: Path, cli: Cli) -> None:
    index = tmp_path / "index"
    add(Collection.create(index), photos)
    with writer_lock(index):
        with pytest.raises(CollectionBusy, match=f"process {os.getpid()} on "):
            Collection.open(index).delete(["/x"])
        done = cli("index", photos, "-i", index)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"process {os.getpid()}" in done.stderr
        assert done.stderr.count("\n") == 1
        assert cli("query", "a cat", "-i", index).returncode == 0
    assert cli("index", photos, "-i", index).returncode == 0


def test_a_full_disk_is_said_and_nothing_committed_is_lost(tmp_path: Path, cli: Cli) -> None:
    """On a real file system of a megabyte and a half, mounted in a namespace of its own."""
    may_mount()
    disk, first = tmp_path / "disk", tmp_path / "first.txt"
    disk.mkdir()
    first.write_text("a green boat\n")
    notes = many_lines(tmp_path / "notes.txt", 2000)
    run = " ".join(MMSEARCH)
    script = f"""
        mount -t tmpfs -o size=1500k none {disk}
        {run} index {first} -i {disk}/index || exit 90
        {run} index {notes} -i {disk}/index; echo "status $?"
        {run} verify -i {disk}/index || exit 91
        {run} query "a green boat" --find text -k 1 -i {disk}/index --json
    """
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "status 1" in done.stdout
    assert "is sound" in done.stdout
    assert "a green boat" in done.stdout
    complaint = [line for line in done.stderr.splitlines() if line.startswith("mmsearch:")]
    assert len(complaint) == 1
    assert "space" in complaint[0]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("damage", ["garbage", "empty"])
def test_a_catalog_of_which_nothing_is_left_is_named_and_nothing_is_deleted(
        tmp_path: Path, photos: Path, cli: Cli, damage: str) -> None:
    index = tmp_path / "index"
    collection = Collection.create(index)
    add(collection, photos)
    collection.close()
    catalog = index / "catalog.db"
    sound = catalog.read_bytes()
    for extra in index.glob("catalog.db-*"):
        extra.unlink()
    catalog.write_bytes(b"\x00\x01garbage" * 5000 if damage == "garbage" else b"")
    segments = sorted((index / "segments").rglob("*"))
    for command in (["query", "cat"], ["index", photos], ["info"]):
        done = cli(*command, "-i", index)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), (command, done.stderr)
        assert "catalog.db" in done.stderr and "index again into a new" in done.stderr
        assert "--repair" not in done.stderr
    for options in ([], ["--repair"], []):
        done = cli("verify", *options, "-i", index)
        assert (done.returncode, "verify --repair" in done.stderr) == (1, not options)
        assert "catalog.db" in done.stdout
    assert sorted((index / "segments").rglob("*")) == segments
    catalog.write_bytes(sound)
    assert cli("verify", "-i", index).returncode == 0


@pytest.mark.parametrize("closed", ["", "catalog.db"])
def test_a_catalog_that_may_not_be_read(photos: Path, closed: str) -> None:
    with tempfile.TemporaryDirectory() as name:  # those of pytest are closed to others anyway
        index = Path(name) / "index"
        with Collection.create(index) as collection:
            add(collection, photos)
        Path(name).chmod(0o755)
        (index / closed).chmod(0)
        with somebody_else():
            for read in (Collection.open, find_problems):
                with pytest.raises(CollectionError, match="db cannot be read: Permission denied"):
                    read(index)


@pytest.mark.parametrize("golden", ["", "format-2"])
def test_searching_works_on_read_only_media(tmp_path: Path, photos: Path, golden: str) -> None:
    may_mount()
    index, disk = tmp_path / "index", tmp_path / "disk"
    if golden:
        index = Path(__file__).parent / "golden" / golden
    else:
        collection = Collection.create(index)
        add(collection, photos)
        collection.close()
    disk.mkdir()
    script = f"""
        mount -t tmpfs none {disk} && cp -r {index}/. {disk} && rm -f {disk}/*-shm {disk}/*-wal
        mount -o remount,ro {disk}; touch {disk}/x && exit 90
        {" ".join(MMSEARCH)} query "a cat" -k 5 --filepath-only -i {disk}
        {" ".join(MMSEARCH)} verify -i {disk}
    """
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True)
    assert done.stdout.count("\n") == 6, done.stderr
    assert "is sound" in done.stdout


def test_a_killed_writers_leftovers_are_removed_by_the_next(tmp_path: Path, photos: Path) -> None:
    index = tmp_path / "index"
    collection = Collection.create(index)
    add(collection, photos)
    kept = next((index / "segments").iterdir())
    shutil.copytree(kept, index / "segments" / "image-000000000099-000000000111-abcdef")
    shutil.copytree(kept, index / "segments" / ".tmp-x")
    (index / "ann-image-000000000099").mkdir()
    collection.delete(["/nothing"])
    assert list((index / "segments").iterdir()) == [kept]
    assert not list(index.glob("ann-*"))
    assert json.loads((index / "writer.json").read_text())["pid"] == os.getpid()


MAKE_MANY = """
import sys
from pathlib import Path
from mmsearch.storage import Catalog, create_catalog
for n in range(300):
    root = Path(sys.argv[1], str(n))
    root.mkdir()
    create_catalog(root / "catalog.db", {"encoder": "x"})
    Catalog(root / "catalog.db", write=True).close()
"""


def test_a_reader_sees_a_new_catalog_whole_or_not_at_all(tmp_path: Path) -> None:
    """Once seen: "database disk image is malformed", for an instant."""
    made, seen = subprocess.Popen([sys.executable, "-c", MAKE_MANY, tmp_path]), 0
    for n in range(300):
        end = time.monotonic() + 60
        while True:
            try:
                with closing(Catalog(tmp_path / str(n) / CATALOG)) as catalog:
                    assert catalog.settings["encoder"] == "x"
                break
            except CollectionNotFound:
                seen += 1
                assert time.monotonic() < end
    assert made.wait() == 0
    assert seen


def test_what_a_killed_maker_left_is_no_obstacle(tmp_path: Path, photos: Path) -> None:
    index = tmp_path / "index"
    index.mkdir()
    for name in (CATALOG, f"{CATALOG}-journal", f".tmp-{CATALOG}-wal"):
        (index / name).touch()
    (index / f".tmp-{CATALOG}").write_bytes(os.urandom(4096))
    add(Collection.create(index), photos)
    assert find_problems(index) == []
    assert not list(index.glob(".tmp-*"))


def test_damage_that_sqlite_notices_late_is_still_one_plain_line(tmp_path: Path) -> None:
    index = tmp_path / "index"
    collection = Collection.create(index)
    add(collection, many_lines(tmp_path / "notes.txt", 300))
    collection.close()
    catalog = index / "catalog.db"
    for extra in index.glob("catalog.db-*"):  # empty ones, of a reader that may not remove them
        assert extra.name.endswith("-shm") or not extra.stat().st_size
        extra.unlink()
    data = bytearray(catalog.read_bytes())
    for at in range(8192, len(data) - 4096, 4096):
        data[at : at + 64] = os.urandom(64)
    catalog.write_bytes(data)
    with pytest.raises(CollectionDamaged, match=r"catalog\.db is damaged"):
        Collection.open(index).search(text="a dog", find="text", where="text ~ dog")


def test_a_folder_that_is_refused_is_left_as_it_was(tmp_path: Path, photos: Path, cli: Cli) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "writer.json").write_text("my novel")
    (mine / "locks.jpg").write_text("x")
    assert cli("index", photos, "-i", mine).returncode == 2
    assert {path.name: path.read_text() for path in mine.iterdir()} == {
        "writer.json": "my novel", "locks.jpg": "x"}


def test_info_and_delete_work_beside_a_missing_segment(
        tmp_path: Path, photos: Path, cli: Cli) -> None:
    index = tmp_path / "index"
    add(Collection.create(index), photos)
    shutil.rmtree(next((index / "segments").iterdir()))
    assert cli("info", "-i", index).returncode == 0
    verify = cli("verify", "-i", index, "--json")
    assert (verify.returncode, "missing" in verify.stdout) == (1, True)
    query = cli("query", "cat", "-i", index)
    assert (query.returncode, query.stderr.count("\n")) == (1, 1)
    assert "missing" in query.stderr
    assert cli("delete", next(photos.glob("*.jpg")), "-i", index).stdout == "deleted 1 item\n"


def test_a_writer_does_not_wait_for_a_reader(tmp_path: Path, photos: Path) -> None:
    index = tmp_path / "index"
    collection = Collection.create(index)
    add(collection, photos)
    reader = Catalog(index / CATALOG)
    with reader.snapshot():
        assert reader.counts() == {"image": 12}
        start = time.monotonic()
        collection.delete([str(next(photos.glob("*.jpg")))])
        assert time.monotonic() - start < 15  # SQLite would have waited for 30
        assert reader.counts() == {"image": 12}


def test_a_query_writes_nothing_anywhere_and_calls_nobody(
        tmp_path: Path, photos: Path, cli: Cli) -> None:
    home = tmp_path / "home"
    home.mkdir()
    env = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    assert cli("index", photos, "-i", "x", env=env).returncode == 0
    assert cli("query", "a cat", "-i", "x", env=env).returncode == 0
    assert list(home.rglob("*")) == []
