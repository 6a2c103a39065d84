"""What pictures say of themselves: EXIF, XMP, IPTC."""

from __future__ import annotations

import io
import json
import math
import re
import struct
from pathlib import Path
from typing import Any

import pytest
from conftest import add
from hypothesis import given, settings, strategies as st
from making_metadata import IN_XMP, XMP, exif, iptc, jpeg
from PIL import ExifTags, Image, PngImagePlugin
from PIL.TiffImagePlugin import IFDRational
from rich.console import Console

from mmsearch.cli.legend import legend, when_and_where
from mmsearch.cli.present import hits_table
from mmsearch.cli.sheet import contact_sheet
from mmsearch.collection.collection import Collection
from mmsearch.media.decoding import decode, read_metadata
from mmsearch.media.palette import TERMS
from mmsearch.metadata import xmp
from mmsearch.metadata.fields import FIELDS, MOST_WORDS, Metadata, merge_metadata
from mmsearch.records import Hit, Item

TYPES: dict[str, type | tuple[type, ...]] = {
    "integer": int, "number": (int, float), "text": str, "date": str, "true/false": bool,
    "list": list}
B, G = ExifTags.Base, ExifTags.GPS
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def meta_of(details: dict[int, Any] | None = None, gps: dict[int, Any] | None = None,
            **base: Any) -> dict[str, Any]:
    found = decode(jpeg(exif=exif(details, gps, **base))).meta
    return {name: value for name, value in found.items() if name not in ("width", "height",
                                                                         "format", "colour")}


LISBON = {G.GPSLatitudeRef: "N", G.GPSLatitude: (38.0, 43.0, 20.28),
          G.GPSLongitudeRef: "W", G.GPSLongitude: (9.0, 8.0, 21.48),
          G.GPSAltitudeRef: b"\0", G.GPSAltitude: 45.5}
CAMERA = {
    B.DateTimeOriginal: "2021:05:03 14:22:10", B.SubsecTimeOriginal: "25",
    B.OffsetTimeOriginal: "+01:00", B.ExposureTime: IFDRational(1, 250), B.FNumber: 2.8,
    B.ISOSpeedRatings: 800, B.FocalLength: 35.0, B.FocalLengthIn35mmFilm: 52, B.Flash: 0x19,
    B.LensModel: "EF 35mm f/2", B.LensMake: "Canon"}


# --- EXIF ---------------------------------------------------------------------------------------


def test_everything_a_camera_says() -> None:
    found = meta_of(CAMERA, LISBON, Make="Canon", Model="Canon EOS 80D")
    assert found == {
        "camera": "Canon EOS 80D", "lens": "Canon EF 35mm f/2", "exposure": 0.004,
        "aperture": 2.8, "iso": 800, "focal_length": 35.0, "focal_length_equivalent": 52.0,
        "flash": True, "taken": "2021-05-03T14:22:10.25+01:00", "latitude": 38.7223,
        "longitude": -9.1393, "altitude": 45.5}


def test_a_date_without_fraction_or_offset_and_the_date_of_the_scan() -> None:
    assert meta_of({B.DateTimeOriginal: "2021:05:03 14:22:10"}) == {"taken": "2021-05-03T14:22:10"}
    assert meta_of({B.DateTimeDigitized: "2021:05:03 14:22:10", B.OffsetTimeDigitized: "-03:30",
                    B.SubsecTimeDigitized: "nonsense"}) == {"taken": "2021-05-03T14:22:10-03:30"}


@pytest.mark.parametrize(("tag", "value"), [
    (B.ExposureTime, IFDRational(1, 0)), (B.FNumber, IFDRational(0, 0)), (B.FNumber, 0.0),
    (B.ISOSpeedRatings, 0), (B.FocalLength, IFDRational(0, 1)), (B.LensModel, "----"),
    (B.LensModel, "0.0 mm f/0.0\0\0".replace("mm f", "")), (B.Flash, "yes"),
    (B.DateTimeOriginal, "0000:00:00 00:00:00"), (B.DateTimeOriginal, "2021:02:30 10:00:00"),
    (B.DateTimeOriginal, "    :  :     :  :  "), (B.DateTimeOriginal, "yesterday"),
    (B.DateTimeOriginal, ""),
])
def test_what_makes_no_sense_is_left_out(tag: int, value: Any) -> None:
    assert meta_of({tag: value}) == {}


@pytest.mark.parametrize("gps", [
    {G.GPSLatitude: (38.0, 43.0, 20.0), G.GPSLatitudeRef: "N"},  # no longitude
    {**LISBON, G.GPSLatitude: (0.0, 0.0, 0.0), G.GPSLongitude: (0.0, 0.0, 0.0)},
    {**LISBON, G.GPSLatitude: (IFDRational(0, 0),) * 3},
    {**LISBON, G.GPSLongitude: (181.0, 0.0, 0.0)},
])
def test_half_a_position_and_the_gulf_of_guinea(gps: dict[int, Any]) -> None:
    assert not {"latitude", "longitude", "altitude"} & meta_of(gps=gps).keys()


def test_signs_of_a_position() -> None:
    found = meta_of(gps={
        G.GPSLatitudeRef: "S", G.GPSLatitude: (33.0, 51.5, 0.0), G.GPSLongitudeRef: "E",
        G.GPSLongitude: (151.0, 12.0, 0.0), G.GPSAltitudeRef: b"\1", G.GPSAltitude: 3.0})
    assert (found["latitude"], found["longitude"]) == (pytest.approx(-33.858333333), 151.2)
    assert found["altitude"] == -3.0


def test_sensitivities_that_the_first_tag_cannot_hold() -> None:
    assert meta_of({B.ISOSpeedRatings: 65535, B.RecommendedExposureIndex: 102400})["iso"] == 102400
    assert meta_of({B.ISOSpeedRatings: (200, 0)})["iso"] == 200


@pytest.mark.parametrize("text", ["OLYMPUS DIGITAL CAMERA", "SONY DSC", "IMG_0001.JPG", "  ",
                                  "Created with GIMP", "\0\0\0"])
def test_descriptions_that_no_person_wrote(text: str) -> None:
    assert decode(jpeg(exif=exif(ImageDescription=text))).captions == ()


def test_a_description_is_a_caption() -> None:
    said = decode(jpeg(exif=exif(ImageDescription="Anna jumps into the lake")))
    assert said.captions == ("Anna jumps into the lake",)


FULL = iptc((120, b"A lake"), (25, b"cat"), exif=exif(
    CAMERA, LISBON, Make="Canon", Model="EOS", ImageDescription="A lake", Orientation=6))
IPTC_AT, EXIF_AT = FULL.index(b"\x1c\x02"), FULL.index(b"Exif\0\0") + 6
PLACES = [*range(IPTC_AT, IPTC_AT + 12), *range(EXIF_AT, FULL.index(b"\xff\xdb") - 8)]


def assert_sane(meta: dict[str, Any]) -> None:
    """Names and types of FIELDS, and nothing that strict JSON, UTF-8 or SQLite cannot hold."""
    for name, value in meta.items():
        assert isinstance(value, TYPES[FIELDS[name][0]]), (name, value)
        assert not isinstance(value, float) or math.isfinite(value)
    assert "\\u0000" not in json.dumps(meta, allow_nan=False)
    json.dumps(meta, ensure_ascii=False).encode()


@given(st.lists(st.tuples(st.sampled_from(PLACES), st.one_of(
    st.binary(min_size=1, max_size=8),
    st.sampled_from([struct.pack("<L", n) for n in (0, 8, 26, 2**31 - 1, 2**32 - 1)]))),
    min_size=1, max_size=12))
@settings(max_examples=400, deadline=None)
def test_mutated_exif_and_iptc_never_cost_the_picture(changes: list[tuple[int, bytes]]) -> None:
    data = bytearray(FULL)
    for at, patch in changes:
        data[at : at + len(patch)] = patch
    picture = decode(bytes(data))
    assert sorted(picture.image.size) == [16, 24]
    assert_sane(picture.meta)


def test_a_tag_as_large_as_the_segment_allows() -> None:
    found = meta_of({B.LensModel: "x" * 60_000, B.UserComment: b"y" * 100})
    assert len(found["lens"]) == 100


# --- XMP ----------------------------------------------------------------------------------------


def test_everything_in_a_packet() -> None:
    assert xmp.read(XMP) == IN_XMP


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WebP", "TIFF"])
def test_xmp_inside_of_a_picture(format: str) -> None:
    options: dict[str, Any] = {"xmp": XMP}
    if format == "PNG":
        options = {"pnginfo": PngImagePlugin.PngInfo()}
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
    if format == "TIFF":
        options = {"tiffinfo": {700: XMP}}
    buffer = io.BytesIO()
    Image.new("RGB", (24, 16)).save(buffer, format, **options)
    picture = decode(buffer.getvalue())
    assert picture.captions == IN_XMP.captions
    assert IN_XMP.meta.items() <= picture.meta.items()
    assert read_metadata(buffer.getvalue()) == Metadata(
        IN_XMP.captions, {**IN_XMP.meta, "description": list(IN_XMP.captions)})


def test_a_picture_knows_better_than_its_xmp_when_it_was_taken() -> None:
    found = decode(jpeg(exif=exif(CAMERA), xmp=XMP)).meta
    assert found["taken"].startswith("2021-05-03") and found["rating"] == 4


BOMB = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><x>&b;</x>"""
OUTSIDE = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>'


@pytest.mark.parametrize("packet", [BOMB, OUTSIDE, b"<!DOCTYPE x><x/>"])
def test_bombs_and_doctypes_are_refused(packet: bytes) -> None:
    with pytest.raises(ValueError, match="document type"):
        xmp.read(packet)
    assert decode(jpeg(xmp=packet)).captions == ()


@pytest.mark.parametrize("packet", [b"<x", b"hello", b"", b"\xff\xfe\0", XMP[:700],
                                    b"<?xml version='1.0' encoding='klingon'?><x/>"])
def test_damaged_packets_say_so_and_cost_nothing(packet: bytes) -> None:
    with pytest.raises(ValueError, match="damaged XMP") as caught:
        xmp.read(packet)
    assert "\n" not in str(caught.value)
    assert decode(jpeg(xmp=packet or b"\0")).captions == ()


@given(st.lists(st.tuples(st.integers(0, len(XMP) - 1), st.binary(min_size=1, max_size=4)),
                min_size=1, max_size=6))
@settings(max_examples=300, deadline=None)
def test_mutated_packets_are_read_or_refused(changes: list[tuple[int, bytes]]) -> None:
    data = bytearray(XMP)
    for at, patch in changes:
        data[at : at + len(patch)] = patch
    try:
        said = xmp.read(bytes(data))
    except ValueError:
        return
    assert_sane(dict(said.meta))


def test_deeply_nested_and_very_many() -> None:
    deep = b"<x>" * 50_000 + b"</x>" * 50_000
    assert xmp.read(deep) == Metadata()
    many = "".join(f"<rdf:li>k{n}</rdf:li>" for n in range(5000))
    packet = ('<a xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:rdf="http://www.w3.org/1999/'
              f'02/22-rdf-syntax-ns#"><dc:subject>{many}</dc:subject></a>')
    assert len(xmp.read(packet.encode()).meta["keywords"]) == MOST_WORDS
    inside = "<dc:subject>" * 300_000 + "cat" + "</dc:subject>" * 300_000
    packet = f'<a xmlns:dc="http://purl.org/dc/elements/1.1/">{inside}</a>'
    assert xmp.read(packet.encode()) == Metadata((), {"keywords": ["cat"]})


# --- IPTC ---------------------------------------------------------------------------------------


def test_iptc_caption_keywords_and_place() -> None:
    data = iptc((5, b"Derby"), (25, b"football"), (25, "Fu\u00dfball".encode()), (90, b"K\xf6ln"),
                (101, b"Germany"), (120, b"Two players jump for the ball."))
    picture = decode(data)
    assert picture.captions == ("Two players jump for the ball.",)
    assert picture.meta["keywords"] == ["football", "Fußball"]
    assert (picture.meta["title"], picture.meta["city"], picture.meta["country"]) == (
        "Derby", "Köln", "Germany")


# --- together ----------------------------------------------------------------------------------


def test_files_beside_a_picture_count_first_but_not_for_when_and_where() -> None:
    assert merge_metadata(
        {"title": "old", "keywords": ["a"], "taken": "2020", "latitude": 1.0, "longitude": 2.0},
        {"title": "new", "keywords": ["b", "a"], "taken": "2021", "latitude": 3.0,
         "longitude": 4.0, "altitude": 5.0, "rating": 3},
    ) == {"title": "new", "keywords": ["b", "a"], "taken": "2020", "latitude": 1.0,
          "longitude": 2.0, "rating": 3}


# --- the documentation, and what people see ------------------------------------------------------


def test_the_documented_names_are_those_of_the_code() -> None:
    text = (Path(__file__).parents[2] / "docs" / "metadata.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([\w/]+) \| (.+) \|$", text, re.MULTILINE)
    assert {name: (kind, what) for name, kind, what in rows} == FIELDS
    terms = re.search(r"`colour` is one or more of ([\w, \n]+), the basic", text)
    assert terms and tuple(re.split(r",\s+|\s+and\s+", terms[1])) == TERMS


@pytest.fixture(scope="module")
def lisbon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of a picture that says everything, inside and beside it, and one that does
    not."""
    root = tmp_path_factory.mktemp("said")
    (root / "photos").mkdir()
    data = jpeg(exif=exif(CAMERA, LISBON, Make="Canon", Model="EOS", ImageDescription="SONY DSC"))
    (root / "photos" / "tram.jpg").write_bytes(data)
    (root / "photos" / "tram.xmp").write_bytes(XMP.replace(b'photoshop:City="Lisboa"', b"""
        photoshop:City="Lisbon" photoshop:State="Lisboa" photoshop:Country="Portugal" """))
    (root / "photos" / "plain.jpg").write_bytes(jpeg())
    add(Collection.create(root / "index"), root / "photos")
    return root / "index"


def hit_on(lisbon: Path, *where: str) -> dict[str, Hit]:
    hits = Collection.open(lisbon).search(text="a tram", find="image", where=where, k=9)
    return {Path(hit.item.uri).name: hit for hit in hits}


def test_every_documented_name_is_there_for_a_picture_that_says_everything(lisbon: Path) -> None:
    hit = hit_on(lisbon)["tram.jpg"]
    assert hit.item.meta.keys() - {"modified"} == FIELDS.keys() - {"district", "damaged"}
    assert_sane({name: value for name, value in hit.item.meta.items() if name != "modified"})
    assert hit_on(lisbon)["plain.jpg"].item.meta.keys() - {"modified"} == {
        "width", "height", "format", "size", "colour"}


@pytest.mark.parametrize("where", [
    "iso >= 800 and city = Lisbon", "exposure <= 0.004", "aperture = 2.8", "flash = true",
    "lens ~ 35mm", "taken = 2021-05-03T14:22", "taken >= 2021-05", "altitude exists",
    "latitude > 38 and longitude < 0", "people = 'Anna Li'", "keywords = tram",
    "keywords in (bus, street)",
    "rating >= 4", "country = Portugal and region = Lisb*", "title ~ TRAM", "focal_length = 35",
    "focal_length_equivalent < 60", "camera ~ canon",
])
def test_everything_can_be_filtered_on(lisbon: Path, where: str) -> None:
    assert hit_on(lisbon, where).keys() == {"tram.jpg"}
    assert hit_on(lisbon, f"not ({where})").keys() == {"plain.jpg"}


@pytest.mark.parametrize("words", ["Anna Li", "Lisbon", "street", "Canon", "the old tram"])
def test_everything_is_found_by_its_words(lisbon: Path, words: str) -> None:
    hits = Collection.open(lisbon).search(text=words, mode="text", find="image")
    assert [Path(hit.item.uri).name for hit in hits] == ["tram.jpg"]


def test_what_people_see_of_it(lisbon: Path) -> None:
    hits = list(hit_on(lisbon).values())
    line = ("2021-05-03, Lisbon, Portugal · Canon EOS · 35 mm f/2.8 1/250 s ISO 800 · ★★★★ · "
            "Anna Li, Cem, Ben")
    assert line in contact_sheet(hits, title="tram")
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(hits_table(hits))
    assert "2021-05-03, Lisbon" in console.export_text()


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
    st.lists(st.text(max_size=3) | st.integers(), max_size=3))))
def test_metadata_of_any_type_can_be_shown(meta: dict[str, Any]) -> None:
    """A manifest may have a column of any name."""
    item = Item("/a.jpg", "image", meta=meta)
    assert isinstance(legend(item), str) and isinstance(when_and_where(item), str)
