"""Damaged files of every format: none ends a run, and each is in the index or in the report."""

from __future__ import annotations

import json
import re
import struct
import tarfile
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from conftest import Cli, add
from damaging import make_damaged, samples, with_checksums
from making import animation, difference, picture
from PIL import Image, PngImagePlugin

from mmsearch.collection.collection import Collection
from mmsearch.errors import MediaError
from mmsearch.ingest.prepare import Preparer
from mmsearch.media import decode
from mmsearch.media.damaged import _PASSES as PASSES
from mmsearch.sources.folders import iter_items
from mmsearch.sources.scan import Scan, Skipped
from mmsearch.storage.catalog import CATALOG, Catalog

COUNT = 2 * len(samples())


def test_a_run_over_damaged_files_of_all_formats(tmp_path: Path, cli: Cli) -> None:
    """Two files of each format, in a process of their own that a decoder might end: each file is
    in the index, or in the report with a reason that can be read."""
    files = make_damaged(tmp_path / "damaged", COUNT, seed=1)
    manifests = [one.path for one in files if one.is_manifest]
    done = cli("index", tmp_path / "damaged", *manifests, "--archives", "-i", tmp_path / "index",
               "--json")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    skipped = {one["path"]: one["reason"] for one in json.loads(done.stdout)["skipped"]}
    assert all(why.isprintable() and not re.search(r"Traceback|object at 0x|^\w+Error$", why)
               for why in skipped.values())
    mentioned = {re.split(r"!/|#|:\d+$", path)[0] for path in skipped}
    for item in (row.item for row in Catalog(tmp_path / "index" / CATALOG).rows()):
        beside = Path(item.uri.partition("#")[0]).with_name
        mentioned |= {re.split("!/|#", item.uri)[0], item.meta.get("manifest"),
                      *(str(beside(name)) for name in item.fingerprint.split("/")[2::2])}
    assert [one.path for one in files if str(one.path) not in mentioned] == []


# --- pictures that viewers show -------------------------------------------------------------------


CAT = picture("cat")
OPAQUE = {"JPEG": {}, "JPEG progressive": {"progressive": True}, "JPEG of print": {},
          "PNG": {}, "PNG with a palette": {}, "PNG of one bit": {}, "WebP": {},
          "WebP lossless": {"lossless": True}}
MODES = {"JPEG of print": "CMYK", "PNG with a palette": "P", "PNG of one bit": "1"}


def whole(name: str, image: Image.Image = CAT, **options: Any) -> bytes:
    file = BytesIO()
    options = {**OPAQUE[name], **options}
    image.convert(MODES.get(name, image.mode)).save(file, name.split()[0], **options)
    return file.getvalue()


def wrong_rows(image: Image.Image, data: bytes) -> float:
    """The share of the height from the first row on that is not as it should be."""
    differ = np.abs(np.asarray(image, np.int16) - np.asarray(decode(data).image)).mean((1, 2)) > 4
    return 1 - int(np.argmax(differ)) / len(differ) if differ.any() else 0.0


@pytest.mark.parametrize("name", OPAQUE)
def test_the_last_bytes_are_missing(name: str) -> None:
    data = whole(name)
    for kept in (len(data) - 1, len(data) - 40):
        found = decode(data[:kept])
        assert wrong_rows(found.image, data) < 0.06
        assert found.image.size == CAT.size
        reduced = decode(data[:kept], min_side=50)
        assert (reduced.meta == found.meta and reduced.image.width < CAT.width) or "PNG" in name


@pytest.mark.parametrize("name", sorted(OPAQUE.keys() - {"JPEG progressive"}))
def test_the_last_rows_are_missing(name: str) -> None:
    data = whole(name)
    found = decode(data[: int(len(data) * 0.85)])
    said = re.fullmatch(r"the last (\d+) % are missing", found.meta["damaged"])
    assert said is not None
    share = int(said[1]) / 100
    assert 0.05 < share < 0.4
    assert wrong_rows(found.image, data) == pytest.approx(share, abs=0.08)
    with pytest.raises(MediaError, match=f"{name.split()[0]}"):
        decode(data[: int(len(data) * 0.35)])


def test_a_coarse_picture_of_which_the_fine_detail_is_missing() -> None:
    data = whole("JPEG progressive")
    for kept in range(len(data) // 2, len(data) - 2, 97):  # in headers of scans, too
        found = decode(data[:kept])
        assert found.meta["damaged"] == "its last bytes are missing"
        assert difference(found.image, decode(data).image) < 12


def test_a_turned_picture_stays_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = whole("JPEG", exif=exif)
    found = decode(data[:-200])
    assert found.image.size == (240, 320) and "damaged" in found.meta
    assert difference(found.image, decode(data).image) < 5


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("interlaced", [False, True])
def test_rows_of_any_kind_of_png(mode: str, interlaced: bool) -> None:
    shown = CAT.convert("L") if mode == "I;16" else CAT.convert(mode)
    pixels = np.asarray(shown)
    packed = (imagecodecs.png_encode(pixels.astype(np.uint16) * 257) if mode == "I;16" else
              interlaced_png(shown) if interlaced else whole("PNG", shown))
    found = decode(packed[: int(len(packed) * 0.8)])
    assert "the last" in found.meta["damaged"]
    top = (0, 0, 320, 120)
    if not interlaced:
        assert difference(found.image.crop(top), decode(packed).image.crop(top)) == 0


def interlaced_png(image: Image.Image) -> bytes:
    """Pillow reads these and writes none."""
    pixels = np.asarray(image)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    rows = b"".join(b"\0" + row.tobytes() for x, y, dx, dy in PASSES
                    for row in pixels[y::dy, x::dx])
    data = bytearray(whole("PNG", image))
    data[28] = 1
    at, end = data.index(b"IDAT") - 4, data.index(b"IEND") - 4
    packed = zlib.compress(rows)
    return with_checksums(bytes(data[:at]) + struct.pack(">I", len(packed)) + b"IDAT" + packed
                          + bytes(4) + bytes(data[end:]))


def test_a_damaged_or_long_text_costs_that_text(tmp_path: Path) -> None:
    for kind in ("tEXt", "zTXt", "iTXt", "long zTXt", "long iTXt"):
        texts = PngImagePlugin.PngInfo()
        long = "long" in kind
        text = "words " * (300_000 if long else 3)
        if "iTXt" in kind:
            texts.add_itxt("Comment", text, lang="en", tkey="Note", zip=True)
        else:
            texts.add_text("Comment", text, zip="z" in kind)
        texts.add_text("Title", "A cat")
        data = bytearray(whole("PNG", pnginfo=texts))
        if not long:
            data[data.index(kind.encode()) + 5] ^= 1
        found = decode(bytes(data))
        assert difference(found.image, CAT) == 0
        assert found.meta.get("damaged") == (
            None if long else f"what it says of itself ({kind}) cannot be read")
    header = bytearray(whole("PNG"))
    header[29] ^= 1
    with pytest.raises(MediaError, match="checksum in b'IHDR'"):
        decode(bytes(header))


def with_chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    data = whole("PNG")
    added = b"".join(struct.pack(">I", len(body)) + kind + body + bytes(4) for kind, body in chunks)
    return with_checksums(data[:33] + added + data[33:])


@pytest.mark.parametrize("chunk", [
    (b"gAMA", b"\0"), (b"tRNS", b""), (b"iCCP", b""), (b"zTXt", b"x\0\5packed")])
def test_what_a_png_can_do_without(chunk: tuple[bytes, bytes]) -> None:
    found = decode(with_chunks(chunk))
    assert difference(found.image, CAT) == 0
    assert f"({chunk[0].decode()}) cannot be read" in found.meta["damaged"]


def test_a_png_with_very_many_words_is_not_damaged() -> None:
    packed = zlib.compress(b"word " * 200_000)
    for chunks in ([(b"zTXt", b"a\0\0" + packed)] * 70, [(b"tEXt", b"a\0" + b"b" * 999_999)] * 70,
                   [(b"iCCP", b"a\0\0" + zlib.compress(bytes(2_000_000)))]):
        found = decode(with_chunks(*chunks))
        assert difference(found.image, CAT) == 0 and "damaged" not in found.meta


@pytest.mark.parametrize("ending", [".webp", ".gif", ".apng"])
def test_an_animation_that_is_cut(ending: str, tmp_path: Path) -> None:
    data = animation(tmp_path / f"a{ending}").read_bytes()
    first = decode(data).image
    for share, most in ((0.7, 0.1), (0.25, 40)):  # behind the first picture, and within
        cut = tmp_path / str(share) / f"a{ending}"
        cut.parent.mkdir()
        cut.write_bytes(data[: int(len(data) * share)])
        report = add(Collection.create(tmp_path / f"index{share}"), cut)
        assert report.added >= 1
        found = decode(cut)
        assert difference(found.image, first) < most
        assert "damaged" in found.meta or report.skipped, "nothing is said"


def test_rows_of_an_interlaced_gif() -> None:
    file = BytesIO()
    CAT.save(file, "GIF")
    found = decode(file.getvalue()[: int(len(file.getvalue()) * 0.7)])
    assert re.fullmatch("the last (2|3). % are missing", found.meta["damaged"])
    assert difference(found.image, CAT) < 8


@pytest.mark.parametrize("ending", ["GIF", "BMP", "PPM"])
def test_last_rows_of_formats_that_only_have_rows(ending: str) -> None:
    file = BytesIO()
    CAT.convert("P" if ending == "GIF" else "RGB").save(
        file, ending, **({"interlace": 0} if ending == "GIF" else {}))
    data = file.getvalue()
    found = decode(data[: int(len(data) * 0.8)])
    assert re.fullmatch("the last (19|2.) % are missing", found.meta["damaged"])
    shown = (0, 60, 320, 240) if ending == "BMP" else (0, 0, 320, 180)  # from below
    assert difference(found.image.crop(shown), decode(data).image.crop(shown)) == 0
    with pytest.raises(MediaError):
        decode(data[: int(len(data) * 0.3)])


def test_a_damaged_picture_is_indexed_said_and_told_apart(tmp_path: Path, cli: Cli) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    data = whole("JPEG")
    (folder / "cut.jpg").write_bytes(data[:-300])
    (folder / "gone.jpg").write_bytes(data[:2000])
    (folder / "whole.jpg").write_bytes(data)
    done = cli("index", folder, "-i", tmp_path / "index")
    assert re.search(r"damaged \S+cut\.jpg: the last \d+ % are missing", done.stderr)
    assert "skipped" in done.stderr and "gone.jpg: truncated JPEG" in done.stderr
    assert "added 2" in done.stdout and "skipped 1" in done.stdout
    collection = Collection.open(tmp_path / "index")
    hit, = collection.search(text="a cat", where="damaged exists")
    assert hit.item.uri == str(folder / "cut.jpg")
    assert [Path(hit.item.uri).name for hit in
            collection.search(text="a cat", where="damaged is missing")] == ["whole.jpg"]
    (folder / "cut.txt").write_text("a cat on a sofa")  # described anew, not decoded
    add(collection, folder)
    hit, = collection.search(text="a cat", where="damaged ~ missing")
    assert collection.search(text="a sofa", find="text", k=1)[0].item.group == hit.item.uri


# --- what was found so --------------------------------------------------------------------------


def scanned(*paths: Path, archives: bool = False) -> list[Skipped]:
    scan = Scan()
    for _ in iter_items(paths, archives=archives, scan=scan):
        pass
    return scan.skipped


def test_a_damaged_manifest_does_not_cost_the_other_files(tmp_path: Path, photos: Path) -> None:
    damaged = tmp_path / "m.parquet"
    damaged.write_bytes(b"PAR1 or so")
    collection = Collection.create(tmp_path / "index")
    report = add(collection, damaged, photos)
    assert report.added == 12
    assert [one.path for one in report.skipped] == [str(damaged)]
    assert report.skipped[0].reason.startswith("is no Parquet file, or damaged")


def test_a_file_with_nothing_in_it_is_mentioned(tmp_path: Path) -> None:
    for name in ("a.txt", "b.md"):
        (tmp_path / name).write_text(" \n\n")
    (tmp_path / "c.jsonl").write_text("\n")
    with tarfile.open(tmp_path / "d.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("code.c"), BytesIO())
    found = scanned(tmp_path, tmp_path / "c.jsonl", archives=True)
    assert {(Path(one.path).name, one.reason) for one in found} == {
        ("a.txt", "no text in it"), ("b.md", "no text in it"), ("c.jsonl", "no rows in it"),
        ("d.tar", "no picture and no text in it that could be indexed")}


def test_an_archive_with_nothing_in_it_is_mentioned_again(tmp_path: Path, photos: Path) -> None:
    with tarfile.open(tmp_path / "d.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("code.c"), BytesIO())
    collection = Collection.create(tmp_path / "index")
    first, second = (add(collection, photos, tmp_path / "d.tar").skipped for _ in range(2))
    assert first == second and len(first) == 1


def test_an_error_that_nobody_foresaw_costs_one_file(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = sorted(photos.iterdir())[3]
    prepare = Preparer.of

    def broken(*given: Any) -> Any:
        if given[-1].uri == str(victim):
            raise AttributeError("no such thing")
        return prepare(*given)

    monkeypatch.setattr(Preparer, "of", broken)
    report = add(Collection.create(tmp_path / "index"), photos)
    assert report.added == 11
    assert report.skipped == [
        Skipped(str(victim), "damaged or unsupported file: no such thing")]


def test_a_reason_is_one_line_that_can_be_read() -> None:
    assert Skipped("a", "two\nlines\x1b[2J of \0 it").reason == "two lines\\x1b[2J of \\x00 it"
    assert len(Skipped("a", "x" * 1000).reason) == 300
