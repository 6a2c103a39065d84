"""What a program holds is seen as a file of it would be; anything else is refused in one line."""

from __future__ import annotations

import io
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pytest
from making import picture
from PIL import Image, ImageCms

from mmsearch.errors import MediaError, UsageError
from mmsearch.media import decode, given

CAT = picture("cat")
GREY = np.asarray(CAT.convert("L"))


def saved(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def difference(image: Image.Image, other: Image.Image) -> float:
    assert image.mode == other.mode == "RGB"
    return float(np.abs(np.asarray(image, np.int16) - np.asarray(other, np.int16)).mean())


def transparent(mode: str) -> Image.Image:
    image = CAT.convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image.convert(mode)


@pytest.mark.parametrize(("image", "format"), [
    (CAT, "PNG"), (CAT.convert("1"), "PNG"), (CAT.convert("L"), "PNG"),
    (CAT.quantize(16), "PNG"), (transparent("RGBA"), "PNG"), (transparent("LA"), "PNG"),
    (transparent("RGBA").quantize(16), "PNG"), (CAT.convert("CMYK"), "TIFF"),
    (CAT.convert("YCbCr"), "TIFF"), (CAT.convert("F"), "TIFF"),
    (Image.fromarray(GREY.astype(np.uint16) * 257), "PNG"),
    (Image.fromarray(GREY.astype(np.int32) * 257), "TIFF"),
    (Image.fromarray((GREY.astype(np.uint16) * 257).astype(">u2")), "TIFF"),
], ids=lambda value: value if isinstance(value, str) else value.mode)
def test_pil_pictures_of_any_mode(image: Image.Image, format: str) -> None:
    options = {"compression": "jpeg", "quality": 100} if image.mode == "YCbCr" else {}
    for min_side in (None, 60):
        file = decode(saved(image, format, **options), min_side=min_side).image
        assert difference(given(image, min_side), file) < 1


@pytest.mark.parametrize("mode", ["RGBX", "RGBa", "La", "PA", "HSV", "LAB"])
def test_modes_that_files_rarely_have(mode: str) -> None:
    if mode == "LAB":
        to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"),
                                         ImageCms.createProfile("LAB"), "RGB", "LAB")
        image = ImageCms.applyTransform(CAT, to_lab)
    else:
        by = {"RGBa": "RGBA", "La": "LA", "PA": "LA"}.get(mode)
        image = (CAT.convert(by) if by else CAT).convert(mode)
    assert image is not None and image.mode == mode
    expected = CAT.convert("L").convert("RGB") if mode in ("La", "PA") else CAT
    assert difference(given(image, None), expected) < 4


def test_a_colour_profile_counts_and_so_does_the_orientation_of_an_opened_file() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"????", 1).replace(b"bXYZ", b"rXYZ", 1)
    data = saved(CAT, exif=exif, icc_profile=swapped.replace(b"????", b"bXYZ", 1))
    expected = decode(data).image
    assert expected.size == (240, 320)
    opened = Image.open(io.BytesIO(data))
    assert difference(given(opened, None), expected) == 0
    turned_by_hand = opened.rotate(-90, expand=True)
    assert difference(given(turned_by_hand, None), expected) == 0


@pytest.mark.parametrize("scale", ["uint8", "uint16", ">u2", "float16", "float32", "float64"])
@pytest.mark.parametrize("shape", ["HW", "HW1", "HW3", "HW4"])
def test_arrays(scale: str, shape: str) -> None:
    colour = np.asarray(CAT)
    alpha = np.full((*GREY.shape, 1), 255, np.uint8)
    eight = {"HW": GREY, "HW1": GREY[..., None], "HW3": colour,
             "HW4": np.concatenate([colour, alpha], axis=2)}[shape]
    expected = CAT if shape in ("HW3", "HW4") else Image.fromarray(GREY).convert("RGB")
    dtype = np.dtype(scale)
    array = eight if scale == "uint8" else (
        (eight.astype(np.uint16) * 257).astype(dtype) if dtype.kind == "u"
        else (eight / 255).astype(dtype))
    assert difference(given(array, None), expected) < 0.2
    assert difference(given(np.asfortranarray(array), None), expected) < 0.2
    if dtype.kind == "f":
        assert difference(given((eight * 1.0).astype(dtype), None), expected) < 0.2


def test_opacity_in_an_array() -> None:
    halves = np.zeros((8, 8, 4))
    halves[:, :4, 3] = 1
    seen = np.asarray(given(halves, None))
    assert (seen[:, :4] == 0).all() and (seen[:, 4:] == 255).all()
    assert (np.asarray(given((halves * 65535).astype(np.uint16), None)) == seen).all()


def test_files_and_bytes(tmp_path: Path) -> None:
    data = saved(CAT)
    (tmp_path / "cat.png").write_bytes(data)
    with TemporaryFile() as just_written, (tmp_path / "cat.png").open("rb") as opened:
        just_written.write(data)
        for one in (data, bytearray(data), memoryview(data), io.BytesIO(data), just_written,
                    opened, opened):
            assert difference(given(one, None), CAT) == 0
    with (tmp_path / "cat.png").open(encoding="latin-1") as text, \
            pytest.raises(UsageError, match="this file is open for reading text"):
        given(text, None)


@pytest.mark.parametrize("bad", [
    None, 5, {}, object(), np.zeros((3, 64, 65)), np.zeros((4, 4, 2), np.uint8), np.zeros(9),
    np.zeros((0, 4)), np.zeros((4, 4), np.int64), np.zeros((4, 4), complex),
    np.zeros((4, 4), "U1"), np.float32(3), np.zeros((2, 4, 4, 3))], ids=lambda bad: repr(bad)[:12])
def test_anything_else_is_refused(bad: Any) -> None:
    with pytest.raises(UsageError, match="a picture is a path, a uri, bytes, a file") as caught:
        given(bad, None)
    assert "\n" not in str(caught.value)


def test_what_is_closed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(saved(CAT))
    copied, opened = CAT.copy(), Image.open(tmp_path / "cat.png")
    for closed in (io.BytesIO(saved(CAT)), (tmp_path / "cat.png").open("rb"), copied, opened):
        closed.close()
        with pytest.raises(UsageError, match=r"this (file|picture) is closed"):
            given(closed, None)


def test_no_pixels_or_damaged_ones() -> None:
    with pytest.raises(UsageError, match="shows nothing"):
        given(Image.new("RGB", (0, 4)), None)
    with pytest.raises(MediaError, match="truncated PNG"):
        given(Image.open(io.BytesIO(saved(CAT)[:20_000])), None)
