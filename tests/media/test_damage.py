"""Damaged files of every format: none ends a run, and each is in the index or in the report."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from conftest import Cli, add
from damaging import damage, make_damaged, samples, with_checksums
from PIL import Image

from mmsearch.collection.collection import Collection
from mmsearch.formats import may_move
from mmsearch.ingest.prepare import Preparer
from mmsearch.media.video import _Seekable
from mmsearch.sources.folders import iter_items
from mmsearch.sources.scan import Scan, Skipped
from mmsearch.storage.catalog import CATALOG, Catalog

COUNT = 2 * len(samples())


def test_a_run_over_damaged_files_of_all_formats(tmp_path: Path, cli: Cli) -> None:
    """Two files of each format, in a process of their own that a decoder might end: each file is
    in the index, or in the report with a reason that can be read."""
    files = make_damaged(tmp_path / "damaged", COUNT, seed=1)
    manifests = [one.path for one in files if one.is_manifest]
    done = cli("index", tmp_path / "damaged", *manifests, "--archives", "-i", tmp_path / "index",
               "--json")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    skipped = {one["path"]: one["reason"] for one in json.loads(done.stdout)["skipped"]}
    assert all(why.isprintable() and not re.search(r"Traceback|object at 0x|^\w+Error$", why)
               for why in skipped.values())
    mentioned = {re.split(r"!/|#|:\d+$", path)[0] for path in skipped}
    for item in (row.item for row in Catalog(tmp_path / "index" / CATALOG).rows()):
        beside = Path(item.uri.partition("#")[0]).with_name
        mentioned |= {re.split("!/|#", item.uri)[0], item.meta.get("manifest"),
                      *(str(beside(name)) for name in item.fingerprint.split("/")[2::2])}
    assert [one.path for one in files if str(one.path) not in mentioned] == []


def test_damage_is_done() -> None:
    sound = samples()["JPEG"].make("")
    damaged = [damage(sound, random.Random(seed))[0] for seed in range(50)]
    assert sum(one != sound for one in damaged) > 45


def test_checksums_are_set_right(tmp_path: Path) -> None:
    png = bytearray(samples()["PNG"].make(""))
    png[16:20] = (100).to_bytes(4, "big")
    image = Image.open(BytesIO(with_checksums(bytes(png))))  # it refuses a wrong checksum
    assert image.width == 100
    tar = bytearray(samples()[".tar"].make(""))
    tar[:4] = b"abcd"
    with tarfile.open(fileobj=BytesIO(with_checksums(bytes(tar)))) as found:
        assert found.getnames()[0] == "abcd.jpg"


# --- what was found so --------------------------------------------------------------------------


def scanned(*paths: Path, archives: bool = False) -> list[Skipped]:
    scan = Scan()
    for _ in iter_items(paths, archives=archives, scan=scan):
        pass
    return scan.skipped


def test_a_damaged_manifest_does_not_cost_the_other_files(tmp_path: Path, photos: Path) -> None:
    damaged = tmp_path / "m.parquet"
    damaged.write_bytes(b"PAR1 or so")
    collection = Collection.create(tmp_path / "index")
    report = add(collection, damaged, photos)
    assert report.added == 12
    assert [one.path for one in report.skipped] == [str(damaged)]
    assert report.skipped[0].reason.startswith("is no Parquet file, or damaged")


@pytest.mark.parametrize("seed", range(20))
def test_what_pyarrow_says_of_damage_is_a_reason(seed: int, tmp_path: Path) -> None:
    data = BytesIO()
    rows = [{"image": f"{n}.jpg", "caption": f"number {n}"} for n in range(50)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), data)
    path = tmp_path / "m.parquet"
    path.write_bytes(damage(data.getvalue(), random.Random(seed))[0])
    for one in scanned(path):
        assert one.path.startswith(str(path)) and one.reason.isprintable() and one.reason


def test_a_file_with_nothing_in_it_is_mentioned(tmp_path: Path) -> None:
    for name in ("a.txt", "b.md"):
        (tmp_path / name).write_text(" \n\n")
    (tmp_path / "c.jsonl").write_text("\n")
    with tarfile.open(tmp_path / "d.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("code.c"), BytesIO())
    found = scanned(tmp_path, tmp_path / "c.jsonl", archives=True)
    assert {(Path(one.path).name, one.reason) for one in found} == {
        ("a.txt", "no text in it"), ("b.md", "no text in it"), ("c.jsonl", "no rows in it"),
        ("d.tar", "no picture and no text in it that could be indexed")}


def test_an_archive_with_nothing_in_it_is_mentioned_again(tmp_path: Path, photos: Path) -> None:
    with tarfile.open(tmp_path / "d.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("code.c"), BytesIO())
    collection = Collection.create(tmp_path / "index")
    first, second = (add(collection, photos, tmp_path / "d.tar").skipped for _ in range(2))
    assert first == second and len(first) == 1


def test_a_webp_of_a_few_bytes(tmp_path: Path) -> None:
    sound = samples()["WebP animated"].make("")
    assert may_move(sound) and not any(may_move(sound[:length]) for length in range(21))
    (tmp_path / "a.webp").write_bytes(sound[:18])
    report = add(Collection.create(tmp_path / "index"), tmp_path)
    assert [one.reason for one in report.skipped] and not report.added


def test_an_error_that_nobody_foresaw_costs_one_file(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = sorted(photos.iterdir())[3]
    prepare = Preparer.of

    def broken(*given: Any) -> Any:
        if given[-1].uri == str(victim):
            raise AttributeError("no such thing")
        return prepare(*given)

    monkeypatch.setattr(Preparer, "of", broken)
    report = add(Collection.create(tmp_path / "index"), photos)
    assert report.added == 11
    assert report.skipped == [
        Skipped(str(victim), "damaged or unsupported file: no such thing")]


def test_a_video_that_points_outside_of_itself() -> None:
    """FFmpeg is told so by a number: PyAV writes what is raised to stderr."""
    handle = _Seekable(BytesIO(b"abc"))
    assert [handle.seek(2), handle.tell(), handle.seek(-5), handle.seek(-1, 1)] == [2, 2, -1, 1]
    assert handle.seek(1 << 80) == -1
    assert handle.read() == b"bc"


def test_a_reason_is_one_line_that_can_be_read() -> None:
    assert Skipped("a", "two\nlines\x1b[2J of \0 it").reason == "two lines\\x1b[2J of \\x00 it"
    assert len(Skipped("a", "x" * 1000).reason) == 300


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_threads_share_one_heap(tmp_path: Path) -> None:
    script = """
import ctypes, sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from mmsearch.cli.index import share_one_heap
if sys.argv[2] == "shared":
    share_one_heap()
libc, together = ctypes.CDLL(None), Barrier(8)
libc.malloc.restype = ctypes.c_void_p
def work(_):
    together.wait()
    return [libc.malloc(1000) for _ in range(1000)]
with ThreadPoolExecutor(8) as pool:
    list(pool.map(work, range(8)))
    libc.fopen.restype = ctypes.c_void_p
    out = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
    libc.malloc_info(0, out)
    libc.fclose(out)
"""
    heaps = {}
    for how in ("shared", "as it comes"):
        file = tmp_path / f"{how}.xml"
        subprocess.run([sys.executable, "-c", script, str(file), how], check=True)
        heaps[how] = file.read_text().count("<heap nr=")
    assert heaps["shared"] == 1 < heaps["as it comes"]
