"""Damaged files of every format: none ends a run, and each is in the index or in the report."""

from __future__ import annotations

import json
import re
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, add
from damaging import make_damaged, samples

from mmsearch.collection.collection import Collection
from mmsearch.ingest.prepare import Preparer
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


def test_a_reason_is_one_line_that_can_be_read() -> None:
    assert Skipped("a", "two\nlines\x1b[2J of \0 it").reason == "two lines\\x1b[2J of \\x00 it"
    assert len(Skipped("a", "x" * 1000).reason) == 300
