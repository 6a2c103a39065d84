"""`mmsearch verify` finds what is damaged; `--repair` makes it anew and says what is lost."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest
from conftest import DEMO, Cli, add, flip
from PIL import Image

from mmsearch.collection.collection import Collection
from mmsearch.collection.repair import repair_collection
from mmsearch.errors import CollectionDamaged
from mmsearch.records import Item, Problem
from mmsearch.sources.folders import Scan, iter_items
from mmsearch.storage.catalog import Catalog
from mmsearch.storage.verify import find_problems

NAMES = ("apple", "bus", "cat", "dogs", "guitar", "pizza", "wren")
FLIPS = Path(__file__).parents[2] / "bench" / "flips.py"


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
        patch.setattr("mmsearch.indexes.kinds.EXACT_UP_TO", 12)
        patch.setattr("mmsearch.indexes.kinds.AUTO", "ivf-rabitq")  # so few train no other
        collection = Collection.create(root / "index")
        add(collection, photos / "captions.jsonl")
        collection.delete([str(photos / "bus.jpg")])
        add(collection, root / "notes.txt")
        collection.close()
        assert files_of(root / "index", "index.faiss")
        yield root


@pytest.fixture
def index(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "index", tmp_path / "index"))


@pytest.fixture
def own(tmp_path: Path, photos: Path) -> Path:
    """A collection of a dozen pictures that may be changed and lost."""
    add(Collection.create(tmp_path / "own"), photos)
    return tmp_path / "own"


def files_of(index: Path, name: str) -> list[Path]:
    return sorted(index.rglob(name))


def rows_of(index: Path, table: str = "items", columns: str = "*") -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(index / "catalog.db")) as db:
        return db.execute(f"SELECT {columns} FROM {table} ORDER BY 1").fetchall()


def execute(index: Path, sql: str, *parameters: object) -> None:
    with closing(sqlite3.connect(index / "catalog.db", isolation_level=None)) as db:
        db.execute(sql, parameters)


def found(index: Path) -> str:
    return "\n".join(map(str, find_problems(index)))


def lost(problems: list[Problem]) -> list[Problem]:
    return [problem for problem in problems if not problem.fixed and not is_doubt(problem)]


def is_doubt(problem: Problem) -> bool:
    """What is said of every catalog that was made anew."""
    return "`mmsearch index --reread`" in problem.reason


def vectors_of(index: Path, kind: str) -> dict[str, np.ndarray]:
    with closing(Collection.open(index)) as collection:
        rows, vectors = collection.vectors(kind)  # type: ignore[arg-type]
        return {row.item.uri: vector for row, vector in zip(rows, vectors, strict=True)}


def page_of(index: Path, name: str) -> int:
    """The number of the first page of a table or an index."""
    (page,), = rows_of(index, f"sqlite_master WHERE name = '{name}'", "rootpage")
    return int(str(page))


def leaves_of(index: Path, name: str) -> list[int]:
    return [int(str(page)) for (page,) in rows_of(
        index, f"dbstat WHERE name = '{name}' AND pagetype = 'leaf'", "pageno")]


def blank(index: Path, page: int) -> None:
    data = bytearray((index / "catalog.db").read_bytes())
    data[(page - 1) * 4096 : page * 4096] = bytes(4096)
    (index / "catalog.db").write_bytes(data)


# -- every file ------------------------------------------------------------------------------------


def test_a_flipped_byte_is_found_repaired_or_said(tmp_path: Path) -> None:
    """In every file, at two dozen places each; see there for what would be wrong."""
    figures = tmp_path / "figures.json"
    done = subprocess.run([sys.executable, FLIPS, "--places", "24", "--cache", tmp_path, "--json",
                           figures], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = json.loads(figures.read_text())
    del counts["machine"]
    assert set(counts) == {"catalog.db", "segment.json", "ids.npy", "vectors.faiss", "index.faiss"}
    for name, outcomes in counts.items():
        repaired = sum(n for what, n in outcomes.items() if what.startswith("repaired"))
        assert repaired == sum(outcomes.values()) or name == "catalog.db"
    assert counts["catalog.db"]["repaired in full"]


def test_items_that_a_cut_took_with_their_names_are_counted(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "whole") as collection:
        collection.add(Item(f"/t/{n}", "text", f"note {n} of a day {'a' * 300}") for n in range(90))
    with closing(sqlite3.connect(tmp_path / "whole" / "catalog.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        page_of_counts = 4096 * database.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'counts'").fetchone()[0]
    whole = (tmp_path / "whole" / "catalog.db").read_bytes()
    seen = set()
    for end in range(page_of_counts, len(whole), 3 * 4096):
        cut = tmp_path / f"cut{end}"
        shutil.copytree(tmp_path / "whole", cut)
        for left in cut.glob("catalog.db-*"):
            left.unlink()
        (cut / "catalog.db").write_bytes(whole[:end])
        found = repair_collection(cut)
        with suppress(CollectionDamaged), Collection.open(cut) as collection:
            kept = collection.count(find="text")
            named = sum("its row" in problem.reason for problem in found)
            (others,) = [int(problem.reason.split()[0]) for problem in found
                         if "other items" in problem.reason] or [0]
            assert kept + named + others == 90
            seen |= {kept < 90, others > 0}
    assert seen == {True, False}


def test_lost_vectors_are_encoded_again(index: Path) -> None:
    before = {kind: vectors_of(index, kind) for kind in ("image", "text")}
    doomed = files_of(index, "vectors.faiss")
    for path in doomed:
        path.unlink()
    assert len(find_problems(index)) == len(doomed)
    assert not lost(repair_collection(index))
    assert find_problems(index) == []
    for kind, vectors in before.items():
        after = vectors_of(index, kind)
        assert after.keys() == vectors.keys()
        for uri, vector in vectors.items():
            assert float(after[uri] @ vector) == pytest.approx(1, abs=2e-3)


def test_verify_writes_nothing(index: Path) -> None:
    flip(files_of(index, "ids.npy")[0], 130)
    before = {path: path.read_bytes() for path in files_of(index, "*.*")
              if path.is_file() and path.suffix != ".db-shm"}
    assert find_problems(index)
    assert before == {path: path.read_bytes() for path in before}


# -- the catalog -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["idx_items_grp", "idx_items_uri_kind", "counts",
                                  "sqlite_autoindex_segments_1", "items_fts_data"])
def test_what_follows_from_the_rows_is_made_anew(index: Path, name: str) -> None:
    before = [rows_of(index, table) for table in ("items", "segments", "settings", "counts")]
    blank(index, page_of(index, name))
    assert found(index)
    problems = repair_collection(index)
    assert not lost(problems)
    assert [problem for problem in problems if is_doubt(problem)] == problems[-1:]
    assert find_problems(index) == []
    assert before == [rows_of(index, table) for table in ("items", "segments", "settings",
                                                          "counts")]
    assert Collection.open(index).search(text="sunny", mode="text", find="text")


@pytest.mark.parametrize("sql", [
    "UPDATE items_fts_data SET block = zeroblob(9) WHERE id > 10",
    "DELETE FROM items_fts_docsize WHERE id = 3", "UPDATE counts SET items = items + 1"])
def test_wrong_counts_and_full_text_are_made_anew(index: Path, sql: str) -> None:
    execute(index, sql)
    assert found(index)
    assert [problem.fixed for problem in repair_collection(index)] == [True, False]
    assert find_problems(index) == []


def test_rows_that_cannot_be_read_are_named_and_indexed_again(made: Path, index: Path) -> None:
    before = rows_of(index, columns="uri, kind, text, grp, meta")
    blank(index, leaves_of(index, "items")[1])
    problems = repair_collection(index)
    assert find_problems(index) == []
    there = {row[0] for row in rows_of(index, columns="uri")}
    missing = {str(row[0]) for row in before} - there
    assert there
    assert missing
    assert {problem.file for problem in lost(problems)} == missing
    assert all("`mmsearch index`" in problem.reason for problem in lost(problems))
    damaged = index / "catalog.db.damaged"
    assert damaged.stat().st_size == (made / "index" / "catalog.db").stat().st_size
    collection = Collection.open(index)
    add(collection, made / "photos" / "captions.jsonl", made / "notes.txt")
    collection.delete([str(made / "photos" / "bus.jpg")])
    assert rows_of(index, columns="uri, kind, text, grp, meta") == before


def test_a_row_that_nobody_can_read_is_named(index: Path) -> None:
    uris = [str(row[0]) for row in rows_of(index, columns="uri")][:3]
    for uri, sql in zip(uris, ("meta = '{'", "text = CAST(x'ff' AS TEXT)", "kind = 'imago'"),
                        strict=True):
        execute(index, f"UPDATE items SET {sql} WHERE uri = ?", uri)
    assert "catalog.db" in found(index)
    problems = repair_collection(index)
    assert find_problems(index) == []
    assert set(uris) <= {problem.file for problem in lost(problems)}


def test_what_was_altered_in_a_row_is_put_right_by_reading_all_again(
        own: Path, photos: Path) -> None:
    uri = str(sorted(photos.glob("*.jpg"))[4])
    data = (own / "catalog.db").read_bytes()
    row = data.index(f"{uri}image{uri}".encode())  # uri, kind, an empty text, and the group
    flip(own / "catalog.db", row + len(f"{uri}image{uri}") - 1)
    assert "idx_items_grp" in found(own)
    assert any(map(is_doubt, repair_collection(own)))
    assert find_problems(own) == []
    assert rows_of(own, f"items WHERE uri = '{uri}'", "grp") != [(uri,)]
    Collection.open(own).add(iter_items([photos], scan=Scan()), reread=True)
    assert rows_of(own, f"items WHERE uri = '{uri}'", "grp") == [(uri,)]


def test_an_end_that_is_cut_off(index: Path) -> None:
    before, path = rows_of(index), index / "catalog.db"
    path.write_bytes(path.read_bytes()[:-5000])
    assert found(index)
    repair_collection(index)
    assert find_problems(index) == []
    assert {row[:2] for row in rows_of(index)} <= {row[:2] for row in before}


def test_lost_settings_are_said(index: Path) -> None:
    said = "settings WHERE key <> 'next_seq'"
    before = rows_of(index, said)
    blank(index, page_of(index, "settings"))
    with pytest.raises(CollectionDamaged, match="--repair"):
        Collection.create(index)
    problems = repair_collection(index)
    assert "which model" in str(lost(problems))
    assert find_problems(index) == []
    assert rows_of(index, said) == before
    with closing(Catalog(index / "catalog.db", write=True)) as catalog:
        highest = max(seq for (seq,) in rows_of(index, "items", "seq"))  # type: ignore[type-var]
        assert catalog.settings["next_seq"] > highest


# -- rows and segments -----------------------------------------------------------------------------


@pytest.mark.parametrize("sql", [
    "DELETE FROM segments", "UPDATE segments SET name = replace(name, '-0', '-1')",
    "UPDATE segments SET last = last - 3", "UPDATE segments SET kind = 'frame'",
    "UPDATE segments SET sha256 = 'x'", "UPDATE segments SET role = 'vector'",
    "UPDATE settings SET value = '3' WHERE key = 'next_seq'"])
def test_altered_rows_never_cost_a_sound_segment(index: Path, made: Path, sql: str) -> None:
    segments = {path.name for path in (index / "segments").iterdir()}
    before = {kind: vectors_of(index, kind) for kind in ("image", "text")}
    execute(index, sql)
    if "next_seq" not in sql:
        assert found(index)
        Collection.open(index).delete(["/x"])
        assert segments == {path.name for path in (index / "segments").iterdir()}
        assert not lost(repair_collection(index))
    assert find_problems(index) == []
    add(Collection.open(index), made / "notes.txt")
    assert find_problems(index) == []
    for kind, vectors in before.items():
        for uri, vector in vectors_of(index, kind).items():
            assert (vector == vectors[uri]).all()


def test_a_row_that_names_no_segment_is_said_and_made_anew(index: Path) -> None:
    before = rows_of(index, "segments")
    execute(index, "UPDATE segments SET name = CAST(name AS BLOB)")  # one bit of a row's header
    with pytest.raises(CollectionDamaged, match="--repair"):
        Collection.open(index).search(text="sunny")
    assert "no such segment" in found(index)
    assert not lost(repair_collection(index))
    assert find_problems(index) == []
    assert [row for row in rows_of(index, "segments") if "ann" not in row] == [
        row for row in before if "ann" not in row]


def test_a_segment_without_gaps_or_with_all_live_gets_its_ids_back(
        own: Path, photos: Path) -> None:
    collection = Collection.open(own)
    for n in (1, 4, 5):
        collection.delete([str(sorted(photos.glob("*.jpg"))[n])])
    collection.compact()
    path, vectors = files_of(own, "ids.npy")[0], files_of(own, "vectors.faiss")[0]
    sound, stamp = path.read_bytes(), vectors.stat().st_mtime_ns
    for at in (3, 20, 128, 128 + 8 * 4):
        flip(path, at)
        assert [problem.fixed for problem in repair_collection(own)] == [True]
        assert (path.read_bytes(), vectors.stat().st_mtime_ns) == (sound, stamp)


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_what_cannot_be_encoded_again_is_named_and_nothing_sound_is_lost(
        own: Path, photos: Path, damage: str) -> None:
    gone, changed = sorted(photos.glob("*.jpg"))[:2]
    kept = gone.read_bytes()
    gone.unlink()
    Image.new("RGB", (40, 30), "red").save(changed)
    victim = files_of(own, "vectors.faiss")[0]
    flip(victim, victim.stat().st_size // 2)
    if damage == "cut":
        victim.write_bytes(victim.read_bytes()[:100])
    problems = {p.file: p for p in repair_collection(own) if p.file.endswith(".jpg")}
    assert problems.keys() == {str(gone), str(changed)}
    assert not any(problem.fixed for problem in problems.values())
    assert "put it back" in problems[str(gone)].reason
    assert "has changed" in problems[str(changed)].reason
    assert find_problems(own)
    collection = Collection.open(own)
    assert collection.info()["items"] == 12
    assert len(collection.search(text="a picture", k=20)) == (12 if damage == "flipped" else 11)
    gone.write_bytes(kept)
    assert add(collection, photos).replaced == 2
    repair_collection(own)
    assert find_problems(own) == []
    assert len(collection.search(text="a picture", k=20)) == 12
    assert collection.search(image=gone, k=1)[0].item.uri == str(gone)


def test_vectors_of_another_model_are_not_mixed_in(own: Path) -> None:
    files_of(own, "vectors.faiss")[0].unlink()
    execute(own, "UPDATE settings SET value = '\"other@1\"' WHERE key = 'encoder'")
    problems = repair_collection(own)
    assert any("12 image items" in str(one) and "other@1" in str(one) for one in lost(problems))
    assert Collection.open(own).info()["items"] == 12


def test_merges_leave_damage_where_it_is(own: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    shutil.copy(DEMO / "wren.jpg", tmp_path / "more")
    collection = Collection.open(own)
    flip(files_of(own, "vectors.faiss")[0], 500)
    add(collection, tmp_path / "more")
    with pytest.raises(CollectionDamaged, match=r"vectors\.faiss.*--repair"):
        collection.compact()
    assert "vectors.faiss" in found(own)


def test_the_end_of_a_log_that_is_not_whole_is_no_damage(made: Path, tmp_path: Path) -> None:
    """As killed writers leave it, and what is older behind it."""
    live, index = tmp_path / "live", tmp_path / "index"
    shutil.copytree(made / "index", live)
    with closing(Catalog(live / "catalog.db", write=True)) as catalog:
        for n in range(3):
            catalog.put_settings({f"note-{n}": n})
        shutil.copytree(live, index)
    (index / "catalog.db-shm").unlink()
    log = index / "catalog.db-wal"
    sound, rng = log.read_bytes(), random.Random(1)
    for at in (len(sound) - 1000, *(rng.randrange(len(sound)) for _ in range(10))):
        log.write_bytes(sound[:at] + bytes(len(sound) - at))
        assert find_problems(index) == []


KILLED = """
import os, sys
from pathlib import Path
from mmsearch.collection.repair import repair_collection
Path.replace = lambda self, to: os._exit(9)
repair_collection(Path(sys.argv[1]))
"""


def test_a_repair_that_is_killed_at_its_end_loses_no_log(own: Path, tmp_path: Path) -> None:
    index, folder = tmp_path / "index", tmp_path / "more"
    folder.mkdir()
    (folder / "notes.txt").write_text("a red kite over a lake")
    with Collection.open(own) as collection:
        add(collection, folder)
        with closing(sqlite3.connect(own / "catalog.db")) as reader:  # keeps the log there
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM items").fetchone()
            (folder / "other.txt").write_text("a blue boat")
            add(collection, folder)
            shutil.copytree(own, index)
    assert (index / "catalog.db-wal").stat().st_size
    with (index / "catalog.db").open("r+b") as file:
        file.seek(4096 * 4)
        file.write(bytes(4096))
    killed = subprocess.run([sys.executable, "-c", KILLED, index])
    assert killed.returncode == 9
    assert not (index / "catalog.db-wal").exists()
    repair_collection(index)
    assert Collection.open(index).count() == Collection.open(own).count()
    assert Collection.open(index).search(text="boat", find="text", mode="text")


def test_the_command_says_what_was_repaired_and_what_is_lost(
        own: Path, photos: Path, cli: Cli) -> None:
    flip(files_of(own, "segment.json")[0], 50)
    done = cli("verify", "-i", own)
    assert (done.returncode, "verify --repair" in done.stderr) == (1, True)
    done = cli("verify", "--repair", "-i", own)
    assert done.returncode == 0
    assert "fixed: " in done.stdout
    assert "is sound" in done.stdout
    next(photos.glob("*.jpg")).unlink()
    files_of(own, "vectors.faiss")[0].unlink()
    done = cli("verify", "--repair", "--json", "-i", own)
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["sound"] is False
    assert {problem["fixed"] for problem in answer["problems"]} == {False, True}
    assert set(answer["problems"][0]) == set(Problem._fields)
