"""Pictures in zip and tar archives: indexed where they are, and shown from there."""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
import tarfile
import tracemalloc
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from conftest import DEMO, Cli, add, scanned
from hypothesis import given, settings, strategies as st
from making import animation
from PIL import ExifTags, Image

from mmsearch.cli import present
from mmsearch.cli.sheet import contact_sheet
from mmsearch.collection.collection import Collection
from mmsearch.errors import MediaError, UsageError
from mmsearch.records import Hit, Item
from mmsearch.sources import archives, locate, members as archive_members, unpacked
from mmsearch.sources.archives import open_archive
from mmsearch.sources.folders import Scan, iter_items
from mmsearch.sources.sidecars import own_fingerprint
from mmsearch.uris import (
    as_mark,
    expand_braces,
    from_mark,
    member_name,
    member_uri,
    path_to_uri,
    split_member,
    uri_to_path,
)

PICTURES = sorted(DEMO.glob("*.jpg"))[:6]
KINDS = ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz"]


def write(path: Path, files: dict[str, bytes], *, time: int = 1_600_000_000) -> Path:
    """An archive of a kind told by its name, all members of one time."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, data in files.items():
                file.writestr(zipfile.ZipInfo(name, (2020, 9, 13, 12, 26, 40)), data,
                              zipfile.ZIP_DEFLATED)
        return path
    packing = {".gz": "gz", ".tgz": "gz", ".bz2": "bz2", ".xz": "xz"}.get(path.suffix, "")
    with tarfile.open(path, f"w:{packing}") as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), time
            tar.addfile(info, io.BytesIO(data))
    return path


def pictures(count: int = 6) -> dict[str, bytes]:
    return {f"img/{path.name}": path.read_bytes() for path in PICTURES[:count]}


def reasons(scan: Scan) -> dict[str, str]:
    return {one.path.rpartition("!/")[2]: one.reason for one in scan.skipped}


def names(items: list[Item]) -> list[str]:
    """Without the archive and its folders."""
    return [item.uri.rpartition("/")[2] for item in items]


def uris(collection: Collection) -> dict[str, Item]:
    found = collection.search(text="a picture", k=1000, find="any", collapse=False)
    return {hit.item.uri: hit.item for hit in found}


# --- addresses ----------------------------------------------------------------------------------


@given(st.sampled_from(["/p/a.zip", "/p/x.TAR.gz", "/ü/a.parquet", "/a b.tgz"]),
       st.text(st.characters(exclude_categories=()), min_size=1))
def test_a_member_of_any_name_has_a_uri_of_its_own(container: str, name: str) -> None:
    found = split_member(member_uri(container, member_name(name)))
    assert found is not None and found.container == container
    assert member_name(name) == found.name
    assert "\0" not in found.name and found.name.encode()


@given(st.text() | st.sampled_from(['W/"a/12:34/b%2F"', "%252F", "a/b"]))
def test_what_a_server_says_fits_into_a_fingerprint(said: str) -> None:
    print_ = f"12:etag={as_mark(said)}"
    assert own_fingerprint(print_) == print_ and from_mark(as_mark(said)) == said


@given(st.lists(st.sampled_from(["a.zip!", "a.tar!", "x!", "a.zip", "b.parquet!", "c"]),
                min_size=1))
def test_no_file_is_ever_taken_for_a_member(parts: list[str]) -> None:
    path = "/" + "/".join(parts)
    uri = path_to_uri(path)
    assert split_member(uri) is None
    assert uri_to_path(uri) == Path(path)
    assert uri.startswith(path_to_uri("/" + "/".join(parts[:-1])))


@pytest.mark.parametrize(("name", "expanded"), [
    ("a.tar", ["a.tar"]),
    ("s-{008..011}.tar", ["s-008.tar", "s-009.tar", "s-010.tar", "s-011.tar"]),
    ("{2..0}", ["2", "1", "0"]),
    ("{a,b}{1..2}", ["a1", "a2", "b1", "b2"]),
    ("{}{a}{..}", ["{}{a}{..}"]),
])
def test_braces(name: str, expanded: list[str]) -> None:
    assert list(expand_braces(name)) == expanded


def test_absurd_braces_are_refused() -> None:
    with pytest.raises(UsageError, match="100,000"):
        list(expand_braces("{0..999999999999}"))


def test_braces_name_several_shards(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"s-{number:02}.tar", {f"{number}.jpg": b"pixels"})
    items, scan = scanned(f"{tmp_path}/s-{{00..02}}.tar")
    assert names(items) == ["0.jpg", "1.jpg", "2.jpg"]
    assert scan.roots == [f"{tmp_path}/s-{number:02}.tar" for number in range(3)]
    with pytest.raises(UsageError, match=r"s-03\.tar"):
        scanned(f"{tmp_path}/s-{{00..03}}.tar")
    odd = write(tmp_path / "{1..2}.tar", {"a.jpg": b"pixels"})  # a file that is called so
    assert len(scanned(odd)[0]) == 1


# --- members ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_an_archive_gives_its_pictures_and_texts(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, {
        "a.jpg": b"pixels", "sub/b.PNG": b"more", "notes.txt": b"one\n\ntwo", "x.exe": b"MZ",
        "__MACOSX/._a.jpg": b"junk", ".hidden/c.jpg": b"no"})
    items, scan = scanned(path)
    assert [item.uri.removeprefix(f"{path}!/") for item in items] == [
        "a.jpg", "sub/b.PNG", "notes.txt#L1", "notes.txt#L3"]
    first = items[0]
    assert (first.kind, first.group, first.meta["modified"]) == (
        "image", first.uri, "2020-09-13T12:26:40Z")
    assert first.fingerprint.startswith("6:")
    assert (items[2].text, items[2].meta["file"]) == ("one", f"{path}!/notes.txt")
    assert locate.read(first.uri) == (b"pixels", first.fingerprint)
    assert locate.fingerprint(first.uri) == first.fingerprint
    assert (scan.skipped, scan.roots, scan.incomplete) == ([], [str(path)], [])


@pytest.mark.parametrize("name", KINDS)
def test_members_are_read_in_any_order_from_many_threads(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(unpacked, "_KEPT", 100_000)  # less than there is
    files = {f"{n}.jpg": bytes([n]) * (n * 1037) for n in range(60)}
    path = write(tmp_path / name, files)
    order = [f"{n * 17 % 60}.jpg" for n in range(60)] + list(files)
    with ThreadPoolExecutor(8) as threads:
        found = threads.map(lambda one: locate.read(f"{path}!/{one}")[0], order)
        assert list(found) == [files[one] for one in order]


def test_a_compressed_tar_is_unpacked_once_for_its_list_and_once_for_its_members(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"{n:03}.jpg": os.urandom(5000) for n in range(100)}
    path = write(tmp_path / "a.tgz", files)
    taken = 0

    class Counting(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:  # type: ignore[override]
            nonlocal taken
            data = super().read(size)
            taken += len(data)
            return data

    plain = path.with_name("plain.tar")
    plain.write_bytes(zlib.decompress(path.read_bytes(), 31))
    monkeypatch.setitem(unpacked._OPENERS, plain.read_bytes()[:5], Counting)
    items, _ = scanned(plain)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda item: locate.read(item.uri), items))
    assert sum(map(len, files.values())) <= taken < 1.5 * plain.stat().st_size


def test_an_archive_that_changes_while_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", {"a.jpg": b"old", "b.jpg": b"other"})
    opened = open_archive(path)
    assert opened.read("a.jpg")[0] == b"old"
    write(path, {"a.jpg": b"new, longer"})
    os.utime(path, (7, 7))
    with pytest.raises(MediaError, match="changed"):
        opened.read("b.jpg")
    assert locate.read(f"{path}!/a.jpg")[0] == b"new, longer"


HOSTILE = ["../../evil.jpg", "/etc/evil.jpg", "a\\..\\b.jpg", "C:\\x.jpg", "é.jpg",
           "a!/b.zip!/c.jpg", "a\nb.jpg", "a#L3.jpg"]


@pytest.mark.parametrize("archive", ["a.zip", "a.tar", "a.tar.gz"])
def test_names_of_members_are_only_names(tmp_path: Path, archive: str) -> None:
    path = write(tmp_path / archive, {name: name.encode() for name in HOSTILE})
    (tmp_path / f"{archive}!").mkdir()  # where a path made of such a name would lead
    (tmp_path / "evil.jpg").write_bytes(b"not from the archive")
    items, scan = scanned(path)
    assert [item.uri for item in items] == [f"{path}!/{name}" for name in HOSTILE]
    assert [locate.read(item.uri)[0].decode() for item in items] == HOSTILE
    assert not any(locate.is_removed(item.uri) for item in items)
    assert locate.is_removed(f"{path}!/../evil.jpg")
    assert scan.skipped == []


def test_names_that_are_not_utf8_or_hold_nul(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as tar:
        tar.addfile(tarfile.TarInfo("café.jpg"))
    pax = tmp_path / "b.tar"
    with tarfile.open(pax, "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("short")
        info.pax_headers = {"path": "nul\0.jpg"}
        tar.addfile(info)
    items = [*scanned(path)[0], *scanned(pax)[0]]
    assert names(items) == [
        "caf\ufffdE9.jpg", "nul\ufffd00.jpg"]
    assert [locate.read(item.uri)[0] for item in items] == [b"", b""]


def test_a_zip_that_does_not_say_that_its_names_are_utf8(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"\u65e5\u672c.jpg": b"pixels"})
    data = bytearray(path.read_bytes())
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(mark) + at + 1] &= ~0x08
    path.write_bytes(data)
    assert scanned(path)[0][0].uri.endswith("!/\u65e5\u672c.jpg")


@pytest.mark.parametrize("archive", ["a.zip", "a.tar"])
def test_exclude_holds_inside_archives(tmp_path: Path, archive: str) -> None:
    path = write(tmp_path / archive, dict.fromkeys(["a.jpg", "b.gif", "raw/c.jpg"], b"pixels"))
    items, _ = scanned(path, exclude=["*.gif", "raw/**"])
    assert [item.uri.rpartition("!/")[2] for item in items] == ["a.jpg"]


def test_archives_in_folders_are_looked_into_when_asked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"a.jpg": b"pixels"})
    (tmp_path / "b.jpg").write_bytes(b"pixels")
    (tmp_path / "again.zip").symlink_to(path)
    assert [item.uri for item in scanned(tmp_path)[0]] == [f"{tmp_path}/b.jpg"]
    both = scanned(tmp_path, archives=True, exclude=["again*"])[0]
    assert [item.uri for item in both] == [f"{path}!/a.jpg", f"{tmp_path}/b.jpg"]
    once = scanned(tmp_path, path, archives=True)[0]
    assert [item.uri for item in once] == [f"{path}!/a.jpg", f"{tmp_path}/b.jpg"]


# --- what is refused ----------------------------------------------------------------------------


def test_archives_that_are_left_closed_in_folders_are_counted(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("a.zip", "b/b.tar", "again.tgz"):
        write(tmp_path / name, pictures(1))
    assert scanned(tmp_path)[1].notes == [
        "3 archives inside folders not looked into; --archives does that"]
    assert scanned(tmp_path, exclude=["again*", "b"])[1].notes == [
        "1 archive inside folders not looked into; --archives does that"]
    assert scanned(tmp_path, archives=True)[1].notes == []


def test_encrypted_members_and_odd_methods_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", dict.fromkeys(["a.jpg", "b.jpg", "c.jpg"], b"pixels"))
    data = bytearray(path.read_bytes())
    first = data.index(b"PK\1\2")
    data[first + 8] |= 1
    data[data.index(b"PK\1\2", first + 4) + 10] = 93
    path.write_bytes(data)
    items, scan = scanned(path)
    assert names(items) == ["c.jpg"]
    assert reasons(scan) == {"a.jpg": "encrypted",
                             "b.jpg": "compressed in a way that cannot be read (method 93)"}
    with pytest.raises(MediaError, match="encrypted"):
        locate.read(f"{path}!/a.jpg")


@pytest.mark.parametrize("archive", ["a.zip", "a.tar", "a.tar.gz"])
def test_absurd_sizes_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                         archive: str) -> None:
    monkeypatch.setattr(archive_members, "MAX_MEMBER", 1 << 20)
    path = write(tmp_path / archive, {"a.jpg": bytes(1 << 21), "b.jpg": b"pixels"})
    items, scan = scanned(path)
    assert names(items) == ["b.jpg"]
    assert reasons(scan) == {"a.jpg": "2,097,152 bytes in an archive, limit 1 MiB: unpack it"}
    with pytest.raises(MediaError, match="unpack it"):
        locate.read(f"{path}!/a.jpg")


@pytest.mark.parametrize("archive", ["a.zip", "a.tar.gz", "a.tar.bz2", "a.tar.xz"])
def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archive: str) -> None:
    monkeypatch.setattr(archive_members, "BOMB_BYTES", 1 << 20)
    path = write(tmp_path / archive, {"zeros": bytes(64 << 20), "b.jpg": b"pixels"})
    items, scan = scanned(path)
    assert items == []
    assert "decompression bomb" in scan.skipped[0].reason
    assert scan.incomplete == [str(path)]


def test_special_members_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in (("l.jpg", tarfile.SYMTYPE), ("h.jpg", tarfile.LNKTYPE),
                           ("p.jpg", tarfile.FIFOTYPE), ("d.jpg", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    zipped = tmp_path / "a.zip"
    with zipfile.ZipFile(zipped, "w") as file:
        link = zipfile.ZipInfo("z.jpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "/etc/passwd")
    items, scan = scanned(path, zipped)
    assert items == []
    assert reasons(scan) == {**dict.fromkeys(
        ["l.jpg", "h.jpg", "p.jpg", "d.jpg"], "a link or another special file in an archive"),
        "z.jpg": "a symbolic link in an archive"}


METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


@pytest.mark.parametrize("method", METHODS)
def test_members_of_zips_packed_in_every_way(tmp_path: Path, method: int) -> None:
    path, data = tmp_path / "a.zip", os.urandom(5000) * 3
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("a.jpg", data)
        file.writestr("empty.jpg", b"")
    assert open_archive(path).read("a.jpg")[0] == data
    assert open_archive(path).read("empty.jpg")[0] == b""


@pytest.mark.parametrize(("method", "megabytes"), [
    (zipfile.ZIP_DEFLATED, 16), (zipfile.ZIP_LZMA, 100)])
def test_a_member_that_is_larger_than_its_table_says_is_not_unpacked(
        tmp_path: Path, method: int, megabytes: int) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("a.jpg", bytes(64 << 20))
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\1\2") + 24
    data[at : at + 4] = (1000).to_bytes(4, "little")
    path.write_bytes(data)
    items, scan = scanned(path)
    assert len(items) == 1 and scan.skipped == []
    tracemalloc.start()
    with pytest.raises(MediaError, match="Bad CRC"):
        locate.read(items[0].uri)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < megabytes << 20


def _header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A header with a size that no tar has, negative too: in GNU's binary form."""
    info = tarfile.TarInfo(name)
    info.type, info.mtime = kind, 1
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = size.to_bytes(12, "big", signed=True)
    header[124] |= 0x80
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def _record(text: bytes) -> bytes:
    """As pax writes it, its own length first."""
    digits = len(str(len(text) + 2))
    return b"%d %s\n" % (len(text) + 2 + len(str(len(text) + 2 + digits)), text)


def _long_name(name: bytes) -> bytes:
    return _header("x", len(name), tarfile.GNUTYPE_LONGNAME) + name.ljust(512, b"\0")


def _extended(records: bytes) -> bytes:
    padded = records.ljust(-len(records) % 512 + len(records), b"\0")
    return _header("x", len(records), tarfile.XHDTYPE) + padded + _header("x.jpg")


@pytest.mark.parametrize("odd", [
    *(_header("x.jpg", size) for size in (-512, -1024, -5, -1 << 40, 1 << 60)),
    _header("x", 1 << 35, tarfile.XHDTYPE), _long_name(b"n" * 400) * 3000 + _header("x"),
    *(map(_extended, (
        _record(b"size=-1536"), _record(b"size=" + b"9" * 30), b"9" * 900_000, b"9" * 16_000,
        b"3 \n" * 300_000, b"3 \n" * 5400 + b"=", _record(b"comment=" + b"9" * 300_000)))),
    _extended(_record(b"GNU.sparse.major=1") + _record(b"GNU.sparse.minor=0"))
    + b"99999999999\n" + b"1\n" * (1 << 20) + bytes(500)])
@pytest.mark.parametrize("archive", ["a.tar", "a.tar.gz"])
def test_a_header_that_leads_in_circles_or_takes_hours_is_passed_over(
        tmp_path: Path, archive: str, odd: bytes) -> None:
    good = [_header(f"{n}.jpg", 5) + b"bytes".ljust(512, b"\0") for n in (1, 2)]
    data = good[0] + odd + good[1] + bytes(1024)
    path = tmp_path / archive
    path.write_bytes(gzip.compress(data) if archive.endswith("gz") else data)
    items, scan = scanned(path)
    found = names(items)
    assert "1.jpg" in found and ("2.jpg" in found or archive == "a.tar.gz")
    assert scan.incomplete == [str(path)] and "damaged archive" in scan.skipped[0].reason
    assert locate.read(items[0].uri)[0] == b"bytes"


# --- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize("damaged", [0, 2, 4])
def test_the_rest_of_a_damaged_tar_is_indexed(tmp_path: Path, damaged: int) -> None:
    whole = [0, 1, 2, 3, 4]
    path = write(tmp_path / "a.tar", {f"{n}.jpg": bytes(600) + bytes([n]) * 100 for n in whole})
    data = bytearray(path.read_bytes())
    data[damaged * 1536 : damaged * 1536 + 100] = b"?" * 100  # in the header
    path.write_bytes(data)
    items, scan = scanned(path)
    whole.remove(damaged)
    assert names(items) == [f"{n}.jpg" for n in whole]
    assert [locate.read(item.uri)[0][-1] for item in items] == whole
    assert scan.incomplete == [str(path)]
    assert scan.skipped[0].reason == "damaged archive: bad checksum"


@pytest.mark.parametrize("archive", ["a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz", "a.zip"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.97])
def test_an_archive_cut_short(tmp_path: Path, archive: str, share: float) -> None:
    files = {f"{n}.jpg": os.urandom(20_000) for n in range(20)}
    path = write(tmp_path / archive, files)
    path.write_bytes(path.read_bytes()[:int(share * path.stat().st_size)])
    items, scan = scanned(path)
    assert scan.incomplete == [str(path)] and scan.skipped[0].path == str(path)
    whole = []
    for item in items:
        try:
            whole.append(locate.read(item.uri)[0] == files[item.uri.rpartition("/")[2]])
        except MediaError as error:
            assert str(error)
    assert all(whole) and (len(whole) >= int(20 * share) - 1 or archive in ("a.zip", "a.tar.bz2"))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["a.zip", "a.tar", "a.tar.gz", "a.tar.bz2"]),
       st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=12))
def test_damage_never_ends_in_anything_but_a_reason(
        tmp_path_factory: pytest.TempPathFactory, archive: str,
        flips: list[tuple[float, int]]) -> None:
    path = write(tmp_path_factory.mktemp("x") / archive, {
        "a.jpg": b"pixels" * 50, "b.txt": b"words", "c.json": b"{}", "d.png": b"x" * 600})
    data = bytearray(path.read_bytes())
    for at, value in flips:
        data[int(at * (len(data) - 1))] = value
    path.write_bytes(data)
    items, _ = scanned(path)
    for item in items:
        try:
            locate.read(item.uri)
            locate.is_removed(item.uri)
        except MediaError as error:
            assert "\n" not in str(error)


def test_something_that_is_no_archive(tmp_path: Path) -> None:
    for name in ("a.zip", "a.tar", "a.tar.gz"):
        (tmp_path / name).write_bytes(b"hello, I am a text" * 100)
    (tmp_path / "empty.zip").write_bytes(b"")
    items, scan = scanned(*sorted(tmp_path.iterdir()))
    assert items == [] and len(scan.skipped) == 4
    assert all(one.reason.startswith("damaged archive") for one in scan.skipped)


# --- samples ------------------------------------------------------------------------------------


def test_a_shard_as_img2dataset_writes_it(tmp_path: Path) -> None:
    columns = {"caption": "not used", "url": "https://example.org/7", "key": "0007", "width": 256,
               "status": "success", "error_message": None, "exif": "{}", "sha256": "ab"}
    path = write(tmp_path / "00000.tar", {
        "0007.jpg": b"pixels", "0007.json": json.dumps(columns).encode(),
        "0007.txt": b"a cat\n  un chat \n",
        "0008.json": json.dumps({"caption": "only here"}).encode(), "0008.webp": b"pixels",
        "0009.jpg": b"pixels", "0009.json": b"{broken",
        "note.txt": b"on its own"})
    items, scan = scanned(path)
    by_name = {item.uri.rpartition("/")[2]: item for item in items}
    assert list(by_name) == ["0007.jpg", "0007.jpg#caption1", "0007.jpg#caption2", "0008.webp",
                             "0008.webp#caption1", "0009.jpg", "note.txt#L1"]
    picture, caption = by_name["0007.jpg"], by_name["0007.jpg#caption2"]
    assert (caption.kind, caption.text, caption.group) == ("text", "un chat", picture.uri)
    assert by_name["0008.webp#caption1"].text == "only here"
    assert {name: picture.meta.get(name) for name in ("url", "key", "meta.width", "sha256")} == {
        "url": "https://example.org/7", "key": "0007", "meta.width": 256, "sha256": "ab"}
    assert "caption" not in picture.meta and "error_message" not in picture.meta
    assert list(reasons(scan)) == ["0009.json"]


def test_samples_are_what_follows_each_other_in_a_tar_alone(tmp_path: Path) -> None:
    files = {"a.jpg": b"pixels", "a.txt": b"words"}
    assert names(scanned(write(tmp_path / "a.zip", files))[0]) == [
        "a.jpg", "a.txt#L1"]
    apart = {"a.jpg": b"pixels", "b.jpg": b"pixels", "a.txt": b"words"}
    assert names(scanned(write(tmp_path / "a.tar", apart))[0]) == [
        "a.jpg", "b.jpg", "a.txt#L1"]


# --- in a collection ----------------------------------------------------------------------------


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the archives that are opened from now on."""
    found: list[str] = []
    really = archives._open.__wrapped__

    @lru_cache
    def noting(path: Path, fingerprint: str) -> Any:
        found.append(path.name)
        return really(path, fingerprint)

    monkeypatch.setattr(archives, "_open", noting)
    return found


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_an_archive_in_a_collection(
        tmp_path: Path, collection: Collection, opened: list[str], name: str) -> None:
    path = write(tmp_path / name, pictures(4) | {"img/zz.txt": b"a line of text"})
    assert add(collection, path).added == 5
    first = f"{path}!/img/{PICTURES[0].name}"
    item = uris(collection)[first]
    assert (item.meta["size"], item.meta["format"]) == (PICTURES[0].stat().st_size, "JPEG")
    (hit, *_) = collection.search(image=PICTURES[0], k=1)
    assert hit.item.uri == first and hit.score > 0.99
    assert collection.search(image=first, k=1)[0].item.uri == first

    archives._open.cache_clear()
    opened.clear()
    report = add(collection, path)
    assert (report.unchanged, report.added, opened) == (5, 0, [])
    os.utime(path, (1, 1))  # another time, the same members: looked at, not decoded
    report = add(collection, path)
    assert (report.unchanged, report.added, report.replaced, opened) == (5, 0, 0, [name])

    write(path, {**pictures(2), f"img/{PICTURES[2].name}": PICTURES[5].read_bytes()})
    report = add(collection, path)
    assert (report.unchanged, report.replaced, report.removed) == (2, 1, 2)
    assert collection.search(image=PICTURES[5], k=1)[0].item.uri.endswith(PICTURES[2].name)

    assert collection.delete([first]) == 1
    assert add(collection, path).added == 1  # as from a folder
    assert collection.delete([str(path)]) == 3
    assert add(collection, path).added == 3
    path.unlink()
    assert add(collection, tmp_path).removed == 3


def described() -> bytes:
    """A JPEG that says when it was taken, and has a caption inside."""
    exif, stream = Image.Exif(), io.BytesIO()
    exif[ExifTags.Base.ImageDescription] = "Two herons at dawn"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2021:05:03 14:22:10"
    Image.new("RGB", (64, 48), (200, 20, 20)).save(stream, "JPEG", exif=exif)
    return stream.getvalue()


@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
def test_what_pictures_in_archives_say_of_themselves(
        tmp_path: Path, collection: Collection, name: str) -> None:
    path = write(tmp_path / name, {"a.jpg": described(), "b.jpg": PICTURES[0].read_bytes()})
    assert add(collection, path).added == 3
    items = uris(collection)
    meta = items[f"{path}!/a.jpg"].meta
    assert (meta["taken"], meta["colour"]) == ("2021-05-03T14:22:10", ["red"])
    assert items[f"{path}!/a.jpg#embedded1"].text == "Two herons at dawn"
    for time in (1, 2):  # as it was, then looked at again
        report = add(collection, path)
        assert (report.unchanged, report.updated, report.removed) == (2, 0, 0)
        os.utime(path, (time, time))
    write(path, {"a.jpg": PICTURES[1].read_bytes(), "b.jpg": PICTURES[0].read_bytes()}, time=3)
    report = add(collection, path)
    assert (report.replaced, report.removed) == (1, 1)
    assert not any("#" in uri for uri in uris(collection))


def test_captions_of_a_sample_come_and_go_with_it(tmp_path: Path, collection: Collection) -> None:
    picture = {"a.jpg": described()}
    path = write(tmp_path / "a.tar", {**picture, "a.txt": b"one\ntwo"})
    assert add(collection, path).added == 4
    write(path, {**picture, "a.txt": b"one"})
    report = add(collection, path)
    assert (report.removed, report.replaced) == (1, 0)
    assert {uri.rpartition("#")[2] for uri in uris(collection) if "#" in uri} == {
        "caption1", "embedded1"}


def test_an_animation_in_an_archive_gives_its_frames(
        tmp_path: Path, collection: Collection) -> None:
    gif = animation(tmp_path / "a.gif").read_bytes()
    path = write(tmp_path / "a.zip", {"x/a.gif": gif})
    add(collection, path)
    items = uris(collection)
    assert len(items) > 1 and all(item.kind == "frame" and item.meta["colour"]
                                  for item in items.values())
    first = f"{path}!/x/a.gif#t=0"
    assert items[first].group == f"{path}!/x/a.gif"
    for _ in range(2):
        report = add(collection, path)
        assert (report.unchanged, report.added, report.removed) == (len(items), 0, 0)
        os.utime(path, (1, 1))
    page = contact_sheet([Hit(1, 1.0, items[first])], title="frames")
    assert "data:image/jpeg" in page and "a.gif" in page


def test_members_of_one_time_and_size_are_compared_by_content(
        tmp_path: Path, collection: Collection) -> None:
    first, second = (path.read_bytes() for path in PICTURES[:2])
    size = max(len(first), len(second))
    same = [data + bytes(size - len(data)) for data in (first, second)]
    path = write(tmp_path / "a.tar", {"x.jpg": same[0]}, time=0)
    add(collection, path)
    write(path, {"x.jpg": same[1]}, time=0)
    os.utime(path, (5, 5))
    assert add(collection, path).replaced == 1


def test_nothing_is_dropped_because_an_archive_cannot_be_read(
        tmp_path: Path, collection: Collection) -> None:
    path = write(tmp_path / "a.tar.gz", pictures(4) | {"img/zz.txt": b"a line of text"})
    whole = path.read_bytes()
    add(collection, path)
    for data in (b"", whole[: len(whole) // 2], b"PK nonsense"):
        path.write_bytes(data)
        report = add(collection, path)
        assert report.removed == 0 and len(uris(collection)) == 5
        assert report.skipped[0].path == str(path)
    path.write_bytes(whole)
    assert add(collection, path).unchanged == 5


def test_a_run_over_the_folder_alone_keeps_what_is_in_archives(
        tmp_path: Path, collection: Collection) -> None:
    path = write(tmp_path / "a.tar", pictures(2) | {"notes/zz.txt": b"a line of text"})
    add(collection, path)
    assert add(collection, tmp_path).removed == 0
    assert len(uris(collection)) == 3


def test_what_is_skipped_is_said_again(tmp_path: Path, collection: Collection) -> None:
    path = write(tmp_path / "a.zip", pictures(2) | {"broken.jpg": b"no picture"})
    for _ in range(2):
        assert [one.path for one in add(collection, path).skipped] == [f"{path}!/broken.jpg"]


def test_a_renamed_archive_and_an_unpacked_one(tmp_path: Path, collection: Collection) -> None:
    path = write(tmp_path / "a.zip", pictures(3))
    add(collection, path)
    report = add(collection, path.rename(tmp_path / "b.zip"))
    assert (report.moved, report.added) == (3, 0)
    folder = tmp_path / "unpacked"
    zipfile.ZipFile(tmp_path / "b.zip").extractall(folder)
    report = add(collection, folder)
    assert (report.copied, report.added) == (3, 0)
    groups = collection.duplicates(exact=True).groups
    assert len(groups) == 3
    assert all(group.members[0].item.uri.startswith(str(folder)) and not group.redundant
               for group in groups)


def test_other_rules_are_another_look(tmp_path: Path, collection: Collection) -> None:
    path = write(tmp_path / "a.zip", pictures(3))
    scan = Scan()
    collection.add(iter_items([path], exclude=[PICTURES[0].name], scan=scan), scan=scan)
    assert len(uris(collection)) == 2
    assert add(collection, path).added == 1


def test_pictures_in_archives_are_shown(tmp_path: Path) -> None:
    path = write(tmp_path / "a b.zip", pictures(1))
    uri = f"{path}!/img/{PICTURES[0].name}"
    page = contact_sheet([Hit(1, 0.5, Item(uri, "image", "", uri))], title="t")
    assert "data:image/jpeg;base64," in page
    assert f'href="file://{tmp_path}/a%20b.zip"' in page
    assert present.filepaths([Hit(1, 0.5, Item(uri, "image", "", uri))]) == [uri]


def test_the_command_line(tmp_path: Path, cli: Cli) -> None:
    write(tmp_path / "work" / "a.tar.gz", pictures(3))
    assert cli("index", "a.tar.gz").stdout == "added 3, items 3, skipped 0\n"
    assert "unchanged 3" in cli("index", "{a,a}.tar.gz").stdout
    found = cli("query", "--image", f"a.tar.gz!/img/{PICTURES[0].name}", "--filepath-only", "-k1")
    archive = tmp_path / "work" / "a.tar.gz"
    assert found.stdout == f"{archive}!/img/{PICTURES[0].name}\n"
    gone = cli("query", "--image", "a.tar.gz!/img/none.jpg")
    assert (gone.returncode, gone.stdout) == (2, "")
    assert "none.jpg does not exist" in gone.stderr
    assert cli("verify", "--repair").returncode == 0
    assert cli("delete", "a.tar.gz").stdout == "deleted 3 items\n"
    cli("index", ".", "--archives")
    assert json.loads(cli("info", "--json").stdout)["items"] == 3
