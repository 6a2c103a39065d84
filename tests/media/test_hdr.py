"""Stills of high dynamic range look as the picture that they were made of."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pillow_heif
import pytest
from damaging import with_checksums
from making import difference, picture
from PIL import Image, ImageCms

from mmsearch.errors import MediaError
from mmsearch.media import decode, jxl

PQ, HLG, BT709, BT2020, P3, SRGB = 16, 18, 1, 9, 12, 13
PRIMARIES = {
    BT709: np.eye(3),
    BT2020: np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114],
                      [0.0164, 0.0880, 0.8956]]),
    P3: np.array([[0.8225, 0.1774, 0], [0.0332, 0.9669, 0], [0.0171, 0.0724, 0.9108]])}
CAT = picture("cat")


def signal(image: Image.Image, primaries: int, transfer: int) -> npt.NDArray[np.uint16]:
    """As BT.2100 has a picture whose white is paper, in 16 bits."""
    level = np.asarray(image) / 255
    light = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    light = np.clip(light @ PRIMARIES[primaries].T, 0, 1) * 203
    if transfer == PQ:
        power = (light / 10_000) ** 0.1593017578125
        coded = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    else:
        luma = light @ np.array([0.2627, 0.6780, 0.0593]) / 1000
        scene = light / 1000 * np.maximum(luma, 1e-9)[..., None] ** (1 / 1.2 - 1)
        coded = np.where(scene <= 1 / 12, np.sqrt(3 * scene), 0.17883277 * np.log(
            np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073)
    return np.round(coded.clip(0, 1) * 65535).astype(np.uint16)


def heif(pixels: npt.NDArray[np.uint16], primaries: int, transfer: int, **options: Any) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_bytes("RGB;16", pixels.shape[1::-1], pixels.tobytes()).save(
        file, quality=95, color_primaries=primaries, transfer_characteristics=transfer,
        matrix_coefficients=9, full_range_flag=1, **options)
    return file.getvalue()


def avif(image: Image.Image, quality: int = 95) -> bytes:
    file = io.BytesIO()
    image.save(file, "AVIF", quality=quality)
    return file.getvalue()


def profile(tags: dict[bytes, bytes]) -> bytes:
    """sRGB with other tags at the end, as far as anything but the tags is looked at."""
    srgb = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    (count,) = struct.unpack_from(">I", srgb, 128)
    table, body = bytes(srgb[132 : 132 + 12 * count]), bytes(srgb[132 + 12 * count :])
    table = b"".join(
        struct.pack(">4sII", b"xxxx" if name in tags else name, at + 12 * len(tags), size)
        for name, at, size in struct.iter_unpack(">4sII", table))
    for name, data in tags.items():
        table += struct.pack(">4sII", name, 132 + 12 * (count + len(tags)) + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    whole = bytes(srgb[:128]) + struct.pack(">I", count + len(tags)) + table + body
    return struct.pack(">I", len(whole)) + whole[4:]


def named(name: str) -> bytes:
    text = name.encode("utf-16-be")
    return profile({b"desc": b"mluc" + struct.pack(">IIIHHII", 0, 1, 12, 0x656E, 0x5553, len(text),
                                                   28) + text})


def coded(primaries: int, transfer: int) -> bytes:
    return profile({b"cicp": b"cicp" + bytes([0, 0, 0, 0, primaries, transfer, 0, 1])})


def assert_looks_like_the_cat(data: bytes) -> None:
    """Highlights are pressed in, and so the middle is somewhat brighter; untreated, a picture is
    off by 50 to 90, and its colours are gray."""
    for min_side in (None, 60):
        shown = decode(data, min_side=min_side).image
        expected = CAT.resize(shown.size)
        assert difference(shown, expected) < 17
        one, other = (np.asarray(image.convert("HSV"))[..., 1].mean()
                      for image in (shown, expected))
        assert one == pytest.approx(other, rel=0.2)


@pytest.mark.parametrize("transfer", [PQ, HLG])
@pytest.mark.parametrize("primaries", [BT709, BT2020, P3])
def test_heic_that_says_so(primaries: int, transfer: int) -> None:
    assert_looks_like_the_cat(heif(signal(CAT, primaries, transfer), primaries, transfer))


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_avif_that_says_so(transfer: int) -> None:
    pixels = (signal(CAT, BT2020, transfer) >> 8).astype(np.uint8)
    data = bytearray(avif(Image.fromarray(pixels)))
    at = data.index(b"colrnclx") + 8
    data[at : at + 4] = struct.pack(">HH", BT2020, transfer)
    assert_looks_like_the_cat(bytes(data))


def test_what_a_gain_map_says_of_its_colours_does_not_count() -> None:
    data = avif(CAT, quality=30)
    beside = struct.pack(">I4s", 20, b"free") + b"colrnclx" + struct.pack(">HH", BT2020, PQ)
    assert len(data) < 4000
    assert difference(decode(data + beside).image, CAT) < 6


def test_heic_of_standard_range_is_left_alone() -> None:
    pixels = np.asarray(CAT).astype(np.uint16) * 257
    assert difference(decode(heif(pixels, BT709, SRGB)).image, CAT) < 4


@pytest.mark.parametrize(("primaries", "transfer", "icc"), [
    (BT2020, PQ, coded(BT2020, PQ)), (P3, HLG, coded(P3, HLG)),
    (BT2020, PQ, named("Rec. ITU-R BT.2100 PQ")), (BT2020, HLG, named("ITU-R BT.2100 HLG")),
    (P3, PQ, named("Display P3 PQ"))])
@pytest.mark.parametrize("format", ["AVIF", "PNG", "WEBP"])
def test_a_profile_that_says_so(primaries: int, transfer: int, icc: bytes, format: str) -> None:
    eight = Image.fromarray((signal(CAT, primaries, transfer) >> 8).astype(np.uint8))
    file = io.BytesIO()
    eight.save(file, format, icc_profile=icc, quality=95)
    assert_looks_like_the_cat(file.getvalue())


@pytest.mark.parametrize("icc", [coded(BT709, SRGB), named("Display P3"), named("HQ paper PQ")])
def test_other_profiles_are_left_to_what_they_say(icc: bytes) -> None:
    file = io.BytesIO()
    CAT.save(file, "PNG", icc_profile=icc)
    assert difference(decode(file.getvalue()).image, CAT) < 1


def test_png_that_says_so() -> None:
    data = imagecodecs.png_encode(signal(CAT, BT2020, PQ))
    at = data.index(b"IDAT") - 4
    chunk = struct.pack(">I", 4) + b"cICP" + bytes([BT2020, PQ, 0, 1]) + bytes(4)
    assert_looks_like_the_cat(with_checksums(data[:at] + chunk + data[at:]))


def test_jpeg_xl_that_says_so() -> None:
    """imagecodecs writes 16 bits as linear: one bit in the header makes PQ of that."""
    data = imagecodecs.jpegxl_encode(signal(CAT, BT709, PQ), lossless=True, effort=1)
    assert difference(decode(data).image, CAT) > 20
    told = []
    for at in range(8 * 100):
        changed = bytearray(data)
        changed[at // 8] ^= 1 << at % 8
        with suppress(MediaError):
            if jxl._signal(bytes(changed)) == (BT709, PQ):
                told.append(bytes(changed))
    assert_looks_like_the_cat(told[-1])


def test_what_is_transparent_stays_so() -> None:
    eight = Image.fromarray((signal(CAT, BT2020, PQ) >> 8).astype(np.uint8)).convert("RGBA")
    eight.paste((0, 0, 0, 0), (0, 0, 160, 240))
    file = io.BytesIO()
    eight.save(file, "PNG", icc_profile=coded(BT2020, PQ))
    seen = decode(file.getvalue()).image
    assert seen.getpixel((20, 20)) in ((255, 255, 255), (0, 0, 0), (128, 128, 128))
    assert difference(seen.crop((160, 0, 320, 240)), CAT.crop((160, 0, 320, 240))) < 17
