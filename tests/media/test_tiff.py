"""TIFF: each kind of numbers, in each order and packing, as tifffile reads it; and its pages."""

from __future__ import annotations

import itertools
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from conftest import Cli, add
from making import difference, picture
from PIL import Image

from mmsearch.collection.collection import Collection
from mmsearch.errors import MediaError, MissingDecoder
from mmsearch.media import decode, frames, given, read_part
from mmsearch.media.frames import Part

# The module's own filter, which pytest sets aside.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")

Shades = npt.NDArray[np.float64]
HEIGHT, WIDTH = 40, 56
KINDS = ("u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8")
COLOURS = {"minisblack": 1, "miniswhite": 1, "rgb": 3, "rgb with opacity": 4, "separated": 4}


def shades(channels: int) -> Shades:
    """Each channel another picture, in 0 to 1."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x / x.max(), y / y.max(), (x // 8 + y // 8) % 2, (x + y) / (x + y).max()],
                    axis=-1)[..., :channels]


def stored(values: Shades, kind: str) -> npt.NDArray[Any]:
    """As the numbers of a type, least to greatest."""
    if kind[0] == "f":
        return values.astype(kind)
    limits = np.iinfo(kind)
    return np.round(values * (limits.max - limits.min) + limits.min).astype(kind)


def written(pixels: npt.NDArray[Any], **options: Any) -> bytes:
    file = BytesIO()
    tifffile.imwrite(file, pixels, metadata=None, **options)
    return file.getvalue()


def expected(colour: str, values: Shades) -> npt.NDArray[Any]:
    if colour == "separated":
        inks = np.round(values * 255).astype(np.uint8)
        return np.asarray(Image.frombytes("CMYK", (WIDTH, HEIGHT), inks.tobytes()).convert("RGB"))
    if colour == "miniswhite":
        values = 1 - values
    return np.broadcast_to(np.round(values[..., :3] * 255), (HEIGHT, WIDTH, 3))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("colour", COLOURS)
def test_every_kind_of_numbers(kind: str, colour: str) -> None:
    """In planes or not, packed or not, predicted or not, in either order of bytes, in tiles."""
    values = shades(COLOURS[colour])
    if "opacity" in colour:
        values[..., 3] = 1
    photometric = colour.split()[0]
    for planes, packing, order, predicted, tile in itertools.product(
            (False, True) if values.shape[2] > 1 else (False,),
            (None, "zlib", "lzw", "packbits", "zstd"), "<>", (False, True), (None, (16, 16))):
        pixels = stored(values, kind)
        how: dict[str, Any] = {"rowsperstrip": 16} if tile is None else {"tile": tile}
        if values.shape[2] > 1:
            how["planarconfig"] = "separate" if planes else "contig"
            pixels = np.ascontiguousarray(np.moveaxis(pixels, -1, 0)) if planes else pixels
        else:
            pixels = pixels[..., 0]
        data = written(pixels, photometric=photometric, compression=packing, byteorder=order,
                       predictor=predicted and packing is not None,
                       extrasamples=["unassalpha"] if "opacity" in colour else None, **how)
        off = np.abs(np.asarray(decode(data).image, np.int16) - expected(colour, values)).max()
        assert off <= 2, (planes, packing, order, predicted, tile)


def test_files_and_bytes_alike(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for kind in ("u1", "u2", "f4"):
        planes = np.ascontiguousarray(np.moveaxis(stored(shades(3), kind), -1, 0))
        data = written(planes, photometric="rgb", planarconfig="separate")
        path.write_bytes(data)
        expected = decode(data).image
        assert difference(decode(path).image, expected) == 0
        with path.open("rb") as opened:
            assert difference(given(opened, None), expected) == 0
        if kind != "f4":  # which Pillow does not open
            for source in (path, BytesIO(data)):
                pillows = Image.open(source)
                assert difference(given(pillows, None), expected) == 0
                assert difference(given(pillows, None), expected) == 0


@pytest.mark.parametrize("bits", [2, 4, 5, 6, 10, 12, 14])
def test_packed_bits(bits: int) -> None:
    for channels, planes in ((1, False), (3, False), (3, True)):
        values = shades(channels)
        pixels = np.round(values * (2**bits - 1)).astype("u1" if bits <= 8 else "u2")
        pixels = np.moveaxis(pixels, -1, 0) if planes else pixels
        data = written(np.ascontiguousarray(pixels if channels == 3 else pixels[..., 0]),
                       photometric="rgb" if channels == 3 else "minisblack", bitspersample=bits,
                       planarconfig=("separate" if planes else "contig") if channels > 1 else None)
        seen = np.asarray(decode(data).image, np.float64) / 255
        assert np.abs(seen - values).max() < 0.7 / (2**bits - 1) + 0.01


@pytest.mark.parametrize(("packing", "most"), [
    ("jpeg", 255), ("jpeg", 4095), ("webp", 255), ("png", 255), ("jpeg2000", 65535),
    ("jpegxl", 65535), ("jpegxr", 65535)])
def test_packed_as_other_pictures_are(packing: str, most: int) -> None:
    pixels = np.round(shades(3) * most).astype("u1" if most == 255 else "u2")
    data = written(pixels, photometric="rgb", compression=packing, bitspersample=most.bit_length())
    levels = tifffile.imread(BytesIO(data)) / most * 255
    assert np.abs(np.asarray(decode(data).image) - levels).max() <= 1


@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
@pytest.mark.parametrize("meaning", ["unspecified", "assocalpha", "unassalpha"])
@pytest.mark.parametrize("planes", [False, True])
def test_more_channels(kind: str, meaning: str, planes: bool) -> None:
    colour, opacity = shades(3), np.full((HEIGHT, WIDTH, 1), 1.0)
    opacity[:, 20:] = 0.5
    shown = colour if meaning == "unspecified" else colour * opacity + 1 - opacity
    pixels = np.concatenate([colour * opacity if meaning == "assocalpha" else colour, opacity], 2)
    pixels = stored(np.moveaxis(pixels, -1, 0) if planes else pixels, kind)
    data = written(np.ascontiguousarray(pixels), photometric="rgb", extrasamples=[meaning],
                   planarconfig="separate" if planes else "contig")
    assert np.abs(np.asarray(decode(data).image) / 255 - shown).mean() < 0.01


def test_a_palette_of_sixteen_bits() -> None:
    colours = np.random.default_rng(0).integers(0, 65536, (3, 65536), dtype=np.uint16)
    places = stored(shades(1), "u2")[..., 0]
    data = written(places, photometric="palette", colormap=colours)
    assert (np.asarray(decode(data).image) == np.moveaxis(colours[:, places] >> 8, 0, -1)).all()


def test_what_cannot_be_read_is_refused() -> None:
    def reason(data: bytes) -> str:
        with pytest.raises(MediaError) as caught:
            decode(data)
        return str(caught.value)

    values = stored(shades(3), "u1")
    assert "unsupported TIFF: its colours are" in reason(
        written(values.astype(np.uint16), photometric="cielab"))
    assert "bytes of 4 layers" in reason(
        written(np.zeros((4, 32, 32), np.int16), volumetric=True, tile=(4, 16, 16),
                photometric="minisblack"))
    raw = bytearray(written(values, photometric="ycbcr", subsampling=(1, 1)))
    at = raw.index((530).to_bytes(2, "little"))
    raw[at + 8 : at + 12] = b"\2\0\2\0"
    assert "unsupported TIFF" in reason(bytes(raw))
    good = written(stored(shades(3), "f4"), photometric="rgb", compression="zlib")
    for kept in range(8, len(good), 600):
        assert "TIFF" in reason(good[:kept])


def test_the_reason_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from tifffile import tifffile as inside

    data = written(stored(shades(3), "f4"), photometric="rgb", compression="lzw")

    def without(*given: Any, **more: Any) -> Any:
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(inside.TiffPage, "asarray", without)
    with pytest.raises(MissingDecoder, match=r"pip install 'mmsearch\[tiff\]'"):
        decode(data)


# --- pages --------------------------------------------------------------------------------------


SCENES = ("cat", "bus", "pizza")
SMALL, MASK = 1, 4


def pages(*scenes: str | Image.Image, kinds: dict[int, int] | None = None, **options: Any) -> bytes:
    """A file of pictures; some directories may be of another kind."""
    file = BytesIO()
    with tifffile.TiffWriter(file) as tiff:
        for number, scene in enumerate(scenes):
            shown = picture(scene) if isinstance(scene, str) else scene
            tiff.write(np.asarray(shown), photometric="rgb" if shown.mode == "RGB" else None,
                       subfiletype=(kinds or {}).get(number, 0), metadata=None, **options)
    return file.getvalue()


def test_each_page_is_found(tmp_path: Path, cli: Cli) -> None:
    blank = Image.new("RGB", (320, 240), "white")
    folder = tmp_path / "scans"
    folder.mkdir()
    scan, one = folder / "scan.tif", folder / "one.TIFF"
    scan.write_bytes(pages(blank, *SCENES))
    one.write_bytes(pages("sunset"))
    collection = Collection.create(tmp_path / "index")
    report = add(collection, folder)
    assert (report.added, report.skipped) == (5, [])
    for number, scene in enumerate(SCENES, 2):
        hit = collection.search(image=picture(scene), k=1)[0]
        assert (hit.item.uri, hit.item.kind) == (f"{scan}#page={number}", "frame")
        assert hit.item.meta["pages"] == 4 and hit.item.meta["format"] == "TIFF"
        assert (hit.item.meta["width"], hit.item.meta["height"]) == (320, 240)
        done = cli("query", "--image", f"{scan}#page={number}", "-k", "1", "-i", tmp_path / "index",
                   "--no-collapse", "--json")
        assert f'"uri": "{scan}#page={number}"' in done.stdout, done.stderr
    assert collection.search(image=picture("sunset"), k=1)[0].item.uri == str(one)
    assert add(collection, folder).unchanged == 5
    scan.write_bytes(pages("cat"))
    again = add(collection, folder)
    assert (again.added, again.removed) == (1, 4)
    assert collection.search(image=picture("cat"), k=1)[0].item.uri == str(scan)


def uris_of(data: bytes) -> list[str]:
    return [frame.fragment for frame in frames.read(data, 100, 2000)]


def test_thumbnails_and_masks_are_no_pages() -> None:
    small, mask = picture("sunset", (32, 24)), Image.new("1", (320, 240))
    data = pages("cat", small, mask, "bus", kinds={1: SMALL, 2: MASK})
    assert frames.moves(data)
    assert uris_of(data) == ["page=1", "page=2"]
    assert difference(read_part(data, Part("", page=2), None), picture("bus")) < 1
    for number in (0, 3):
        with pytest.raises(MediaError, match=f"has no page {number}"):
            read_part(data, Part("", page=number), None)
    first_small = pages(small, "cat", kinds={0: SMALL})
    assert not frames.moves(first_small) and not frames.moves(pages("cat"))
    assert difference(decode(first_small).image, picture("cat")) < 1
    assert not frames.moves(pages("cat", small, kinds={1: SMALL}))
    assert not frames.moves(pages("cat", mask, kinds={1: MASK | SMALL}))


def test_pages_of_other_sizes_and_numbers() -> None:
    file = BytesIO()
    with tifffile.TiffWriter(file) as tiff:
        tiff.write(np.asarray(picture("cat", (200, 100))), photometric="rgb", metadata=None)
        tiff.write(np.asarray(picture("bus")).astype(np.float32) / 255, photometric="rgb",
                   planarconfig="contig", metadata=None)
        tiff.write(np.asarray(picture("pizza", (80, 80)).convert("L")), compression="lzw",
                   metadata=None)
    found = list(frames.read(file.getvalue(), 500, 2000))
    assert [(frame.meta["width"], frame.meta["height"]) for frame in found] == [
        (200, 100), (320, 240), (80, 80)]
    assert found[1].image is not None and difference(found[1].image, picture("bus")) < 1


def test_a_damaged_page_costs_that_page() -> None:
    data = bytearray(pages(*SCENES, compression="zlib"))
    with tifffile.TiffFile(BytesIO(data)) as file:
        at = file.pages[1].dataoffsets[0]
    data[at : at + 200] = bytes(200)
    found = frames.read(bytes(data), 100, 2000)
    assert [next(found).fragment, next(found).fragment] == ["page=1", "page=3"]
    with pytest.raises(MediaError, match="1 of 3 pages cannot be read"):
        next(found)
    with pytest.raises(MediaError, match="has 3 pages: the first 2 are indexed"):
        list(frames.read(pages(*SCENES), 100, 2))
