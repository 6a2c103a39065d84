"""Pictures in a column of Parquet: indexed, read and shown from there."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from conftest import DEMO, Cli, add, scanned

from mmsearch.cli.sheet import contact_sheet
from mmsearch.collection.collection import Collection
from mmsearch.errors import MediaError
from mmsearch.records import Hit
from mmsearch.sources import locate

PICTURES = [path.read_bytes() for path in sorted(DEMO.glob("*.jpg"))[:5]]


def write(path: Path, rows: list[dict[str, Any]], rows_a_group: int = 3) -> Path:
    parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=rows_a_group)
    return path


def dataset(path: Path) -> Path:
    """As `datasets` writes it."""
    return write(path, [{"image": {"bytes": data, "path": f"train/{n}.jpg"}, "label": n,
                         "caption": f"picture number {n}"} for n, data in enumerate(PICTURES)])


def test_the_layout_of_hugging_face(tmp_path: Path) -> None:
    path = dataset(tmp_path / "train.parquet")
    items, scan = scanned(path)
    picture, caption = items[:2]
    assert picture.uri == f"{path}!/1/0.jpg"
    assert (caption.uri, caption.text) == (f"{path}!/1/0.jpg#caption1", "picture number 0")
    assert caption.group == picture.uri == picture.group
    assert picture.meta["label"] == 0 and picture.meta["manifest"] == str(path)
    assert "bytes" not in picture.meta and "path" not in picture.meta
    assert [locate.read(one.uri) for one in items[::2]] == [
        (data, one.fingerprint) for data, one in zip(PICTURES, items[::2], strict=True)]
    assert scan.skipped == []


def test_a_plain_column_of_bytes_and_rows_without_a_picture(tmp_path: Path) -> None:
    (tmp_path / "there.jpg").write_bytes(b"pixels")
    plain = write(tmp_path / "a.parquet", [{"image": PICTURES[0]}, {"image": None},
                                           {"image": PICTURES[1]}])
    items, scan = scanned(plain)
    assert [item.uri for item in items] == [f"{plain}!/1", f"{plain}!/3"]
    assert [one.path for one in scan.skipped] == [f"{plain}:2"]
    mixed = write(tmp_path / "b.parquet", [
        {"image": {"bytes": None, "path": "there.jpg"}, "text": "a file"},
        {"image": {"bytes": PICTURES[0], "path": None}, "text": "inside"}])
    assert [item.uri for item in scanned(mixed)[0] if item.kind == "image"] == [
        f"{tmp_path}/there.jpg", f"{mixed}!/2"]


@pytest.mark.parametrize("in_order", [True, False])
def test_rows_are_read_in_any_order_from_many_threads(tmp_path: Path, in_order: bool) -> None:
    files = [bytes([n % 256]) * (n + 1) for n in range(500)]
    path = write(tmp_path / "a.parquet", [{"image": data} for data in files], 130)
    order = list(range(500))
    if not in_order:
        random.Random(0).shuffle(order)
    with ThreadPoolExecutor(8) as threads:
        found = threads.map(lambda n: locate.read(f"{path}!/{n + 1}")[0], order)
        assert list(found) == [files[n] for n in order]


def test_what_is_not_there(tmp_path: Path) -> None:
    path = dataset(tmp_path / "a.parquet")
    for name in ("6", "0", "-1", "x", "../1", "\ufffd00"):
        with pytest.raises(MediaError):
            locate.read(f"{path}!/{name}")
        assert locate.is_removed(f"{path}!/{name}") == (name != "0")
    path.write_bytes(b"PAR1 nonsense")
    with pytest.raises(MediaError):
        locate.read(f"{path}!/1")
    assert not locate.is_removed(f"{path}!/1")  # who knows
    path.unlink()
    assert locate.is_removed(f"{path}!/1")


def test_embedded_pictures_in_a_collection(
        tmp_path: Path, collection: Collection, cli: Cli) -> None:
    path = dataset(tmp_path / "a.parquet")
    assert add(collection, path).added == 10
    assert add(collection, path).unchanged == 10
    hit = collection.search(image=PICTURES[2], k=1)[0]
    assert hit.item.uri == f"{path}!/3/2.jpg" and hit.score > 0.99
    assert collection.search(text="picture number 4", find="text", k=1)[0].item.group == \
        f"{path}!/5/4.jpg"
    assert "data:image/jpeg" in contact_sheet([Hit(1, 1.0, hit.item)], title="t")

    rows = [{"image": {"bytes": data, "path": f"{n}.jpg"}} for n, data in enumerate(PICTURES[:3])]
    rows[0]["image"]["bytes"] = PICTURES[4]
    write(path, rows)
    report = add(collection, path)
    assert (report.replaced, report.unchanged + report.updated, report.removed) == (1, 2, 7)
    assert cli("delete", path, "-i", collection.path).stdout == "deleted 3 items\n"
