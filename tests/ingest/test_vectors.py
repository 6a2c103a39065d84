"""Vectors made elsewhere: reading .npy files and folders, and bringing them into a collection."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DEMO, Cli, add, numbers, unit_vectors
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from mmsearch.collection.collection import AddReport, Collection
from mmsearch.encoders import BUILTIN_DIR, load_encoder
from mmsearch.errors import (
    EncoderMismatch,
    MissingExtra,
    MmsearchError,
    ModelError,
    UsageError,
)
from mmsearch.indexes import ExactIndex, flatfile
from mmsearch.ingest import upkeep, vectors as importing
from mmsearch.records import IndexSpec, Kind
from mmsearch.sources.manifests import count_rows, read_columns
from mmsearch.sources.vector_files import VectorFile, lengths, query_vector, unit_rows
from mmsearch.sources.vector_sets import find_vectors

Columns = list[dict[str, Any]]


def columns(rows: int, **more: Any) -> Columns:
    return [{"image": f"pics/{n:04d}.jpg", "caption": f"thing {n}", "year": 2000 + n, **more}
            for n in range(rows)]


def write_manifest(path: Path, rows: Columns) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=7)
    elif path.suffix == ".csv":
        import csv

        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def save(path: Path, vectors: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, vectors)
    return path


def bring(root: Path, vectors: Path, manifest: Path | None = None, *, kind: Kind = "image",
          model: str = "") -> tuple[Collection, AddReport]:
    found = find_vectors(vectors, manifest, kind)
    collection = Collection.for_vectors(root, found, model=model)
    return collection, collection.add_vectors(found, model=model)


def uris(collection: Collection, vector: Any, k: int = 100, **options: Any) -> list[str]:
    return [hit.item.uri for hit in collection.search(vector=vector, k=k, **options)]


# --- files ---------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
                  elements=st.floats(-2, 2, width=32)), st.integers(1, 4), st.booleans())
def test_a_flat_file_is_what_faiss_writes(tmp_path_factory: pytest.TempPathFactory, rows: Any,
                                          block: int, known: bool) -> None:
    folder = tmp_path_factory.mktemp("flat")

    def blocks() -> Any:
        return iter([rows[at : at + block] for at in range(0, len(rows), block)])

    ExactIndex.build(blocks(), IndexSpec("exact")).save(folder / "faiss")
    with pytest.MonkeyPatch.context() as patch:
        if not known:
            patch.setattr(flatfile, "_as_known", lambda dim: False)
        else:
            assert flatfile._as_known(rows.shape[1])
        flatfile.write_flat(folder / "ours", blocks(), len(rows))
    assert (folder / "ours").read_bytes() == (folder / "faiss").read_bytes()


NUMBERS = {2: st.floats(width=16), 4: st.floats(width=32), 8: st.floats()}


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([2, 4, 8]).flatmap(lambda size: hnp.arrays(
    np.dtype(f"f{size}"), hnp.array_shapes(min_dims=2, max_dims=2, max_side=5),
    elements=NUMBERS[size])))
def test_rows_of_any_scale_come_to_unit_length(block: Any) -> None:
    usable = np.isfinite(block).all(axis=1) & (block != 0).any(axis=1)
    assert (lengths(block) > 0).tolist() == usable.tolist()
    if not usable.any():
        return
    rows = unit_rows(block[usable])
    exact = block[usable].astype(np.longdouble)
    exact /= np.abs(exact).max(axis=1, keepdims=True)
    exact /= np.sqrt((exact**2).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(rows, exact.astype(np.float64), rtol=6e-4, atol=1e-6)
    stored = rows.astype(np.float16)
    for again in (stored, stored.astype(np.float32), stored.astype(np.float64)):
        assert unit_rows(again).astype(np.float16).tobytes() == stored.tobytes()


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8"])
@pytest.mark.parametrize("by_columns", [False, True])
def test_blocks_of_every_layout(tmp_path: Path, dtype: str, by_columns: bool) -> None:
    vectors = unit_vectors(50, 6).astype(dtype)
    save(tmp_path / "a.npy", np.asfortranarray(vectors) if by_columns else vectors)
    file = VectorFile.open(tmp_path / "a.npy")
    assert (file.rows, file.dim) == (50, 6)
    np.testing.assert_array_equal(file.read(7, 31), vectors[7:31])
    assert len(list(file.blocks(0, 50))) == 1


def test_a_query_from_a_file(tmp_path: Path) -> None:
    vectors = unit_vectors(3, 6)
    for shape in (vectors[0], vectors[:1], vectors):
        assert query_vector(save(tmp_path / "q.npy", shape)).tolist() == vectors[0].tolist()
    with pytest.raises(UsageError, match=r"q.npy has the shape \[0, 6\]"):
        query_vector(save(tmp_path / "q.npy", vectors[:0]))


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".json", ".parquet"])
def test_manifests_are_read_from_any_row_on(tmp_path: Path, suffix: str) -> None:
    rows = columns(40)
    path = tmp_path / f"m{suffix}"
    path.write_text(json.dumps(rows)) if suffix == ".json" else write_manifest(path, rows)
    assert count_rows(path) == 40
    for start in (0, 1, 13, 14, 39, 40):
        assert [found for _, found in read_columns(path, start)] == rows[start:]


GOOD = unit_vectors(4, 6)
WRONG: dict[str, Callable[[Path, Path], Any]] = {
    "no such file": lambda file, manifest: file.unlink(),
    "no .npy file": lambda file, manifest: file.write_bytes(b"not numpy at all"),
    "cut short": lambda file, manifest: file.write_bytes(file.read_bytes()[:-8]),
    "damaged": lambda file, manifest: file.write_bytes(
        b"\x93NUMPY\x01\0\x40\0{'descr': " + b"(" * 54),
    "Python objects": lambda file, manifest: np.save(
        file, np.array([[{}]], object), allow_pickle=True),
    "int64": lambda file, manifest: save(file, np.zeros((4, 6), np.int64)),
    "longdouble|float128|float96": lambda file, manifest: save(file, GOOD.astype(np.longdouble)),
    r"the shape \[24\]": lambda file, manifest: save(file, GOOD.ravel()),
    r"the shape \[0, 6\]": lambda file, manifest: save(file, GOOD[:0]),
    "m.parquet has 4 rows for the 3": lambda file, manifest: save(file, GOOD[:3]),
    "none of the columns": lambda file, manifest: write_manifest(
        manifest, [{"a": n} for n in range(4)]),
    "no Parquet file": lambda file, manifest: manifest.write_bytes(b"PAR1 or so"),
    "no such file: .*m.parquet": lambda file, manifest: manifest.unlink()}


@pytest.mark.parametrize("said", WRONG)
def test_what_is_wrong_is_said(tmp_path: Path, said: str) -> None:
    vectors = save(tmp_path / "a.npy", GOOD)
    manifest = write_manifest(tmp_path / "m.parquet", columns(4))
    WRONG[said](vectors, manifest)
    with pytest.raises(UsageError, match=said) as caught:
        bring(tmp_path / "c", vectors, manifest)
    assert "\n" not in str(caught.value) and str(vectors.parent) in str(caught.value)
    assert not (tmp_path / "c").exists()


def test_a_damaged_page_of_parquet(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", columns(500))
    data = bytearray(manifest.read_bytes())
    data[4:600] = b"\xff" * 596
    manifest.write_bytes(data)
    vectors = save(tmp_path / "a.npy", unit_vectors(500, 6))
    with pytest.raises(UsageError, match=r"m.parquet is damaged"):
        bring(tmp_path / "c", vectors, manifest)
    assert Collection.open(tmp_path / "c").verify() == []


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", columns(4))
    vectors = save(tmp_path / "a.npy", unit_vectors(4, 6))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"mmsearch\[parquet\]"):
        find_vectors(vectors, manifest)
    assert bring(tmp_path / "c", vectors)[1].added == 4


# --- items ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_items_from_a_manifest(tmp_path: Path, suffix: str) -> None:
    vectors = unit_vectors(30, 6)
    collection, report = bring(tmp_path / "c", save(tmp_path / "a.npy", 3 * vectors),
                               write_manifest(tmp_path / f"m{suffix}", columns(30)))
    assert numbers(report) == {"added": 30}
    query = unit_vectors(1, 6, seed=1)[0]
    order = np.argsort(-(vectors.astype(np.float16).astype(np.float32) @ query))
    assert uris(collection, query) == [f"{tmp_path}/pics/{n:04d}.jpg" for n in order]
    hit = collection.search(vector=query, k=1, where="year=2007")[0]
    assert (hit.item.text, hit.item.meta["year"]) == ("thing 7", 2007)
    assert collection.verify() == []


def test_items_without_a_manifest(tmp_path: Path) -> None:
    vectors = unit_vectors(3, 6)
    collection, _ = bring(tmp_path / "c", save(tmp_path / "a.npy", vectors))
    assert uris(collection, vectors[1], k=1) == [f"{tmp_path}/a.npy#1"]
    assert collection.delete([str(tmp_path / "a.npy")]) == 3


def test_where_the_picture_is(tmp_path: Path) -> None:
    rows = [{"image_path": "0001", "url": "https://example.org/a.jpg"},  # a number in a tar
            {"image_path": "/far/away.jpg", "url": "https://example.org/b.jpg"},
            {"URL": "https://example.org/c.jpg", "TEXT": "in capitals"},
            {"key": "00002"}, {"caption": "alone"},
            {"image": "bad\ud800name.jpg", "width": 640, "size": 3, "manifest": "mine"}]
    vectors = unit_vectors(6, 6)
    collection, report = bring(tmp_path / "c", save(tmp_path / "a.npy", vectors),
                               write_manifest(tmp_path / "m.jsonl", rows))
    assert report.added == 6
    found = [uris(collection, vector, k=1)[0] for vector in vectors]
    assert found[:5] == ["https://example.org/a.jpg", "/far/away.jpg", "https://example.org/c.jpg",
                         f"{tmp_path}/00002", f"{tmp_path}/a.npy#4"]
    meta = collection.search(vector=vectors[5], k=1)[0].item.meta
    assert (meta["width"], meta["meta.size"], meta["meta.manifest"]) == (640, 3, "mine")


def test_rows_that_cannot_be_used(tmp_path: Path) -> None:
    vectors = unit_vectors(300, 6)
    vectors[:150] = 0
    vectors[200, 3] = np.nan
    vectors[201, 3] = np.inf
    lines = [json.dumps(row) + "\n" for row in columns(300)]
    lines[299] = "{no json\n"
    (tmp_path / "m.jsonl").write_text("".join(lines))
    collection, report = bring(tmp_path / "c", save(tmp_path / "a.npy", vectors),
                               tmp_path / "m.jsonl")
    assert numbers(report) == {"added": 147, "more_skipped": 53}
    assert [skip.path for skip in report.skipped] == [f"{tmp_path}/a.npy#{n}" for n in range(100)]
    assert collection.verify() == []
    _, again = bring(tmp_path / "c", tmp_path / "a.npy", tmp_path / "m.jsonl")
    assert numbers(again) == {"unchanged": 147, "more_skipped": 53}
    assert collection.info()["segments"] == 1


@pytest.mark.parametrize("name", ["img_emb_{}.npy", "img_emb_{:04d}.npy"])
def test_folders_of_clip_retrieval(tmp_path: Path, name: str) -> None:
    root, parts = tmp_path / "laion", 11
    pictures, words = unit_vectors(5 * parts, 6), unit_vectors(5 * parts, 6, seed=1)
    described = columns(5 * parts)
    described[7].pop("caption")
    for part in range(parts):  # with 11, number 10 must not come before number 2
        rows = slice(5 * part, 5 * part + 5)
        file = name.format(part)
        save(root / "img_emb" / file, pictures[rows].astype(np.float16))
        save(root / "text_emb" / file.replace("img", "text"), words[rows].astype(np.float16))
        write_manifest(root / "metadata" / file.replace("img_emb", "metadata").replace(
            ".npy", ".parquet"), described[rows])
    collection, report = bring(tmp_path / "c", root)
    assert numbers(report) == {"added": 10 * parts - 1}
    assert [skip.reason for skip in report.skipped] == ["no caption"]
    assert collection.info()["kinds"] == {"image": 5 * parts, "text": 5 * parts - 1}
    hit, text = (collection.search(vector=vectors[53], k=1, find=find)[0]
                 for vectors, find in ((pictures, "image"), (words, "text")))
    assert hit.item.uri == text.item.group == f"{root}/pics/0053.jpg"
    assert (hit.item.text, text.item.text) == ("", "thing 53")
    assert numbers(bring(tmp_path / "c", root)[1]) == {"unchanged": 10 * parts - 1}
    (root / "metadata" / file.replace("img_emb", "metadata").replace(".npy", ".parquet")).unlink()
    with pytest.raises(UsageError, match="no metadata for"):
        find_vectors(root)


def test_folders_of_parts(tmp_path: Path) -> None:
    vectors = unit_vectors(9, 6)
    for part in range(3):
        save(tmp_path / "embs" / f"part_{part}.npy", vectors[3 * part : 3 * part + 3])
        write_manifest(tmp_path / "meta" / f"part_{part}.jsonl", columns(9)[3 * part:][:3])
    collection, report = bring(tmp_path / "c", tmp_path / "embs", tmp_path / "meta", kind="text")
    assert report.added == 9
    hit = collection.search(vector=vectors[8], k=1, find="text")[0]
    assert (hit.item.uri, hit.item.text) == (f"{tmp_path}/meta/pics/0008.jpg#caption9", "thing 8")
    save(tmp_path / "embs" / "part_3.npy", unit_vectors(2, 7))
    with pytest.raises(UsageError, match="no manifest for"):
        find_vectors(tmp_path / "embs", tmp_path / "meta")
    with pytest.raises(UsageError, match=r"several lengths: 6 in .*, 7 in"):
        find_vectors(tmp_path / "embs")
    with pytest.raises(UsageError, match="no vectors in"):
        find_vectors(tmp_path / "meta")


# --- again ----------------------------------------------------------------------------------------


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "RANGE_ROWS", 40)
    monkeypatch.setattr(importing, "COMPARED_ROWS", 15)


@pytest.mark.usefixtures("small_ranges")
def test_only_what_changed_is_done_again(tmp_path: Path) -> None:
    vectors, described = unit_vectors(100, 6), columns(100)
    file, manifest = tmp_path / "a.npy", tmp_path / "m.jsonl"

    def run() -> dict[str, int]:
        report = bring(tmp_path / "c", save(file, vectors),
                       write_manifest(manifest, described))[1]
        assert Collection.open(tmp_path / "c").verify() == []
        return numbers(report)

    def stored() -> Any:
        rows, found = Collection.open(tmp_path / "c").vectors("image")
        order = np.argsort([row.item.uri for row in rows])
        return found[order], [rows[n].item.text for n in order]

    assert run() == {"added": 100}
    assert run() == {"unchanged": 100}  # written anew, and so compared
    vectors = np.concatenate([vectors, unit_vectors(5, 6, seed=1)])
    described = columns(105)
    assert run() == {"added": 5, "unchanged": 100}
    vectors[33], described[44]["caption"] = vectors[0], "other words"
    assert run() == {"replaced": 1, "updated": 1, "unchanged": 103}
    vectors, described = vectors[:90], described[:90]
    assert run() == {"unchanged": 90, "removed": 15}
    collection = Collection.open(tmp_path / "c")
    assert collection.delete(where=["year>=2080"]) == 10
    assert numbers(bring(tmp_path / "c", file, manifest)[1]) == {"added": 10, "unchanged": 80}
    assert numbers(bring(tmp_path / "c", file, manifest)[1]) == {"unchanged": 90}
    found, texts = stored()
    assert found.astype(np.float16).tolist() == unit_rows(vectors).astype(np.float16).tolist()
    assert texts == [row["caption"] for row in described]


@pytest.mark.usefixtures("small_ranges")
@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=120), st.booleans())
def test_of_rows_with_one_uri_the_last_counts(tmp_path_factory: pytest.TempPathFactory,
                                              names: list[int], rewritten: bool) -> None:
    root = tmp_path_factory.mktemp("twins")
    vectors = unit_rows(unit_vectors(len(names), 6))
    described = [{"image": f"{name}.jpg"} for name in names]
    file = save(root / "a.npy", vectors)
    manifest = write_manifest(root / "m.jsonl", described)
    last = {f"{root}/{name}.jpg": row for row, name in enumerate(names)}
    collection, report = bring(root / "c", file, manifest)
    assert (report.added, report.replaced) == (len(last), len(names) - len(last))
    if rewritten:
        write_manifest(manifest, described)
    _, again = bring(root / "c", file, manifest)
    assert again.added == again.removed == 0
    rows, found = collection.vectors("image")
    assert {row.item.uri for row in rows} == set(last)
    for row, vector in zip(rows, found, strict=True):
        assert vector.tolist() == vectors[last[row.item.uri]].astype(np.float16).tolist()


@pytest.mark.usefixtures("small_ranges")
def test_large_segments_are_not_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = save(tmp_path / "a.npy", unit_vectors(400, 6))
    assert bring(tmp_path / "merged", vectors)[0].info()["segments"] < 10
    monkeypatch.setattr(upkeep, "_LARGEST_MERGED", 1)
    collection, _ = bring(tmp_path / "c", vectors)
    assert collection.info()["segments"] == 10 and collection.verify() == []
    collection.compact()
    assert collection.info()["segments"] == 1 and collection.verify() == []


KILLED = """
import sys
from pathlib import Path
from mmsearch.ingest import upkeep, vectors as importing
from mmsearch.collection import Collection
from mmsearch.sources.vector_sets import find_vectors
importing.RANGE_ROWS = 100
found = find_vectors(Path(sys.argv[1]), Path(sys.argv[2]))
collection = Collection.for_vectors(sys.argv[3], found)
collection.add_vectors(found, progress=lambda rows: print("done", flush=True))
"""


@pytest.mark.parametrize("ranges", [0, 1, 7])
def test_killed_in_the_middle(tmp_path: Path, ranges: int) -> None:
    vectors = unit_vectors(3000, 64)
    file = save(tmp_path / "a.npy", vectors)
    manifest = write_manifest(tmp_path / "m.jsonl", columns(3000))
    run = subprocess.Popen([sys.executable, "-c", KILLED, file, manifest, tmp_path / "c"],
                           stdout=subprocess.PIPE)
    assert run.stdout is not None
    if ranges == 0:  # as soon as there is a segment, committed or not
        while not list((tmp_path / "c" / "segments").glob("*")):
            assert run.poll() is None
    for _ in range(ranges):
        assert run.stdout.readline() == b"done\n"
    run.send_signal(signal.SIGKILL)
    rest = run.stdout.read().count(b"done")
    assert run.wait() == -signal.SIGKILL and ranges + rest < 30
    collection = Collection.open(tmp_path / "c")
    assert collection.verify() == []
    there = collection.info()["items"]
    assert there % 100 == 0 and 100 * (ranges + rest) <= there <= 100 * (ranges + rest + 1)
    _, report = bring(tmp_path / "c", file, manifest)
    assert numbers(report) == {"added": 3000 - there, **({"unchanged": there} if there else {})}
    assert collection.verify() == [] and collection.info()["items"] == 3000
    rows, found = collection.vectors("image")
    assert [row.item.uri for row in rows] == [f"{tmp_path}/pics/{n:04d}.jpg" for n in range(3000)]
    assert found.tolist() == unit_rows(vectors).astype(np.float16).tolist()


MEMORY = """
import resource, sys
from pathlib import Path
from mmsearch.storage.catalog import Catalog
from mmsearch.collection import Collection
from mmsearch.ingest.vectors import import_vectors
from mmsearch.sources.vector_sets import find_vectors
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
small, large = (find_vectors(Path(path)) for path in sys.argv[1:3])
Collection.for_vectors(sys.argv[3], small)
catalog = Catalog(Path(sys.argv[3], "catalog.db"), write=True)
import_vectors(Path(sys.argv[3]), catalog, small, lambda rows: None)
before = peak()
import_vectors(Path(sys.argv[3]), catalog, large, lambda rows: None)
print(before, peak())
"""


@pytest.mark.parametrize(("rows", "dim", "megabytes"), [
    (60_000, 1024, 120),  # of 246 MB, 123 MB in float16
    pytest.param(400_000, 512, 250, marks=pytest.mark.slow)])  # 819 MB: SQLite's cache, a block
def test_memory_does_not_grow_with_the_file(tmp_path: Path, rows: int, dim: int,
                                            megabytes: int) -> None:
    out = np.lib.format.open_memmap(tmp_path / "large.npy", "w+", np.float32, (rows, dim))
    block = unit_vectors(1000, dim)
    for at in range(0, rows, 1000):
        out[at : at + 1000] = block
    out.flush()
    save(tmp_path / "small.npy", block)
    done = subprocess.run([sys.executable, "-c", MEMORY, *(
        tmp_path / name for name in ("small.npy", "large.npy", "c"))],
        check=True, capture_output=True, text=True)
    before, after = map(int, done.stdout.split())
    assert after - before < megabytes


# --- which model ----------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path: Path) -> str:
    """The name of a model that cannot be loaded, told without asking open_clip: that takes long."""
    (tmp_path / "elsewhere").mkdir()
    return str(tmp_path / "elsewhere")


@pytest.fixture
def words(tmp_path: Path) -> tuple[Path, Path]:
    """Three texts and what the built-in model makes of them."""
    texts = ["a dog on the beach", "a red car", "snow on a mountain"]
    vectors = save(tmp_path / "words.npy", load_encoder().encode_texts(texts))
    return vectors, write_manifest(tmp_path / "words.jsonl", [
        {"image": f"{n}.jpg", "caption": text} for n, text in enumerate(texts)])


def test_a_model_that_is_here(tmp_path: Path, words: tuple[Path, Path], photos: Path,
                              elsewhere: str) -> None:
    collection, _ = bring(tmp_path / "c", *words, kind="text", model="builtin")
    assert collection.search(text="a red car", find="text", k=1)[0].item.text == "a red car"
    assert collection.info()["encoder"] == load_encoder().name
    assert add(collection, photos).added == 12
    with pytest.raises(UsageError, match="give --model builtin"):
        bring(tmp_path / "c", *words)
    with pytest.raises(EncoderMismatch, match=r"made by mmsearch-builtin.*by .*elsewhere"):
        bring(tmp_path / "c", *words, model=elsewhere)
    with pytest.raises(EncoderMismatch, match="6 numbers"):
        bring(tmp_path / "c", save(tmp_path / "a.npy", unit_vectors(2, 6)), model="builtin")
    with pytest.raises(EncoderMismatch, match="builtin does not make vectors of 6 numbers"):
        bring(tmp_path / "other", tmp_path / "a.npy", model="builtin")


@pytest.mark.parametrize("named", [True, False])
def test_a_model_that_is_not_here(tmp_path: Path, photos: Path, elsewhere: str,
                                  named: bool) -> None:
    model, other = (elsewhere, "") if named else ("", elsewhere)
    said = f"made by {model}, which cannot be loaded here" if named else "is not known"
    vectors = unit_vectors(4, 6)
    rows: Columns = [{"image": "0.jpg"}, {"url": "https://example.org/1.jpg"}, {"key": "2"},
                     {"image": str(min(photos.iterdir()))}]
    collection, _ = bring(tmp_path / "c", save(tmp_path / "a.npy", vectors),
                          write_manifest(tmp_path / "m.jsonl", rows), model=model)
    assert uris(collection, vectors[2], k=1) == [f"{tmp_path}/2"]
    for image in (tmp_path / "0.jpg", "https://example.org/1.jpg", rows[3]["image"]):
        assert collection.search(image=image, k=1)[0].item.uri == str(image)
    with pytest.raises(ModelError, match=f"{said}.*--vector FILE.npy") as caught:
        collection.search(text="a dog")
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match=said):
        collection.search(image=max(photos.iterdir()))
    with pytest.raises(ModelError, match=f"{said}.*only vectors"):
        add(collection, photos)
    with pytest.raises((EncoderMismatch, UsageError), match=r"made by"):
        bring(tmp_path / "c", tmp_path / "a.npy", model=other)
    with pytest.raises(MmsearchError):
        Collection.open(tmp_path / "c", model="builtin").search(text="a dog")


def test_a_model_that_comes_later(tmp_path: Path, words: tuple[Path, Path], photos: Path,
                                 elsewhere: str) -> None:
    collection, _ = bring(tmp_path / "c", *words, kind="text", model=elsewhere)
    with pytest.raises(ModelError):
        collection.search(text="a red car", find="text")
    shutil.copytree(BUILTIN_DIR, elsewhere, dirs_exist_ok=True)
    assert collection.search(text="a red car", find="text", k=1)[0].item.text == "a red car"
    assert collection.info()["encoder"] == f"external:{elsewhere}"
    assert add(collection, photos).added == 12
    assert Collection.open(tmp_path / "c").info()["encoder"] == load_encoder(elsewhere).name
    assert numbers(bring(tmp_path / "c", *words, kind="text", model=elsewhere)[1]) == {
        "unchanged": 3}


def test_indexing_a_folder_leaves_imported_items_alone(tmp_path: Path,
                                                       words: tuple[Path, Path]) -> None:
    collection, _ = bring(tmp_path / "c", *words, model="builtin")
    (tmp_path / "pictures").mkdir()
    shutil.copy(next(DEMO.glob("*.jpg")), tmp_path / "0.jpg")
    report = add(collection, tmp_path)  # 1.jpg and 2.jpg were never there
    assert (report.removed, report.replaced) == (0, 1)
    assert collection.info()["kinds"]["image"] == 3


# --- the command line -----------------------------------------------------------------------------


def test_from_the_command_line(tmp_path: Path, cli: Cli, elsewhere: str) -> None:
    vectors = unit_vectors(5, 6)
    vectors[3] = 0
    save(tmp_path / "a.npy", vectors)
    save(tmp_path / "q.npy", vectors[4])
    write_manifest(tmp_path / "m.csv", columns(5))
    done = cli("index", "--vectors", "../a.npy", "--manifest", "../m.csv", "--model", elsewhere)
    assert (done.stdout, done.returncode) == ("added 4, items 4, skipped 1\n", 0), done.stderr
    assert "a.npy#3: not finite, or all zero" in done.stderr and "--vector" in done.stderr
    done = cli("query", "--vector", "../q.npy", "-k", "1", "--filepath-only")
    assert done.stdout == f"{tmp_path}/pics/0004.jpg\n"
    for wrong in (["query", "--vector", "../q.npy", "a dog"], ["index"],
                  ["index", "..", "--vectors", "../a.npy"],
                  ["index", "..", "--manifest", "../m.csv"],
                  ["index", "--vectors", "../none.npy"]):
        assert_refused(cli(*wrong), 2)
    assert_refused(cli("query", "a dog"), 1)
    assert_refused(cli("query", "--vector", save(tmp_path / "q.npy", vectors[:, :5])), 2)


def assert_refused(done: subprocess.CompletedProcess[str], code: int) -> None:
    assert done.returncode == code and done.stdout == ""
    assert done.stderr.startswith("mmsearch: ") and done.stderr.count("\n") == 1
