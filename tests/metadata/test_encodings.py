"""Text in pictures, in whatever it was written."""

from __future__ import annotations

import io
import random
import struct

import pytest
from making_metadata import iptc, jpeg
from PIL import ExifTags, Image

from mmsearch.metadata.embedded import metadata_in
from mmsearch.metadata.encodings import comment_in, readable, text_in, utf16_in
from mmsearch.metadata.fields import Metadata, distinct_captions

TEXTS = ("Größe", "a boat by the lake", "湖のボート", "Лодка на озере", "naïve – “quoted”\nsecond")


def tiff_of(tag: int, kind: int, data: bytes, order: str = "<") -> bytes:
    """EXIF with one tag in its first directory."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "L", 8)
    where = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(order + "L", 26)
    return (b"Exif\0\0" + head + struct.pack(order + "HHHL", 1, tag, kind, len(data)) + where
            + bytes(4) + data)


def read(data: bytes) -> Metadata:
    with Image.open(io.BytesIO(data)) as image:
        return metadata_in(image)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("kind", [2, 7, 129])
@pytest.mark.parametrize("order", "<>")
def test_a_description_is_utf_8_whatever_type_it_claims(text: str, kind: int, order: str) -> None:
    exif = tiff_of(ExifTags.Base.ImageDescription, kind, text.encode() + b"\0", order)
    assert read(jpeg(exif=exif)).captions == (text,)


def test_what_is_no_utf_8_is_latin_1_as_windows_knows_it() -> None:
    assert text_in("Zürich Größe".encode("latin-1")) == "Zürich Größe"
    assert text_in("It’s a café".encode("cp1252")) == "It’s a café"
    assert text_in(b"caf\xe9") == "café" and text_in(b"caf\x81\xe9") == "caf\x81é"
    assert text_in("Größe – alt".encode()[:8]) == "Größe "  # cut within a letter
    assert text_in("\ufeffHund".encode()) == "Hund" and text_in(7) == ""


@pytest.mark.parametrize(("data", "expected"), [
    (b"Sunset at the beach\x03", "Sunset at the beach"), (b"Our house\x7f", "Our house"),
    (b"Sunset\x08 at the beach", "Sunset at the beach"), (b"Hi\x03", "Hi"),
    ("La fête du village".encode("mac_roman"), "La fte du village"),
    ("Straße in München mit Bäumen".encode("cp850"), "Straáe in Mnchen mit B„umen"),
    ("Loď u pláže, ťapka".encode("cp1250"), "Loï u pláže, apka"),
    ("Tired \U000dfffd".encode(), "Tired"), ("Caf\ue000".encode(), "Caf"),
    ("a я α א ا अ ก あ 中 한 ა ア".encode(), "a я α א ا अ ก あ 中 한 ა ア"),
    ("ÆØÅÆØÅ ØÅÆ".encode("latin-1"), "ÆØÅÆØÅ ØÅÆ"),
    ("Příliš žluťoučký kůň".encode("cp1250"), "Pøíliš žluouèký kùò"),
    ("Zażółć gęślą jaźń".encode("cp1250"), "Za¿ó³æ gêœl¹ jaŸñ"),
    ("École".encode("mac_roman"), "ƒcole"),  # no katakana
])
def test_a_caption_with_faults_is_better_than_none(data: bytes, expected: str) -> None:
    described = tiff_of(ExifTags.Base.ImageDescription, 2, data + b"\0")
    for picture in (jpeg(exif=described), jpeg(comment=data), iptc((120, data))):
        assert read(picture).captions == (expected,)


@pytest.mark.parametrize("data", [
    "우리 강아지 ㅋㅋ".encode("euc_kr"), b"\1\2\3@", b"a\1b\2c\3d\4e\5f\6", b"\1(#\2)~+-&<!",
    "\U0001fae9 \ue000".encode(), b"\xff\xd8\xff\xe0" * 9])
def test_what_no_one_can_read_is_no_caption(data: bytes) -> None:
    assert read(jpeg(comment=data)).captions == ()


def test_names_of_cameras_are_utf_8_too() -> None:
    made = tiff_of(ExifTags.Base.Make, 2, "Фотон\0".encode())
    assert read(jpeg(exif=made)).meta == {"camera": "Фотон"}


@pytest.mark.parametrize("text", [*TEXTS, "Tired \U0001fae9", "Caf\ue000"])
@pytest.mark.parametrize("little", [True, False])
def test_a_user_comment_is_read_by_its_code(text: str, little: bool) -> None:
    for order in ("utf-16-le", "utf-16-be"):
        data = text.encode(order)
        assert comment_in(b"UNICODE\0" + data, little) == text
        assert comment_in(b"UNICODE\0" + "\ufeff".encode(order) + data, not little) == text
        assert comment_in(bytes(8) + "\ufeff".encode(order) + data, little) == text
    for code in (b"ASCII\0\0\0", bytes(8), b"UNICODE\0"):
        assert comment_in(code + text.encode(), little) == text


def test_japanese_comments_in_each_coding() -> None:
    text = "湖のボート"
    for coding in ("iso2022_jp", "euc_jp", "cp932", "utf-8"):
        assert comment_in(b"JIS\0\0\0\0\0" + text.encode(coding), True) == text
    bare = bytes(byte & 0x7F for byte in text.encode("euc_jp"))
    assert comment_in(b"JIS\0\0\0\0\0" + bare, True) == text


@pytest.mark.parametrize("junk", [b"", bytes(8), bytes(264), b"ASCII\0\0\0" + b" " * 40,
                                  bytes(8) + b"\1\2\3\4\5\6\7\x0e", b"\xff" * 30, b"UNICODE\0"])
def test_a_comment_without_text_is_none(junk: bytes) -> None:
    assert comment_in(junk, True).strip("\0 ") in ("", "ÿ" * 30)


@pytest.mark.parametrize("code", [b"ASCII\0\0\0", b"UNICODE\0", b"JIS\0\0\0\0\0", bytes(8)])
def test_bytes_that_are_no_text_are_no_caption(code: bytes) -> None:
    for seed in range(200):
        junk = random.Random(seed).randbytes(400)
        assert comment_in(code + junk, True) == "", junk
        assert readable(text_in(junk.replace(b"\0", b"\1"))) == "", junk
    assert text_in(b"\xff\xd8\xff\xe0" * 9) == ""
    assert readable("a family \U0001f468\u200d\U0001f469\u200d\U0001f467 by the lake\n")


@pytest.mark.parametrize("text", ["湖のボート", "ボートと桜", "Größe – alt"])
def test_other_codings_than_those_that_are_claimed(text: str) -> None:
    codings = ["utf-8", "utf-16", "utf-16-be" if text.isascii() else "utf-8-sig"]
    if "ö" not in text:
        codings += ["cp932", "euc_jp", "iso2022_jp"]
    for coding in codings:
        data = text.encode(coding)
        assert text_in(data) == comment_in(b"ASCII\0\0\0" + data, True) == text, coding
    assert read(jpeg(comment=text.encode(codings[-1]))).captions == (text,)


def test_utf_16_that_is_cut_in_a_letter() -> None:
    assert utf16_in(b"H\0i") == utf16_in(b"H\0i\0\0") == utf16_in(b"\xff\xfeH\0i") == "Hi"
    assert utf16_in("さくら".encode("utf-16-le")[:-1]) == "さく"
    assert text_in("a boat".encode("utf-16-be")) == "a boat"


def test_what_windows_writes() -> None:
    exif = Image.Exif()
    for tag, text in ((ExifTags.Base.XPTitle, "Sommer am See"), (ExifTags.Base.XPComment, "さくら"),
                      (ExifTags.Base.XPKeywords, "strand;urlaub"),
                      (ExifTags.Base.XPSubject, "Größe")):
        exif[tag] = (text + "\0").encode("utf-16-le")
    found = read(jpeg(exif=exif))
    assert found.captions == ("Sommer am See", "Größe", "さくら")
    assert found.meta == {"title": "Sommer am See", "keywords": ["strand", "urlaub"],
                          "description": ["Sommer am See", "Größe", "さくら"]}
    assert utf16_in(tuple(b"H\0i\0")) == "Hi"


def test_comments_of_a_jpeg_are_captions_unless_a_program_wrote_them() -> None:
    assert read(jpeg(comment="Ein Boot – früh".encode())).captions == ("Ein Boot – früh",)
    assert read(jpeg(comment="früh".encode("latin-1"))).captions == ("früh",)
    assert read(jpeg(comment=b"CREATOR: gd-jpeg v1.0 (using IJG JPEG v62)")).captions == ()


def test_of_captions_that_say_the_same_one_is_kept() -> None:
    assert distinct_captions(["Zürich  Größe", "Zu\u0308rich Größe", "ZÜRICH GRÖSSE",
                              "Z?rich Gr??e"]) == ("Zürich  Größe",)
    for same in (["A hill.", "a hill"], ["a  hill", "A hill."], ["A HILL", "A hill.", "A hill!"],
                 ["\u201ca hill\u201d", "(A hill.)", "A hill."]):
        assert distinct_captions(same) == ("A hill.",)
    assert distinct_captions(["...", "C++", "C#", "-"]) == ("C++", "C#")
    assert distinct_captions(["Why?", "What?", "日本", "京都"]) == ("Why?", "What?", "日本", "京都")
    exif = tiff_of(ExifTags.Base.ImageDescription, 2, "Ein Boot – früh\0".encode())
    assert read(jpeg(exif=exif, comment="ein Boot – früh ".encode())).captions == (
        "Ein Boot – früh",)


def test_words_of_machines_are_a_description_and_no_caption() -> None:
    for text in ("OLYMPUS DIGITAL CAMERA", "oznorWO", "cof_soft", "_cuva", "sdr_HDRB", "rhdr",
                 "My beautiful picture", "HELLOMOTO", "binary comment", "vignette", "smart",
                 "Processed with VSCO with c1 preset", '{"mirror":false,"Hdr":"off"}'):
        exif = tiff_of(ExifTags.Base.ImageDescription, 2, text.encode() + b"\0")
        assert read(jpeg(exif=exif)) == Metadata((), {"description": [text]})
    exif = tiff_of(ExifTags.Base.ImageDescription, 2, b"smart dog in hdr\0")
    assert read(jpeg(exif=exif)).captions == ("smart dog in hdr",)
