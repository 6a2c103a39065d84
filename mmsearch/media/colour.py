"""Any picture that Pillow can load as RGB, in the colours that were meant."""

from __future__ import annotations

import functools
import io
from typing import Any, TypeAlias

import numpy as np
from PIL import Image, ImageCms

from mmsearch.records import Pixels

Levels: TypeAlias = np.ndarray[Any, Any]
_GROUNDS = {"white": (255, 0.1), "black": (0, 0.05), "gray": (128, 0.0)}
"""Each with its level, and the part of what is visible that may be lost on it."""
_CONTRAST = 56
"""Levels of gray below which something is hardly seen."""
_NO_DATA = 1e30
"""What maps have where they have nothing is beyond this."""
_BRIGHTEST = 16
"""Floats below this have white at 1, and highlights beyond it."""


def to_rgb(image: Image.Image, profile: object = None) -> Image.Image:
    """RGB in sRGB, from a picture that `simple_mode` returned, on a ground on which it is seen.

    profile: the bytes of an embedded ICC profile; anything else, or a damaged one, is ignored.
    """
    return _on_ground(_to_srgb(image, profile))


def simple_mode(image: Image.Image) -> Image.Image:
    """One of L, LA, RGB, RGBA, CMYK, with the same colours."""
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        # Pillow takes every CMYK JPEG for an inverted one, which only Adobe's are.
        return Image.eval(image, lambda level: 255 - level)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_gray(image)
    if image.has_transparency_data:
        # Also the modes that name one colour as transparent (palettes, PNG's tRNS).
        hidden = image.info.get("transparency")
        if image.mode == "RGB" and isinstance(hidden, tuple) and max(hidden) > 255:
            image = image.copy()  # it is in 16 bits, of which Pillow has read the upper half
            image.info["transparency"] = tuple(level >> 8 for level in hidden)
        return image.convert("LA" if image.mode in ("LA", "La") else "RGBA")
    if image.mode in ("L", "RGB", "CMYK"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def from_levels(levels: Levels) -> Image.Image:
    """A picture of numbers of any kind: [height, width], or with 1 to 4 channels more, of which the
    second or fourth is opacity."""
    channels = levels.shape[2] if levels.ndim == 3 else 1
    if channels == 1:
        levels = levels.reshape(levels.shape[:2])
    if channels in (1, 3) or levels.dtype == np.uint8:
        return Image.fromarray(eight_bits(levels))
    opacity = _of_full(levels[..., -1])[..., None]
    return Image.fromarray(np.concatenate([eight_bits(levels[..., :-1]), opacity], axis=2))


def _deep_gray(image: Image.Image) -> Image.Image:
    """Gray of 12, 16 or 32 bits or floats, scaled to 8 bits."""
    levels = np.asarray(image)
    tags = getattr(image, "tag_v2", {})  # TIFF only
    if image.mode.startswith("I;16") and tags.get(258) == (12,):
        gray = (levels >> 4).astype(np.uint8)
    elif image.mode == "I" and image.format in ("PNG", "PPM"):
        gray = (levels >> 8).clip(0, 255).astype(np.uint8)  # both hold 16 bits in these
    else:
        gray = eight_bits(levels)
    if tags.get(262) == 0:  # 0 means white, which Pillow only minds for 8 bits
        gray = 255 - gray
    if isinstance(hidden := image.info.get("transparency"), int):  # a level of PNG
        return Image.fromarray(np.stack([gray, np.where(levels == hidden, 0, 255)], 2).astype("u1"))
    return Image.fromarray(gray)


def eight_bits(levels: Levels) -> Pixels:
    """16 bits by their upper half. Numbers of unknown range: all that their type has if they take
    half of it, 0 to 1, 8 or 16 bits if they fit, else least to greatest."""
    if levels.dtype == np.uint8:
        return np.ascontiguousarray(levels)
    if levels.dtype.kind == "u" and levels.dtype.itemsize == 2:
        return (levels >> 8).astype(np.uint8)
    whole = np.iinfo(levels.dtype) if levels.dtype.kind in "iu" else None
    values = levels.astype(np.float32)
    values[~(np.abs(values) < _NO_DATA)] = 0
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high < _BRIGHTEST and levels.dtype.kind == "f":
        high = max(1.0, float(np.percentile(values, 99)))
        low = 0.0
    elif whole and high - low > (whole.max - whole.min) / 2:
        low, high = float(whole.min), float(whole.max)
    elif low >= 0 and high <= 65535:
        low, high = 0.0, 255.0 if high <= 255 else 65535.0
    scaled: Levels = (values - low) * (255 / max(high - low, 1e-9)) + 0.5
    return scaled.clip(0, 255).astype(np.uint8)


def _of_full(opacity: Levels) -> Pixels:
    """Opacity, of which the least and the greatest number there can be are none and full."""
    empty, full = 0.0, 1.0 if opacity.max() <= 1 else 255.0 if opacity.max() <= 255 else 65535.0
    if opacity.dtype.kind in "iu":
        empty, full = float(np.iinfo(opacity.dtype).min), float(np.iinfo(opacity.dtype).max)
    shares = (opacity.astype(np.float64) - empty) / (full - empty)
    return np.asarray((shares * 255 + 0.5).clip(0, 255), np.uint8)


def _to_srgb(image: Image.Image, profile: object) -> Image.Image:
    """L, RGB or CMYK, alone or with alpha, to RGB or RGBA in sRGB."""
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    colour = image.convert(image.mode[:-1]) if alpha else image
    transform = None
    if isinstance(profile, bytes) and profile:
        transform = _profile_transform(profile, colour.mode)
    rgb = transform.apply(colour) if transform else colour.convert("RGB")
    if alpha:
        rgb.putalpha(alpha)
    return rgb


@functools.lru_cache(maxsize=16)
def _profile_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From an embedded profile to sRGB; None where that is not needed or not possible."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.ImageCmsTransform(source, _srgb(), mode, "RGB")
        if mode != "RGB":
            return transform
        # Told by what it does, since names lie: "linear sRGB" differs, Facebook's "c2" does not.
        steps = np.linspace(0, 255, 6, dtype=np.uint8)
        cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(6, 36, 3)
        turned = np.asarray(transform.apply(Image.fromarray(cube)), dtype=np.int16)
        return None if np.abs(turned - cube).max() <= 3 else transform
    except Exception:  # damaged, or meant for other channels than the picture has
        return None


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _on_ground(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    page = Image.new("RGB", image.size, _ground(image))
    page.paste(image, mask=image.getchannel("A"))
    return page


def _ground(image: Image.Image) -> str:
    """White, as on paper; for what is light itself, the ground of black and gray on which least of
    what is visible is lost."""
    opacity = np.asarray(image.getchannel("A"), np.float32)
    if opacity.min() == 255:
        return "white"
    grey = np.asarray(image.convert("RGB").convert("L"))
    shades = np.bincount(grey.ravel(), opacity.ravel(), 256)
    lost = {name: shades[max(level - _CONTRAST, 0) : level + _CONTRAST + 1].sum()
            - favour * shades.sum() for name, (level, favour) in _GROUNDS.items()}
    return min(lost, key=lambda name: float(lost[name]))
