"""Tiles of large pictures: found, and kept in step with their pictures."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from conftest import DEMO, Cli, add, flip
from hypothesis import given, settings, strategies as st
from making import animation, picture
from PIL import ExifTags, Image

from mmsearch.collection.collection import Collection
from mmsearch.collection.reader import Reader
from mmsearch.collection.repair import repair_collection
from mmsearch.errors import UsageError
from mmsearch.fragments import file_uri, in_region, part_of
from mmsearch.media import frames
from mmsearch.media.crops import Crop
from mmsearch.media.decoding import decode
from mmsearch.media.tiles import MOST, Grid, parse_grid
from mmsearch.records import Item
from mmsearch.sources.folders import Scan, iter_items
from mmsearch.sources.vector_sets import find_vectors
from mmsearch.storage.catalog import Catalog
from mmsearch.storage.rows import Row
from mmsearch.storage.verify import find_problems
from mmsearch.uris import fingerprint_of

CORNERS = ("cat", "bus", "pizza", "sunset")
FRAGMENTS = [f"#xywh=percent:{x},{y},55,55" for y in (0, 45) for x in (0, 45)]


def canvas(path: Path, names: Sequence[str] = CORNERS, *, columns: int = 2,
           cell: tuple[int, int] = (560, 420), **options: object) -> Path:
    """One large picture of several, row by row."""
    rows = -(-len(names) // columns)
    whole = Image.new("RGB", (columns * cell[0], rows * cell[1]))
    for n, name in enumerate(names):
        whole.paste(picture(name, cell), (n % columns * cell[0], n // columns * cell[1]))
    whole.save(path, **{"quality": 95, **options})
    return path


@pytest.fixture
def index(tmp_path: Path) -> Collection:
    collection = Collection.create(tmp_path / "index")
    collection.configure(tiles="2x2")
    return collection


@pytest.fixture
def photo(folder: Path) -> Path:
    return canvas(folder / "a.jpg")


def rows(index: Collection) -> dict[str, Row]:
    """All items by the ends of their uris."""
    with closing(Catalog(index.path / "catalog.db")) as catalog:
        return {row.item.uri.rpartition("/")[2]: row for row in catalog.rows()}


def uris(index: Collection) -> list[str]:
    return sorted(rows(index))


def of(name: str) -> list[str]:
    """A picture and its tiles."""
    return sorted([name, *(name + fragment for fragment in FRAGMENTS)])


def vectors(index: Collection, kind: str) -> dict[str, np.ndarray]:
    found, matrix = Reader.open(index.path).vectors(kind)  # type: ignore[arg-type]
    return {row.item.uri: vector for row, vector in zip(found, matrix, strict=True)}


# --- the grid ------------------------------------------------------------------------------------

grids = st.builds(Grid, st.integers(1, MOST), st.integers(1, MOST))


@given(grids)
def test_tiles_cover_the_picture_and_overlap(grid: Grid) -> None:
    regions = grid.regions()
    assert len(set(regions)) == len(regions) == grid.tiles
    seen = np.zeros((100, 100), int)
    for x, y, w, h in regions:
        assert min(x, y) >= 0 and max(x + w, y + h) <= 100
        assert w >= 100 / grid.columns and h >= 100 / grid.rows
        seen[y : y + h, x : x + w] += 1
    if grid.tiles:
        assert seen.min() == 1
    for n, parts in ((0, grid.columns), (1, grid.rows)):
        spans = sorted({(region[n], region[n + 2]) for region in regions})
        for (start, length), (following, _) in pairwise(spans):
            assert 1 <= start + length - following <= 10 and parts > 1


@given(grids)
def test_a_grid_and_its_regions_can_be_read_back(grid: Grid) -> None:
    assert parse_grid(str(grid)) == grid
    for region in grid.regions():
        part = part_of(Item(f"/p/a.jpg#{in_region(region)}", "frame", group="/p/a.jpg"))
        assert part is not None and (part.file, part.region) == ("/p/a.jpg", region)
        assert Crop("", str(part)).box(1000, 1000) == Crop("", in_region(region)).box(1000, 1000)


@pytest.mark.parametrize("text", ["0x2", "2", "100x100", "2x9", "9x1", "", "2x", "-1x2", "axb",
                                  "2x2x2", "1.5x2"])
def test_what_is_no_grid_is_refused(text: str, cli: Cli, photo: Path) -> None:
    with pytest.raises(UsageError, match="columns x rows, such as 2x2"):
        parse_grid(text)
    if text in ("0x2", "100x100"):
        for command in ("index", "watch"):
            done = cli(command, photo, "--tiles", text)
            assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
            assert "at most 8x8" in done.stderr


# --- found ---------------------------------------------------------------------------------------


def test_a_small_thing_is_found_where_it_is(folder: Path, index: Collection, photo: Path) -> None:
    canvas(folder / "b.jpg", ["coffee", "clock", "guitar", "horse"])
    assert add(index, folder).added == 10
    for name, fragment in zip(CORNERS, FRAGMENTS, strict=True):
        hits = index.search(image=DEMO / f"{name}.jpg", k=9)
        assert len(hits) == 2  # one a picture
        assert hits[0].item.uri == f"{photo}{fragment}"
        every = index.search(image=DEMO / f"{name}.jpg", k=99, collapse=False)
        (whole,) = [hit for hit in every if hit.item.uri == str(photo)]
        assert hits[0].score > whole.score + 0.1
    assert index.search(text="a cup of coffee", k=1)[0].item.uri == f"{folder}/b.jpg{FRAGMENTS[0]}"


def test_tiles_show_more_than_the_whole(folder: Path, index: Collection) -> None:
    """They are cut from the picture as it was before it was reduced to the model's side."""
    large = canvas(folder / "a.jpg", cell=(2000, 1500))
    add(index, folder)
    side = index.encoder.min_side
    tile = rows(index)[f"a.jpg{FRAGMENTS[1]}"].item
    shown = frames.read_part(large, part_of(tile), side)
    assert min(shown.size) >= side
    assert max(decode(large, min_side=side).image.size) < 2 * min(shown.size)
    by_hand = Image.open(large).convert("RGB").crop((1800, 0, 4000, 1650))
    (vector,) = index.embed(images=[by_hand]).reshape(1, -1)
    assert float(vectors(index, "frame")[tile.uri] @ vector) > 0.99


def test_only_large_pictures_have_tiles(folder: Path, index: Collection) -> None:
    side = index.encoder.min_side
    enough = -(-side * 100 // 55)
    for name, size in (("enough", (enough, enough)), ("narrow", (enough - 2, 2000)),
                       ("flat", (2000, enough - 2))):
        picture("cat", size).save(folder / f"{name}.png")
    animation(folder / "moves.gif")
    report = add(index, folder)
    assert [uri for uri in uris(index) if "moves" not in uri] == sorted([
        *of("enough.png"), "flat.png", "narrow.png"])
    assert not any("moves" in uri and "xywh" in uri for uri in uris(index))
    assert add(index, folder).unchanged == report.added


def test_a_picture_on_its_side_is_cut_upright(folder: Path, index: Collection) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # shown after a quarter turn clockwise
    upright = Image.open(canvas(folder / "a.png"))
    upright.rotate(90, expand=True).save(folder / "b.png", exif=exif)
    add(index, folder)
    assert set(uris(index)) == {*of("a.png"), *of("b.png")}
    stored = vectors(index, "frame")
    for fragment in FRAGMENTS:
        assert np.array_equal(stored[f"{folder}/a.png{fragment}"],
                              stored[f"{folder}/b.png{fragment}"])


def test_words_find_the_whole_picture(folder: Path, index: Collection, photo: Path) -> None:
    (folder / "a.txt").write_text("Our holidays in the mountains.")
    add(index, folder)
    for words in ("a.jpg", "mountains"):
        assert [hit.item.uri for hit in index.search(text=words, mode="text")] == [str(photo)]
    (hit,) = index.search(text="pizza mountains", mode="hybrid")
    assert file_uri(hit.item) == str(photo)


def test_tiles_have_the_metadata_of_their_picture(folder: Path, index: Collection) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Model] = "Kodak 1"
    photo = canvas(folder / "a.jpg", exif=exif)
    add(index, folder)
    hits = index.search(text="a pizza", where="camera ~ kodak and width > 1000", collapse=False)
    assert len(hits) == 5
    for hit in hits:
        assert hit.item.meta["size"] == photo.stat().st_size
        assert hit.item.fingerprint == fingerprint_of(photo.stat())
        assert hit.item.meta["colour"]
    assert len({tuple(hit.item.meta["colour"]) for hit in hits}) > 1  # but for that


# --- kept in step --------------------------------------------------------------------------------


def test_an_unchanged_picture_is_not_read_again(index: Collection, photo: Path) -> None:
    assert add(index, photo.parent).added == 5
    before = vectors(index, "frame")
    index.configure(tiles="2x2")  # as it is
    os.utime(photo, ns=(0, photo.stat().st_mtime_ns))
    report = add(index, photo.parent)
    assert (report.unchanged, report.added, report.replaced, report.removed) == (5, 0, 0, 0)
    os.utime(photo)
    report = add(index, photo.parent)
    assert (report.unchanged, report.added, "encode" in report.stages) == (5, 0, False)
    assert len({row.item.fingerprint for row in rows(index).values()}) == 1
    assert add(index, photo.parent).unchanged == 5
    assert vectors(index, "frame").keys() == before.keys() and find_problems(index.path) == []


def test_a_changed_picture_changes_its_tiles(index: Collection, photo: Path) -> None:
    add(index, photo.parent)
    before = vectors(index, "frame")
    canvas(photo, CORNERS[::-1])
    report = add(index, photo.parent)
    assert (report.replaced, report.added, report.removed) == (5, 0, 0)
    after = vectors(index, "frame")
    assert before.keys() == after.keys()
    assert not any(np.array_equal(before[uri], after[uri]) for uri in before)
    picture("cat").save(photo)  # a small one
    report = add(index, photo.parent)
    assert (report.replaced, report.removed) == (1, 4)
    assert uris(index) == ["a.jpg"] and find_problems(index.path) == []


def test_a_picture_becomes_an_animation_and_back(folder: Path, index: Collection) -> None:
    canvas(folder / "a.png")
    add(index, folder)
    (folder / "a.png").write_bytes(animation(folder / "b.gif").read_bytes())
    (folder / "b.gif").unlink()
    assert add(index, folder).removed == 5
    assert all("#t=" in uri for uri in uris(index))
    canvas(folder / "a.png")
    add(index, folder)
    assert uris(index) == of("a.png") and find_problems(index.path) == []


@pytest.mark.parametrize("beside", [False, True])
def test_a_moved_picture_takes_its_tiles_along(index: Collection, photo: Path, beside: bool
                                               ) -> None:
    add(index, photo.parent)
    before = vectors(index, "frame")
    (photo.parent / "below").mkdir()
    photo.rename(photo.parent / "below" / "b.jpg")
    if beside:  # it is described anew on its way
        (photo.parent / "below" / "b.json").write_text('{"keywords": "collage"}')
    report = add(index, photo.parent)
    assert (report.moved, report.added, report.removed) == (5, 0, 0)
    assert "encode" not in report.stages
    assert uris(index) == of("b.jpg")
    found = rows(index).values()
    assert {row.item.group for row in found} == {f"{photo.parent}/below/b.jpg"}
    assert all(row.item.meta.get("keywords") == (["collage"] if beside else None) for row in found)
    after = vectors(index, "frame")
    for uri, vector in before.items():
        assert np.array_equal(vector, after[uri.replace("/a.", "/below/b.")])
    assert add(index, photo.parent).unchanged == 5 and find_problems(index.path) == []


def test_a_copied_picture_copies_its_tiles(index: Collection, photo: Path) -> None:
    add(index, photo.parent)
    shutil.copy(photo, photo.with_name("b.jpg"))
    report = add(index, photo.parent)
    assert (report.copied, report.added, report.unchanged) == (5, 0, 5)
    assert "encode" not in report.stages
    assert set(uris(index)) == {*of("a.jpg"), *of("b.jpg")}
    copies = [row.item for name, row in rows(index).items() if name.startswith("b.")]
    assert len({(item.group, item.fingerprint, item.meta["size"]) for item in copies}) == 1
    assert add(index, photo.parent).unchanged == 10 and find_problems(index.path) == []


def test_a_vanished_or_deleted_picture_drops_its_tiles(index: Collection, photo: Path) -> None:
    canvas(photo.with_name("b.jpg"), CORNERS[::-1])
    add(index, photo.parent)
    assert index.delete([str(photo.with_name("b.jpg"))]) == 5
    assert uris(index) == of("a.jpg")
    photo.unlink()
    report = add(index, photo.parent)
    assert (report.removed, report.added) == (5, 5) and uris(index) == of("b.jpg")


def test_a_picture_that_is_deleted_for_its_colour_drops_its_tiles(
        index: Collection, photo: Path) -> None:
    """Else they would outlive another grid, or a picture too small for tiles."""
    Image.new("RGB", (1200, 900), "lime").save(photo.with_name("b.jpg"))
    half = Image.new("RGB", (1200, 900), "red")
    half.paste("blue", (0, 0, 700, 540))
    half.save(photo)
    add(index, photo.parent)
    whole = rows(index)["a.jpg"].item.meta["colour"]
    assert "red" in whole and "red" not in rows(index)["a.jpg" + FRAGMENTS[0]].item.meta["colour"]
    assert index.delete(where=["colour = red"]) == 5 and uris(index) == of("b.jpg")


def test_what_lies_beside_a_picture_describes_its_tiles(index: Collection, photo: Path) -> None:
    (photo.parent / "a.json").write_text('{"keywords": "one"}')
    add(index, photo.parent)
    before = vectors(index, "frame")
    assert all(row.item.meta["keywords"] == ["one"] for row in rows(index).values())
    (photo.parent / "a.json").write_text('{"keywords": "two, three", "caption": "A collage."}')
    report = add(index, photo.parent)
    assert (report.updated, report.replaced, report.removed) == (5, 0, 0)
    found = rows(index)
    assert set(found) == {*of("a.jpg"), "a.jpg#caption1"}
    assert all(found[name].item.meta["keywords"] == ["two", "three"] for name in of("a.jpg"))
    after = vectors(index, "frame")
    assert all(np.array_equal(before[uri], after[uri]) for uri in before)
    assert add(index, photo.parent).unchanged == 5 and find_problems(index.path) == []
    assert len(index.search(text="a cat", where="keywords = three", collapse=False)) == 5


def test_a_manifest_may_say_whatever_it_likes(index: Collection, photo: Path) -> None:
    """Also in columns that a picture's own metadata has, or that sound like tiles."""
    (photo.parent / "list.jsonl").write_text(json.dumps(
        {"image": "a.jpg", "caption": "four things", "width": 10, "height": 10, "tiles": "none",
         "colour": "pink", "place": "Bonn"}) + "\n")
    assert add(index, photo.parent / "list.jsonl").added == 6
    for _ in range(2):
        assert add(index, photo.parent / "list.jsonl").unchanged == 6
        assert add(index, photo.parent).unchanged == 5
    assert len(index.search(text="a cat", where="place = Bonn", collapse=False)) == 5
    (photo.parent / "list.jsonl").write_text("")
    assert add(index, photo.parent / "list.jsonl").removed == 6


def test_pictures_in_an_archive_have_tiles(folder: Path, index: Collection, photo: Path) -> None:
    with zipfile.ZipFile(folder / "a.zip", "w") as file:
        file.write(photo, "in/a.jpg")
        file.writestr("notes.txt", "a note")
    archive = folder / "a.zip"
    assert add(index, archive).added == 6
    hit = index.search(image=DEMO / "bus.jpg", k=1)[0]
    assert hit.item.uri == f"{archive}!/in/a.jpg{FRAGMENTS[1]}"
    for grid, tiles in (("2x2", 4), ("3x2", 6), ("none", 0), ("2x2", 4)):
        index.configure(tiles=grid)
        add(index, archive)
        report = add(index, archive)
        assert len(rows(index)) == tiles + 2
        assert (report.added, report.replaced, report.removed) == (0, 0, 0)
        assert "encode" not in report.stages
    assert find_problems(index.path) == []


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two that are large enough for tiles, and a small one."""
    folder = tmp_path_factory.mktemp("contents")
    large = [canvas(folder / f"{n}.jpg", names, cell=(300, 300))
             for n, names in enumerate([CORNERS, CORNERS[::-1]])]
    picture("cat").save(folder / "small.jpg")
    return [*large, folder / "small.jpg"]


names = st.sampled_from(["a", "b", "c"])
steps = st.one_of(
    st.tuples(st.just("write"), names, st.integers(0, 2)), st.tuples(st.just("move"), names, names),
    st.tuples(st.just("copy"), names, names), st.tuples(st.just("delete"), names),
    st.tuples(st.just("describe"), names, st.integers(0, 2)),
    st.tuples(st.just("grid"), st.sampled_from(["none", "2x2", "2x1"])), st.just(("run",)))


@given(st.lists(steps, max_size=12))
@settings(max_examples=15, deadline=None)
def test_any_history_is_as_one_run_over_the_last_state(
        tmp_path_factory: pytest.TempPathFactory, contents: list[Path],
        steps: list[tuple[object, ...]]) -> None:
    root = tmp_path_factory.mktemp("history")
    folder = root / "photos"
    folder.mkdir()
    (folder / "other.md").write_text("Of a folder that is empty, all is kept.")
    index, grid = Collection.create(root / "index"), "2x2"
    index.configure(tiles=grid)
    for at, (step, *what) in enumerate([("write", "a", 0), ("run",), *steps, ("run",)]):
        path = folder / f"{what[0] if what else ''}.jpg"
        if step == "run":
            add(index, folder)
        elif step == "grid":
            grid = str(what[0])
            index.configure(tiles=grid)
        elif step == "write":
            shutil.copyfile(contents[what[1]], path)  # type: ignore[call-overload]
        elif step == "describe":
            path.with_suffix(".json").write_text(
                json.dumps({"keywords": f"k{at}", "caption": f"c{what[1]}"}))
        elif step == "delete" or not path.exists():
            path.unlink(missing_ok=True)
        elif path != (other := folder / f"{what[1]}.jpg"):
            (Path.rename if step == "move" else shutil.copyfile)(path, other)  # type: ignore[operator]
    fresh = Collection.create(root / "fresh")
    fresh.configure(tiles=grid)
    add(fresh, folder)
    assert {key: (row.item, row.hash) for key, row in by_name(index).items()} == {
        key: (row.item, row.hash) for key, row in by_name(fresh).items()}
    for kind in ("image", "frame"):
        old, new = vectors(index, kind), vectors(fresh, kind)
        assert old.keys() == new.keys()
        assert all(float(old[uri] @ new[uri]) > 0.98 for uri in old)
    assert index.verify() == []


def by_name(index: Collection) -> dict[tuple[str, str], Row]:
    with closing(Catalog(index.path / "catalog.db")) as catalog:
        return {(row.item.uri, row.item.kind): row for row in catalog.rows()}


# --- the setting ---------------------------------------------------------------------------------


def test_the_grid_is_remembered_and_can_be_changed(tmp_path: Path, photo: Path) -> None:
    index = Collection.create(tmp_path / "index")
    assert index.info()["tiles"] == "none"
    assert add(index, photo.parent).added == 1
    index = Collection.open(index.path)
    index.configure(tiles="2x2")
    assert uris(index) == ["a.jpg"]  # until they are looked at
    report = add(index, photo.parent)
    assert (report.replaced, report.added) == (1, 4) and uris(index) == of("a.jpg")
    index.configure(tiles="3x1")
    assert index.info()["tiles"] == "3x1"
    report = add(Collection.open(index.path), photo.parent)
    assert (report.replaced, report.added, report.removed) == (1, 3, 4)
    assert uris(index) == ["a.jpg", *(f"a.jpg#xywh=percent:{x},0,37,100" for x in (0, 32, 63))]
    index.configure(tiles="1x1")
    assert uris(index) == ["a.jpg"]
    assert add(index, photo.parent).unchanged == 1 and find_problems(index.path) == []


def test_tiles_go_with_the_grid_at_once(
        index: Collection, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is killed in between has both or neither."""
    add(index, photo.parent)
    states, real = [], Catalog._transaction

    @contextmanager
    def transaction(self: Catalog) -> Iterator[None]:
        with real(self):
            yield
        states.append((len(rows(index)), Reader.open(index.path).info()["tiles"]))

    monkeypatch.setattr(Catalog, "_transaction", transaction)
    index.configure(tiles="none")
    assert states == [(1, "none")]


def test_pictures_moved_or_copied_meanwhile_are_cut_too(index: Collection, photo: Path) -> None:
    canvas(photo.with_name("c.jpg"), CORNERS[::-1])
    index.configure(tiles="none")
    add(index, photo.parent)
    index.configure(tiles="2x2")
    photo.rename(photo.with_name("b.jpg"))
    shutil.copy(photo.with_name("c.jpg"), photo.with_name("d.jpg"))
    add(index, photo.parent)
    assert set(uris(index)) == {*of("b.jpg"), *of("c.jpg"), *of("d.jpg")}
    assert add(index, photo.parent).unchanged == 15 and find_problems(index.path) == []


def test_in_step_knows_of_the_grid(index: Collection, photo: Path) -> None:
    """What `mmsearch watch` asks before it takes the lock."""
    def in_step() -> bool:
        scan = Scan()
        return index.in_step(iter_items([photo.parent], scan=scan), scan)

    assert not in_step()
    add(index, photo.parent)
    assert in_step()
    Collection.open(index.path).configure(tiles="3x3")
    assert not in_step()
    add(index, photo.parent)
    assert in_step() and len(rows(index)) == 10


# --- what else there is --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["image", "frame"])
def test_lost_vectors_are_made_again(index: Collection, photo: Path, kind: str) -> None:
    add(index, photo.parent)
    before = vectors(index, kind)
    (path,) = (index.path / "segments").glob(f"{kind}-*/vectors.faiss")
    flip(path, path.stat().st_size - 5)
    assert not all(problem.fixed for problem in find_problems(index.path))
    assert all(problem.fixed for problem in repair_collection(index.path))
    assert find_problems(index.path) == []
    after = vectors(index, kind)
    assert before.keys() == after.keys()
    for uri, vector in before.items():
        assert float(vector @ after[uri]) > 0.98
        assert kind == "image" or np.array_equal(vector, after[uri])
    assert add(index, photo.parent).unchanged == 5


def test_what_is_repaired_before_it_is_cut_is_cut_later(index: Collection, photo: Path) -> None:
    index.configure(tiles="none")
    add(index, photo.parent)
    index.configure(tiles="2x2")
    (path,) = (index.path / "segments").glob("image-*/vectors.faiss")
    flip(path, path.stat().st_size - 5)
    assert all(problem.fixed for problem in repair_collection(index.path))
    add(index, photo.parent)
    assert uris(index) == of("a.jpg") and find_problems(index.path) == []


def test_tiles_are_no_duplicates(index: Collection, photo: Path) -> None:
    picture("cat", (560, 420)).save(photo.with_name("cat.png"))  # as it is in the canvas
    add(index, photo.parent)
    found = index.duplicates()
    assert (found.groups, found.pictures) == ([], 2)
    shutil.copy(photo, photo.with_name("b.jpg"))
    add(index, photo.parent)
    (group,) = index.duplicates().groups
    assert [Path(one.item.uri).name for one in group.members] == ["a.jpg", "b.jpg"]


def test_a_picture_finds_itself_whole(index: Collection, photo: Path) -> None:
    add(index, photo.parent)
    hit = index.search(image=photo, k=1)[0]
    assert hit.item.uri == str(photo) and hit.score == pytest.approx(1, abs=1e-3)
    part = index.search(image=Crop(photo, FRAGMENTS[2][1:]), k=1)[0]
    assert part.item.uri == f"{photo}{FRAGMENTS[2]}" and part.score > 0.99


def test_an_export_has_the_tiles(index: Collection, photo: Path, tmp_path: Path) -> None:
    add(index, photo.parent)
    done = index.export(tmp_path / "out", format="jsonl")
    assert done.items == {"image": 1, "frame": 4}
    found = find_vectors(tmp_path / "out")
    again = Collection.for_vectors(tmp_path / "again", found)
    again.add_vectors(found)
    assert uris(again) == of("a.jpg")
    where = {name: part_of(row.item) for name, row in rows(again).items()}
    assert [where["a.jpg" + fragment].region for fragment in FRAGMENTS] == [  # type: ignore[union-attr]
        (0, 0, 55, 55), (45, 0, 55, 55), (0, 45, 55, 55), (45, 45, 55, 55)]


def test_imported_tiles_go_with_a_picture_that_changes(
        index: Collection, photo: Path, tmp_path: Path) -> None:
    """Also where the collection they came into has no grid."""
    canvas(photo.with_name("b.jpg"), CORNERS[::-1])
    add(index, photo.parent)
    index.export(tmp_path / "out", format="jsonl")
    found = find_vectors(tmp_path / "out")
    imported = Collection.for_vectors(tmp_path / "imported", found)
    assert imported.add_vectors(found).added == 10
    assert add(imported, photo.parent).replaced == 0
    picture("cat").save(photo)
    add(imported, photo.parent)
    assert uris(imported) == ["a.jpg", *of("b.jpg")]


# --- on the command line -------------------------------------------------------------------------


def test_the_command_shows_the_tile(photo: Path, cli: Cli, tmp_path: Path) -> None:
    done = cli("index", photo.parent, "--tiles", "2x2")
    assert done.returncode == 0 and "added 5" in done.stdout
    assert "unchanged 5" in cli("index", photo.parent).stdout  # it is remembered
    (hit,) = json.loads(cli("query", "a bus in the street", "--json").stdout)
    assert (hit["region"], hit["uri"]) == ([45, 0, 55, 55], f"{photo}{FRAGMENTS[1]}")
    assert not {"time", "page"} & hit.keys()
    sheet = tmp_path / "sheet.html"
    cli("query", "a bus in the street", "--html", sheet)
    page = sheet.read_text()
    assert "a.jpg · 45%,0%,55%,55%" in page and page.count("data:image/jpeg") == 1
    assert cli("query", "a bus", "--filepath-only").stdout == f"{photo}\n"
    assert json.loads(cli("info", "--json").stdout)["tiles"] == "2x2"
    done = cli("index", photo.parent, "--tiles", "none")
    assert done.returncode == 0 and json.loads(cli("info", "--json").stdout)["items"] == 1


def test_tiles_of_vectors_from_elsewhere_are_refused(cli: Cli, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.eye(4, dtype=np.float32))
    done = cli("index", "--vectors", tmp_path / "v.npy", "--tiles", "2x2")
    assert done.returncode == 2 and "--tiles" in done.stderr
