"""`mmsearch verify` finds a byte flipped in any file; `--repair` mends what can be proven."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from conftest import DEMO, Cli, add, flip
from hypothesis import given, settings, strategies as st
from PIL import Image

from mmsearch.collection.collection import Collection
from mmsearch.collection.repair import repair_collection
from mmsearch.errors import CollectionDamaged
from mmsearch.records import Item, Problem
from mmsearch.storage import integrity, wal
from mmsearch.storage.catalog import Catalog, Change
from mmsearch.storage.verify import find_problems

NAMES = ("apple", "bus", "cat", "dogs", "guitar", "pizza", "wren")
UNREAD = (".lock", "lock", "writer.json", "catalog.db-shm")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A collection with dead rows, three segments and an approximate index, and its sources."""
    root = tmp_path_factory.mktemp("made")
    photos = root / "photos"
    photos.mkdir()
    for name in NAMES:
        shutil.copy(DEMO / f"{name}.jpg", photos)
    lines = [line for line in (DEMO / "captions.jsonl").read_text().splitlines()
             if Path(json.loads(line)["image"]).stem in NAMES]
    (photos / "captions.jsonl").write_text("\n".join(lines) + "\n")
    (root / "notes.txt").write_text("".join(f"note {n} of a sunny day\n" for n in range(60)))
    with pytest.MonkeyPatch.context() as patch:
        small_anns(patch)
        collection = Collection.create(root / "index")
        add(collection, photos / "captions.jsonl")
        collection.delete([str(photos / "bus.jpg")])
        add(collection, root / "notes.txt")
        collection.close()
        assert collection_files(root / "index")["index.faiss"]
        yield root


def small_anns(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("mmsearch.indexes.kinds.EXACT_UP_TO", 12)
    patch.setattr("mmsearch.indexes.kinds.AUTO", "ivf-rabitq")  # so few train no other


@pytest.fixture
def index(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "index", tmp_path / "index"))


def collection_files(index: Path) -> dict[str, list[Path]]:
    """All files whose bytes count, by name."""
    found: dict[str, list[Path]] = {}
    for path in sorted(index.rglob("*")):
        if path.is_file() and path.name not in UNREAD and path.stat().st_size:
            found.setdefault(path.name, []).append(path)
    return found


def rows_of(index: Path) -> list[object]:
    with closing(sqlite3.connect(index / "catalog.db")) as db:
        return [db.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
                for table in ("items", "segments", "settings", "counts")]


def execute(index: Path, sql: str, *parameters: object) -> None:
    with closing(sqlite3.connect(index / "catalog.db", isolation_level=None)) as db:
        db.execute(sql, parameters)


def found(index: Path) -> str:
    return "\n".join(map(str, find_problems(index)))


# -- finding ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ids.npy", "segment.json", "vectors.faiss", "index.faiss"])
def test_a_flipped_byte_in_any_file_is_found_and_mended(index: Path, name: str) -> None:
    before, rng, paths = rows_of(index), random.Random(name), collection_files(index)[name]
    for path in paths:
        flip(path, rng.randrange(path.stat().st_size), 1 << rng.randrange(8))
    assert {problem.file for problem in find_problems(index)} == set(map(str, paths))
    done = repair_collection(index)
    assert done
    assert all(problem.mended for problem in done)
    assert find_problems(index) == []
    items = [row[2:9] for row in rows_of(index)[0]]  # type: ignore[attr-defined]
    assert items == [row[2:9] for row in before[0]]  # type: ignore[attr-defined]


def test_a_flipped_byte_in_the_catalog_is_found_or_changes_nothing(
        made: Path, tmp_path: Path) -> None:
    """Free space and counters in its header are the only bytes that may change unnoticed."""
    before, rng = rows_of(made / "index"), random.Random(3)
    sound = (made / "index" / "catalog.db").read_bytes()
    index, noticed, mended = tmp_path / "index", 0, 0
    for at in [*range(0, 100, 9), *(rng.randrange(len(sound)) for _ in range(30))]:
        shutil.rmtree(index, ignore_errors=True)
        shutil.copytree(made / "index", index)
        flip(index / "catalog.db", at, 1 << rng.randrange(8))
        if not find_problems(index):
            assert rows_of(index) == before, at
            continue
        noticed += 1
        repair_collection(index)
        if not find_problems(index):
            assert rows_of(index) == before, at
            mended += 1
    assert noticed > 8
    assert mended > noticed / 2


CELLS = {
    "items": ["seq", "uri", "text", "grp", "meta", "fingerprint", "hash", "width"],
    "segments": ["name", "kind", "rows", "last", "sha256"], "settings": ["value"],
}


@pytest.mark.parametrize(("table", "column"),
                         [(table, column) for table in CELLS for column in CELLS[table]])
def test_a_letter_that_changed_in_a_cell_is_found_and_changed_back(
        index: Path, table: str, column: str) -> None:
    """As the file would have it: SQLite finds nothing wrong with its structure."""
    before = rows_of(index)
    for trigger in ("items_added", "items_dropped"):
        execute(index, f"DROP TRIGGER {trigger}")
    changed = (f"CAST(substr(CAST({column} AS BLOB), 1, 2) || CAST('~' AS BLOB) || "
               f"substr(CAST({column} AS BLOB), 4) AS TEXT)")
    if column in ("seq", "rows", "last", "width"):
        changed = f"({column} | 4096)"
    execute(index, f"UPDATE {table} SET {column} = {changed} WHERE rowid = "
                   f"(SELECT max(rowid) FROM {table} WHERE length({column}) > 3 OR "
                   f"typeof({column}) = 'integer')")
    assert rows_of(index) != before
    assert f"{table}: the row" in found(index)
    assert all(problem.mended for problem in repair_collection(index))
    assert rows_of(index) == before
    assert find_problems(index) == []


def test_rows_that_went_and_rows_that_came_are_found(index: Path) -> None:
    execute(index, "DELETE FROM items WHERE id = 3")
    execute(index, "DELETE FROM checks WHERE part = 'items' AND key = 5")
    assert "the row 3 is gone" in found(index)
    assert "items: the row 5 (" in found(index)
    execute(index, "UPDATE counts SET items = 99 WHERE kind = 'text'")
    assert "counts" in found(index)
    problems = repair_collection(index)
    assert "the row 3 is gone" in "\n".join(str(p) for p in problems if not p.mended)


def test_a_flipped_byte_in_the_write_ahead_log_is_found(made: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    shutil.copytree(made / "index", tmp_path / "live")
    with closing(Catalog(tmp_path / "live" / "catalog.db", write=True)) as catalog:
        for n in range(3):
            catalog.put_settings({f"note-{n}": n})
        shutil.copytree(tmp_path / "live", index)  # as a killed writer leaves it
        (index / "catalog.db-shm").unlink()
    log = index / "catalog.db-wal"
    assert log.stat().st_size > 3 * 4096
    assert find_problems(index) == []
    sound = log.read_bytes()
    for at in (1, 17, 26, 33, 37, 40, 50, 60, 500, 32 + 24 + 4096 + 9, len(sound) - 999):
        log.write_bytes(sound)
        flip(log, at)
        assert "catalog.db-wal: altered after" in found(index)
        assert wal.mend(log)
        assert log.read_bytes() == sound
    torn = sound[: len(sound) - 1000] + bytes(1000)  # a writer was killed in mid-write
    log.write_bytes(torn)
    assert "wal" not in found(index)
    log.write_bytes(sound)
    flip(log, 60)
    flip(log, 2000)
    assert [problem.mended for problem in repair_collection(index)] == [False]
    assert find_problems(index) == []


def test_a_mended_log_loses_no_commit(made: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    shutil.copytree(made / "index", tmp_path / "live")
    with closing(Catalog(tmp_path / "live" / "catalog.db", write=True)) as catalog:
        catalog.commit(Change(put=[(999, Item("/new.txt", "text", "new"), "")]))
        catalog.put_settings({"note": 1})
        shutil.copytree(tmp_path / "live", index)
        (index / "catalog.db-shm").unlink()
    flip(index / "catalog.db-wal", 32 + 24 + 70)
    problems = repair_collection(index)
    assert [problem.mended for problem in problems if problem.file.endswith("-wal")] == [True]
    with closing(Catalog(index / "catalog.db")) as catalog:
        assert catalog.settings["note"] == 1
        assert catalog.find("/new.txt", "text") is not None


def test_damage_to_full_text_is_found_and_mended(index: Path) -> None:
    for damage in ("UPDATE items_fts_data SET block = zeroblob(9) WHERE id > 10",
                   "DELETE FROM items_fts_docsize WHERE id = 3"):
        execute(index, damage)
        assert "full text" in found(index)
        assert [problem.mended for problem in repair_collection(index)] == [True]
        assert find_problems(index) == []


def test_a_damaged_index_of_sqlite_is_made_anew(index: Path) -> None:
    with closing(sqlite3.connect(index / "catalog.db")) as db:
        page = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'idx_items_grp'"
                          ).fetchone()[0]
    before, data = rows_of(index), bytearray((index / "catalog.db").read_bytes())
    data[(page - 1) * 4096 : page * 4096] = bytes(4096)
    (index / "catalog.db").write_bytes(data)
    assert found(index)
    assert all(problem.mended for problem in repair_collection(index))
    assert (find_problems(index), rows_of(index)) == ([], before)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from(["size", "width", "camera", "taken", "x"]),
                       st.none() | st.integers(-2**60, 2**60)
                       | st.floats(allow_nan=False, allow_infinity=False)
                       | st.text(st.characters(exclude_categories=["Cs"]))), st.text("aü\0"))
def test_what_is_written_is_what_was_meant(meta: dict[str, object], text: str) -> None:
    with closing(Catalog(Path(":memory:"), write=True)) as catalog:
        catalog.commit(Change(put=[(1, Item("/1", "image", text, meta=meta), "h"),
                                   (2, Item("/2", "text", text), "h")]))
        catalog.commit(Change(put=[(3, Item("/1", "image", meta=meta), "i")], drop=[2],
                              update=[(1, Item("/1", "image", "new", meta=meta))]))
        assert list(integrity.altered(catalog._conn)) == []
        assert not integrity.miscounted(catalog._conn)
        assert catalog.counts() == {"image": 1}


def test_each_row_costs_one_look_up(index: Path) -> None:
    with closing(sqlite3.connect(index / "catalog.db")) as db:
        integrity.register(db)
        statements: list[str] = []
        db.set_trace_callback(statements.append)
        assert list(integrity.altered(db)) == []
        db.set_trace_callback(None)
        for statement in statements:
            plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}")]
            assert sum("SCAN" in step for step in plan) <= 1, plan
            searches = [step for step in plan if "SEARCH" in step]
            assert any("key=?" in step or "rowid=?" in step or "name=?" in step
                       for step in searches), plan


def test_check_values_cover_every_column(index: Path) -> None:
    with closing(sqlite3.connect(index / "catalog.db")) as db:
        for table, columns in integrity.CHECKED.items():
            assert {row[1] for row in db.execute(f"PRAGMA table_info({table})")} == set(columns)


# -- mending ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "missing"])
def test_lost_vectors_are_encoded_again(index: Path, damage: str) -> None:
    reference = Collection.open(index)
    before = {kind: vectors_of(reference, kind) for kind in ("image", "text")}
    reference.close()
    doomed = collection_files(index)["vectors.faiss"]
    for path in doomed:
        data = path.read_bytes()
        path.unlink()
        if damage == "flipped":
            path.write_bytes(data)
            flip(path, len(data) // 2)
        elif damage != "missing":
            path.write_bytes(data[: len(data) // 2] if damage == "cut" else b"")
    assert len(find_problems(index)) == len(doomed)
    assert all(problem.mended for problem in repair_collection(index))
    assert find_problems(index) == []
    collection = Collection.open(index)
    for kind, vectors in before.items():
        after = vectors_of(collection, kind)
        assert after.keys() == vectors.keys()
        for uri, vector in vectors.items():
            assert float(after[uri] @ vector) == pytest.approx(1, abs=2e-3)


def vectors_of(collection: Collection, kind: str) -> dict[str, object]:
    rows, vectors = collection.vectors(kind)  # type: ignore[arg-type]
    return {row.item.uri: vector for row, vector in zip(rows, vectors, strict=True)}


@pytest.fixture
def own(tmp_path: Path, photos: Path) -> Path:
    """A collection of a dozen pictures that may be changed and lost."""
    add(Collection.create(tmp_path / "own"), photos)
    return tmp_path / "own"


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_what_cannot_be_encoded_again_is_named_and_nothing_sound_is_lost(
        own: Path, photos: Path, damage: str) -> None:
    gone, changed = sorted(photos.glob("*.jpg"))[:2]
    kept = gone.read_bytes()
    gone.unlink()
    Image.new("RGB", (40, 30), "red").save(changed)
    victim = collection_files(own)["vectors.faiss"][0]
    flip(victim, victim.stat().st_size // 2)
    if damage == "cut":
        victim.write_bytes(victim.read_bytes()[:100])
    problems = [problem for problem in repair_collection(own) if problem.file.endswith(".jpg")]
    assert {(p.file, p.mended) for p in problems} == {(str(gone), False), (str(changed), False)}
    assert "put it back" in next(p.reason for p in problems if p.file == str(gone))
    assert "has changed" in next(p.reason for p in problems if p.file == str(changed))
    assert find_problems(own)
    collection = Collection.open(own)
    assert collection.info()["items"] == 12
    assert len(collection.search(text="a picture", k=20)) == (12 if damage == "flipped" else 10)
    gone.write_bytes(kept)
    assert add(collection, photos).replaced == 2
    repair_collection(own)
    assert find_problems(own) == []
    assert len(collection.search(text="a picture", k=20)) == 12
    assert collection.search(image=gone, k=1)[0].item.uri == str(gone)


def test_numbers_with_gaps_are_brought_back(own: Path, photos: Path) -> None:
    collection = Collection.open(own)
    for n in (1, 4, 5):
        collection.delete([str(sorted(photos.glob("*.jpg"))[n])])
    collection.compact()
    collection.delete([str(sorted(photos.glob("*.jpg"))[7])])
    collection.close()
    path = collection_files(own)["ids.npy"][0]
    sound, stamp = path.read_bytes(), collection_files(own)["vectors.faiss"][0].stat().st_mtime_ns
    for at in (3, 128, 129, 128 + 8 * 4, 128 + 8 * 5 + 7):
        flip(path, at)
        assert [p.mended for p in repair_collection(own)] == [True]
        assert path.read_bytes() == sound
    assert collection_files(own)["vectors.faiss"][0].stat().st_mtime_ns == stamp


def test_another_model_does_not_mend(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collection_files(own)["vectors.faiss"][0].unlink()
    execute(own, "UPDATE settings SET value = '\"other@1\"' WHERE key = 'encoder'")
    with closing(Catalog(own / "catalog.db", write=True)) as catalog:
        integrity.seal(catalog._conn, "settings")
    problems = repair_collection(own)
    assert sum("other@1" in str(problem) for problem in problems) == 12
    assert Collection.open(own).info()["items"] == 12


def test_writers_refuse_rows_that_name_segments_wrongly(index: Path) -> None:
    segments = sorted((index / "segments").iterdir())
    execute(index, "UPDATE segments SET name = replace(name, '-0', '-1')")
    with pytest.raises(CollectionDamaged, match="--repair"):
        Collection.open(index).delete(["/x"])
    assert sorted((index / "segments").iterdir()) == segments


def test_merges_leave_damage_where_it_is(own: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    shutil.copy(DEMO / "wren.jpg", tmp_path / "more")
    collection = Collection.open(own)
    flip(collection_files(own)["vectors.faiss"][0], 500)
    add(collection, tmp_path / "more")
    with pytest.raises(CollectionDamaged, match=r"vectors\.faiss.*--repair"):
        collection.compact()
    assert "vectors.faiss" in found(own)


def test_verify_writes_nothing(index: Path) -> None:
    flip(collection_files(index)["ids.npy"][0], 130)
    before = {path: path.read_bytes() for paths in collection_files(index).values()
              for path in paths}
    assert find_problems(index)
    assert before == {path: path.read_bytes() for paths in collection_files(index).values()
                      for path in paths}


def test_the_command_says_what_was_mended_and_what_not(
        own: Path, photos: Path, cli: Cli) -> None:
    flip(collection_files(own)["segment.json"][0], 50)
    assert cli("verify", "-i", own).returncode == 1
    done = cli("verify", "--repair", "-i", own)
    assert done.returncode == 0
    assert "mended: " in done.stdout
    assert "is sound" in done.stdout
    next(photos.glob("*.jpg")).unlink()
    collection_files(own)["vectors.faiss"][0].unlink()
    done = cli("verify", "--repair", "--json", "-i", own)
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["sound"] is False
    assert sorted(problem["mended"] for problem in answer["problems"]) == [False, True]
    assert set(answer["problems"][0]) == set(Problem._fields)
