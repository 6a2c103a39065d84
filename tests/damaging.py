"""Damaged files of every format that can be indexed.

A sample of a format is made, and then changed as disks, downloads and strangers change files: cut
short, bytes flipped, blocks zeroed, numbers in headers at their extremes, two files in one.
Checksums are often set right afterwards (PNG, tar), since a decoder would else look no further.
"""

from __future__ import annotations

import io
import json
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import imagecodecs
import making_metadata
import numpy as np
import pillow_heif
import pyarrow
import pyarrow.parquet
from making import dng, document, film, picture
from making_metadata import XMP, iptc
from PIL import Image, ImageCms

from mmsearch.sources.manifests import MANIFEST_SUFFIXES

WIDTH, HEIGHT = 212, 156
SCENES = ("cat", "bus")
_EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,
             0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF, 3000, 14_000, 100_000)
_SPICES = (b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"[" * 5000, b'{"a":' * 3000, b"9" * 5000, b"1e999",
           b'"', b"\r", b"\n\n", b"\xed\xa0\x80", b"\\ud800", b"NaN", b",,,,", b"<!DOCTYPE x>",
           b"&a;", b"\x1b[2J", b"-", b"99999999999999999999", b"#", b"obj", b"<<", b"/Kids [2 0 R]")
_PNG = b"\x89PNG\r\n\x1a\n"


class Sample(NamedTuple):
    ending: str
    data: bytes
    is_sidecar: bool = False


class Damaged(NamedTuple):
    """A file; its name says what was done to it."""

    path: Path
    is_sidecar: bool

    @property
    def is_manifest(self) -> bool:
        """Whether `mmsearch index` only looks at it where it is named."""
        return not self.is_sidecar and self.path.suffix.lower() in MANIFEST_SUFFIXES


def make_damaged(folder: Path, count: int, seed: int = 0) -> list[Damaged]:
    """`count` files, each in a folder of its own: samples in turn, damage by chance.

    Manifests and sidecars have a sound picture beside them, `intact.jpg`.
    """
    made: list[Damaged] = []
    kinds = list(samples().values())
    intact = picture("sunset", (WIDTH, HEIGHT))
    for number in range(count):
        sample = kinds[number % len(kinds)]
        data, how = damage(sample.data, random.Random(f"{seed}/{number}"))
        path = folder / f"{number:05d}" / (("intact" if sample.is_sidecar else how) + sample.ending)
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
        made.append(Damaged(path, sample.is_sidecar))
        if sample.is_sidecar or made[-1].is_manifest:
            intact.save(path.with_name("intact.jpg"), "JPEG", comment=str(number))
    return made


# --- damage -------------------------------------------------------------------------------------


def damage(data: bytes, choose: random.Random) -> tuple[bytes, str]:
    """The bytes after one kind of damage or two, and its name."""
    how = choose.choices(list(_DAMAGE), k=choose.choice((1, 1, 2)))
    for name in how:
        data = _DAMAGE[name](data or b"\0", choose)
    return (with_checksums(data) if choose.random() < 0.7 else data), "-".join(how)


def _cut(data: bytes, choose: random.Random) -> bytes:
    return data[: choose.randrange(choose.choice((len(data), len(data), 64)) + 1)]


def _flipped(data: bytes, choose: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(choose.choice((1, 1, 2, 5, 20, 100))):
        at = _place(data, choose)
        changed[at] = choose.choice((changed[at] ^ 1 << choose.randrange(8), choose.randrange(256)))
    return bytes(changed)


def _zeroed(data: bytes, choose: random.Random) -> bytes:
    start = _place(data, choose)
    end = start + choose.choice((1, 4, 64, 4096))
    return data[:start] + bytes(len(data[start:end])) + data[end:]


def _extreme(data: bytes, choose: random.Random) -> bytes:
    """Numbers somewhere, mostly in the header."""
    changed = bytearray(data)
    for _ in range(choose.choice((1, 1, 2, 4, 8))):
        number = _number(choose)
        at = _place(data, choose)
        changed[at : at + len(number)] = number
    return bytes(changed[: len(data)])


def _spiced(data: bytes, choose: random.Random) -> bytes:
    """Something that parsers of texts have to be careful with."""
    at = _place(data, choose)
    return data[:at] + choose.choice(_SPICES) + data[at:]


def _joined(data: bytes, choose: random.Random) -> bytes:
    """Two files in one, or the head of one and the tail of another."""
    other = choose.choice(list(samples().values())).data
    if choose.random() < 0.5:
        return data + other
    return data[: choose.randrange(len(data) + 1)] + other[choose.randrange(len(other)) :]


def _place(data: bytes, choose: random.Random) -> int:
    """A position: a third of them in the first bytes, where headers are."""
    return choose.randrange(min(len(data), choose.choice((64, 512, 10**9))) or 1)


def _number(choose: random.Random) -> bytes:
    value, width = choose.choice(_EXTREMES), choose.choice((1, 2, 4, 8))
    return (value % 256**width).to_bytes(width, choose.choice(("big", "little")))


_DAMAGE: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "cut": _cut, "flipped": _flipped, "zeroed": _zeroed, "extreme": _extreme, "spiced": _spiced,
    "joined": _joined}


def with_checksums(data: bytes) -> bytes:
    """A PNG or a tar whose checksums fit again, as far as there are blocks; anything else as is."""
    changed = bytearray(data)
    if data.startswith(_PNG):
        at = 8
        while at + 12 <= len(changed):
            (length,) = struct.unpack_from(">I", changed, at)
            if at + 12 + length > len(changed):
                break
            checksum = zlib.crc32(changed[at + 4 : at + 8 + length])
            struct.pack_into(">I", changed, at + 8 + length, checksum)
            at += 12 + length
    elif data[257:262] == b"ustar":
        for at in range(0, len(changed) - 511, 512):
            if changed[at + 257 : at + 262] == b"ustar":
                changed[at + 148 : at + 156] = b" " * 8
                checksum = sum(changed[at : at + 512])
                changed[at + 148 : at + 156] = b"%06o\0 " % checksum
    return bytes(changed)


# --- samples ------------------------------------------------------------------------------------


@cache
def samples() -> Mapping[str, Sample]:
    """By name, at least one of each format."""
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = _exif()
    pictures = {
        "JPEG": (".jpg", _saved("JPEG", icc_profile=icc)),
        "JPEG progressive": (".jpeg", _saved("JPEG", progressive=True)),
        "JPEG of print": (".jpg", _saved("JPEG", "CMYK")),
        "JPEG with EXIF, XMP, IPTC": (".jpg", iptc(
            (5, b"Title"), (25, b"cat"), (90, b"Lisbon"), (120, b"A"), exif=exif, xmp=XMP)),
        "PNG": (".png", _saved("PNG", icc_profile=icc, exif=exif)),
        "PNG of 16 bits": (".png", _saved("PNG", "I;16")),
        "PNG with a palette": (".png", _saved("PNG", "P")),
        "PNG animated": (".apng", _saved("PNG", frames=3)),
        "GIF": (".gif", _saved("GIF", "P")),
        "GIF animated": (".gif", _saved("GIF", "P", frames=3)),
        "WebP": (".webp", _saved("WEBP", exif=exif)),
        "WebP lossless": (".webp", _saved("WEBP", "RGBA", lossless=True)),
        "WebP animated": (".webp", _saved("WEBP", frames=3)),
        "BMP": (".bmp", _saved("BMP")),
        "BMP with a palette": (".dib", _saved("BMP", "P")),
        "PPM": (".ppm", _saved("PPM")),
        "PPM in letters": (".pgm", _plain_pgm()),
        "AVIF": (".avif", _saved("AVIF", speed=10, exif=exif)),
        "AVIF animated": (".avif", _saved("AVIF", speed=10, frames=3)),
        "HEIC": (".heic", _saved("HEIF", exif=exif)),
        "JPEG XL": (".jxl", _jpeg_xl(distance=1)),
        "JPEG XL lossless": (".jxl", _jpeg_xl(lossless=True)),
        "RAW": (".dng", _file(dng, "a.dng", _scene("bus"))),
        "RAW with a preview": (".dng", _file(dng, "a.dng", _scene("bus"), preview=_scene("bus"))),
        **{f"TIFF {name}": (".tif", _saved("TIFF", compression=name))
           for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")}}
    members = {
        "0001.jpg": pictures["JPEG"][1], "0001.txt": b"A cat.\n",
        "0001.json": b'{"caption": "a cat", "year": 2021}', "0002.png": pictures["PNG"][1],
        "0002.txt": b"Another.\n", "deeper/0003.gif": pictures["GIF animated"][1]}
    rows = [{"image": "intact.jpg", "captions": [f"A cat, number {n}.", "One more."],
             "year": 2000 + n, "score": n / 7} for n in range(5)]
    others = {
        "PDF": (".pdf", _file(document, "a.pdf", ["A page.", "", "More."])),
        "PDF of pictures": (".pdf", _saved("PDF", frames=2)),
        "zip": (".zip", _zip(members)),
        **{ending: (ending, _tar(ending, members))
           for ending in (".tar", ".tar.gz", ".tar.bz2", ".tar.xz")},
        **{f"video {ending}": (ending, _video(ending, codec)) for ending, codec in _CODECS.items()},
        "JSONL": (".jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode()),
        "JSON": (".json", json.dumps({"images": rows}).encode()),
        "CSV": (".csv", _table(rows, ",")),
        "TSV": (".tsv", _table(rows, "\t")),
        "Parquet": (".parquet", _parquet(rows)),
        "Parquet of pictures": (".parquet", _parquet([
            {"image": {"bytes": pictures[name][1], "path": f"{name}.jpg"}, "caption": f"A {name}."}
            for name in ("JPEG", "PNG", "WebP")])),
        "text": (".txt", b"A cat.\nTwo dogs on a beach.\n" * 20),
        "Markdown": (".md", b"# Cats\n\nA cat.\n\n```\ncode\n```\n" * 20)}
    sidecars = {
        "XMP": (".xmp", XMP),
        "text sidecar": (".txt", b"A cat.\nA dog.\n"),
        "JSON sidecar": (".json", json.dumps(
            {"caption": "a cat", "keywords": ["a", "b"], "rating": 4}).encode()),
        "Takeout sidecar": (".jpg.supplemental-metadata.json", json.dumps(_TAKEOUT).encode())}
    return ({name: Sample(*what) for name, what in (pictures | others).items()}
            | {name: Sample(*what, is_sidecar=True) for name, what in sidecars.items()})


_CODECS = {".mp4": "libx264", ".m4v": "libx264", ".mov": "prores", ".3gp": "mpeg4",
           ".mkv": "libx265", ".webm": "libvpx-vp9", ".avi": "mjpeg", ".mpg": "mpeg2video",
           ".mts": "libx264", ".wmv": "wmv2", ".flv": "flv", ".ogv": "libvpx"}
_TAKEOUT = {"title": "a.jpg", "description": "A cat.", "people": [{"name": "Ana"}],
            "photoTakenTime": {"timestamp": "1620051730"},
            "geoData": {"latitude": 38.7, "longitude": -9.1, "altitude": 12.0}}


def _file(make: Callable[..., Any], name: str, *args: Any, **options: Any) -> bytes:
    """The bytes of what `make` writes to a path."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        make(path, *args, **options)
        return path.read_bytes()


def _scene(name: str = "cat", mode: str = "RGB") -> Image.Image:
    image = picture(name, (WIDTH, HEIGHT))
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257)
    return image.convert(mode)


def _saved(format: str, mode: str = "RGB", frames: int = 1, **options: Any) -> bytes:
    pillow_heif.register_heif_opener()
    data = io.BytesIO()
    if frames > 1:
        more = [_scene(name, mode) for name in ("bus", "pizza", "sunset")[: frames - 1]]
        options |= {"save_all": True, "append_images": more}
        if format != "PDF":
            options["duration"] = 1500
    _scene("cat", mode).save(data, format, **options)
    return data.getvalue()


def _exif() -> Image.Exif:
    return making_metadata.exif(
        {0x9003: "2021:05:03 14:22:10", 0x829A: 0.01, 0x8827: 100},
        {1: "N", 2: (38.0, 43.0, 20.0), 3: "W", 4: (9.0, 8.0, 1.0)},
        ImageDescription="A cat", Make="Acme", Model="Acme One", Orientation=6)


def _plain_pgm() -> bytes:
    numbers = " ".join(map(str, np.asarray(_scene(mode="L")).ravel()))
    return f"P2\n# a comment\n{WIDTH} {HEIGHT}\n255\n{numbers}\n".encode()


def _jpeg_xl(**options: Any) -> bytes:
    return bytes(imagecodecs.jpegxl_encode(np.asarray(_scene()), effort=1, **options))


def _video(ending: str, codec: str) -> bytes:
    pixels = {"prores": "yuv422p10le", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    return _file(film, f"a{ending}", SCENES, seconds=1, rate=25 if codec == "mpeg2video" else 10,
                 codec=codec, size=(WIDTH, HEIGHT), pixels=pixels,
                 sound=1 if ending == ".mp4" else 0, **options)


def _zip(members: Mapping[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for name, member in members.items():
            file.writestr(zipfile.ZipInfo(name), member, zipfile.ZIP_DEFLATED)
    return data.getvalue()


def _tar(ending: str, members: Mapping[str, bytes]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=f"w:{ending[5:]}") as tar:  # type: ignore[call-overload]
        for name, member in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(member)
            tar.addfile(info, io.BytesIO(member))
    return data.getvalue()


def _table(rows: list[dict[str, Any]], comma: str) -> bytes:
    lines = [list(rows[0]), *([str(value).replace(comma, " ") for value in row.values()]
                              for row in rows)]
    return "".join(comma.join(line) + "\n" for line in lines).encode()


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    data = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), data)
    return data.getvalue()
