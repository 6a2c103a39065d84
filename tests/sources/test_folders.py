"""Folders, files, texts and manifests become items: each once, in a stable order."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import scanned, somebody_else
from hypothesis import given, settings, strategies as st

from mmsearch.errors import UsageError
from mmsearch.records import Item
from mmsearch.sources.columns import storable
from mmsearch.sources.folders import Scan, Skipped, iter_items
from mmsearch.sources.texts import MAX_TEXT
from mmsearch.sources.web import Fetch
from mmsearch.uris import fingerprint_of, path_to_uri, uri_to_path

SMALL_MODIFIED = 1_600_000_000
"""2020-09-13T12:26:40Z"""


def put(root: Path, *names: str) -> None:
    """Files with a known size and time; nothing here decodes them."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"pixels")
        os.utime(path, (SMALL_MODIFIED, SMALL_MODIFIED))


def found(root: Path, *paths: Path, exclude: Sequence[str] = ()) -> list[str]:
    """The uris below `root`, relative to it."""
    items, _ = scanned(*(paths or (root,)), exclude=exclude)
    return [item.uri.removeprefix(f"{root}/") for item in items]


# --- uris ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/a/b.jpg", "/a b/c#L3.jpg", "/é/日本 100%41.jpg", "relative", "/"]
)
def test_the_uri_of_an_ordinary_path_is_the_path(path: str) -> None:
    assert path_to_uri(Path(path)) == path
    assert uri_to_path(path) == Path(path)


def test_bytes_that_are_not_utf8_stay_readable() -> None:
    path = Path(os.fsdecode(b"/photos/caf\xe9.jpg"))
    assert path_to_uri(path) == "/photos/caf\ufffdE9.jpg"
    assert uri_to_path("/photos/caf\ufffdE9.jpg") == path


path_bytes = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=8),
        st.text(max_size=8).map(lambda t: t.encode("utf-8", "surrogatepass")),
        st.sampled_from([b"\xef\xbf\xbd", b"\xef\xbf\xbdE9", b"\xe9", b"/", b"#L3", b"%41"]),
    ),
    min_size=1,
    max_size=8,
).map(lambda parts: b"".join(parts).replace(b"\0", b""))


@pytest.mark.skipif(sys.platform == "win32", reason="paths are no bytes there")
@given(path_bytes)
@settings(max_examples=500)
def test_every_path_has_a_uri_and_every_uri_its_path(raw: bytes) -> None:
    path = Path(os.fsdecode(raw))
    uri = path_to_uri(path)
    assert os.fsencode(uri_to_path(uri)) == os.fsencode(path)
    with sqlite3.connect(":memory:") as database:
        assert database.execute("select ?", (uri,)).fetchone() == (uri,)
    assert json.loads(json.dumps(uri)) == uri


@given(path_bytes, path_bytes)
def test_the_uri_of_a_file_starts_with_that_of_its_folder(folder: bytes, name: bytes) -> None:
    inside = os.fsencode(Path("/top") / os.fsdecode(folder.strip(b"/")))
    file = inside + b"/" + name.strip(b"/")
    assert path_to_uri(os.fsdecode(file)).startswith(path_to_uri(os.fsdecode(inside)) + "/")


@given(st.text(max_size=30))
def test_storable_keeps_every_ordinary_text(text: str) -> None:
    assert storable(text) == text.replace("\0", "")


def test_storable_repairs_the_rest() -> None:
    assert storable("caf\udce9") == "café"
    storable("half \ud83d of a pair").encode()


# --- folders ------------------------------------------------------------------------------------


def test_an_image_item(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    (item,), scan = scanned(tmp_path)
    uri = str(tmp_path / "a.jpg")
    assert item == Item(
        uri=uri,
        kind="image",
        group=uri,
        meta={"modified": "2020-09-13T12:26:40Z"},
        fingerprint=fingerprint_of((tmp_path / "a.jpg").stat()),
    )
    assert scan == Scan(skipped=[], roots=[str(tmp_path)], incomplete=[])


BOILERPLATE = ["LICENCES.md", "license.txt", "LICENSE-CC0.txt", "COPYING.txt", "README.md",
               "readme.de.md", "Read me.txt", "Attribution.txt", "CONTRIBUTING.md", "NOTICE.txt"]


def test_what_comes_with_pictures_is_no_text_of_its_own(tmp_path: Path) -> None:
    texts = ["notes.md", "reader.txt", "Creditsworthy.md", "noticeboard.txt"]
    put(tmp_path, "pictures/a.jpg", *(f"pictures/{name}" for name in [*BOILERPLATE, *texts]),
        *(f"texts/{name}" for name in BOILERPLATE))

    def names(folder: str) -> set[str]:
        return {item.meta["file"].rpartition("/")[2] for item in scanned(tmp_path / folder)[0]
                if item.kind == "text"}

    assert names("pictures") == {"notes.md", "reader.txt", "Creditsworthy.md", "noticeboard.txt"}
    assert names("texts") == set(BOILERPLATE)
    assert names("pictures/README.md") == {"README.md"}
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("a.jpg", "b/LICENCES.md", "b/notes.md"):
            archive.writestr(name, "words")
    assert names("a.zip") == {"notes.md"}


def test_folders_are_searched_in_a_stable_order(tmp_path: Path) -> None:
    put(tmp_path, "b/2.png", "b/1.JPG", "a/z/1.webp", "a/9.heic", "z.jpeg", "A.tiff", "notes.doc")
    expected = ["A.tiff", "z.jpeg", "a/9.heic", "a/z/1.webp", "b/1.JPG", "b/2.png"]
    assert found(tmp_path) == expected == found(tmp_path)


def test_hidden_and_junk_is_left_out(tmp_path: Path) -> None:
    put(tmp_path, "ok.jpg", ".hidden.jpg", "._ok.jpg", ".thumbnails/a.jpg", "__MACOSX/a.jpg")
    put(tmp_path, "@eaDir/a.jpg", "node_modules/a.jpg", "$RECYCLE.BIN/a.jpg", "lost+found/a.jpg")
    put(tmp_path, "System Volume Information/a.jpg", "Thumbs.db")
    put(tmp_path, "#recycle/a.jpg", "#snapshot/b/a.jpg", "@Recycle/a.jpg")
    assert found(tmp_path) == ["ok.jpg"]
    assert found(tmp_path, tmp_path / ".thumbnails") == [".thumbnails/a.jpg"]  # asked for by name


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("*.gif", ["a.jpg", "raw/b.jpg", "raw/deep/c.jpg"]),
        ("raw", ["a.jpg", "x.gif"]),
        ("raw/", ["a.jpg", "x.gif"]),
        ("./raw/*.jpg", ["a.jpg", "x.gif", "raw/deep/c.jpg", "raw/deep/d.gif"]),
        ("raw/**", ["a.jpg", "x.gif"]),
        ("raw/**/*.jpg", ["a.jpg", "x.gif", "raw/deep/d.gif"]),
        ("**/deep", ["a.jpg", "x.gif", "raw/b.jpg"]),
        ("/a.jpg", ["x.gif", "raw/b.jpg", "raw/deep/c.jpg", "raw/deep/d.gif"]),
        ("[ab].jpg", ["x.gif", "raw/deep/c.jpg", "raw/deep/d.gif"]),
        ("deep/*", ["a.jpg", "x.gif", "raw/b.jpg", "raw/deep/c.jpg", "raw/deep/d.gif"]),
    ],
)
def test_exclude(tmp_path: Path, pattern: str, left: list[str]) -> None:
    put(tmp_path, "a.jpg", "x.gif", "raw/b.jpg", "raw/deep/c.jpg", "raw/deep/d.gif")
    assert found(tmp_path, exclude=[pattern]) == left


def test_a_file_that_is_named_is_taken_all_the_same(tmp_path: Path) -> None:
    put(tmp_path, "x.gif", ".y.gif")
    assert found(tmp_path, tmp_path / "x.gif", tmp_path / ".y.gif", exclude=["*.gif"]) == [
        "x.gif",
        ".y.gif",
    ]


def test_an_empty_folder_yields_nothing(tmp_path: Path) -> None:
    items, scan = scanned(tmp_path)
    assert (items, scan.roots, scan.emptied) == ([], [str(tmp_path)], [str(tmp_path)])
    assert scan.skipped == []


def test_a_missing_path_is_an_error_before_anything_else(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    gone = tmp_path / "gone"
    with pytest.raises(UsageError, match=r"no such file or folder: .*gone$"):
        iter_items([tmp_path, gone], scan=Scan())


def test_each_file_once(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "in/b.jpg")
    (tmp_path / "in/c.txt").write_text("words")
    inner = tmp_path / "in"
    for paths in (
        (tmp_path, tmp_path),
        (tmp_path, inner),
        (inner, tmp_path),
        (tmp_path, inner / "b.jpg", inner / "c.txt", inner / "b.jpg"),
    ):
        uris = found(tmp_path, *paths)
        assert sorted(uris) == ["a.jpg", "in/b.jpg", "in/c.txt#L1"]
    _, scan = scanned(tmp_path, inner, tmp_path)
    assert scan.roots == [str(tmp_path), str(inner)]


def test_a_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "in/a.jpg")
    monkeypatch.chdir(tmp_path / "in")
    items, scan = scanned(Path("../in/."))
    assert [item.uri for item in items] == [str(tmp_path / "in/a.jpg")]
    assert scan.roots == [str(tmp_path / "in")]


def test_links_are_followed_and_loops_survived(tmp_path: Path) -> None:
    put(tmp_path, "real/a.jpg", "elsewhere/b.jpg")
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").symlink_to(tmp_path / "real")
    (root / "one.jpg").symlink_to(tmp_path / "elsewhere/b.jpg")
    (root / "loop").symlink_to(root)
    (tmp_path / "real/up").symlink_to(root)
    (tmp_path / "real/again").symlink_to(tmp_path / "real")
    assert found(root) == ["one.jpg", "a/a.jpg"]


def test_a_folder_and_a_link_to_it_are_one_under_the_real_name(tmp_path: Path) -> None:
    put(tmp_path, "z/a.jpg")
    (tmp_path / "b").symlink_to("z")
    assert found(tmp_path) == ["z/a.jpg"]


def test_broken_links_are_skipped_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    items, scan = scanned(tmp_path)
    assert items == []
    reasons = {Path(s.path).name: s.reason for s in scan.skipped}
    assert reasons["gone.jpg"] == reasons["gone"] == "broken symbolic link"
    assert "symbolic links" in reasons["self.jpg"]


def test_only_regular_files_are_taken(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "folder.jpg").mkdir()
    items, scan = scanned(tmp_path, tmp_path / "pipe.txt")
    assert items == []
    assert {(Path(s.path).name, s.reason) for s in scan.skipped} == {
        ("pipe.jpg", "not a regular file"),
        ("pipe.txt", "not a regular file"),
    }


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that anybody can reach; those of pytest are for its user alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        yield folder


def test_an_unreadable_folder_is_reported_as_incomplete(open_to_all: Path) -> None:
    put(open_to_all, "a.jpg", "secret/b.jpg", "z/c.jpg")
    secret = open_to_all / "secret"
    secret.chmod(0)
    try:
        with somebody_else():
            items, scan = scanned(open_to_all)
            alone = scanned(secret)[1]
    finally:
        secret.chmod(0o755)
    assert alone.skipped == scan.skipped
    assert [Path(item.uri).name for item in items] == ["a.jpg", "c.jpg"]
    assert scan.skipped == [Skipped(str(secret), "cannot be read: Permission denied")]
    assert scan.incomplete == [str(secret)]
    assert scan.roots == [str(open_to_all)]


def test_files_that_can_be_listed_but_not_reached(open_to_all: Path) -> None:
    put(open_to_all, "half/b.jpg")
    half = open_to_all / "half"
    half.chmod(0o444)  # listing allowed, entering not
    try:
        with somebody_else():
            items, scan = scanned(open_to_all)
    finally:
        half.chmod(0o755)
    assert items == []
    assert scan.incomplete == [str(half / "b.jpg")]


def test_an_unreadable_text_or_manifest_is_reported_as_incomplete(open_to_all: Path) -> None:
    names = ("a.txt", "b.jsonl")
    for name in names:
        (open_to_all / name).write_text('{"text": "x"}')
        (open_to_all / name).chmod(0)
    with somebody_else():
        items, scan = scanned(*(open_to_all / name for name in names))
    assert items == []
    assert sorted(scan.incomplete) == [str(open_to_all / name) for name in names]
    assert {s.reason for s in scan.skipped} == {"cannot be read: Permission denied"}


def test_a_file_that_vanishes_during_the_walk_is_skipped(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg", "z/c.jpg")
    scan = Scan()
    items = iter_items([tmp_path], scan=scan)
    assert Path(next(items).uri).name == "a.jpg"
    (tmp_path / "b.jpg").unlink()
    (tmp_path / "z/c.jpg").unlink()
    (tmp_path / "z").rmdir()
    assert list(items) == []
    assert [(Path(s.path).name, s.reason) for s in scan.skipped] == [
        ("b.jpg", "vanished during the run"),
        ("z", "cannot be read: No such file or directory"),
    ]
    assert scan.incomplete == []  # gone is gone


def test_a_walk_that_is_cut_short_has_no_roots(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg")
    scan = Scan()
    next(iter_items([tmp_path], scan=scan))
    assert scan.roots == []


def test_collections_are_not_entered(tmp_path: Path) -> None:
    put(
        tmp_path, "a.jpg", "indexes/x/catalog.db", "indexes/x/segments/s.jpg", "indexes/x/thumb.jpg"
    )
    assert found(tmp_path) == ["a.jpg"]
    items, scan = scanned(tmp_path / "indexes/x")
    assert items == []
    assert [s.reason for s in scan.skipped] == ["a collection of mmsearch"]


def test_files_that_are_named_are_told_by_content(tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(b"\xff\xd8\xff\xe0rest")
    (tmp_path / "paper.doc").write_bytes(b"\xd0\xcf\x11\xe0")
    items, scan = scanned(tmp_path / "photo", tmp_path / "paper.doc")
    assert [(item.kind, Path(item.uri).name) for item in items] == [("image", "photo")]
    assert [s.reason for s in scan.skipped] == ["not a kind of file that can be indexed"]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    put(folder, os.fsdecode(b"\xff\xfe.jpg"), "fine.jpg")
    (folder / os.fsdecode(b"\xe4.txt")).write_text("words")
    items, scan = scanned(tmp_path)
    assert scan.skipped == []
    assert [item.uri.removeprefix(f"{tmp_path}/") for item in items] == [
        "caf\ufffdE9/fine.jpg",
        "caf\ufffdE9/\ufffdE4.txt#L1",
        "caf\ufffdE9/\ufffdFF\ufffdFE.jpg",
    ]
    assert uri_to_path(items[0].uri).read_bytes() == b"pixels"


def test_a_deep_tree_and_a_clock_far_off(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * 600)
    put(deep, "a.jpg")
    put(tmp_path, "old.jpg")
    os.utime(tmp_path / "old.jpg", (-1_000_000_000, -1_000_000_000))
    items, _ = scanned(tmp_path)
    assert len(items) == 2
    assert items[0].meta == {"modified": "1938-04-24T22:13:20Z"}


# --- texts --------------------------------------------------------------------------------------


def texts_of(path: Path, data: bytes | str) -> list[tuple[str, str]]:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    items, _ = scanned(path)
    assert all(item.kind == "text" and item.group == item.uri for item in items)
    return [(item.uri.removeprefix(str(path)), item.text) for item in items]


def test_each_line_of_a_text(tmp_path: Path) -> None:
    assert texts_of(tmp_path / "a.txt", "one\n\n  three \r\nfour") == [
        ("#L1", "one"),
        ("#L3", "three"),
        ("#L4", "four"),
    ]


def test_a_text_item(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    path = tmp_path / "x.txt"
    path.write_text("\n\nhello")
    os.utime(path, (SMALL_MODIFIED, SMALL_MODIFIED))
    items, _ = scanned(tmp_path)
    assert items[1] == Item(
        uri=f"{path}#L3",
        kind="text",
        text="hello",
        group=f"{path}#L3",
        meta={"modified": "2020-09-13T12:26:40Z", "file": str(path), "line": 3},
        fingerprint=fingerprint_of(path.stat()),
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    assert texts_of(tmp_path / "a.txt", "Käse\nfür Möwen".encode(encoding)) == [
        ("#L1", "Käse"),
        ("#L2", "für Möwen"),
    ]


def test_binary_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\x89PNG\0\0 and so on")
    items, scan = scanned(path)
    assert items == []
    assert scan.skipped == [Skipped(str(path), "not text")]


@pytest.mark.parametrize(
    ("data", "last"),
    [
        (b"a" * 1_200_000 + b"\ncaf\xe9", "café"),  # not UTF-8, but only far into the file
        (b"a" * ((1 << 20) - 1) + "é\ncafé".encode(), "café"),  # a letter across two reads
        (b"a" * 10 + b"\ncaf\xc3", "cafÃ"),  # cut short within a letter
    ],
)
def test_the_encoding_is_that_of_the_whole_file(tmp_path: Path, data: bytes, last: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    items, _ = scanned(path)
    assert (items[-1].uri, items[-1].text) == (f"{path}#L2", last)


def test_paragraphs_of_markdown(tmp_path: Path) -> None:
    text = """# A *fine* title
with a [link](http://x.y) and ![a cat](cat.png)

---

- one **bold** point
- snake_case and 2*3 stay

> quoted

```python
def f():

    return "**kept**"
```
"""
    assert texts_of(tmp_path / "a.md", text) == [
        ("#L1", "A fine title\nwith a link and a cat"),
        ("#L6", "one bold point\nsnake_case and 2*3 stay"),
        ("#L9", "quoted"),
        ("#L12", 'def f():\n    return "**kept**"'),
    ]


def test_a_very_long_text_is_cut_at_whitespace(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    words = "word " * 9_000
    path.write_text(words + "\n" + "x" * (MAX_TEXT + 1))
    items, _ = scanned(path)
    assert [item.uri.removeprefix(str(path)) for item in items] == [
        "#L1",
        "#L1.2",
        "#L1.3",
        "#L2",
        "#L2.2",
    ]
    assert max(len(item.text) for item in items) <= MAX_TEXT
    assert " ".join(item.text for item in items[:3]) == words.strip()
    assert {item.group for item in items} == {f"{path}#L1", f"{path}#L2"}


# --- manifests ----------------------------------------------------------------------------------


def write_jsonl(path: Path, *rows: Any) -> Path:
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows) + "\n")
    return path


def test_a_row_of_jsonl(tmp_path: Path) -> None:
    put(tmp_path, "in/a.jpg")
    row = {"image": "in/a.jpg", "captions": ["a cat", " a grey cat "], "year": 2021, "tags": ["x"]}
    manifest = write_jsonl(tmp_path / "pairs.jsonl", row)
    items, scan = scanned(manifest)
    uri = str(tmp_path / "in/a.jpg")
    meta = {
        "year": 2021,
        "tags": ["x"],
        "modified": "2020-09-13T12:26:40Z",
        "manifest": str(manifest),
    }
    assert items[0] == Item(uri, "image", "", uri, meta, fingerprint_of(Path(uri).stat()))
    assert [(i.uri, i.kind, i.text, i.group, dict(i.meta)) for i in items[1:]] == [
        (f"{uri}#caption1", "text", "a cat", uri, meta),
        (f"{uri}#caption2", "text", "a grey cat", uri, meta),
    ]
    assert items[1].fingerprint.startswith("text:") and len(items[1].fingerprint) == 5 + 32
    assert items[1].fingerprint != items[2].fingerprint
    assert scan == Scan(roots=[str(manifest)])


@pytest.mark.parametrize(
    "image_column", ["image", "image_path", "filepath", "file", "filename", "path", "Image"]
)
@pytest.mark.parametrize(
    "caption_column", ["caption", "captions", "text", "title", "sentences", "raw"]
)
def test_column_names(tmp_path: Path, image_column: str, caption_column: str) -> None:
    put(tmp_path, "a.jpg")
    for value in ("words", ["words"], [{"raw": "words"}]):
        row = {image_column: "a.jpg", caption_column: value}
        items, _ = scanned(write_jsonl(tmp_path / "m.jsonl", row))
        assert [(i.kind, i.text) for i in items] == [("image", ""), ("text", "words")]
        assert set(items[0].meta) == {"modified", "manifest"}


def test_nested_columns_are_flattened(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    attributes = {"gender": "Women", "season": "Summer", "more": {"deep": 1}}
    row = {"image": "a.jpg", "gender": "own", "attributes": attributes, "lang": None}
    (item,), _ = scanned(write_jsonl(tmp_path / "m.jsonl", row))
    assert {k: v for k, v in item.meta.items() if k not in ("modified", "manifest")} == {
        "gender": "own",
        "attributes.gender": "Women",
        "season": "Summer",
        "more": {"deep": 1},
    }


def test_an_image_in_several_rows(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    rows = [{"image": "a.jpg", "caption": f"text {n}", "n": n} for n in (1, 2)]
    items, _ = scanned(write_jsonl(tmp_path / "m.jsonl", *rows))
    assert [(Path(i.uri).name, i.meta["n"]) for i in items] == [
        ("a.jpg", 1),
        ("a.jpg#caption1", 1),
        ("a.jpg#caption2", 2),
    ]


def test_rows_without_an_image(tmp_path: Path) -> None:
    manifest = write_jsonl(
        tmp_path / "m.jsonl", {"text": "alone", "n": 1}, {"captions": ["x", "y"]}
    )
    items, _ = scanned(manifest)
    assert [(i.uri.removeprefix(str(manifest)), i.text, i.kind) for i in items] == [
        ("#L1", "alone", "text"),
        ("#L2", "x", "text"),
        ("#L2.caption2", "y", "text"),
    ]
    assert items[0].group == items[0].uri
    assert items[1].group == items[2].group
    assert items[0].meta["n"] == 1
    assert items[0].meta["manifest"] == str(manifest)


@pytest.mark.parametrize("table", [
    "url,caption\n{},a red bus\n", "URL\tTEXT\n{}\ta red bus\n", "Image_URL;Title\n{};a red bus\n",
    "sep=;\r\nimage-url;caption\r\n {} ; a red bus \r\n",
    '"sep=|"\nIMG URL|Caption\n{}|a red bus\n',
    "SEP=,\nImageUrl , caption\n{} , \"a red bus\" \n"])
def test_tables_of_addresses(tmp_path: Path, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://example.org/a.jpg"
    (tmp_path / "t.csv").write_text(table.format(url), newline="")
    items, scan = scanned(tmp_path / "t.csv")
    assert items == []
    assert [s.reason for s in scan.skipped] == ["1 picture is on the web; to download, add --fetch"]
    monkeypatch.setattr("mmsearch.sources.web._state", {"rules": Fetch(), "pools": None})
    items, scan = scanned(tmp_path / "t.csv")
    assert [(item.uri, item.text) for item in items] == [
        (url, ""), (f"{url}#caption1", "a red bus")]
    assert scan.skipped == []


def test_a_file_counts_before_an_address(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    rows = [{"url": "https://example.org/a.jpg", "file_name": "a.jpg", "text": "x"}]
    items, _ = scanned(write_jsonl(tmp_path / "m.jsonl", *rows))
    assert [item.uri for item in items] == [str(tmp_path / "a.jpg"), f"{tmp_path}/a.jpg#caption1"]
    assert items[0].meta["url"] == "https://example.org/a.jpg"


@pytest.mark.parametrize(("rows", "said", "count"), [
    ([{"photo": "a.jpg", "caption": "x"}] * 3,
     "no column is an image, so that each row is a text; there are photo, caption", 3),
    ([{"photo": "a.jpg", "year": 2}] * 3,
     "no column is an image or a caption; there are photo, year", 0),
    ([{}], "no column is an image or a caption; there are none", 0),
    ([{"caption": "x"}], "", 1),
    ([{"image": "", "caption": "x", "n": 1}], "", 1)])
def test_a_table_without_images_says_what_it_has(tmp_path: Path, rows: list[dict[str, object]],
                                                 said: str, count: int) -> None:
    items, scan = scanned(write_jsonl(tmp_path / "m.jsonl", *rows))
    found = [note.partition(": ")[2] for note in scan.notes] + [one.reason for one in scan.skipped]
    assert (len(items), found) == (count, [said] if said else [])


def test_csv_lines_are_counted_below_the_separator(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("sep=;\nimage;caption\na.jpg;x\n")
    put(tmp_path, "b.jpg")
    _, scan = scanned(tmp_path / "t.csv")
    assert [skip.path for skip in scan.skipped] == [f"{tmp_path}/t.csv:3"]


def test_bad_rows_are_named_by_their_line(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    (tmp_path / "folder.jpg").mkdir()
    manifest = write_jsonl(
        tmp_path / "m.jsonl",
        '{"image": "a.jpg"',
        "",
        [1],
        {"image": "gone.jpg", "caption": "x"},
        {"year": 3},
        {"image": "nul\0.jpg"},
        {"image": "folder.jpg"},
        {"image": "\ud800.jpg"},
        "[" * 100_000,
        {"image": "a.jpg", "caption": "fine"},
    )
    items, scan = scanned(manifest)
    assert [i.text for i in items] == ["", "fine"]
    reasons = {int(s.path.removeprefix(f"{manifest}:")): s.reason for s in scan.skipped}
    assert list(reasons) == [1, 3, 4, 5, 6, 7, 8, 9]
    assert reasons[1].startswith("invalid JSON: ")
    assert reasons[3] == "not a JSON object"
    assert reasons[4] == "image not found: gone.jpg"
    assert reasons[5] == "no image and no caption"
    assert reasons[6] == "image not found: nul.jpg"
    assert reasons[7] == "image not found: folder.jpg"
    for reason in reasons.values():
        reason.encode()


def test_values_that_cannot_be_stored_are_repaired(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    row = r"""{"image": "a.jpg", "caption": "half \ud83d pair", "x": NaN,
        "y": ["\u0000z"], "\ud83d": 1}""".replace("\n", "")
    items, _ = scanned(write_jsonl(tmp_path / "m.jsonl", row))
    for item in items:
        json.dumps(dict(item.meta), allow_nan=False, ensure_ascii=False).encode()
        item.text.encode()
    assert items[0].meta["y"] == ["z"]
    assert "x" not in items[0].meta


def test_what_is_nested_too_deeply_is_left_out(tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    deep = [("[" * n + "]" * n, '{"a":' * n + "1" + "}" * n) for n in (3, 900)]
    manifest.write_text("".join(f'{{"caption": "x", "list": {one}, "dict": {{"b": {other}}}}}\n'
                                for one, other in deep))
    (first, second), scan = scanned(manifest)
    assert scan.skipped == []
    assert first.meta["list"] == [[[]]] and first.meta["b"] == {"a": {"a": {"a": 1}}}
    assert len(json.dumps(second.meta)) < 1000


def test_archives_that_a_manifest_names_in_other_bytes(tmp_path: Path) -> None:
    folder, name = os.fsencode(tmp_path), "\xe9.zip".encode("latin-1")
    with zipfile.ZipFile(os.fsdecode(folder + b"/" + name), "w") as archive:
        archive.writestr("a.jpg", "pixels")
    manifest = tmp_path / "m.csv"
    manifest.write_bytes(b"image,caption\n" + name + b"!/a.jpg,x\n" + name + b"!/b.jpg,y\n")
    items, scan = scanned(manifest)
    assert [(item.uri, item.text) for item in items] == [
        (f"{tmp_path}/\ufffdE9.zip!/a.jpg", ""),
        (f"{tmp_path}/\ufffdE9.zip!/a.jpg#caption1", "x")]
    assert [one.reason for one in scan.skipped] == ["image not found: \xe9.zip!/b.jpg"]
    manifest = write_jsonl(tmp_path / "m.jsonl", {"image": "\ud800.zip!/a.jpg"})
    items, scan = scanned(manifest)
    assert items == [] and "image not found" in scan.skipped[0].reason


def test_absolute_paths_and_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    put(tmp_path, "in/a.jpg", name)
    (tmp_path / "sub").mkdir()
    manifest = write_jsonl(
        tmp_path / "sub/m.jsonl",
        {"image": str(tmp_path / "in/a.jpg")},
        {"image": "../" + name},  # JSON writes the odd byte as a lone surrogate
        {"image": path_to_uri(tmp_path / name), "caption": "again, by its uri"},
    )
    items, scan = scanned(manifest)
    assert scan.skipped == []
    assert [item.uri for item in items] == [
        str(tmp_path / "in/a.jpg"),
        path_to_uri(tmp_path / name),
        path_to_uri(tmp_path / name) + "#caption1",
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv(tmp_path: Path, delimiter: str) -> None:
    put(tmp_path, "a.jpg", "b.jpg")
    rows = [
        ["image", "caption", "year", "code", "empty", "price"],
        ["a.jpg", '"two\nlines, quoted"', "2021", "007", "", "1.5"],
        ["gone.jpg", "x", "1", "1", "", ""],
        ["b.jpg", '"[""one"", ""two""]"', "2022", "x", "", ""],
    ]
    path = tmp_path / ("m.tsv" if delimiter == "\t" else "m.csv")
    path.write_text("\n".join(delimiter.join(row) for row in rows), encoding="utf-8-sig")
    items, scan = scanned(path)
    assert [i.text for i in items] == ["", "two\nlines, quoted", "", "one", "two"]
    own = {k: v for k, v in items[0].meta.items() if k not in ("modified", "manifest")}
    assert own == {"year": 2021, "code": "007", "price": 1.5}
    assert scan.skipped == [Skipped(f"{path}:4", "image not found: gone.jpg")]


def test_csv_in_an_old_encoding_and_with_a_giant_field(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    path = tmp_path / "m.csv"
    path.write_bytes(b"image,caption\na.jpg," + b"x" * 200_000 + b"\na.jpg,caf\xe9\n")
    csv.field_size_limit(1 << 30)  # as other libraries do
    items, scan = scanned(path)
    assert [i.text for i in items] == ["", "café"]
    assert [s.path for s in scan.skipped] == [f"{path}:2"]
    assert scan.skipped[0].reason.startswith("invalid CSV")


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl", "m.tsv", "m.json"])
def test_an_empty_manifest(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert scanned(tmp_path / name)[0] == []


def test_karpathy_json(tmp_path: Path) -> None:
    put(tmp_path, "val2014/1.jpg", "images/2.jpg")
    layout = {
        "dataset": "coco",
        "images": [
            {
                "filepath": "val2014",
                "filename": "1.jpg",
                "sentids": [1, 2],
                "split": "test",
                "sentences": [{"raw": "A man.", "tokens": ["a", "man"]}, {"raw": "A person."}],
            },
            {"filename": "2.jpg", "split": "train", "sentences": [{"raw": "A dog."}]},
        ],
    }
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(layout))
    items, scan = scanned(path)
    assert scan.skipped == []
    assert [(item.uri.removeprefix(f"{tmp_path}/"), item.text) for item in items] == [
        ("val2014/1.jpg", ""),
        ("val2014/1.jpg#caption1", "A man."),
        ("val2014/1.jpg#caption2", "A person."),
        ("images/2.jpg", ""),
        ("images/2.jpg#caption1", "A dog."),
    ]
    assert items[0].meta["split"] == "test"
    assert set(items[0].meta) == {"split", "modified", "manifest"}


def test_json_of_another_shape(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    path = tmp_path / "m.json"
    path.write_text(json.dumps([{"image": "a.jpg", "caption": "x"}, 5]))
    items, scan = scanned(path)
    assert [i.text for i in items] == ["", "x"]
    assert [s.reason for s in scan.skipped] == ["not a JSON object"]
    for text in ('{"a": 1}', '"x"', "{"):
        path.write_text(text)
        items, scan = scanned(path)
        assert items == []
        assert len(scan.skipped) == 1


def test_manifests_in_folders_are_not_read(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    write_jsonl(tmp_path / "m.jsonl", {"text": "x"})
    (tmp_path / "m.csv").write_text("text\nx\n")
    items, scan = scanned(tmp_path)
    assert [Path(item.uri).name for item in items] == ["a.jpg"]
    assert scan.skipped == []


@pytest.mark.parametrize("folder_first", [True, False])
def test_a_manifest_beside_its_folder_says_more(tmp_path: Path, folder_first: bool) -> None:
    put(tmp_path, "a.jpg", "b.jpg")
    manifest = write_jsonl(tmp_path / "m.jsonl", {"image": "b.jpg", "caption": "x", "year": 1})
    paths = [tmp_path, manifest] if folder_first else [manifest, tmp_path]
    items, _ = scanned(*paths)
    assert sorted(Path(item.uri).name for item in items) == ["a.jpg", "b.jpg", "b.jpg#caption1"]
    assert {item.meta.get("year") for item in items if "b.jpg" in item.uri} == {1}


@pytest.mark.parametrize("name", ["m.jsonl", "m.csv"])
def test_a_manifest_is_streamed(tmp_path: Path, name: str) -> None:
    manifest = tmp_path / name
    row = '{"text": "one"}\n' if name == "m.jsonl" else "one\n"
    manifest.write_text("text\n" * (name == "m.csv") + row * 2)
    items = iter_items([manifest], scan=Scan())
    assert next(items).text == "one"
    with manifest.open("a") as handle:  # seen only by a reader that has not read to the end
        handle.write(row * 5)
    assert sum(1 for _ in items) == 6


def test_pictures_and_texts_may_share_the_look_of_a_uri(tmp_path: Path) -> None:
    put(tmp_path, "a.txt#L1.jpg", "a.jpg#caption1.png")
    items, _ = scanned(tmp_path)
    assert {item.kind for item in items} == {"image"}
