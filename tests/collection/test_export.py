"""Export to files that other tools read, and the way back."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import DEMO, Cli, add, unit_vectors
from hypothesis import given, settings, strategies as st

from mmsearch.collection import export
from mmsearch.collection.collection import Collection
from mmsearch.collection.export import Format
from mmsearch.errors import CollectionDamaged, EncoderMismatch, MissingExtra, UsageError
from mmsearch.records import Item, Kind
from mmsearch.sources.vector_files import VectorFile
from mmsearch.sources.vector_sets import Part, VectorSet, find_vectors
from mmsearch.storage.catalog import Catalog, Change
from mmsearch.storage.segments import segment_name, write_segment

DIM = 6
NO_MODEL = sys.prefix
"""A directory without a model: told without asking open_clip, which takes seconds."""


def collection_of(root: Path, items: list[Item]) -> Collection:
    """A collection of these items, with vectors of their own, a segment for every five."""
    part = Part(VectorFile(root, 1, DIM, np.dtype("f4"), 0, False), None, "image", "", root)
    collection = Collection.for_vectors(root, VectorSet(root, (part,), NO_MODEL, "hash@1"))
    catalog = Catalog(root / "catalog.db", write=True)
    vectors = unit_vectors(len(items), DIM)
    kinds: tuple[Kind, ...] = ("image", "text", "frame")
    for kind in kinds:
        rows = [n for n, item in enumerate(items) if item.kind == kind]
        for at in range(0, len(rows), 5):
            seqs = np.arange(len(rows[at : at + 5])) + int(catalog.settings["next_seq"])
            segment = write_segment(root, segment_name(kind, seqs[0], seqs[-1]), kind, seqs,
                                    lambda at=at, rows=rows: iter([vectors[rows[at : at + 5]]]))
            put = [(int(seq), items[n], f"hash{n}")
                   for seq, n in zip(seqs, rows[at:], strict=False)]
            catalog.commit(Change(put=put, add_segments=[segment]))
    catalog.close()
    return collection


def back(root: Path, folder: Path) -> Collection:
    found = find_vectors(folder)
    collection = Collection.for_vectors(root, found)
    collection.add_vectors(found)
    return collection


def said(item: Item) -> Any:
    return (item.uri, item.kind, item.text, item.group,
            {name: value for name, value in item.meta.items() if name != "manifest"})


WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2**70, 2**70) | WORDS
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5)
METAS = st.dictionaries(
    st.sampled_from(["year", "id", "uri", "hash", "meta", "text", "caption", "a.b", "Année", ""]),
    VALUES, max_size=5) | st.fixed_dictionaries(
        {"year": st.integers(-2**63, 2**63 - 1), "good": st.booleans()},
        optional={"size": st.integers(0, 2**40), "taken": WORDS, "meta.size": VALUES})


@st.composite
def many_items(draw: st.DrawFn) -> list[Item]:
    rows = draw(st.lists(st.tuples(
        st.sampled_from(["image", "text", "frame"]), WORDS, st.sampled_from(["", "one", "two"]),
        METAS), min_size=1, max_size=14))
    return [Item(f"/x/{n}", kind, text, group or f"/x/{n}", meta)  # type: ignore[arg-type]
            for n, (kind, text, group, meta) in enumerate(rows)]


@settings(max_examples=20, deadline=None)
@given(many_items(), st.sampled_from(["float16", "float32"]),
       st.sampled_from(["parquet", "jsonl"]), st.integers(3, 20))
def test_what_is_exported_comes_back(tmp_path_factory: pytest.TempPathFactory, items: list[Item],
                                     dtype: str, format: Format, rows_per_file: int) -> None:
    root = tmp_path_factory.mktemp("round")
    before = collection_of(root / "before", items)
    done = before.export(root / "out", dtype=dtype, format=format, rows_per_file=rows_per_file)
    assert sum(done.items.values()) == len(items)
    after = back(root / "after", root / "out")
    assert after.info()["items"] == len(items) and after.verify() == []
    assert after.info()["encoder"] == before.info()["encoder"] == "external:hash@1"
    for query in unit_vectors(3, DIM, seed=1):
        for collapse in (True, False):
            found, again = (one.search(vector=query, k=20, find="any", collapse=collapse)
                            for one in (before, after))
            assert [(hit.score, said(hit.item)) for hit in found] == [
                (hit.score, said(hit.item)) for hit in again]
    kinds: tuple[Kind, ...] = ("image", "text", "frame")
    for kind in kinds:
        (rows, vectors), (rows2, vectors2) = before.vectors(kind), after.vectors(kind)
        assert vectors.tobytes() == vectors2.tobytes()
        assert [row.hash for row in rows] == [row.hash for row in rows2]


@pytest.fixture
def exported(demo_index: Path, tmp_path: Path) -> Iterator[tuple[Collection, Path]]:
    collection = Collection.open(demo_index)
    collection.export(tmp_path / "out", rows_per_file=7)
    yield collection, tmp_path / "out"
    collection.close()


def test_other_tools_can_read_it(exported: tuple[Collection, Path]) -> None:
    collection, folder = exported
    facts = json.loads((folder / "mmsearch.json").read_text())
    counts = collection.info()["kinds"]
    assert facts["count"] == counts and facts["model"] == "builtin"
    assert (facts["dim"], facts["dtype"], facts["normalised"]) == (384, "float16", True)
    for inside, stem, kind in (("", "img_emb", "image"), ("texts", "text_emb", "text")):
        files = sorted((folder / inside / stem).iterdir())
        described = sorted((folder / inside / "metadata").iterdir())
        assert len(files) == len(described) == -(-counts[kind] // 7)
        vectors = np.concatenate([np.load(file) for file in files])
        rows = [row for file in described for row in pq.read_table(file).to_pylist()]
        assert vectors.dtype == np.float16 and len(vectors) == len(rows) == counts[kind]
        assert np.allclose(np.linalg.norm(vectors.astype(np.float32), axis=1), 1, atol=1e-3)
        for row, vector in zip(rows, vectors, strict=True):
            hit = collection.search(vector=vector, k=1, find=kind, collapse=False)[0]
            assert (hit.item.uri, hit.item.text, hit.item.group, hit.id) == (
                row["uri"], row["text"], row["group"], row["id"])
            said = json.loads(row["meta"] or "{}") | row  # lists have no column of their own
            assert {name: said[name] for name in hit.item.meta} == hit.item.meta


def test_it_comes_back_with_its_model(exported: tuple[Collection, Path], tmp_path: Path) -> None:
    collection, folder = exported
    again = back(tmp_path / "again", folder)
    found, second = (one.search(text="a dog", k=5) for one in (collection, again))
    assert [(hit.item.uri, hit.score) for hit in found] == [
        (hit.item.uri, hit.score) for hit in second]
    assert again.info()["encoder"] == collection.info()["encoder"]
    report = add(again, DEMO / "captions.jsonl")  # the pictures are known by their content
    assert (report.added, report.replaced, report.removed, report.skipped) == (0, 0, 0, [])
    facts = json.loads((folder / "mmsearch.json").read_text())
    (folder / "mmsearch.json").write_text(json.dumps(facts | {"encoder": "mmsearch-builtin@0"}))
    with pytest.raises(EncoderMismatch, match=r"made by mmsearch-builtin@.*by mmsearch-builtin@0"):
        back(tmp_path / "again", folder)


def test_only_live_items_that_meet_the_condition(tmp_path: Path) -> None:
    collection = collection_of(tmp_path / "c", [
        Item(f"/x/{n}", "image", meta={"year": n}) for n in range(12)])
    collection.delete(["/x/3", "/x/11"])
    assert collection.export(tmp_path / "out", where="year>=2").items == {"image": 8}
    table = pq.read_table(tmp_path / "out" / "metadata" / "metadata_0.parquet")
    assert table["year"].to_pylist() == [2, 4, 5, 6, 7, 8, 9, 10]
    assert np.load(tmp_path / "out" / "img_emb" / "img_emb_0.npy").shape == (8, DIM)
    with pytest.raises(UsageError, match="nothing meets the condition"):
        collection.export(tmp_path / "none", where="year>50")
    assert not (tmp_path / "none").exists()


def test_nothing_is_written_over(tmp_path: Path) -> None:
    collection = collection_of(tmp_path / "c", [Item(f"/x/{n}", "image") for n in range(12)])
    collection.export(tmp_path / "out", rows_per_file=1)
    (tmp_path / "out" / "mine.txt").write_text("mine")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    with pytest.raises(UsageError, match="not empty"):
        collection.export(tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before
    collection.export(tmp_path / "out", force=True)
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.*")) == [
        "img_emb_0.npy", "metadata_0.parquet", "mine.txt", "mmsearch.json"]
    assert back(tmp_path / "d", tmp_path / "out").info()["items"] == 12


def test_an_export_that_is_stopped_is_no_export(tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_BATCH", 2)
    collection = collection_of(tmp_path / "c", [Item(f"/x/{n}", "image") for n in range(12)])
    seen: list[int] = []

    def stop(rows: int) -> None:
        seen.append(rows)
        if sum(seen) == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collection.export(tmp_path / "out", rows_per_file=5, progress=stop)
    files = sorted(path.name for path in (tmp_path / "out").rglob("*.*"))
    assert files == [export._BEGUN, "img_emb_0.npy", "metadata_0.parquet"]
    assert np.load(tmp_path / "out" / "img_emb" / "img_emb_0.npy").shape == (5, DIM)
    (tmp_path / "out" / "img_emb" / ".tmp-img_emb_1.npy").write_text("of one that was killed")
    collection.export(tmp_path / "out", force=True)
    assert back(tmp_path / "d", tmp_path / "out").info()["items"] == 12
    assert not list((tmp_path / "out").rglob(".tmp-*"))


def test_searching_and_writing_go_on_meanwhile(tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_BATCH", 2)
    collection = collection_of(tmp_path / "c", [Item(f"/x/{n}", "image") for n in range(12)])

    def meddle(rows: int) -> None:
        assert collection.search(vector=unit_vectors(1, DIM)[0], k=1)
        if Collection.open(tmp_path / "c").delete(["/x/5", "/x/11"]):
            Collection.open(tmp_path / "c").compact()

    collection.export(tmp_path / "out", progress=meddle)
    assert back(tmp_path / "d", tmp_path / "out").info()["items"] == 12
    assert collection.info()["items"] == 10


def test_an_item_without_a_vector(tmp_path: Path) -> None:
    collection = collection_of(tmp_path / "c", [Item("/x/1", "image")])
    catalog = Catalog(tmp_path / "c" / "catalog.db", write=True)
    catalog.commit(Change(put=[(99, Item("/x/2", "image"), "")]))
    catalog.close()
    with pytest.raises(CollectionDamaged, match="mmsearch verify"):
        collection.export(tmp_path / "out")


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collection = collection_of(tmp_path / "c", [Item("/x/1", "image", meta={"year": 1})])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"mmsearch\[parquet\].*jsonl"):
        collection.export(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    collection.export(tmp_path / "out", format="jsonl")
    row = json.loads((tmp_path / "out" / "metadata" / "metadata_0.jsonl").read_text())
    assert (row["uri"], row["year"]) == ("/x/1", 1)


@pytest.mark.parametrize("text", [
    "", "{}", '{"format": 1, "model": "", "encoder": "", "parts": [{"kind": "image"}]}',
    '{"format": 1, "model": "", "encoder": "", "parts": [{"kind": "image", "vectors": '
    '"../a.npy", "metadata": "m.jsonl"}]}'])
def test_a_damaged_description(tmp_path: Path, text: str) -> None:
    (tmp_path / "mmsearch.json").write_text(text)
    with pytest.raises(UsageError, match=r"mmsearch.json is damaged"):
        find_vectors(tmp_path)
    (tmp_path / "mmsearch.json").write_text('{"format": 2}')
    with pytest.raises(UsageError, match="upgrade mmsearch"):
        find_vectors(tmp_path)


def test_from_the_command_line(tmp_path: Path, cli: Cli) -> None:
    collection_of(tmp_path / "c", [Item(f"/x/{n}", "image", meta={"year": n}) for n in range(9)])
    done = cli("export", "out", "-i", "../c", "--where", "year<5", "--dtype", "float32",
               "--format", "jsonl", "--rows-per-file", 3, "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["items"] == {"image": 5} and len(facts["files"]) == 5
    assert np.load(tmp_path / "work" / "out" / "img_emb" / "img_emb_0.npy").dtype == np.float32
    done = cli("export", "out", "-i", "../c")
    assert (done.returncode, done.stdout) == (2, "") and "--force" in done.stderr
    done = cli("export", "out", "-i", "../c", "--force")
    assert done.stdout == "wrote 9 images to out (3 files)\n"
    done = cli("index", "--vectors", "out", "-i", "new")
    assert done.stdout == "added 9, items 9, skipped 0\n"
