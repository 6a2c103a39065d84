"""Files that hold the same pixels, and nothing more, have one hash."""

from __future__ import annotations

import io

import numpy as np
import pytest
from conftest import DEMO
from PIL import Image, ImageCms

from mmsearch.media import decode, pixel_hash


def photo() -> Image.Image:
    return Image.open(DEMO / "cat.jpg").convert("RGB").resize((60, 40))


def saved(image: Image.Image, name: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, name, **options)
    return stream.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


PLAIN = saved(photo(), "PNG")
ALIKE = {
    "compressed": saved(photo(), "PNG", compress_level=1),
    "bmp": saved(photo(), "BMP"),
    "tiff": saved(photo(), "TIFF", compression="tiff_lzw"),
    "webp": saved(photo(), "WEBP", lossless=True),
    "opaque": saved(photo().convert("RGBA"), "PNG"),
    "turned": saved(photo().transpose(Image.Transpose.ROTATE_90), "PNG", exif=turned(6)),
    "sRGB": saved(photo(), "PNG", icc_profile=ImageCms.ImageCmsProfile(
        ImageCms.createProfile("sRGB")).tobytes()),
}
SMALL_GREY = Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16) * 257)
OTHER = {
    "lossy": saved(photo(), "JPEG"),
    "a pixel": saved(Image.eval(photo(), lambda level: level ^ (level == 77)), "PNG"),
    "on its side": saved(photo().transpose(Image.Transpose.ROTATE_90), "PNG"),
    "reshaped": saved(Image.frombytes("RGB", (40, 60), photo().tobytes()), "PNG"),
}


@pytest.mark.parametrize("way", ALIKE)
def test_saved_again_without_loss(way: str) -> None:
    assert pixel_hash(ALIKE[way]) == pixel_hash(PLAIN) != ""


@pytest.mark.parametrize("way", OTHER)
def test_other_pixels(way: str) -> None:
    assert pixel_hash(OTHER[way]) not in ("", pixel_hash(PLAIN))


def test_metadata_of_a_jpeg() -> None:
    one = saved(photo(), "JPEG")
    other = one[:2] + b"\xff\xfe\x00\x07hello" + one[2:]
    assert pixel_hash(one) == pixel_hash(other) != ""


def test_white_on_transparent_is_told_apart() -> None:
    logos = [Image.new("RGBA", (40, 40), (255, 255, 255, 0)) for _ in range(3)]
    logos[1].putpixel((3, 3), (255,) * 4)
    logos[2].putpixel((4, 4), (255,) * 4)
    white = Image.new("RGB", (40, 40), "white")
    assert len({pixel_hash(saved(one, "PNG")) for one in [*logos, white]}) == 4
    assert pixel_hash(saved(logos[1], "PNG")) == pixel_hash(saved(logos[1], "TIFF"))


def test_what_looks_the_same_through_its_profile_is_not_the_same() -> None:
    """It may hold colours that are not seen."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"????", 1).replace(b"bXYZ", b"rXYZ", 1).replace(
        b"????", b"bXYZ", 1)
    one = saved(photo(), "PNG", icc_profile=swapped)
    seen = saved(decode(one).image, "PNG")
    assert "" != pixel_hash(one) != pixel_hash(seen) != ""


@pytest.mark.parametrize("data", [
    saved(photo(), "GIF", save_all=True, append_images=[Image.new("RGB", (60, 40))]),
    saved(photo(), "TIFF", save_all=True, append_images=[Image.new("RGB", (60, 40))]),
    saved(photo(), "JPEG") + b"\0\0\0\x18ftypmp42 the video of a photo",
    saved(photo(), "JPEG")[:-400],
    saved(SMALL_GREY, "PNG"), saved(SMALL_GREY, "TIFF"),
    b"no picture", b"",
], ids=["animation", "pages", "with a video", "truncated", "png16", "tiff16", "text", "empty"])
def test_what_holds_more_than_is_seen_has_none(data: bytes) -> None:
    assert pixel_hash(data) == ""
