"""Searching by a part of a picture."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import DEMO, Cli
from hypothesis import given, strategies as st
from PIL import ExifTags, Image

from mmsearch.collection.collection import Collection
from mmsearch.errors import MediaError, UsageError
from mmsearch.media.crops import Crop, parse_crops


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cat on the left, a bus on the right."""
    path = tmp_path_factory.mktemp("pair") / "pair.png"
    both = Image.new("RGB", (400, 200))
    for at, name in ((0, "cat"), (200, "bus")):
        both.paste(Image.open(DEMO / f"{name}.jpg").convert("RGB").resize((200, 200)), (at, 0))
    both.save(path)
    return path


def test_a_part_finds_what_is_in_it(demo_index: Path, pair: Path, cli: Cli) -> None:
    for area, wanted in (("0,0,50%,100%", "cat.jpg"), ("200,0,200,200", "bus.jpg"),
                         ("xywh=percent:50,0,50,100", "bus.jpg")):
        hits = json.loads(cli("query", "--image", pair, "--crop", area, "-i", demo_index, "-k", 1,
                              "--json", check=True).stdout)
        assert Path(hits[0]["uri"]).name == wanted


def test_a_part_of_a_picture_in_the_index_is_no_longer_that_picture(demo_index: Path) -> None:
    collection = Collection.open(demo_index)
    whole = collection.search(image=DEMO / "dogs.jpg", k=1)[0]
    part = collection.search(image=Crop(DEMO / "dogs.jpg", "0,0,30%,30%"), k=1)[0]
    assert whole.score == pytest.approx(1, abs=1e-3)
    assert part.score < 0.95


def test_every_kind_of_picture_can_be_cut(demo_index: Path, pair: Path) -> None:
    collection = Collection.open(demo_index)
    picture = Image.open(pair)
    by_hand = collection.embed(images=[picture.crop((10, 20, 110, 170))])
    for example in (pair, str(pair), pair.read_bytes(), picture):
        np.testing.assert_array_equal(
            collection.embed(images=[Crop(example, "10,20,100,150")]), by_hand)


def test_areas_are_of_the_upright_picture(demo_index: Path, pair: Path, tmp_path: Path) -> None:
    collection = Collection.open(demo_index)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # shown after a quarter turn clockwise
    lying = Image.open(pair).rotate(90, expand=True)
    lying.save(tmp_path / "lying.png", exif=exif)
    np.testing.assert_array_equal(
        collection.embed(images=[Crop(tmp_path / "lying.png", "200,0,200,200")]),
        collection.embed(images=[Crop(pair, "200,0,200,200")]))


def test_the_pixels_are_those_of_the_whole_file(demo_index: Path, tmp_path: Path) -> None:
    """A large JPEG is otherwise decoded at a reduced scale."""
    collection = Collection.open(demo_index)
    large = Image.open(DEMO / "cat.jpg").resize((2400, 1800))
    large.save(tmp_path / "large.jpg")
    by_hand = Image.open(tmp_path / "large.jpg").crop((600, 300, 1200, 900))
    got = collection.embed(images=[Crop(tmp_path / "large.jpg", "600,300,600,600")])
    assert float(got @ collection.embed(images=[by_hand])) > 0.999


@given(st.integers(1, 5000), st.integers(1, 5000), st.data())
def test_a_box_lies_in_the_picture(width: int, height: int, data: st.DataObject) -> None:
    shares = [data.draw(st.floats(0, 99.9)), data.draw(st.floats(0, 99.9))]
    sizes = [data.draw(st.floats(0.01, 100 - share)) for share in shares]
    area = ",".join(f"{share:.4f}%" for share in (*shares, *sizes))
    left, upper, right, lower = Crop("", area).box(width, height)
    assert 0 <= left < right <= width
    assert 0 <= upper < lower <= height


@given(st.integers(0, 300), st.integers(0, 200), st.integers(1, 100), st.integers(1, 50))
def test_pixels_are_taken_as_they_are(x: int, y: int, w: int, h: int) -> None:
    assert Crop("", f"{x},{y},{w},{h}").box(400, 250) == (x, y, x + w, y + h)
    in_percent = ",".join(f"{100 * n / size!r}%" for n, size in
                          zip((x, y, w, h), (400, 250, 400, 250), strict=True)).replace("e-", "")
    assert Crop("", in_percent).box(400, 250) == (x, y, x + w, y + h)


@pytest.mark.parametrize(("area", "reason"), [
    ("0,0,401,10", "beyond the picture .*pair.png, which is 400 x 200"),
    ("0,90%,10,11%", "beyond"), ("500,0,1,1", "beyond"), ("0,0,0,10", "is empty: its width is 0"),
    ("0,0,5%,0%", "its height 0"), ("0,0,10", "x,y,w,h"), ("-1,0,10,10", "x,y,w,h"),
    ("a,b,c,d", "x,y,w,h"), ("nan,0,1,1", "x,y,w,h"), ("percent:1%,0,5,5", "x,y,w,h"), ("", "x,y")])
def test_what_is_no_part_is_refused(cli: Cli, demo_index: Path, pair: Path, area: str, reason: str
                                    ) -> None:
    with pytest.raises(UsageError, match=reason):
        Collection.open(demo_index).search(image=Crop(pair, area))


def test_one_crop_for_each_image_or_one_for_all(cli: Cli, demo_index: Path, pair: Path) -> None:
    assert [one.area for one in parse_crops(["a", "b"], ["0,0,1,1"])] == ["0,0,1,1"] * 2
    areas = ["0,0,1,1", "0,0,2,2"]
    assert [one.area for one in parse_crops(["a", "b"], areas)] == areas
    assert parse_crops(["a"], []) == ["a"]
    for arguments in (["--image", pair, "--crop", "0,0,1,1", "--crop", "0,0,1,1"],
                      ["a cat", "--crop", "0,0,1,1"], ["--image", pair, "--crop", "0,0,9999,1"]):
        done = cli("query", *arguments, "-i", demo_index)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert "crop" in done.stderr


def test_a_picture_that_cannot_be_decoded_is_named(demo_index: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    with pytest.raises(MediaError, match=r"bad\.jpg: not an image"):
        Collection.open(demo_index).search(image=Crop(tmp_path / "bad.jpg", "0,0,1,1"))
    stream = io.BytesIO()
    Image.new("L", (4, 4)).save(stream, "PNG")
    assert Collection.open(demo_index).search(image=Crop(stream.getvalue(), "0,0,1,1"), k=1)
