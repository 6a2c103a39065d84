"""What a reranker looks at is stored when pictures are indexed, on request; nothing needs it."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import DEMO, Cli, add, flip
from PIL import Image

from mmsearch.collection import Collection
from mmsearch.encoders import BUILTIN_DIR, Reranker
from mmsearch.errors import CollectionBusy, CollectionError
from mmsearch.records import Item
from mmsearch.storage.places import PLACES, stored_places

NAMES = ("bus", "dogs", "waves", "pizza", "cat", "horse")
TEXT = "two dogs"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures, and two collections of it: plain, and with what is looked at."""
    root = tmp_path_factory.mktemp("stored")
    (root / "photos").mkdir()
    for name in NAMES:
        shutil.copy(DEMO / f"{name}.jpg", root / "photos")
    for name, rerank in (("plain", None), ("stored", True)):
        with Collection.create(root / name, rerank=rerank) as collection:
            add(collection, root / "photos")
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """The same again, for one test: nothing is read again but what the test changes."""
    shutil.copytree(made / "stored", tmp_path / "stored")
    shutil.copytree(made / "photos", tmp_path / "photos")
    with Collection.open(tmp_path / "stored") as collection:  # they are copies, elsewhere
        assert add(collection, tmp_path / "photos").copied == len(NAMES)
        collection.delete([str(made / "photos")])
    return tmp_path


@pytest.fixture
def collection(root: Path) -> Iterator[Collection]:
    with Collection.open(root / "stored") as found:
        yield found


def scores(collection: Collection) -> dict[str, float]:
    return {Path(hit.item.uri).name: hit.score
            for hit in collection.search(text=TEXT, rerank=10)}


def kept(collection: Collection, reranker: Reranker) -> dict[str, bytes]:
    """What is stored, by the name of the file."""
    rows, _ = collection.vectors("image")
    found = stored_places(collection.path, reranker.made_by, [row.hash for row in rows])
    return {Path(row.item.uri).name: found[row.hash] for row in rows if row.hash in found}


def count(path: Path) -> int:
    with closing(sqlite3.connect(path / PLACES)) as conn:
        return int(conn.execute("SELECT count(*) FROM places").fetchone()[0])


def test_a_search_finds_the_same_and_vectors_stay_as_they_are(made: Path) -> None:
    with Collection.open(made / "plain") as plain, Collection.open(made / "stored") as stored:
        assert scores(plain) == scores(stored)
        np.testing.assert_array_equal(plain.vectors("image")[1], stored.vectors("image")[1])
        assert plain.info()["rerank"] == {}
        facts = stored.info()["rerank"]
        assert facts["pictures"] == len(NAMES) and facts["bytes"] < 40_000 * len(NAMES)


def test_pictures_that_are_gone_are_looked_at(collection: Collection, root: Path) -> None:
    before = scores(collection)
    shutil.rmtree(root / "photos")
    with Collection.open(root / "stored") as another:  # that has seen nothing yet
        assert scores(another) == before
    plain = {Path(hit.item.uri).name: hit.score for hit in collection.search(text=TEXT)}
    assert all(plain[name] != score for name, score in before.items())


def test_the_file_may_be_deleted(collection: Collection, root: Path, reranker: Reranker) -> None:
    before = scores(collection)
    for path in (root / "stored").glob(f"{PLACES}*"):
        path.unlink()
    with Collection.open(root / "stored") as another:
        assert scores(another) == before
    assert add(collection, root / "photos").replaced == len(NAMES)
    assert len(kept(collection, reranker)) == len(NAMES)
    assert add(collection, root / "photos").unchanged == len(NAMES)


def test_a_picture_that_changed_is_not_seen_as_it_was(
        collection: Collection, root: Path, reranker: Reranker) -> None:
    shutil.copy(DEMO / "panda.jpg", root / "photos/cat.jpg")
    (root / "photos/bus.jpg").unlink()
    (root / "photos/horse.jpg").rename(root / "photos/mare.jpg")
    report = add(collection, root / "photos")
    assert (report.replaced, report.removed, report.moved) == (1, 1, 1)
    panda = reranker.encoder.prepare(Image.open(DEMO / "panda.jpg").convert("RGB"))
    found = kept(collection, reranker)
    assert found["cat.jpg"] == reranker.places([panda])[0]
    assert found.keys() == {"cat.jpg", "dogs.jpg", "waves.jpg", "pizza.jpg", "mare.jpg"}
    collection.compact()
    assert count(collection.path) == len(found)  # and nothing of what is no more


def test_what_is_deleted_leaves_nothing(collection: Collection, root: Path) -> None:
    assert collection.delete([str(root / "photos/dogs.jpg")]) == 1
    collection.compact()
    assert count(collection.path) == len(NAMES) - 1
    collection.configure(rerank=False)
    assert not list(collection.path.glob(f"{PLACES}*"))
    assert add(collection, root / "photos").added == 1  # and it is off from now on
    assert not (collection.path / PLACES).exists() and collection.info()["rerank"] == {}


def test_what_is_gone_is_removed_when_it_is_much(collection: Collection, root: Path) -> None:
    """By runs that store nothing themselves."""
    for name, left in (("dogs", 6), ("bus", 4), ("cat", 3), ("horse", 2)):
        if name == "bus":
            assert collection.delete([str(root / f"photos/{name}.jpg")]) == 1
        (root / f"photos/{name}.jpg").unlink()
        assert add(collection, root / "photos").removed == (name != "bus")
        assert count(collection.path) == left


def test_a_copy_is_stored_as_its_picture_is(tmp_path: Path, reranker: Reranker) -> None:
    """What was indexed before, without, and is not looked at in this run."""
    frames = [Image.open(DEMO / f"{name}.jpg").convert("RGB").resize((300, 300))
              for name in NAMES[:2]]
    (tmp_path / "old").mkdir()
    frames[0].save(tmp_path / "old/moving.gif", save_all=True, append_images=frames[1:],
                   duration=3000)
    shutil.copy(DEMO / "cat.jpg", tmp_path / "old")
    with Collection.create(tmp_path / "index") as collection:
        items = add(collection, tmp_path / "old").added
        assert items > 2
        collection.configure(rerank=True)
        shutil.copytree(tmp_path / "old", tmp_path / "copies")
        report = add(collection, tmp_path / "copies")
        assert (report.added, report.copied) == (items, 0)
        assert count(collection.path) == items
        assert add(collection, tmp_path / "copies").unchanged == items
        assert add(collection, tmp_path / "old").unchanged == items  # they share what is stored
        (collection.path / PLACES).unlink()
        (tmp_path / "old").rename(tmp_path / "moved")
        report = add(collection, tmp_path / "moved")
        assert (report.moved, report.replaced) == (items, items)
        assert count(collection.path) == items
        assert add(collection, tmp_path / "moved").unchanged == items
        assert collection.counts() == {"image": 2, "frame": 2 * items - 2}


def test_a_run_that_stores_nothing(tmp_path: Path) -> None:
    """It removes, finds nothing to do, or is stopped before it has stored anything."""
    (tmp_path / "docs").mkdir()
    for name in ("one", "two"):
        (tmp_path / f"docs/{name}.txt").write_text(name)
    with Collection.create(tmp_path / "index") as collection:
        assert add(collection, tmp_path / "docs").added == 2
        collection.configure(rerank=True)
        with pytest.raises(KeyboardInterrupt):
            collection.add(stopped())
        assert count(collection.path) == 0 and not collection.verify()
        (tmp_path / "docs/one.txt").unlink()
        assert add(collection, tmp_path / "docs").removed == 1
        (collection.path / PLACES).unlink()
        (collection.path / PLACES).touch()  # as who is killed just then leaves it
        assert not collection.verify()
        assert add(collection, tmp_path / "docs").unchanged == 1
        assert count(collection.path) == 0 and not collection.verify()


def stopped() -> Iterator[Item]:
    raise KeyboardInterrupt
    yield


def test_what_cannot_be_written_is_left_alone(
        collection: Collection, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient = partial(sqlite3.connect, check_same_thread=False)
    monkeypatch.setattr(sqlite3, "connect", lambda *args, timeout=0.0, **more:
                        impatient(*args, timeout=0.1, **more))
    with closing(sqlite3.connect(collection.path / PLACES, isolation_level=None)) as conn:
        conn.execute("UPDATE made SET by = 'another'")
        conn.execute("BEGIN IMMEDIATE")
        with pytest.raises(CollectionBusy, match="db is locked by another program"):
            add(collection, root / "photos")
        conn.execute("COMMIT")
        assert conn.execute("SELECT count(*) FROM places").fetchone() == (len(NAMES),)
    assert count(collection.path) == len(NAMES)
    (collection.path / PLACES).unlink()
    (collection.path / PLACES).mkdir()
    with pytest.raises(CollectionError, match="db cannot be read: Is a directory"):
        add(collection, root / "photos")


def test_a_damaged_row_is_read_again(collection: Collection, root: Path) -> None:
    before = scores(collection)
    with closing(sqlite3.connect(collection.path / PLACES)) as conn:
        for hash, packed, _ in conn.execute("SELECT * FROM places").fetchall():
            worse = packed[:-9] + bytes([packed[-9] ^ 1]) + packed[-8:]
            conn.execute("UPDATE places SET packed = ? WHERE hash = ?", [worse, hash])
        conn.commit()
    with Collection.open(root / "stored") as another:
        assert scores(another) == before
    (problem,) = collection.verify()
    assert problem.file.endswith(PLACES) and f"{len(NAMES)} pictures is damaged" in problem.reason
    assert all(one.fixed for one in collection.repair()) and not collection.verify()
    assert add(collection, root / "photos").replaced == len(NAMES)


def test_a_damaged_file_is_made_anew(
        collection: Collection, root: Path, reranker: Reranker) -> None:
    before = scores(collection)
    (collection.path / PLACES).write_bytes(b"no database" * 1000)
    assert "not a database" in collection.verify()[0].reason
    with Collection.open(root / "stored") as another:
        assert scores(another) == before
    collection.delete([str(root / "photos/bus.jpg")])
    add(collection, root / "photos")
    assert len(kept(collection, reranker)) == len(NAMES)
    for page in range(1, (collection.path / PLACES).stat().st_size // 4096):
        flip(collection.path / PLACES, 4096 * page, 255)
    add(collection, root / "photos")
    with Collection.open(root / "stored") as another:
        assert scores(another) == before


def test_what_another_model_made_is_not_used(collection: Collection, root: Path) -> None:
    with closing(sqlite3.connect(collection.path / PLACES)) as conn:
        conn.execute("UPDATE made SET by = 'another'")
        conn.commit()
    before = scores(collection)
    assert before == scores(Collection.open(root / "stored"))
    assert add(collection, root / "photos").replaced == len(NAMES)


def test_tiles_and_frames_are_stored_too(tmp_path: Path, reranker: Reranker) -> None:
    frames = [Image.open(DEMO / f"{name}.jpg").convert("RGB").resize((300, 300))
              for name in NAMES[:3]]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:], duration=3000)
    Image.open(DEMO / "cat.jpg").resize((1200, 900)).save(tmp_path / "cat.jpg")
    with Collection.create(tmp_path / "index") as collection:
        collection.configure(tiles="2x2")
        add(collection, tmp_path)
        items = sum(collection.counts().values())
        assert items > 6
        collection.configure(rerank=True)
        assert add(collection, tmp_path).replaced == items
        assert add(collection, tmp_path).unchanged == items
        assert count(collection.path) == items
        collection.compact()
        assert count(collection.path) == items
        collection.configure(tiles="none")
        assert count(collection.path) == sum(collection.counts().values()) == items - 4


def test_who_is_killed_loses_nothing(made: Path, tmp_path: Path, reranker: Reranker) -> None:
    """Killed between the two commits, of what is looked at and of the collection."""
    code = f"""if True:
        import os, signal
        from pathlib import Path
        from mmsearch import Collection, Scan, iter_items
        from mmsearch.storage import Catalog
        commit = Catalog.commit
        def killed(self, change):
            if change.add_segments:
                os.kill(os.getpid(), signal.SIGKILL)
            commit(self, change)
        collection = Collection.create({str(tmp_path / "index")!r}, rerank=True)
        Catalog.commit = killed
        collection.add(iter_items([Path({str(made / "photos")!r})], scan=Scan()))"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    assert count(tmp_path / "index") == len(NAMES)
    with Collection.open(tmp_path / "index") as collection:
        assert not collection.verify() and not collection.counts()
        assert add(collection, made / "photos").added == len(NAMES)
        assert scores(collection) == scores(Collection.open(made / "stored"))
        assert len(kept(collection, reranker)) == len(NAMES)


def test_the_command_line(made: Path, tmp_path: Path, cli: Cli) -> None:
    index = tmp_path / "index"
    cli("index", made / "photos", "-i", index, check=True)
    done = cli("index", made / "photos", "-i", index, "--rerank", check=True)
    assert f"replaced {len(NAMES)}" in done.stdout
    facts = json.loads(cli("info", "-i", index, "--json", check=True).stdout)
    assert facts["rerank"]["pictures"] == len(NAMES)
    assert f"unchanged {len(NAMES)}" in cli("index", made / "photos", "-i", index).stdout
    cli("index", made / "photos", "-i", index, "--no-rerank", check=True)
    assert not (index / PLACES).exists()


def test_a_model_without_a_reranker_says_so(made: Path, tmp_path: Path, cli: Cli) -> None:
    shutil.copytree(BUILTIN_DIR, tmp_path / "model")
    spec = json.loads((tmp_path / "model/model.json").read_text())
    del spec["rerank"]
    (tmp_path / "model/model.json").write_text(json.dumps(spec | {"encoder": "bare@2"}))
    done = cli("index", made / "photos", "-i", tmp_path / "index", "--rerank",
               "--model", tmp_path / "model")
    assert done.returncode == 2
    assert "the model bare@2 has no reranker; leave out --rerank" in done.stderr
    assert not (tmp_path / "index").exists()
    with Collection.open(made / "plain") as plain:
        shutil.copytree(plain.path, tmp_path / "index")
    with Collection.open(tmp_path / "index") as collection:
        collection.configure(rerank=True)
        assert collection.reindex(str(tmp_path / "model")).switched
        assert add(collection, made / "photos").unchanged == len(NAMES)
