"""Each format, colour mode and orientation comes out upright in RGB; all else is one line."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import imagecodecs
import making
import numpy as np
import numpy.typing as npt
import pillow_heif
import pytest
from conftest import somebody_else
from damaging import with_checksums
from hypothesis import given, settings, strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from mmsearch.errors import MediaError
from mmsearch.media.decoding import decode
from mmsearch.media.resizing import fit
from mmsearch.records import Pixels

# The module's own filter, which pytest sets aside; what a program prints is tested in a process.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")

pillow_heif.register_heif_opener()  # so that these tests can write HEIC

FORMATS = ("JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "PPM", "HEIC", "AVIF")
RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 160, 30), (30, 30, 220), (255, 255, 255)


def flag(width: int = 96, height: int = 64) -> Pixels:
    """Four quarters of different colours: no rotation or mirror image of it is the same."""
    pixels = np.empty((height, width, 3), dtype=np.uint8)
    pixels[: height // 2, : width // 2] = RED
    pixels[: height // 2, width // 2 :] = GREEN
    pixels[height // 2 :, : width // 2] = BLUE
    pixels[height // 2 :, width // 2 :] = WHITE
    return pixels


def encoded(image: Image.Image | Pixels, format: str, **options: Any) -> bytes:
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    if format in ("JPEG", "WebP", "HEIC", "AVIF"):
        options = {"quality": 95, **options}
    buffer = io.BytesIO()
    image.save(buffer, {"HEIC": "HEIF"}.get(format, format), **options)
    return buffer.getvalue()


def assert_looks_like(image: Image.Image, expected: Pixels, tolerance: float = 6) -> None:
    """On average over the pixels: lossy formats may blur the edges, not move or tint anything."""
    assert image.mode == "RGB"
    assert image.size == (expected.shape[1], expected.shape[0])
    difference = np.asarray(image).astype(np.int16) - expected
    assert np.abs(difference).mean() < tolerance


# --- formats ------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_each_format_from_a_file_and_from_bytes(format: str, tmp_path: Path) -> None:
    data = encoded(flag(), format)
    path = tmp_path / "wrong.png"  # it is told by content
    path.write_bytes(data)
    for source in (path, data):
        picture = decode(source)
        assert_looks_like(picture.image, flag())
        assert (picture.width, picture.height) == (96, 64)
        assert picture.meta == {"width": 96, "height": 64, "format": format}


def test_the_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in (RED, BLUE)]
    for format in ("GIF", "PNG", "WebP", "TIFF", "AVIF"):
        data = encoded(frames[0], format, save_all=True, append_images=frames[1:])
        assert_looks_like(decode(data).image, np.full((10, 20, 3), RED, np.uint8))


def test_formats_that_nobody_asked_for_are_not_opened() -> None:
    for format in ("PCX", "TGA", "ICO", "JPEG2000", "SGI", "EPS"):
        with pytest.raises(MediaError, match=r"^not an image$"):
            decode(encoded(flag(), format))


# --- orientation --------------------------------------------------------------------------------


def turned(upright: Pixels, orientation: int) -> Pixels:
    """The rows and columns as a camera stores them (EXIF 2.3, table 6), not as Pillow has it."""
    flipped = upright
    if orientation in (2, 3, 6, 7):
        flipped = flipped[:, ::-1]
    if orientation in (3, 4, 7, 8):
        flipped = flipped[::-1]
    if orientation >= 5:
        flipped = flipped.transpose(1, 0, 2)
    return np.ascontiguousarray(flipped)


def exif_with(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WebP", "TIFF", "AVIF", "HEIC"])
def test_every_orientation_is_made_upright_once(format: str, orientation: int) -> None:
    exif = exif_with(orientation)
    stored = turned(flag(), orientation)
    data = encoded(stored, format, exif=exif.tobytes() if format == "HEIC" else exif)
    for min_side in (None, 8):
        picture = decode(data, min_side=min_side)
        assert (picture.width, picture.height) == (96, 64)
        assert (picture.meta["width"], picture.meta["height"]) == (96, 64)
        expected = np.asarray(Image.fromarray(flag()).resize(picture.image.size))
        assert_looks_like(picture.image, expected)


def test_heic_that_says_it_in_exif_only_is_left_alone() -> None:
    # The container's own rotation counts; EXIF is a copy for information (ISO 23008-12).
    data = encoded(flag(), "HEIC", exif=exif_with(6))
    assert b"irot" not in data
    assert_looks_like(decode(data).image, flag())


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_impossible_orientation_is_ignored(orientation: int) -> None:
    data = encoded(flag(), "JPEG", exif=exif_with(orientation))
    assert_looks_like(decode(data).image, flag())


# --- metadata -----------------------------------------------------------------------------------


def exif_of_a_camera(make: str, model: str, taken: str) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = make, model
    exif.get_ifd(0x8769)[0x9003] = taken
    return exif


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WebP", "TIFF", "AVIF", "HEIC"])
def test_camera_and_date(format: str) -> None:
    exif = exif_of_a_camera("Canon", "Canon EOS 80D", "2021:05:03 14:22:10")
    meta = decode(encoded(flag(), format, exif=exif.tobytes())).meta
    assert meta["taken"] == "2021-05-03T14:22:10"
    assert meta["camera"] == "Canon EOS 80D"


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Apple", "iPhone 12", "Apple iPhone 12"),
        ("NIKON CORPORATION", "NIKON D90", "NIKON D90"),
        ("Make\x00junk", " padded  name ", "Make padded name"),
        ("", "", None),
    ],
)
def test_camera_names(make: str, model: str, camera: str | None) -> None:
    exif = exif_of_a_camera(make, model, "2021:05:03 14:22:10")
    assert decode(encoded(flag(), "JPEG", exif=exif)).meta.get("camera") == camera


@pytest.mark.parametrize(
    "exif",
    [b"Exif\0\0" + b"\xff" * 40, b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"Exif\0\0MM\0*\0\0\xff\xff"],
)
def test_corrupt_exif_does_not_cost_the_picture(exif: bytes) -> None:
    for format in ("JPEG", "PNG", "WebP"):
        assert_looks_like(decode(encoded(flag(), format, exif=exif)).image, flag())


# --- colour -------------------------------------------------------------------------------------


def gray_ramp() -> npt.NDArray[np.uint8]:
    return np.tile(np.arange(256, dtype=np.uint8), (8, 1))


def assert_is_ramp(data: bytes, tolerance: float = 1.0) -> None:
    assert_looks_like(decode(data).image, np.repeat(gray_ramp()[:, :, None], 3, axis=2), tolerance)


def tiff(width: int, height: int, bits: list[int], photometric: int, data: bytes) -> bytes:
    """A bare uncompressed TIFF, for what Pillow reads but cannot write."""
    return making.tiff([
        (256, 3, [width]), (257, 3, [height]), (258, 3, bits), (259, 3, [1]),
        (262, 3, [photometric]), (273, 4, [("data", data)]), (277, 3, [len(bits)]),
        (278, 3, [height]), (279, 4, [len(data)])])


def test_eight_and_one_bit_gray() -> None:
    assert_is_ramp(encoded(Image.fromarray(gray_ramp()), "PNG"))
    assert_is_ramp(encoded(Image.fromarray(gray_ramp()), "JPEG"), 3)
    black_and_white = Image.fromarray(np.where(gray_ramp() < 128, 0, 255).astype(np.uint8))
    expected = np.asarray(black_and_white.convert("RGB"))
    for format in ("PNG", "TIFF", "PPM", "BMP", "GIF"):
        data = encoded(black_and_white.convert("1"), format)
        assert_looks_like(decode(data).image, expected, 1)


def test_gray_of_sixteen_bits() -> None:
    deep = gray_ramp().astype(np.uint16) * 257
    assert_is_ramp(encoded(Image.fromarray(deep), "PNG"))
    assert_is_ramp(encoded(Image.fromarray(deep), "TIFF"))
    assert_is_ramp(encoded(Image.fromarray(deep), "TIFF", compression="tiff_lzw"))
    assert_is_ramp(encoded(Image.fromarray(deep), "PPM"))
    assert_is_ramp(tiff(256, 8, [16], 0, (65535 - deep).tobytes()))  # 0 is white here


def test_dark_gray_of_sixteen_bits_stays_dark() -> None:
    data = encoded(Image.fromarray(np.full((8, 8), 2570, np.uint16)), "PNG")
    assert decode(data).image.getpixel((4, 4)) == (10, 10, 10)


def test_gray_of_twelve_bits() -> None:
    twelve = gray_ramp().astype(np.uint16) * 16 + 8
    first, second = twelve[:, ::2], twelve[:, 1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1)
    assert_is_ramp(tiff(256, 8, [12], 1, packed.astype(np.uint8).tobytes()))


@pytest.mark.parametrize("scale", [1 / 255, 1, 257, 1e6])
def test_floats_and_long_integers(scale: float) -> None:
    values = gray_ramp().astype(np.float64) * scale
    assert_is_ramp(encoded(Image.fromarray(values.astype(np.float32)), "TIFF"))
    if scale >= 1:
        assert_is_ramp(encoded(Image.fromarray(values.astype(np.int32)), "TIFF"))


def test_floats_that_are_no_numbers() -> None:
    values = gray_ramp().astype(np.float32) / 255
    values[0, :4] = np.nan, np.inf, -np.inf, 0
    assert_is_ramp(encoded(Image.fromarray(values), "TIFF"))


def test_colour_of_sixteen_bits() -> None:
    deep = flag().astype(np.uint16) * 257
    assert_looks_like(decode(imagecodecs.png_encode(deep)).image, flag(), 1)
    assert_looks_like(decode(tiff(96, 64, [16] * 3, 2, deep.tobytes())).image, flag(), 1)
    ppm = b"P6 96 64 65535\n" + deep.astype(">u2").tobytes()
    assert_looks_like(decode(ppm).image, flag(), 1)


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk(format: str) -> None:
    data = encoded(Image.fromarray(flag()).convert("CMYK"), format)
    assert (b"Adobe" in data) == (format == "JPEG")  # there, the values are stored inverted
    assert_looks_like(decode(data).image, flag())


def test_cmyk_jpeg_of_anyone_but_adobe_is_not_inverted() -> None:
    inverted = Image.fromarray(flag()).convert("CMYK").point(lambda level: 255 - level)
    data = encoded(inverted, "JPEG")
    at = data.index(b"\xff\xee")
    length = 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    assert_looks_like(decode(data[:at] + data[at + length :]).image, flag())


def test_lab_and_ycbcr() -> None:
    image = Image.fromarray(flag())
    lab = ImageCms.profileToProfile(
        image, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    assert_looks_like(decode(encoded(lab, "TIFF")).image, flag())
    assert_looks_like(
        decode(encoded(image.convert("YCbCr"), "TIFF", compression="jpeg")).image, flag()
    )


def test_palettes() -> None:
    quantized = Image.fromarray(flag()).quantize(8)
    for format in ("PNG", "GIF", "BMP", "TIFF"):
        assert_looks_like(decode(encoded(quantized, format)).image, flag(), 1)


def half_transparent(mode: Literal["RGBA", "LA"]) -> Image.Image:
    """Left half opaque and dark, right half invisible and black."""
    image = Image.new(mode, (40, 20), 0)
    image.paste(Image.new("RGB", (20, 20), (60, 60, 60)).convert(mode), (0, 0))
    return image


ON_WHITE = np.full((20, 40, 3), 255, np.uint8)
ON_WHITE[:, :20] = 60


@pytest.mark.parametrize(
    ("mode", "format"),
    [("RGBA", f) for f in ("PNG", "WebP", "TIFF", "AVIF", "HEIC")]
    + [("LA", "PNG"), ("LA", "TIFF")],
)
def test_behind_what_is_dark_is_white(mode: Literal["RGBA", "LA"], format: str) -> None:
    data = encoded(
        half_transparent(mode), format, **({"lossless": True} if format == "WebP" else {})
    )
    for min_side in (None, 5):
        image = decode(data, min_side=min_side).image
        expected = np.asarray(Image.fromarray(ON_WHITE).resize(image.size, Image.Resampling.BOX))
        assert_looks_like(image, expected, 4)


def drawn(mode: str, *shades: int) -> Image.Image:
    """A quarter of the middle each, the rest transparent."""
    pixels = np.zeros((40, 40, 2), np.uint8)
    for number, shade in enumerate(shades):
        pixels[10:30, 10 + 5 * number : 15 + 5 * number] = shade, 255
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize(("shades", "ground"), [
    ((0, 0, 0, 0), 255), ((60, 120, 180, 60), 255), ((255, 255, 255, 255), 0),
    ((230, 240, 250, 255), 0), ((255, 0, 255, 0), 128), ((255, 255, 90, 255), 0)])
@pytest.mark.parametrize(("mode", "format"), [
    ("RGBA", "PNG"), ("LA", "PNG"), ("RGBA", "WebP"), ("RGBA", "TIFF"), ("RGBA", "AVIF"),
    ("RGBA", "HEIC"), ("RGBA", "GIF"), ("RGBA of 16 bits", "PNG"), ("LA of 16 bits", "PNG")])
def test_what_is_visible_stands_out(shades: tuple[int, ...], ground: int, mode: str, format: str
                                    ) -> None:
    image = drawn(mode.split()[0], *shades)
    data = (imagecodecs.png_encode(np.asarray(image).astype(np.uint16) * 257) if "16" in mode
            else encoded(image, format, **({"lossless": True} if format == "WebP" else {})))
    for min_side in (None, 10):
        seen = np.asarray(decode(data, min_side=min_side).image.resize((40, 40)))
        assert np.abs(seen[3, 3].astype(int) - ground).max() <= 6
        for number, shade in enumerate(shades):
            if min_side is None:
                assert abs(int(seen[20, 12 + 5 * number, 0]) - shade) <= 8


@pytest.mark.parametrize("format", ["PNG", "WebP", "GIF"])
def test_a_picture_in_which_nothing_is_visible(format: str) -> None:
    image = decode(encoded(Image.new("RGBA", (20, 10), (90, 200, 30, 0)), format)).image
    assert image.getcolors() == [(200, WHITE)]


def test_an_opaque_picture_is_the_same_with_a_channel_of_opacity() -> None:
    noise = np.random.default_rng(2).integers(100, 256, (40, 60, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    assert (np.asarray(decode(encoded(image.convert("RGBA"), "PNG")).image) == noise).all()


def test_a_colour_of_sixteen_bits_named_as_transparent() -> None:
    def with_transparency(deep: npt.NDArray[np.uint16], *levels: int) -> bytes:
        data, chunk = imagecodecs.png_encode(deep), struct.pack(f">{len(levels)}H", *levels)
        at = data.index(b"IDAT") - 4
        return with_checksums(data[:at] + struct.pack(">I", len(chunk)) + b"tRNS" + chunk
                              + bytes(4) + data[at:])

    deep = np.full((8, 8), 60_000, np.uint16)
    deep[:, 4:] = 30_123
    seen = np.asarray(decode(with_transparency(deep, 30_123)).image)
    assert (seen[:, :4] == 60_000 >> 8).all() and (seen[:, 4:] == 0).all()
    seen = np.asarray(decode(with_transparency(np.stack([deep] * 3, 2), *[30_123] * 3)).image)
    assert (seen[:, :4] == 60_000 >> 8).all() and (seen[:, 4:] == 0).all()


def test_half_opaque_is_blended() -> None:
    data = encoded(Image.new("RGBA", (8, 8), (255, 0, 0, 128)), "PNG")
    assert decode(data).image.getpixel((4, 4)) == (255, 127, 127)


def test_a_colour_named_as_transparent() -> None:
    palette = half_transparent("RGBA").quantize(4)
    assert_looks_like(decode(encoded(palette, "PNG")).image, ON_WHITE, 1)
    assert_looks_like(decode(encoded(half_transparent("RGBA"), "GIF")).image, ON_WHITE, 1)
    opaque = half_transparent("RGBA").convert("RGB")
    assert_looks_like(decode(encoded(opaque, "PNG", transparency=(0, 0, 0))).image, ON_WHITE, 1)
    gray = opaque.convert("L")
    assert_looks_like(decode(encoded(gray, "PNG", transparency=0)).image, ON_WHITE, 1)


# --- colour profiles ----------------------------------------------------------------------------


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped() -> bytes:
    """sRGB with its red and blue primaries exchanged, and still called sRGB."""
    between = srgb().replace(b"rXYZ", b"????", 1).replace(b"bXYZ", b"rXYZ", 1)
    return between.replace(b"????", b"bXYZ", 1)


def profile(space: bytes, connection: bytes, kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC 2.1 profile made by hand."""
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        at = 128 + 4 + 12 * len(tags) + len(body)
        table += name + struct.pack(">II", at, len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(">I4sI4s4s4s", 132 + len(table) - 4 + len(body), b"lcms", 0x02100000,
                         kind, space, connection)  # fmt: skip
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">III", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + table + body


def linear_gray() -> bytes:
    white = b"XYZ " + bytes(4) + struct.pack(">III", 63190, 65536, 54061)
    gamma_one = b"curv" + bytes(4) + struct.pack(">I", 0)
    return profile(b"GRAY", b"XYZ ", b"mntr", {b"wtpt": white, b"kTRC": gamma_one})


def cmyk_where_cyan_is_black() -> bytes:
    """A table of two points for each ink: L* is 0 where there is cyan or key, else 100."""
    identity = bytes(range(256))
    corners = [
        (0 if c or k else 255, 128, 128)
        for c in (0, 1) for _m in (0, 1) for _y in (0, 1) for k in (0, 1)
    ]  # fmt: skip
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + identity * 4
    lut += bytes(value for corner in corners for value in corner) + identity * 3
    return profile(b"CMYK", b"Lab ", b"prtr", {b"A2B0": lut})


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WebP", "TIFF", "AVIF", "HEIC"])
def test_a_profile_is_followed_whatever_its_name(format: str) -> None:
    data = encoded(flag(), format, icc_profile=swapped())
    expected = flag()[:, :, ::-1]
    assert_looks_like(decode(data).image, np.ascontiguousarray(expected), 10)
    assert_looks_like(decode(encoded(flag(), format, icc_profile=srgb())).image, flag())


def test_a_profile_with_alpha_and_with_a_palette() -> None:
    image = Image.new("RGBA", (8, 8), (220, 30, 30, 255))
    image.putpixel((7, 7), (0, 0, 0, 0))
    for data in (
        encoded(image, "PNG", icc_profile=swapped()),
        encoded(image.quantize(4), "PNG", icc_profile=swapped()),
    ):
        out = decode(data).image
        np.testing.assert_allclose(out.getpixel((1, 1)), (30, 30, 220), atol=12)
        assert out.getpixel((7, 7)) == WHITE


def test_a_gray_profile() -> None:
    data = encoded(Image.new("L", (8, 8), 55), "PNG", icc_profile=linear_gray())
    np.testing.assert_allclose(decode(data).image.getpixel((4, 4)), (128, 128, 128), atol=3)


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_a_cmyk_profile(format: str) -> None:
    inks = Image.new("CMYK", (32, 16), (0, 255, 0, 0))
    inks.paste((255, 0, 0, 0), (0, 0, 16, 16))
    image = decode(encoded(inks, format, icc_profile=cmyk_where_cyan_is_black())).image
    np.testing.assert_allclose(image.getpixel((4, 8)), (0, 0, 0), atol=8)
    np.testing.assert_allclose(image.getpixel((28, 8)), (255, 255, 255), atol=8)


@pytest.mark.parametrize("bad", [b"garbage", b"\0" * 200, srgb()[:150], linear_gray()])
def test_a_profile_that_does_not_fit_is_ignored(bad: bytes) -> None:
    assert_looks_like(decode(encoded(flag(), "JPEG", icc_profile=bad)).image, flag())


# --- reduced scale ------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_reduced_scale_keeps_twice_the_side(format: str) -> None:
    picture = decode(encoded(flag(1200, 800), format), min_side=50)
    assert (picture.width, picture.height) == (1200, 800)
    assert 100 <= min(picture.image.size) < 200
    assert_looks_like(picture.image, flag(*picture.image.size))


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 80))
@settings(max_examples=40, deadline=None)
def test_reduced_scale_never_falls_below(width: int, height: int, min_side: int) -> None:
    image = Image.new("RGB", (width, height), RED)
    for format in ("JPEG", "PNG"):
        reduced = decode(encoded(image, format), min_side=min_side).image
        assert min(reduced.size) >= min(width, height, min_side)


def test_a_reduced_jpeg_is_close_to_the_full_one() -> None:
    generator = np.random.default_rng(0)
    smooth = Image.fromarray(generator.integers(0, 256, (16, 24, 3), dtype=np.uint8))
    data = encoded(smooth.resize((1200, 800), Image.Resampling.BICUBIC), "JPEG")
    full, reduced = (
        fit(decode(data, min_side=m).image, 100, resize="squash", resample=Image.Resampling.BICUBIC)
        for m in (None, 100)
    )
    error = np.mean((full.astype(np.float64) - reduced) ** 2)
    assert 10 * np.log10(255**2 / error) > 45  # decibels


# --- bad input ----------------------------------------------------------------------------------


def reason(source: Path | bytes, **options: Any) -> str:
    with pytest.raises(MediaError) as caught:
        decode(source, **options)
    text = str(caught.value)
    assert text
    assert "\n" not in text
    return text


def test_zero_bytes(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    assert reason(tmp_path / "empty.jpg") == "zero bytes"
    assert reason(b"") == "zero bytes"


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_truncated(format: str, kept: float) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    data = encoded(noise, format)
    if kept == 0.9 and format in ("JPEG", "PNG", "WebP", "GIF", "BMP", "PPM"):
        assert "are missing" in decode(data[: int(len(data) * kept)]).meta["damaged"]
        return
    text = reason(data[: int(len(data) * kept)])
    assert text.startswith(("truncated ", "damaged ")) and format in text
    if format == "JPEG" and kept > 0.1:
        assert text == "truncated JPEG" == reason(data[: int(len(data) * kept)], min_side=8)


@pytest.mark.parametrize(
    "text", [b"hello", b"\0" * 1000, b"%PDF-1.7", b"PK\3\4", b"GIF", b"P9 1 1"]
)
def test_wrong_extension(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "no-picture.jpg"
    path.write_bytes(text)
    assert reason(path) == "not an image"


def bombs() -> dict[str, bytes]:
    """Small files that claim many pixels in their headers."""
    sizes = {"PNG": (16, ">II"), "GIF": (6, "<HH"), "BMP": (18, "<ii"),
             "JPEG": (encoded(flag(), "JPEG").index(b"\xff\xc0") + 5, ">HH")}
    huge = {"PPM": b"P6 40000 40000 255\n", "TIFF": tiff(40000, 40000, [8], 1, b"\0")}
    for format, (at, layout) in sizes.items():
        data = bytearray(encoded(flag(), format))
        struct.pack_into(layout, data, at, 40000, 40000)
        huge[format] = with_checksums(bytes(data))
    return huge


@pytest.mark.parametrize("format", ["JPEG", "PNG", "PPM", "GIF", "BMP", "TIFF"])
def test_decompression_bombs_are_refused_by_their_header(format: str) -> None:
    assert reason(bombs()[format]) == (
        "decompression bomb: 40000x40000 pixels, limit 200 megapixels"
    )


@pytest.mark.parametrize("format", FORMATS)
def test_the_pixel_limit_is_exact(format: str) -> None:
    data = encoded(flag(), format)
    assert decode(data, max_pixels=96 * 64).width == 96
    assert reason(data, max_pixels=96 * 64 - 1).startswith("decompression bomb: 96x64 pixels")


def test_a_text_chunk_that_unpacks_to_gigabytes_is_not_unpacked() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * 5_000_000, zip=True)
    picture = decode(encoded(flag(), "PNG", pnginfo=info))
    assert "damaged" not in picture.meta
    assert picture.captions == ()


def test_no_picture_without_pixels() -> None:
    assert reason(b"P6 0 0 255\n")


def test_an_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "secret.jpg"
    path.write_bytes(encoded(flag(), "JPEG"))
    path.chmod(0)
    with somebody_else():
        assert reason(path) == "cannot be read: Permission denied"


def test_a_missing_file(tmp_path: Path) -> None:
    assert reason(tmp_path / "gone.jpg") == "cannot be read: No such file or directory"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_or_a_folder_does_not_hang_the_run(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    assert reason(tmp_path / "pipe.jpg") == "not a regular file"
    assert reason(tmp_path / "folder.jpg") == "a folder; give files"
    if before:
        assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems take only UTF-8")
def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.jpg")
    path.write_bytes(encoded(flag(), "JPEG"))
    assert_looks_like(decode(path).image, flag())


def test_nothing_is_printed(tmp_path: Path) -> None:
    """Neither Python's warnings nor what libtiff writes to stderr by itself."""
    lzw = bytearray(encoded(flag(), "TIFF", compression="tiff_lzw"))
    deflate = encoded(flag(), "TIFF", compression="tiff_adobe_deflate")
    lzw[20:60] = b"\xff" * 40
    samples = [
        bytes(lzw),
        deflate[:100],
        tiff(96, 64, [8] * 40, 2, bytes(96 * 64 * 40)),
        deflate[:8] + b"\0" * 100 + deflate[108:],
        encoded(flag(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff"),
        encoded(flag(), "PNG")[:-20],
        encoded(Image.new("1", (10_000, 9_500)), "PNG"),  # Pillow's own limit would warn here
        encoded(Image.fromarray(flag()).quantize(4), "PNG", transparency=b"\0\1"),
        *bombs().values(),
    ]
    for number, data in enumerate(samples):
        (tmp_path / str(number)).write_bytes(data)
    code = """
import sys
from pathlib import Path
from mmsearch.errors import MediaError
from mmsearch.media import decode
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        decode(path, min_side=10)
    except MediaError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", code, tmp_path],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "decompression bomb" in done.stdout


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(SEEDS[draw(st.sampled_from(sorted(SEEDS)))])
    for _ in range(draw(st.integers(0, 6))):
        # Half of the hits in the header, where the damage is more interesting.
        end = draw(st.sampled_from([40, len(data)]))
        data[draw(st.integers(0, min(end, len(data)) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)


SEEDS: dict[str, bytes] = {
    **{format: encoded(flag(24, 16), format) for format in FORMATS},
    "JPEG with EXIF": encoded(
        flag(24, 16), "JPEG", icc_profile=swapped(),
        exif=exif_of_a_camera("Canon", "EOS", "2021:05:03 14:22:10"),
    ),
    "CMYK": encoded(Image.fromarray(flag(24, 16)).convert("CMYK"), "JPEG"),
    "LZW": encoded(flag(24, 16), "TIFF", compression="tiff_lzw"),
    "16 bits": encoded(Image.fromarray(gray_ramp().astype(np.uint16)), "PNG"),
    "alpha": encoded(half_transparent("RGBA"), "PNG", icc_profile=swapped()),
}  # fmt: skip


@given(damaged(), st.sampled_from([None, 4]))
@settings(max_examples=400, deadline=None)
def test_damaged_bytes_give_a_picture_or_a_media_error(data: bytes, min_side: int | None) -> None:
    try:
        picture = decode(data, min_side=min_side, max_pixels=200_000)
    except MediaError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert picture.image.mode == "RGB"
        assert picture.width * picture.height <= 200_000


# --- fit and threads ----------------------------------------------------------------------------


@given(
    st.integers(1, 400),
    st.integers(1, 400),
    st.integers(1, 64),
    st.sampled_from(["squash", "crop", "pad"]),
    st.sampled_from([Image.Resampling.BICUBIC, Image.Resampling.BILINEAR]),
)
@settings(max_examples=150, deadline=None)
def test_fit_gives_a_square_of_bytes(
    width: int, height: int, size: int, resize: Any, resample: Image.Resampling
) -> None:
    pixels = fit(Image.new("RGB", (width, height), GREEN), size, resize=resize, resample=resample)
    assert pixels.shape == (size, size, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous and pixels.flags.writeable
    if resize != "pad":
        assert (pixels == GREEN).all()
    else:
        assert (pixels == GREEN).all(axis=2).any()


def test_fit_squashes_crops_and_pads() -> None:
    bands = np.zeros((20, 60, 3), np.uint8)
    bands[:, :20], bands[:, 20:40], bands[:, 40:] = RED, GREEN, BLUE
    image = Image.fromarray(bands)

    def at(resize: Literal["squash", "crop", "pad"], *points: tuple[int, int]) -> list[Any]:
        pixels = fit(image, 30, resize=resize, resample=Image.Resampling.BILINEAR)
        return [tuple(pixels[y, x].tolist()) for x, y in points]

    assert at("squash", (4, 15), (15, 15), (26, 15)) == [RED, GREEN, BLUE]
    assert at("crop", (4, 4), (15, 15), (26, 26)) == [GREEN, GREEN, GREEN]
    assert at("pad", (4, 15), (15, 15), (26, 15), (15, 2)) == [RED, GREEN, BLUE, (0, 0, 0)]


def test_fit_of_a_large_picture_is_close_to_the_slow_way() -> None:
    generator = np.random.default_rng(0)
    coarse = Image.fromarray(generator.integers(0, 256, (30, 40, 3), dtype=np.uint8))
    large = coarse.resize((2000, 1500), Image.Resampling.BICUBIC)
    fast = fit(large, 100, resize="squash", resample=Image.Resampling.BICUBIC)
    slow = np.asarray(large.resize((100, 100), Image.Resampling.BICUBIC))
    assert np.abs(fast.astype(np.int16) - slow).mean() < 1.5


def test_threads_see_the_same_pictures() -> None:
    sources = [SEEDS[name] for name in sorted(SEEDS)] * 12
    expected = [decode(data).image.tobytes() for data in sources]
    with ThreadPoolExecutor(8) as pool:
        assert [p.image.tobytes() for p in pool.map(decode, sources)] == expected
