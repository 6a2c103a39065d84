"""RAW pictures of cameras, and JPEG XL: upright, in the right colours, or with a reason."""

from __future__ import annotations

import shutil
import struct
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from conftest import DEMO, add
from hypothesis import given, strategies as st
from making import difference, dng, film, picture
from PIL import Image

from mmsearch.collection.collection import Collection
from mmsearch.errors import MediaError
from mmsearch.formats import RAW_SUFFIXES, container, sniff
from mmsearch.media.decoding import decode
from mmsearch.media.jxl import size
from mmsearch.sources.folders import Scan, iter_items

TURNS = {1: 0, 3: 180, 6: -90, 8: 90}


@pytest.mark.parametrize("orientation", TURNS)
def test_a_raw_picture_is_developed(orientation: int, tmp_path: Path) -> None:
    shot = picture("bus", (640, 480))
    path = dng(tmp_path / "a.dng", shot, orientation=orientation)
    for source in (path, path.read_bytes()):
        found = decode(source, min_side=120)
        upright = shot.rotate(TURNS[orientation], expand=True)
        assert (found.width, found.height) == upright.size
        assert min(found.image.size) == 240  # half of it
        # LibRaw brightens, and the mosaic blurs: what counts is that nothing is turned or tinted.
        assert likeness(found.image, upright) > 0.9
        assert likeness(found.image, upright.rotate(180)) < 0.8
        assert found.meta["format"] == "RAW" and found.meta["camera"] == "Acme One"
        assert found.meta["taken"] == "2021-05-03T14:22:10"


def likeness(one: Image.Image, other: Image.Image) -> float:
    """The correlation of two pictures' small versions, over all colours."""
    small = [np.asarray(image.resize((40, 40))).ravel() for image in (one, other)]
    return float(np.corrcoef(*small)[0, 1])


@pytest.mark.parametrize("orientation", TURNS)
def test_a_preview_that_is_large_enough_is_taken(orientation: int, tmp_path: Path) -> None:
    preview = picture("cat", (480, 360))
    path = dng(tmp_path / "a.dng", picture("bus", (640, 480)), orientation=orientation,
               preview=preview)
    found = decode(path, min_side=120)
    upright = preview.rotate(TURNS[orientation], expand=True)
    assert found.image.size == upright.resize(found.image.size).size
    assert difference(found.image, upright.resize(found.image.size)) < 6
    assert (found.width, found.height) == ((640, 480) if orientation in (1, 3) else (480, 640))
    assert likeness(decode(path, min_side=361).image, found.image) < 0.5  # the sensor's, then


def test_a_preview_that_was_turned_already_is_left_alone(tmp_path: Path) -> None:
    preview = picture("cat", (360, 480))
    path = dng(tmp_path / "a.dng", picture("bus", (640, 480)), orientation=6, preview=preview)
    found = decode(path, min_side=120).image
    assert difference(found, preview.resize(found.size)) < 6


def test_a_camera_s_tiff_is_a_tiff(tmp_path: Path) -> None:
    from PIL import TiffImagePlugin

    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[271], tags[330] = "Acme", 0
    picture("cat").save(tmp_path / "a.tif", tiffinfo=tags)
    assert difference(decode(tmp_path / "a.tif").image, picture("cat")) == 0


@given(st.binary(max_size=200), st.integers(0, 400))
def test_damaged_raw_files_have_a_reason(noise: bytes, at: int) -> None:
    data = bytearray(DNG)
    data[at : at + len(noise)] = noise
    try:
        decode(bytes(data), min_side=16)
    except MediaError as error:
        assert "\n" not in str(error)


def _dng() -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return dng(Path(folder) / "a.dng", picture("cat", (64, 48))).read_bytes()


DNG = _dng()


def test_a_truncated_raw_file_has_a_reason() -> None:
    data = bytearray(DNG)
    strip = data.rfind(struct.pack("<HHI", 273, 4, 1)) + 8  # where the sensor's data is
    data[strip : strip + 4] = struct.pack("<I", len(data) - 2000)
    with pytest.raises(MediaError, match="damaged or truncated RAW"):
        decode(bytes(data))


@pytest.mark.parametrize(("head", "name"), [
    (b"II*\0\x10\0\0\0CR\x02\0", "RAW"), (b"\0\0\0\x18ftypcrx \0\0\0\1", "RAW"),
    (b"IIRO\x08\0\0\0", "RAW"), (b"IIU\0\x18\0\0\0", "RAW"), (b"FUJIFILMCCD-RAW 0201", "RAW"),
    (b"\xff\x0a\xfa", "JPEG XL"), (b"II*\0\x08\0\0\0\0\0", "TIFF"),
    (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
    (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
    (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "AVIF")])
def test_formats_are_told_by_their_first_bytes(head: bytes, name: str) -> None:
    assert sniff(head.ljust(64, b"\0")) == name
    assert container(head.ljust(1024, b"\0")) is None


def test_a_missing_library_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(MediaError, match=r"pip install 'mmsearch\[raw\]'"):
        decode(DNG)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(MediaError, match=r"pip install 'mmsearch\[jxl\]'"):
        decode(b"\xff\x0a" + bytes(100))


# --- beside the picture that was made of it ------------------------------------------------------


def test_the_developed_picture_wins(tmp_path: Path) -> None:
    for name in ("a.CR2", "b.NEF", "c.dng", "d.jpg", "e.RAF", "below/a.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"?")
    for name in ("a.JPG", "b.heic", "e.txt"):
        (tmp_path / name).write_bytes(b"?")
    scan = Scan()
    names = [Path(item.uri).name for item in iter_items([tmp_path], scan=scan)
             if item.kind == "image"]
    assert names == ["a.JPG", "b.heic", "c.dng", "d.jpg", "e.RAF", "a.jpg"]
    (skipped,) = scan.skipped
    assert skipped.reason == "2 RAW files are not indexed: each has a picture of its name beside it"
    named = iter_items([tmp_path / "a.CR2"], scan=Scan())
    assert [Path(item.uri).name for item in named] == ["a.CR2"]  # asked for, it is taken


def test_raw_pictures_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    dng(folder / "a.dng", picture("bus", (640, 480)), orientation=6)
    dng(folder / "b.dng", picture("cat", (640, 480)))
    shutil.copy(DEMO / "cat.jpg", folder / "b.jpg")
    film(folder / "c.mp4", ["pizza"])
    index = Collection.create(tmp_path / "index")
    report = add(index, folder)
    assert report.added == 3 and len(report.skipped) == 1
    assert index.search(text="a bus", k=1)[0].item.uri == f"{folder}/a.dng"
    assert add(index, folder).unchanged == 3


def test_suffixes_of_raw_files() -> None:
    assert {".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".pef"} <= RAW_SUFFIXES


# --- JPEG XL -------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"usecontainer": True}])
def test_jpeg_xl(options: dict[str, bool], tmp_path: Path) -> None:
    pixels = np.asarray(picture("cat"))
    path = tmp_path / "a.jxl"
    path.write_bytes(imagecodecs.jpegxl_encode(pixels, **options))
    found = decode(path)
    assert difference(found.image, picture("cat")) < 4
    assert found.meta == {"width": 320, "height": 240, "format": "JPEG XL"}
    assert min(decode(path, min_side=50).image.size) == 120


@pytest.mark.parametrize("pixels", [
    np.asarray(picture("cat").convert("L")), np.asarray(picture("cat").convert("LA")),
    np.asarray(picture("cat").convert("RGBA")), np.asarray(picture("cat"), np.uint16) * 257,
    np.asarray(picture("cat"), np.float32) / 255])
def test_jpeg_xl_of_other_kinds(pixels: np.ndarray) -> None:
    image = decode(imagecodecs.jpegxl_encode(pixels, lossless=True)).image
    grey = pixels.ndim == 2 or pixels.shape[2] == 2
    assert difference(image, picture("cat").convert("L" if grey else "RGB").convert("RGB")) < 2


@given(st.integers(1, 600), st.integers(1, 600))
def test_the_size_of_a_jpeg_xl_is_known_from_its_header(width: int, height: int) -> None:
    data = imagecodecs.jpegxl_encode(np.zeros((height, width), np.uint8), effort=1)
    assert size(data) == (width, height)


def test_a_jpeg_xl_that_claims_too_many_pixels_is_refused() -> None:
    bits = 0b0 | 3 << 1 | (2**20) << 3 | 1 << 33  # a square of 2^20 + 1
    with pytest.raises(MediaError, match="bomb"):
        decode(b"\xff\x0a" + bits.to_bytes(10, "little"))
    with pytest.raises(MediaError):
        decode(b"\xff\x0a" + bytes(3))
