"""Remote pictures, on the filesystems that fsspec brings itself: `memory://` and `file://`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from conftest import DEMO, Cli, add, scanned

from mmsearch.cli.sheet import contact_sheet
from mmsearch.collection.collection import Collection
from mmsearch.errors import MediaError, MissingExtra, UsageError
from mmsearch.records import Hit
from mmsearch.sources import locate, remote
from mmsearch.sources.folders import Scan, iter_items

PICTURES = sorted(DEMO.glob("*.jpg"))[:4]


@pytest.fixture
def memory() -> Iterator[Any]:
    """A bucket with pictures, and with what is none."""
    filesystem = fsspec.filesystem("memory")
    for number, path in enumerate(PICTURES):
        filesystem.pipe(f"/bucket/sub{number % 2}/{path.name}", path.read_bytes())
    for name in ("/bucket/notes.bin", "/bucket/.hidden/a.jpg", "/other/a.jpg"):
        filesystem.pipe(name, b"x")
    yield filesystem
    filesystem.store.clear()


def found(address: str, **options: Any) -> list[str]:
    return [item.uri for item in scanned(address, **options)[0]]


def test_what_is_below_an_address(memory: Any) -> None:
    names = sorted(f"sub{n % 2}/{path.name}" for n, path in enumerate(PICTURES))
    for address in ("memory://bucket", "memory://bucket/"):
        items, scan = scanned(address)
        assert [item.uri for item in items] == [f"memory://bucket/{name}" for name in names]
        assert (scan.roots, scan.skipped, scan.incomplete) == ([address], [], [])
    assert found("memory://bucket", exclude=["sub0/**"]) == [
        f"memory://bucket/{name}" for name in names if name.startswith("sub1")]
    assert found(f"memory://bucket/{names[0]}") == [f"memory://bucket/{names[0]}"]
    assert len(found("memory://")) == 5


def test_a_store_in_a_collection(
        collection: Collection, memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:

    def index() -> Any:
        return add(collection, "memory://bucket")  # type: ignore[arg-type]

    assert index().added == 4
    hit = collection.search(image=PICTURES[1], k=1)[0]
    assert hit.item.uri == f"memory://bucket/sub1/{PICTURES[1].name}" and hit.score > 0.99
    assert hit.item.meta["size"] == PICTURES[1].stat().st_size
    assert "data:image/jpeg" in contact_sheet([Hit(1, 1.0, hit.item)], title="t")
    assert collection.search(image=hit.item.uri, k=1)[0].item.uri == hit.item.uri
    reads = []
    monkeypatch.setattr(remote, "read", lambda uri: reads.append(uri))
    assert (index().unchanged, reads) == (4, [])
    monkeypatch.undo()

    memory.pipe(f"/bucket/sub1/{PICTURES[1].name}", PICTURES[0].read_bytes())
    memory.rm(f"/bucket/sub0/{PICTURES[2].name}")
    report = index()
    assert (report.replaced, report.removed, report.unchanged) == (1, 1, 2)
    memory.mv(f"/bucket/sub1/{PICTURES[3].name}", "/bucket/moved.jpg")
    assert (index().moved, len(collection.search(text="x", k=9))) == (1, 3)
    assert collection.delete(["memory://bucket/sub0"]) == 1


def test_pictures_are_fetched_ahead_and_none_is_kept(memory: Any) -> None:
    items = list(iter_items(["memory://bucket"], scan=Scan()))
    ahead = locate.ahead(items * 10)
    for _ in range(3):
        item = next(ahead)
        assert locate.read(item.uri)[0] == memory.cat(item.uri)
    ahead.close()  # type: ignore[attr-defined]
    assert locate._started == {}
    for item in locate.ahead(items):
        assert locate.read(item.uri) == (memory.cat(item.uri), item.fingerprint)
    assert locate._started == {}


def test_what_is_large_is_not_fetched_before_its_turn(
        memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    items = list(iter_items(["memory://bucket"], scan=Scan()))
    sizes = sorted(len(memory.cat(item.uri)) for item in items)
    monkeypatch.setattr(locate, "_LARGE", sizes[2])
    seen = 0
    for item in locate.ahead(items):
        small = len(memory.cat(item.uri)) < sizes[2]
        assert (item.uri in locate._started) == small
        assert locate.read(item.uri) == (memory.cat(item.uri), item.fingerprint)
        seen += small
    assert seen == 2 and locate._started == {}


def test_nothing_is_dropped_because_a_store_cannot_be_listed(
        collection: Collection, memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    add(collection, "memory://bucket")  # type: ignore[arg-type]
    really = type(memory).ls

    def failing(self: Any, path: str, detail: bool = True, **options: Any) -> Any:
        if path.endswith("sub1"):
            raise ConnectionError("the line is down")
        return really(self, path, detail=detail, **options)

    monkeypatch.setattr(type(memory), "ls", failing)
    report = add(collection, "memory://bucket")  # type: ignore[arg-type]
    assert (report.removed, [one.reason for one in report.skipped]) == (
        0, ["cannot be read: the line is down"])


def test_a_folder_by_its_address(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    shutil.copy(PICTURES[0], tmp_path / "p" / "a.jpg")
    uris = found(f"file://{tmp_path}/p")
    assert uris == [f"file://{tmp_path}/p/a.jpg"]
    assert locate.read(uris[0])[0] == PICTURES[0].read_bytes()
    assert not locate.is_removed(uris[0])
    (tmp_path / "p" / "a.jpg").unlink()
    assert locate.is_removed(uris[0])
    with pytest.raises(MediaError, match="cannot be read"):
        locate.read(uris[0])


@pytest.mark.parametrize(("address", "said"), [
    ("memory://nowhere", "there is nothing at memory://nowhere"),
    ("zip::memory://bucket", "zip::memory"),
    ("reference://x", "reference:// addresses cannot be indexed"),
    ("https://example.org/a.jpg", "where a manifest names it"),
    ("gs://bucket/x", "gcsfs"),
])
def test_addresses_that_are_refused(memory: Any, address: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        scanned(address)


def test_without_fsspec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtra, match=r"mmsearch\[remote\]"):
        scanned("s3://bucket")


def test_the_command_line(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "p").mkdir()
    shutil.copy(PICTURES[0], tmp_path / "p" / "a.jpg")
    assert "added 1" in cli("index", f"file://{tmp_path}/p").stdout
    found = cli("query", "--image", f"file://{tmp_path}/p/a.jpg", "--filepath-only").stdout
    assert found == f"file://{tmp_path}/p/a.jpg\n"
    assert cli("delete", f"file://{tmp_path}/p").stdout == "deleted 1 item\n"
    missing = cli("index", "gs://bucket")
    assert missing.returncode == 2 and "gcsfs" in missing.stderr


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    for address in ("sftp://me:hush@host/photos", "ftp://me:@host/a", "sftp://:hush@host/a"):
        with pytest.raises(UsageError, match=r"FSSPEC_S?FTP_PASSWORD") as error:
            remote.check(address)
        assert "hush" not in str(error.value)
        with pytest.raises(MediaError) as failed:
            remote.read(address)
        assert "hush" not in str(failed.value)
