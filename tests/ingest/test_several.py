"""A file that gives several items: indexed, unchanged, changed, moved, copied, gone, repaired."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tarfile
import threading
import zipfile
from contextlib import closing
from pathlib import Path

import fsspec
import numpy as np
import pytest
from conftest import DEMO, Cli, add, flip
from making import SCENES, animation, document, film, picture

from mmsearch.cli import present
from mmsearch.cli.sheet import contact_sheet
from mmsearch.collection.collection import Collection
from mmsearch.collection.reader import Reader
from mmsearch.collection.repair import repair_collection
from mmsearch.fragments import file_uri, part_of
from mmsearch.ingest import work
from mmsearch.records import Hit, Item
from mmsearch.sources import locate
from mmsearch.storage.catalog import Catalog, Change
from mmsearch.storage.verify import find_problems


@pytest.fixture
def index(tmp_path: Path) -> Collection:
    return Collection.create(tmp_path / "index")


def uris(index: Collection) -> list[str]:
    """Of all items, after their folder."""
    with closing(Catalog(index.path / "catalog.db")) as catalog:
        return sorted(row.item.uri.rpartition("/")[2] for row in catalog.rows())


FILES = {
    "a.mp4": lambda path: film(path), "a.gif": lambda path: animation(path),
    "a.pdf": lambda path: document(path, ["An apple", "", "A zebra crossing"])}
OTHER = {
    "a.mp4": lambda path: film(path, ["dogs", "lake"]),
    "a.gif": lambda path: animation(path, ["dogs", "lake"]),
    "a.pdf": lambda path: document(path, ["Another one"])}


@pytest.fixture(params=FILES)
def file(request: pytest.FixtureRequest, folder: Path) -> Path:
    return FILES[request.param](folder / request.param)


def test_the_moment_in_a_video_is_found(folder: Path, index: Collection) -> None:
    film(folder / "clip.mp4")
    report = add(index, folder)
    assert (report.added, report.skipped) == (4, [])
    hits = index.search(image=DEMO / "bus.jpg", k=3)
    assert [hit.item.uri for hit in hits] == [f"{folder}/clip.mp4#t=2"]  # one a file
    (item,) = [hit.item for hit in hits]
    assert (item.kind, item.group) == ("frame", f"{folder}/clip.mp4")
    assert item.fingerprint.startswith(f"{(folder / 'clip.mp4').stat().st_size}:")
    assert item.meta["duration"] == 8 and item.meta["codec"] == "h264"
    every = index.search(image=DEMO / "bus.jpg", k=9, collapse=False, where="duration > 7")
    assert every[0].item.uri.endswith("#t=2") and len(every) == 4
    assert index.search(text="a bus", where="duration < 7") == []


def test_an_unchanged_file_is_not_read_again(file: Path, index: Collection) -> None:
    items = add(index, file.parent).added
    before = uris(index)
    os.utime(file, ns=(0, file.stat().st_mtime_ns))  # when it was last read tells
    report = add(index, file.parent)
    assert (report.unchanged, report.added, report.replaced, report.removed) == (items, 0, 0, 0)
    assert uris(index) == before
    os.utime(file)  # touched: read, but not decoded
    report = add(index, file.parent)
    assert (report.unchanged, report.updated) == (0, items) and "encode" not in report.stages
    assert add(index, file.parent).unchanged == items
    assert find_problems(index.path) == []


def test_a_changed_file_changes_at_once(file: Path, index: Collection,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    add(index, file.parent)
    old = uris(index)
    states = []

    def commit(self: Catalog, change: Change) -> None:
        real(self, change)
        states.append(uris(index))

    real = Catalog.commit
    monkeypatch.setattr(Catalog, "commit", commit)
    OTHER[file.name](file)
    report = add(index, file.parent)
    new = uris(index)
    assert new != old and len(new) == 2 and set(map(tuple, states)) <= {tuple(old), tuple(new)}
    assert report.added + report.replaced == 2
    assert report.replaced + report.removed == len(old)
    assert find_problems(index.path) == []
    assert add(index, file.parent).unchanged == 2


def test_a_moved_file_keeps_its_vectors(file: Path, index: Collection) -> None:
    items = add(index, file.parent).added
    before = uris(index)
    (file.parent / "below").mkdir()
    file.rename(file.parent / "below" / f"b{file.suffix}")
    report = add(index, file.parent)
    assert (report.moved, report.added, report.removed) == (items, 0, 0)
    assert "encode" not in report.stages
    assert uris(index) == [uri.replace("a.", "b.", 1) for uri in before]
    with closing(Catalog(index.path / "catalog.db")) as catalog:
        groups = {row.item.group for row in catalog.rows()}
    assert groups == {f"{file.parent}/below/b{file.suffix}"}
    assert add(index, file.parent).unchanged == items
    assert find_problems(index.path) == []


def test_a_copied_file_is_not_decoded(file: Path, index: Collection) -> None:
    items = add(index, file.parent).added
    shutil.copy(file, file.parent / f"b{file.suffix}")
    report = add(index, file.parent)
    assert (report.copied, report.added, report.unchanged) == (items, 0, items)
    assert "encode" not in report.stages
    assert len(uris(index)) == 2 * items and find_problems(index.path) == []
    assert add(index, file.parent).unchanged == 2 * items


def test_a_vanished_file_takes_all_that_it_gave(file: Path, index: Collection) -> None:
    items = add(index, file).added  # named itself, and then below its folder
    assert add(index, file).unchanged == items
    file.rename(file.with_suffix(".away"))
    picture("cat").save(file.parent / "cat.jpg")
    report = add(index, file.parent)
    assert report.removed == items and uris(index) == ["cat.jpg"]


def test_an_animation_that_becomes_a_picture_and_back(folder: Path, index: Collection) -> None:
    animation(folder / "a.gif")
    add(index, folder)
    frames = uris(index)
    picture("cat").save(folder / "a.gif")
    report = add(index, folder)
    assert uris(index) == ["a.gif"] and (report.added, report.removed) == (1, 4)
    animation(folder / "a.gif")
    assert add(index, folder).removed == 1
    assert uris(index) == frames and find_problems(index.path) == []


def test_many_files_of_all_kinds_in_one_run(folder: Path, index: Collection) -> None:
    for name, make in FILES.items():
        make(folder / name)
    for name in SCENES:
        shutil.copy(DEMO / f"{name}.jpg", folder)
    (folder / "notes.txt").write_text("a note\nanother\n")
    report = add(index, folder)
    assert report.skipped == [] and report.added == 4 + 4 + 5 + 4 + 2
    assert index.info()["kinds"] == {"frame": 11, "image": 4, "text": 4}
    assert add(index, folder).unchanged == report.added
    assert find_problems(index.path) == []
    index.compact()
    assert find_problems(index.path) == []


def test_a_manifest_may_name_a_video(folder: Path, index: Collection) -> None:
    film(folder / "clip.mp4")
    (folder / "list.jsonl").write_text(json.dumps(
        {"image": "clip.mp4", "caption": "my day in town", "place": "Bonn"}) + "\n")
    assert add(index, folder / "list.jsonl").added == 5
    (hit,) = index.search(text="town", mode="text")
    assert part_of(hit.item) is not None and hit.item.meta["place"] == "Bonn"
    assert add(index, folder / "list.jsonl").unchanged == 5
    assert add(index, folder).unchanged == 4  # the folder does not undo what the manifest said
    (hit,) = index.search(text="a bus", where="place = Bonn")
    assert hit.item.uri.endswith("#t=2")


def test_a_page_is_found_by_its_own_words(folder: Path, index: Collection) -> None:
    FILES["a.pdf"](folder / "a.pdf")
    add(index, folder)
    (hit,) = index.search(text="zebra", mode="text")
    assert hit.item.uri.endswith("a.pdf#page=3") and hit.item.kind == "frame"
    (hit,) = index.search(text="zebra", mode="text", find="text")
    assert hit.item.uri.endswith("a.pdf#page=3") and hit.item.text == "A zebra crossing"
    assert index.search(text="an apple", find="text")[0].item.uri.endswith("#page=1")


def test_lost_vectors_of_frames_are_made_again(file: Path, index: Collection) -> None:
    add(index, file.parent)
    before = vectors(index)
    (path,) = (index.path / "segments").glob("frame-*/vectors.faiss")
    flip(path, path.stat().st_size - 5)
    assert not all(problem.fixed for problem in find_problems(index.path))
    assert all(problem.fixed for problem in repair_collection(index.path))
    assert find_problems(index.path) == []
    after = vectors(index)
    assert before.keys() == after.keys()
    for uri, vector in before.items():
        assert np.array_equal(vector, after[uri])
    assert add(index, file.parent).unchanged == len(uris(index))


def test_vectors_of_frames_that_are_gone_are_named(folder: Path, index: Collection) -> None:
    film(folder / "a.mp4")
    add(index, folder)
    (path,) = (index.path / "segments").glob("frame-*/vectors.faiss")
    flip(path, path.stat().st_size - 5)
    OTHER["a.mp4"](folder / "a.mp4")
    problems = [str(problem) for problem in repair_collection(index.path) if not problem.fixed]
    assert any("a.mp4#t=0" in one and "has changed" in one for one in problems)
    report = add(index, folder)
    assert report.replaced + report.added == 2 and len(uris(index)) == 2
    assert all(problem.fixed for problem in repair_collection(index.path))
    assert find_problems(index.path) == []


def vectors(index: Collection) -> dict[str, object]:
    rows, matrix = Reader.open(index.path).vectors("frame")
    return {row.item.uri: vector for row, vector in zip(rows, matrix, strict=True)}


def test_a_damaged_file_is_skipped_and_leaves_what_it_gave(folder: Path, index: Collection) -> None:
    film(folder / "a.mp4")
    add(index, folder)
    before = uris(index)
    (folder / "a.mp4").write_bytes((folder / "a.mp4").read_bytes()[:700])
    (folder / "b.pdf").write_bytes(b"%PDF-1.7 and no more")
    report = add(index, folder)
    assert [Path(one.path).name for one in report.skipped] == ["a.mp4", "b.pdf"]
    assert uris(index) == before


def test_a_truncated_video_is_indexed_once(folder: Path, index: Collection) -> None:
    film(folder / "a.mkv")
    data = (folder / "a.mkv").read_bytes()
    (folder / "a.mkv").write_bytes(data[: len(data) * 6 // 10])
    report = add(index, folder)
    (skipped,) = report.skipped
    assert report.added >= 1 and "truncated" in skipped.reason
    again = add(index, folder)
    assert again.unchanged == report.added and again.skipped == []


def test_a_video_named_like_a_picture_is_refused(folder: Path, index: Collection) -> None:
    film(folder / "a.mp4").rename(folder / "a.jpg")
    (skipped,) = add(index, folder).skipped
    assert "rename it" in skipped.reason


def test_a_missing_extra_is_a_reason(folder: Path, index: Collection,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    film(folder / "a.mp4")
    shutil.copy(DEMO / "cat.jpg", folder)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "av", None)
        report = add(index, folder)
    assert report.added == 1
    assert [one.reason for one in report.skipped] == [
        "a video needs an extra: pip install 'mmsearch[video]'"]
    assert add(index, folder).added == 4  # once it is there


# --- how hits are shown --------------------------------------------------------------------------


def hit(place: str, kind: str = "frame") -> Hit:
    return Hit(1, 0.5, Item(f"/v/a.mp4#{place}", kind, group="/v/a.mp4"))


def test_hits_say_when_and_where() -> None:
    moment, page = present.hits_json([hit("t=72.5"), hit("page=3")])
    assert moment["time"] == 72.5 and "page" not in moment
    assert page["page"] == 3 and "time" not in page
    assert present.filepaths([hit("t=1"), hit("t=2")]) == ["/v/a.mp4"]
    assert present.hits_tsv([hit("t=1")]).split("\t")[2] == "/v/a.mp4#t=1\n"
    assert file_uri(hit("page=3").item) == "/v/a.mp4"


def test_the_command_shows_the_moment(folder: Path, cli: Cli, tmp_path: Path) -> None:
    film(folder / "clip.mp4", ["cat", *[np.zeros((240, 320, 3), np.uint8)] * 5, "bus"])
    document(folder / "paper.pdf", ["", "On zebras"])
    done = cli("index", folder)
    assert done.returncode == 0 and "added 5" in done.stdout
    found = json.loads(cli("query", "--image", DEMO / "bus.jpg", "--json", "-k", "1").stdout)
    assert found[0]["time"] == 12 and found[0]["uri"] == f"{folder}/clip.mp4#t=12"
    sheet = tmp_path / "sheet.html"
    done = cli("query", "a bus", "--html", sheet)
    page = sheet.read_text()
    assert "clip.mp4 · 0:12" in page and f'href="{(folder / "clip.mp4").as_uri()}#t=12"' in page
    assert page.count("data:image/jpeg") == 2  # the frame and a page, decoded again
    done = cli("query", "a bus", "--preview")
    assert f"{folder}/clip.mp4 · 0:12" in done.stdout
    assert "paper.pdf · p. " in done.stdout
    assert cli("query", "a bus", "--filepath-only", "-k", "1").stdout == f"{folder}/clip.mp4\n"


def test_what_lies_beside_an_animation_describes_it(folder: Path, index: Collection) -> None:
    animation(folder / "a.gif")
    (folder / "a.txt").write_text("A bus, then a dog.")
    (folder / "a.json").write_text('{"keywords": "street, animals"}')
    add(index, folder)
    assert "a.gif#caption1" in uris(index) and "a.txt#L1" not in uris(index)
    frames = index.search(text="a bus", k=9, collapse=False)
    assert len(frames) > 1
    for hit in frames:
        assert hit.item.meta["keywords"] == ["street", "animals"] and hit.item.meta["colour"]
    before = uris(index)
    report = add(index, folder)
    assert (report.added, report.replaced, report.updated, report.removed) == (0, 0, 0, 0)
    (folder / "a.txt").write_text("A bus.\nA dog.")
    add(index, folder)
    assert set(uris(index)) == {*before, "a.gif#caption2"}
    (folder / "a.gif").rename(folder / "b.gif")
    (folder / "a.txt").unlink()
    (folder / "a.json").unlink()
    add(index, folder)
    assert uris(index) == [name.replace("a.gif", "b.gif") for name in before
                           if "#caption" not in name]
    assert "keywords" not in index.search(text="a bus", k=1)[0].item.meta


@pytest.mark.parametrize("container", ["a.zip", "a.tar", "a.tar.gz"])
def test_videos_and_documents_in_archives(
        container: str, folder: Path, index: Collection, tmp_path: Path) -> None:
    files = [film(folder / "clip.mp4"), document(folder / "doc.pdf", ["A zebra crossing"])]
    archive = tmp_path / container
    if container.endswith("zip"):
        with zipfile.ZipFile(archive, "w") as packed:
            for file in files:
                packed.write(file, f"in/{file.name}")
    else:
        with tarfile.open(archive, "w:gz" if container.endswith("gz") else "w") as tar:
            for file in files:
                tar.add(file, f"in/{file.name}")
    report = add(index, archive)
    assert (report.added, report.skipped) == (6, [])
    (hit,) = index.search(image=DEMO / "bus.jpg", k=1)
    assert hit.item.uri == f"{archive}!/in/clip.mp4#t=2" and hit.item.meta["duration"] == 8
    assert contact_sheet([hit], title="x").count("data:image/") == 1
    (hit,) = index.search(text="zebra", mode="text", find="text", k=1)
    assert hit.item.uri == f"{archive}!/in/doc.pdf#page=1"
    assert add(index, archive).unchanged == 6
    os.utime(archive)
    again = add(index, archive)
    assert again.unchanged + again.updated == 6 and "encode" not in again.stages
    archive.rename(archive.with_name(f"moved-{container}"))
    report = add(index, archive.with_name(f"moved-{container}"))
    assert report.added == 0 and "encode" not in report.stages
    assert find_problems(index.path) == []


def test_videos_in_stores(index: Collection, folder: Path) -> None:
    filesystem = fsspec.filesystem("memory")
    filesystem.pipe("/films/clip.mp4", film(folder / "clip.mp4").read_bytes())
    try:
        assert add(index, "memory://films").added == 4  # type: ignore[arg-type]
        (hit,) = index.search(image=DEMO / "bus.jpg", k=1)
        assert hit.item.uri == "memory://films/clip.mp4#t=2"
        assert add(index, "memory://films").unchanged == 4  # type: ignore[arg-type]
        filesystem.rm("/films/clip.mp4")
        filesystem.pipe("/films/other.bin", b"x")
        assert add(index, "memory://films").removed == 4  # type: ignore[arg-type]
    finally:
        filesystem.store.clear()


def test_what_is_large_is_not_taken_out_of_an_archive_before_its_turn(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dozens are decoded ahead: videos of 256 MiB each would fill the memory."""
    video, pages = film(tmp_path / "a.mp4", ["cat"]), document(tmp_path / "a.pdf", ["a dog"])
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for n in range(4):
            file.write(video, f"{n}.mp4")
        file.write(pages, "a.pdf")
    monkeypatch.setattr(work, "FIRST_SHARD", 256)  # all at once: none is a copy of one before
    monkeypatch.setattr(locate, "_LARGE", video.stat().st_size)
    read_ahead, real = {}, locate.read

    def reading(uri: str) -> tuple[bytes, str]:
        read_ahead[uri[-5:]] = threading.current_thread().name.startswith("decode")
        return real(uri)

    monkeypatch.setattr(locate, "read", reading)
    collection = Collection.create(tmp_path / "index")
    assert add(collection, tmp_path / "a.zip").added == 6
    assert read_ahead == {**{f"{n}.mp4": False for n in range(4)}, "a.pdf": True}


def test_a_part_of_a_file_can_be_asked_for_its_like(folder: Path, cli: Cli) -> None:
    film(folder / "clip.mp4", ["cat", *[np.zeros((240, 320, 3), np.uint8)] * 5, "bus"])
    document(folder / "paper.pdf", ["", "On zebras"])
    with zipfile.ZipFile(folder / "films.zip", "w") as archive:
        archive.write(folder / "clip.mp4", "clip.mp4")
    cli("index", DEMO / "bus.jpg", DEMO / "cat.jpg", check=True)
    for container in ("clip.mp4", "films.zip!/clip.mp4"):
        for moment, name in (("12", "bus.jpg"), ("0", "cat.jpg")):
            found = cli("query", "--image", f"{folder}/{container}#t={moment}", "-k", "1", "--json")
            hit, = json.loads(found.stdout)
            assert hit["uri"].endswith(name) and hit["score"] > 0.9
    assert cli("query", "--image", folder / "paper.pdf#page=2").returncode == 0
    tile = cli("query", "--image", f"{DEMO / 'cat.jpg'}#xywh=percent:0,0,100,100", "-k", "1",
               "--json", check=True)
    assert json.loads(tile.stdout)[0]["uri"].endswith("cat.jpg")
    for name, said in (("clip.mp4", "#t=12.5"), ("none.mp4#t=1", "does not exist"),
                       ("paper.pdf#page=9", "page")):
        done = cli("query", "--image", folder / name)
        assert done.returncode in (1, 2) and said in done.stderr
        assert "Traceback" not in done.stderr
