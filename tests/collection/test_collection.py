"""A collection's life: adding, searching, changing, deleting, merging."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import DEMO, add, approximate_from, unit_vectors
from hypothesis import given, settings, strategies as st
from PIL import Image

from mmsearch.collection.collection import Collection
from mmsearch.encoders import encode_queries
from mmsearch.errors import CollectionNotFound, EncoderMismatch, UsageError
from mmsearch.ingest import upkeep
from mmsearch.records import Item
from mmsearch.storage.segments import write_segment


@pytest.fixture
def collection(tmp_path: Path, photos: Path) -> Collection:
    collection = Collection.create(tmp_path / "index")
    add(collection, photos)
    return collection


def uris(collection: Collection) -> set[str]:
    return {row.item.uri for kind in ("image", "text") for row in collection.vectors(kind)[0]}


# -- bringing it up to date ----------------------------------------------------------------------


def test_a_moved_file_keeps_its_vector_and_its_id(collection: Collection, photos: Path) -> None:
    old = next(photos.glob("*.jpg"))
    before = collection.search(image=old, k=1)[0]
    (photos / "deep").mkdir()
    new = old.rename(photos / "deep" / "renamed.jpg")
    report = add(collection, photos)
    assert (report.moved, report.added, report.removed, report.unchanged) == (1, 0, 0, 11)
    assert "encode" not in report.stages
    after = collection.search(image=new, k=1)[0]
    assert (after.id, after.item.uri) == (before.id, str(new))
    assert str(old) not in uris(collection)


def test_a_touched_file_is_not_encoded_and_a_changed_one_is(
        collection: Collection, photos: Path) -> None:
    one, two = sorted(photos.glob("*.jpg"))[:2]
    one.touch()
    Image.new("RGB", (300, 200), "red").save(two)
    report = add(collection, photos)
    assert (report.unchanged, report.replaced, report.added) == (11, 1, 0)
    hit = collection.search(image=two, k=1)[0]
    assert hit.item.uri == str(two)
    assert (hit.item.meta["width"], hit.item.meta["height"]) == (300, 200)
    assert add(collection, photos).unchanged == 12


def test_what_vanished_is_dropped_only_below_the_paths_given(
        collection: Collection, photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (50, 50), "blue").save(other / "blue.png")
    add(collection, other)
    for path in sorted(photos.glob("*.jpg"))[:3]:
        path.unlink()
    shutil.rmtree(other)
    report = add(collection, photos)
    assert (report.removed, report.unchanged) == (3, 9)
    assert str(other / "blue.png") in uris(collection)


def test_a_file_that_broke_is_reported_and_its_item_kept(
        collection: Collection, photos: Path) -> None:
    victim = next(photos.glob("*.jpg"))
    victim.write_bytes(victim.read_bytes()[:2000])
    report = add(collection, photos)
    assert [skipped.path for skipped in report.skipped] == [str(victim)]
    assert (report.added, report.replaced, report.unchanged) == (0, 0, 11)
    assert str(victim) in uris(collection)


def test_a_manifest_brings_captions_and_metadata(tmp_path: Path, photos: Path) -> None:
    names = sorted(path.name for path in photos.glob("*.jpg"))
    manifest = photos / "m.jsonl"
    manifest.write_text("".join(json.dumps(
        {"image": name, "captions": [f"caption of {name}", "second"], "year": 2000 + n}) + "\n"
        for n, name in enumerate(names)))
    collection = Collection.create(tmp_path / "index")
    report = add(collection, manifest)
    assert (report.added, collection.info()["kinds"]) == (36, {"image": 12, "text": 24})
    hits = collection.search(text="anything", where="year >= 2010", k=9)
    assert {hit.item.meta["year"] for hit in hits} == {2010, 2011}
    # Searching the folder again must not lose what the manifest said.
    assert add(collection, photos).removed == 0
    assert collection.info()["kinds"] == {"image": 12, "text": 24}
    assert len(collection.search(text="x", where="year exists", k=99)) == 12
    # A caption that the manifest no longer has goes; a changed column changes without encoding.
    manifest.write_text(json.dumps(
        {"image": names[0], "captions": [f"caption of {names[0]}"], "year": 1999}) + "\n")
    report = add(collection, manifest)
    assert (report.removed, "encode" in report.stages) == (34, False)
    assert collection.search(text="x", where="year = 1999", k=9)[0].item.uri == str(
        photos / names[0])


def test_a_moved_picture_takes_its_captions_along(tmp_path: Path, photos: Path) -> None:
    name = sorted(photos.glob("*.jpg"))[0].name
    manifest = photos / "m.jsonl"
    manifest.write_text(json.dumps({"image": name, "caption": "a fine thing"}) + "\n")
    collection = Collection.create(tmp_path / "index")
    add(collection, manifest, photos)
    (photos / name).rename(photos / "elsewhere.jpg")
    report = add(collection, photos)
    assert (report.moved, report.removed) == (1, 0)
    text = collection.search(text="a fine thing", find="text", k=1)[0]
    assert text.item.group == str(photos / "elsewhere.jpg")


def test_text_files_become_items_that_can_be_looked_up(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("a red car\n\nthe sea at night\n")
    collection = Collection.create(tmp_path / "index")
    add(collection, notes)
    hit = collection.search(text="ocean in the dark", find="text", k=1)[0]
    assert (hit.item.text, hit.item.uri) == ("the sea at night", f"{notes}#L3")
    notes.write_text("a red car\n")
    assert add(collection, notes).removed == 1


# -- searching -----------------------------------------------------------------------------------


def test_scores_are_cosines_of_the_query_and_the_stored_vectors(demo_index: Path) -> None:
    collection = Collection.open(demo_index)
    rows, vectors = collection.vectors("image")
    query = collection.embed(["a dog", "grass"], [DEMO / "cat.jpg"], ["night"],
                             weights=[2, 0.5, 1])
    assert np.linalg.norm(query) == pytest.approx(1, abs=1e-5)
    parts, _ = encode_queries(collection.encoder, ["a dog", "grass", "night"])
    picture = collection.embed(images=[DEMO / "cat.jpg"])
    summed = 2 * parts[0] + 0.5 * parts[1] + picture - parts[2]
    np.testing.assert_allclose(query, summed / np.linalg.norm(summed), atol=1e-5)
    hits = collection.search(vector=query, k=len(rows))
    by_uri = {row.item.uri: vector for row, vector in zip(rows, vectors, strict=True)}
    for hit in hits:
        assert hit.score == pytest.approx(float(by_uri[hit.item.uri] @ query), abs=2e-3)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_find_says_what_comes_back_and_groups_collapse(demo_index: Path) -> None:
    collection = Collection.open(demo_index)
    picture = DEMO / "cat.jpg"
    assert {h.item.kind for h in collection.search(image=picture, find="text")} == {"text"}
    both = collection.search(image=picture, find="any", k=20)
    assert len({hit.item.group for hit in both}) == 20
    loose = collection.search(image=picture, find="any", k=200, collapse=False)
    assert len(loose) == collection.info()["items"]


def test_wrong_calls_say_what_is_wrong(collection: Collection, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cancel"):
        collection.search(text="x", without=["x"])
    with pytest.raises(UsageError, match="what to delete"):
        collection.delete()
    with pytest.raises(CollectionNotFound, match="no collection"):
        Collection.open(tmp_path / "nothing")


def test_another_model_is_refused_with_both_names(tmp_path: Path, photos: Path) -> None:
    from mmsearch.encoders import BUILTIN_DIR

    other = tmp_path / "model"
    shutil.copytree(BUILTIN_DIR, other)
    spec = json.loads((other / "model.json").read_text())
    del spec["encoder"]  # or it would claim to make the vectors of the built-in model
    spec["name"] = "somebody-elses"
    (other / "model.json").write_text(json.dumps(spec))
    made = Collection.create(tmp_path / "index", model=str(other))
    add(made, photos)
    assert made.search(text="a dog", k=1)
    with pytest.raises(EncoderMismatch, match=r"somebody-elses@\w+, not with \S+@\w+"):
        Collection.open(tmp_path / "index", model="builtin").search(text="a dog")
    with pytest.raises(EncoderMismatch):
        Collection.create(tmp_path / "index")


# -- merging and growing -------------------------------------------------------------------------


def filled(path: Path, batches: list[int], dim: int) -> Collection:
    """A collection of synthetic vectors, one segment a batch, through the engine's own parts."""
    collection = Collection.create(path)
    with collection._writing() as catalog:
        catalog.put_settings({"dim": dim})
        seq = 1
        for n, rows in enumerate(batches):
            from mmsearch.storage.catalog import Change

            vectors = unit_vectors(rows, dim, seed=n)
            ids = np.arange(seq, seq + rows)
            segment = write_segment(path, f"image-{seq:012d}-{n}", "image", ids,
                                    lambda v=vectors: iter([v]))  # type: ignore[misc]
            items = [(int(i), Item(f"/p/{i}.jpg", "image"), f"{i}") for i in ids]
            seq += rows
            catalog.commit(Change(put=items, add_segments=[segment]))
        upkeep.tidy(path, catalog)
    return Collection.open(path)


def test_a_large_collection_gets_an_approximate_index_that_filters_and_updates(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    approximate_from(monkeypatch, 2000)
    monkeypatch.setattr("mmsearch.indexes.rescored.GATHER_UP_TO", 100)
    dim = Collection.create(tmp_path / "x").encoder.dim
    collection = filled(tmp_path / "index", [1500, 1500], dim)
    assert collection.info()["index"]["image"].startswith("ivf-rabitq over 3000 of 3000")
    vectors = unit_vectors(1500, dim, seed=1)
    for n in (0, 700, 1499):
        assert collection.search(vector=vectors[n], k=1)[0].item.uri == f"/p/{1501 + n}.jpg"
    found = collection.search(vector=vectors[0], where="path ~ 7", k=50)
    assert len(found) == 50
    assert all("7" in hit.item.uri for hit in found)
    collection.delete(["/p/1501.jpg"])
    assert collection.search(vector=vectors[0], k=1)[0].item.uri != "/p/1501.jpg"
    collection.compact()
    assert collection.verify() == []
    assert collection.info()["index"]["image"].startswith("ivf-rabitq over 2999 of 2999")


def test_damage_to_an_approximate_index_gets_no_checksum_that_fits(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    approximate_from(monkeypatch, 500)
    collection = filled(tmp_path / "index", [600], 32)
    index = next((tmp_path / "index").glob("ann-*/index.faiss"))
    data = bytearray(index.read_bytes())
    data[len(data) // 2] ^= 255
    index.write_bytes(data)
    collection.compact()
    assert collection.verify() == []
    assert not index.exists()  # it was built anew


def test_another_recall_is_acted_on_and_another_kind_too(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    approximate_from(monkeypatch, 500)
    collection = filled(tmp_path / "index", [600], 32)

    def now() -> dict[str, object]:
        with collection._writing() as catalog:
            upkeep.tidy(collection.path, catalog)  # as every run ends
        return collection.info()["approximate"].get("image", {})  # type: ignore[no-any-return]

    assert now()["target"] == 0.95
    collection.configure(recall=0.8)
    assert (now()["target"], now()["kind"]) == (0.8, "ivf-rabitq")
    collection.configure(kind="hnsw")
    assert now() == {}  # fewer than a thousand rows are exact, whatever the kind
    collection.configure(recall=1, kind="auto")
    assert now() == {}
    with pytest.raises(UsageError, match="add --device cuda"):
        collection.configure(kind="cagra")


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 60),
       st.sets(st.integers(1, 60)), st.booleans())
def test_any_history_finds_what_one_flat_list_would(
        tmp_path_factory: pytest.TempPathFactory, batches: list[int], k: int,
        doomed: set[int], compacted: bool) -> None:
    path = tmp_path_factory.mktemp("history") / "index"
    dim = 8
    collection = filled(path, batches, dim)
    assert collection.info()["segments"] < upkeep.FACTOR
    collection.delete(["/nothing", *(f"/p/{n}.jpg" for n in doomed)])
    vectors = np.concatenate([unit_vectors(rows, dim, seed=n) for n, rows in enumerate(batches)])
    query = unit_vectors(1, dim, seed=99)[0]
    live = [n for n in range(1, len(vectors) + 1) if n not in doomed]
    scores = {n: float(vectors[n - 1] @ query) for n in live}
    if compacted:
        collection.compact()
        assert (collection.info()["rows"], collection.verify()) == (len(live), [])
    hits = collection.search(vector=query, k=k)
    assert len(hits) == min(k, len(live))
    found = [scores[int(hit.item.uri[3:-4])] for hit in hits]
    np.testing.assert_allclose(found, sorted(scores.values(), reverse=True)[:k], atol=2e-3)


def test_eval_of_a_collection_says_what_its_approximate_index_misses(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmsearch.evaluation.pairs import load_pairs
    from mmsearch.evaluation.retrieval import How, evaluate_collection

    pairs = load_pairs(DEMO / "captions.jsonl")
    collection = Collection.create(tmp_path / "index")
    add(collection, DEMO / "captions.jsonl")
    assert evaluate_collection(collection, pairs).ann is None
    approximate_from(monkeypatch, 20)
    collection.compact()
    ann = evaluate_collection(collection, pairs, How(ks=(1, 10))).ann
    assert ann is not None
    assert set(ann) == {"recall@1", "recall@10"}
    assert ann["recall@10"] >= 0.9
    facts = collection.info()["approximate"]["image"]
    assert (facts["kind"], facts["rows"], facts["target"]) == ("ivf-rabitq", 50, 0.95)


# -- what a hostile reviewer found ---------------------------------------------------------------


def test_a_copy_of_a_picture_committed_earlier_in_the_same_run(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    for n in range(260):  # more than a first shard
        Image.new("RGB", (9, 9), (n % 256, n // 2, 7)).save(folder / f"{n:03}.png")
    shutil.copy(folder / "000.png", folder / "zzz.png")
    collection = Collection.create(tmp_path / "index")
    report = add(collection, folder)
    assert (report.added, report.copied) == (260, 1)


def test_a_picture_and_its_manifest_move_together(tmp_path: Path, photos: Path) -> None:
    name, manifest = sorted(photos.glob("*.jpg"))[0].name, photos / "m.jsonl"
    manifest.write_text(json.dumps({"image": name, "captions": ["one", "two"]}) + "\n")
    collection = Collection.create(tmp_path / "index")
    add(collection, manifest)
    (photos / name).rename(photos / "katze.jpg")
    manifest.write_text(json.dumps({"image": "katze.jpg", "captions": ["one", "three"]}) + "\n")
    report = add(collection, manifest)
    assert (report.moved, report.unchanged, report.replaced, report.removed) == (1, 1, 1, 0)
    texts = collection.search(text="x", find="text", k=9, collapse=False)
    assert {hit.item.text for hit in texts} == {"one", "three"}


def test_a_half_written_manifest_drops_nothing(tmp_path: Path, photos: Path) -> None:
    names, manifest = sorted(path.name for path in photos.glob("*.jpg")), photos / "m.jsonl"
    lines = [json.dumps({"image": name, "caption": f"of {name}"}) + "\n" for name in names]
    manifest.write_text("".join(lines))
    collection = Collection.create(tmp_path / "index")
    add(collection, manifest)
    manifest.write_text("".join(lines)[: len("".join(lines)) // 2])
    report = add(collection, manifest)
    assert (report.removed, len(report.skipped)) == (0, 1)


def test_a_file_that_was_named_stays_when_a_folder_passes_it_over(tmp_path: Path) -> None:
    hidden = tmp_path / "p" / ".hidden"
    hidden.mkdir(parents=True)
    shutil.copy(DEMO / "cat.jpg", hidden)
    collection = Collection.create(tmp_path / "index")
    add(collection, hidden / "cat.jpg")
    assert add(collection, tmp_path / "p").removed == 0
    (hidden / "cat.jpg").unlink()
    assert add(collection, tmp_path / "p").removed == 1


def test_an_indexed_picture_whose_file_is_gone_is_said_to_be_gone(
        collection: Collection, photos: Path) -> None:
    gone = next(photos.glob("*.jpg"))
    gone.unlink()
    with pytest.raises(UsageError, match=f"{gone.name} does not exist"):
        collection.search(image=gone)


def test_odd_queries_are_refused(demo_index: Path) -> None:
    collection = Collection.open(demo_index)
    dim = collection.encoder.dim
    for call in ({"text": "a", "weights": [float("nan")]}, {"vector": [0.0] * dim},
                 {"text": ["a", "b"], "weights": [float("inf"), 1]},
                 {"vector": [float("nan")] * dim}, {"vector": [1.0]}):
        with pytest.raises(UsageError):
            collection.search(**call)  # type: ignore[arg-type]
    assert collection.search(vector=np.full(dim, 5.0), k=1)[0].score <= 1
    assert collection.search(text="caf\udce9", k=1)


def test_a_models_directory_may_be_named_from_anywhere(
        tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmsearch.encoders import BUILTIN_DIR

    shutil.copytree(BUILTIN_DIR, tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    add(Collection.create(tmp_path / "index", model="mine"), photos)
    monkeypatch.chdir("/")
    assert Collection.open(tmp_path / "index").search(text="a cat", k=1)
