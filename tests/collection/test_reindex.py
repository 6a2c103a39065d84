"""Another model under a collection: all is encoded again, and nothing that is known is lost."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from conftest import DEMO, Cli, add, approximate_from, flip, unit_vectors
from making import animation, document, film
from PIL import Image

from mmsearch.collection.collection import Collection
from mmsearch.encoders import BUILTIN_DIR, load_encoder
from mmsearch.errors import CollectionBusy, EncoderMismatch, UsageError
from mmsearch.records import Hit
from mmsearch.sources.vector_sets import find_vectors
from mmsearch.storage.lock import writer_lock

onnx = pytest.importorskip("onnx")
WORDS = ("a dog", "the sea", "red", "a bridge at night", "pizza")


def small_model(path: Path, dim: int = 24, side: int = 260) -> str:
    """A model directory: a random projection of pixels, and one of the built-in tokens. Its
    pictures are as large as the built-in model's, so that they are cut into the same tiles."""
    from onnx import TensorProto, helper, numpy_helper

    path.mkdir()
    rng = np.random.default_rng(0)
    for name in ("tokenizer.json", "tokens.npy"):
        (path / name).symlink_to(BUILTIN_DIR / name)
    width = np.load(BUILTIN_DIR / "tokens.npy", mmap_mode="r").shape[1]

    def save(name: str, inputs: str, kind: int, shape: list[object], rows: int,
             *before: object) -> None:
        weights = rng.standard_normal((rows, dim)).astype(np.float32)
        constants = [numpy_helper.from_array(weights, "weights"),
                     numpy_helper.from_array(np.array([0, rows], np.int64), "shape"),
                     numpy_helper.from_array(np.float32(128), "grey")]
        graph = helper.make_graph(
            [*before, helper.make_node("MatMul", ["flat", "weights"], ["long"]),
             helper.make_node("LpNormalization", ["long"], ["embedding"], axis=1, p=2)],
            name, [helper.make_tensor_value_info(inputs, kind, shape)],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", dim])], constants)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)],
                                    ir_version=9), path / f"{name}.onnx")

    save("image", "pixels", TensorProto.UINT8, ["n", side, side, 3], side * side * 3,
         helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
         helper.make_node("Sub", ["floats", "grey"], ["centred"]),
         helper.make_node("Reshape", ["centred", "shape"], ["flat"]))
    save("text", "tokens", TensorProto.FLOAT, ["n", "t", width], width,
         helper.make_node("ReduceMean", ["tokens"], ["flat"], axes=[1], keepdims=0))
    files = ["image.onnx", "text.onnx"]
    (path / "model.json").write_text(json.dumps({
        "format": 1, "name": "small", "dim": dim, "max_tokens": 64,
        "image": {"file": "image.onnx", "size": side, "resize": "squash",
                  "interpolation": "bicubic"},
        "text": {"file": "text.onnx", "tokens": "tokens.npy", "tokenizer": "tokenizer.json"},
        "sha256": {name: hashlib.sha256((path / name).read_bytes()).hexdigest()
                   for name in files}}))
    return str(path)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return small_model(tmp_path_factory.mktemp("models") / "small")


def hits(collection: Collection, where: str = "") -> list[list[tuple[str, float]]]:
    """What some queries find, with the scores."""
    def found(result: list[Hit]) -> list[tuple[str, float]]:
        return sorted((hit.item.uri, round(hit.score, 4)) for hit in result)

    return [found(collection.search(text=text, find=find, k=999, where=where))
            for text in WORDS for find in ("image", "text")]


def known(collection: Collection) -> dict[tuple[str, str], object]:
    """All that is known of each item, but for its vector."""
    rows = [row for kind in ("image", "text", "frame") for row in collection.vectors(kind)[0]]
    return {(row.item.kind, row.item.uri): (row.id, row.item, row.hash) for row in rows}


def everything(folder: Path) -> Path:
    """Pictures with captions beside them, a film, an animation, a document, a text, an archive."""
    names = sorted(path.name for path in folder.glob("*.jpg"))
    (folder / "m.jsonl").write_text("".join(json.dumps(
        {"image": name, "captions": [f"this is {name}", "second"], "year": 2000 + n}) + "\n"
        for n, name in enumerate(names[:6])))
    (folder / names[7]).with_suffix(".txt").write_text("a caption beside\n")
    (folder / "notes").mkdir()
    (folder / "notes" / "notes.txt").write_text("a red car\n\nthe sea at night\n")
    film(folder / "film.mp4")
    animation(folder / "moves.gif")
    document(folder / "paper.pdf", ["a text on a page", "", "another"])
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        for name in (names[0], "paper.pdf", "moves.gif"):
            archive.write(folder / name, name)
    return folder


@pytest.mark.parametrize("tiles", [None, "2x2"])
def test_it_answers_as_a_fresh_index_and_keeps_what_is_known(
        tmp_path: Path, photos: Path, model: str, tiles: str | None) -> None:
    everything(photos)
    paths = [photos / "m.jsonl", photos, photos / "more.zip"]
    collection = Collection.create(tmp_path / "index")
    fresh = Collection.create(tmp_path / "fresh", model=model)
    for one in (collection, fresh):
        one.configure(tiles=tiles)
        add(one, *paths)
    before, old = known(collection), hits(collection)
    reader = Collection.open(tmp_path / "index")
    assert hits(reader) == old
    report = collection.reindex(model)
    assert (report.switched, report.missing, report.changed) == (True, [], [])
    assert report.encoded == len(before) and report.dim == 24
    assert known(collection) == before
    assert collection.verify() == []
    # Whoever had it open goes on with the new model.
    new = hits(collection)
    assert hits(reader) == new == hits(fresh) != old
    assert hits(Collection.open(tmp_path / "index")) == new
    assert collection.info()["model"] == model
    assert not list((tmp_path / "index").glob("reindex-*"))
    # And goes on to live.
    (photos / "new.txt").write_text("a new text\n")
    Image.new("RGB", (90, 90), "green").save(photos / "green.png")
    after = add(collection, *paths)
    assert (after.added, after.replaced, after.removed) == (2, 0, 0)
    assert collection.verify() == []


@pytest.fixture
def filled(tmp_path: Path, photos: Path) -> Collection:
    collection = Collection.create(tmp_path / "index")
    (photos / "notes.txt").write_text("".join(f"line {n}\n" for n in range(40)))
    add(collection, photos)
    return collection


def test_searches_go_on_with_the_old_model_until_the_switch(
        filled: Collection, model: str) -> None:
    """And every one is answered by one model, as a whole."""
    reader = Collection.open(filled.path)
    old, found, failed = hits(reader), list[list[list[tuple[str, float]]]](), list[Exception]()
    during = list[list[list[tuple[str, float]]]]()
    switched = False

    def search() -> None:
        try:
            while not (switched and len(found) > 3):
                found.append([[(hit.item.uri, round(hit.score, 4)) for hit in
                               reader.search(text=WORDS[0], k=5)]])
        except Exception as error:
            failed.append(error)

    threads = [Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    filled.reindex(model, progress=lambda done: during or during.append(hits(reader)))
    switched = True
    for thread in threads:
        thread.join()
    assert failed == [] and during == [old]
    answers = {str(one) for one in found}
    assert len(answers) == 2
    assert hits(reader) == hits(Collection.open(filled.path)) != old


def test_killed_at_any_moment_nothing_has_changed_and_the_next_run_goes_on(
        tmp_path: Path, photos: Path, model: str) -> None:
    index = tmp_path / "index"
    collection = Collection.create(index, model=small_model(tmp_path / "first", dim=40))
    (photos / "notes.txt").write_text("".join(f"line {n}\n" for n in range(9000)))
    add(collection, photos)
    before, old = known(collection), hits(collection)
    command = [sys.executable, "-m", "mmsearch", "reindex", "-i", str(index), "--model", model,
               "--json"]
    rng, killed, out = random.Random(3), 0, ""
    while not out:
        done = len(list(index.glob("reindex-*/segments/[!.]*")))
        run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        while killed < 3 and run.poll() is None and len(list(index.glob(
                "reindex-*/segments/[!.]*"))) <= done:
            time.sleep(0.01)
        if killed < 3:
            time.sleep(rng.choice([0, 0.02, 0.1]))
            run.kill()
        out, _ = run.communicate()
        if run.returncode:
            assert run.returncode == -signal.SIGKILL
            killed, out = killed + 1, ""
            with Collection.open(index) as now:
                assert now.verify() == []
                assert now.info()["model"] == model or hits(now) == old
    report = json.loads(out)
    assert killed > 1 and report["kept"] > 12
    assert report["kept"] + report["encoded"] == len(before)
    fresh = Collection.create(tmp_path / "fresh", model=model)
    add(fresh, photos)
    with Collection.open(index) as now:
        assert now.verify() == [] and known(now) == before
        assert now.info()["model"] == model and hits(now) == hits(fresh)


def test_what_an_earlier_run_encoded_holds_also_after_other_changes(
        filled: Collection, photos: Path, model: str) -> None:
    """Items that came, changed and went in between."""
    def stop(done: int) -> None:
        if list(filled.path.glob("reindex-*/segments/text-*")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        filled.reindex(model, progress=stop)
    lost, altered, *_ = sorted(photos.glob("*.jpg"))
    lost.unlink()
    Image.new("RGB", (300, 200), "red").save(altered)
    Image.new("RGB", (300, 200), "blue").save(photos / "new.png")
    report = add(filled, photos)
    assert (report.added, report.replaced, report.removed) == (1, 1, 1)
    report = filled.reindex(model)
    assert report.switched and report.encoded < 8 + 6 and report.kept > 40
    fresh = Collection.create(filled.path.with_name("fresh"), model=model)
    add(fresh, photos)
    assert hits(filled) == hits(fresh) and filled.verify() == []


def test_a_damaged_leftover_is_encoded_again(filled: Collection, model: str) -> None:
    Image.new("RGB", (9, 9)).save(gone := filled.path.parent / "photos" / "gone.png")
    add(filled, gone.parent)
    gone.unlink()
    assert not filled.reindex(model).switched
    add(filled, gone.parent)
    kept = sorted(filled.path.glob("reindex-*/segments/*/vectors.faiss"))
    flip(kept[0], 200)
    report = filled.reindex(model)
    assert report.switched and report.encoded and report.kept and filled.verify() == []


def test_with_a_file_missing_it_keeps_the_old_model_and_says_which(
        filled: Collection, photos: Path, model: str, cli: Cli) -> None:
    before, old = known(filled), hits(filled)
    away, broken, *_ = sorted(photos.glob("*.jpg"))
    data, elsewhere = broken.read_bytes(), photos.parent / "elsewhere.jpg"
    away.rename(elsewhere)
    broken.write_bytes(b"nothing")
    done = cli("reindex", "-i", filled.path, "--model", model)
    assert done.returncode == 1
    assert f"missing {away}: cannot be read: No such file or directory" in done.stderr
    assert f"missing {broken}: " in done.stderr and "2 items could not be encoded" in done.stderr
    assert "encoded 50, missing 2; the model is as before" in done.stdout
    assert hits(filled) == old and known(filled) == before and filled.verify() == []
    elsewhere.rename(away)
    broken.write_bytes(data)
    report = filled.reindex(model)
    assert (report.switched, report.encoded, report.kept) == (True, 2, 50)
    assert known(filled) == before and filled.verify() == []


def test_what_is_missing_can_be_left_without_a_vector_until_it_is_back(
        filled: Collection, photos: Path, model: str) -> None:
    away = min(photos.glob("*.jpg"))
    away.rename(elsewhere := photos.parent / "elsewhere.jpg")
    report = filled.reindex(model, allow_missing=True)
    assert report.switched and [one.path for one in report.missing] == [str(away)]
    assert [hit.item.uri for hit in filled.search(text=away.name, mode="text", k=1)] == [str(away)]
    assert "1 image items have no vector" in str(filled.verify())
    assert str(away) not in str(hits(filled))
    elsewhere.rename(away)
    assert add(filled, photos).replaced == 1
    assert filled.verify() == [] and str(away) in str(hits(filled))


def test_a_file_that_changed_is_named_and_read_by_the_next_index(
        filled: Collection, photos: Path, model: str) -> None:
    altered = min(photos.glob("*.jpg"))
    Image.new("RGB", (300, 200), "red").save(altered)
    report = filled.reindex(model)
    assert report.switched and report.changed == [str(altered)]
    done = add(filled, photos)
    assert (done.replaced, done.unchanged) == (1, 51)


def test_frames_and_tiles_that_the_model_would_not_choose_stay(
        tmp_path: Path, photos: Path) -> None:
    """A model that needs larger pictures would cut fewer tiles: what is there keeps its vector."""
    film(photos / "film.mp4")
    collection = Collection.create(tmp_path / "index")
    collection.configure(tiles="2x2")
    add(collection, photos)
    before = known(collection)
    assert sum("#xywh" in uri for _, uri in before) > 10
    report = collection.reindex(small_model(tmp_path / "large", side=600))
    assert report.switched and report.missing == [] and known(collection) == before
    assert collection.verify() == []


def test_an_approximate_index_is_there_from_the_first_search_on(
        tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    approximate_from(monkeypatch, 300)
    (tmp_path / "notes.txt").write_text("".join(f"a line with number {n}\n" for n in range(500)))
    collection = Collection.create(tmp_path / "index", recall=0.9)
    add(collection, tmp_path / "notes.txt")
    assert collection.info()["approximate"]["text"]["rows"] == 500
    collection.reindex(model)
    facts = collection.info()["approximate"]["text"]
    assert (facts["rows"], facts["target"], facts["kind"]) == (500, 0.9, "ivf-rabitq")
    assert collection.verify() == []
    assert collection.search(text="a line with number 77", find="text", k=1)


@pytest.mark.parametrize("golden", ["format-1", "format-2"])
def test_what_earlier_versions_wrote(tmp_path: Path, model: str, golden: str) -> None:
    """Its pictures are nowhere; its texts are in the catalog."""
    shutil.copytree(Path(__file__).parents[1] / "storage" / "golden" / golden, tmp_path / "index")
    collection = Collection.open(tmp_path / "index")
    kinds = collection.info()["kinds"]
    report = collection.reindex(model, allow_missing=True)
    assert report.switched and report.encoded == kinds["text"]
    assert len(report.missing) == sum(kinds.values()) - kinds["text"]
    assert collection.info()["kinds"] == kinds
    rows, vectors = collection.vectors("text")
    fresh = load_encoder(model).encode_texts([row.item.text for row in rows])
    assert (vectors * fresh).sum(1).min() > 0.999
    assert collection.search(text=rows[0].item.text, find="text", k=1)[0].score > 0.999


# -- who else has it open ------------------------------------------------------------------------


def test_a_handle_that_was_open_before_writes_with_the_new_model(
        filled: Collection, photos: Path, model: str) -> None:
    """`mmsearch watch`, say."""
    open_before, told_which = Collection.open(filled.path), Collection.open(
        filled.path, model="builtin")
    assert hits(open_before) and hits(told_which)
    filled.reindex(model)
    Image.new("RGB", (300, 200), "red").save(photos / "red.png")
    with pytest.raises(EncoderMismatch):
        add(told_which, photos)
    with pytest.raises(EncoderMismatch):
        told_which.search(text="red")
    assert add(open_before, photos).added == 1
    assert open_before.info()["encoder"] == filled.info()["encoder"] != "builtin"
    assert hits(open_before) == hits(filled) and filled.verify() == []
    assert open_before.search(text="red", k=1)[0].relevance is not None


def test_it_writes_alone(filled: Collection, model: str) -> None:
    with writer_lock(filled.path), pytest.raises(CollectionBusy):
        filled.reindex(model)


def test_back_to_the_built_in_model_all_is_as_it_was(filled: Collection, model: str) -> None:
    before, old = known(filled), hits(filled)
    relevance = [hit.relevance for hit in filled.search(text="a dog")]
    assert filled.reindex(model).switched and filled.reindex("builtin").switched
    assert hits(filled) == old and known(filled) == before
    assert [hit.relevance for hit in filled.search(text="a dog")] == pytest.approx(relevance)
    assert filled.reindex("builtin").encoded == 0


def test_an_unfinished_one_goes_with_compact_or_with_one_for_another_model(
        filled: Collection, photos: Path, model: str, tmp_path: Path) -> None:
    min(photos.glob("*.jpg")).unlink()
    assert not filled.reindex(model).switched
    (first,) = filled.path.glob("reindex-*")
    assert not filled.reindex(small_model(tmp_path / "other", dim=8)).switched
    (second,) = filled.path.glob("reindex-*")
    assert first != second
    filled.compact()
    assert not second.exists() and filled.verify() == []


def test_vectors_from_elsewhere_are_refused(tmp_path: Path, model: str) -> None:
    np.save(tmp_path / "v.npy", unit_vectors(5, 24))
    vectors = find_vectors(tmp_path / "v.npy", None, "image")
    collection = Collection.for_vectors(tmp_path / "index", vectors, model="some/model")
    collection.add_vectors(vectors, model="some/model")
    with pytest.raises(UsageError, match="were made elsewhere"):
        collection.reindex(model)


def test_another_model_is_refused_with_the_command_that_switches(
        filled: Collection, photos: Path, model: str, cli: Cli) -> None:
    for command in (["index", photos], ["query", "a dog"]):
        done = cli(*command, "-i", filled.path, "--model", model)
        assert done.returncode == 1
        assert f"mmsearch reindex -i {filled.path} --model {model}" in done.stderr
        assert "another directory (-i)" in done.stderr
    assert "--model NAME" in cli("reindex", "-i", filled.path).stderr
    done = cli("reindex", "-i", filled.path, "--model", model)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("encoded 52; the model is small@")
    assert cli("query", "a dog", "-i", filled.path).returncode == 0


def test_names_are_taught_again_from_their_copies(tmp_path: Path, model: str) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("bus", "cat", "pizza"):
        shutil.copy(DEMO / f"{name}.jpg", folder)
    away = Path(shutil.copy(DEMO / "moose.jpg", tmp_path))
    with Collection.create(tmp_path / "x") as collection:
        add(collection, folder)
        collection.teach("Zorblax", [away], is_a="moose")
        away.unlink()
        collection.reindex(model)
        with collection._pool.connection() as one:
            (taught,) = one.catalog.taught()
        encoder = collection.encoder
        assert taught.encoder == encoder.name == collection.info()["encoder"]
        moose = encoder.encode_images([Image.open(DEMO / "moose.jpg").convert("RGB")])[0]
        assert taught.vector @ moose > 0.98
        collection.teach("Zorblax", [folder / "bus.jpg"])
        (name,) = collection.taught()
        assert (name.is_a, len(name.pictures)) == ("moose", 2)
        assert collection.search(text="Zorblax", k=1)
