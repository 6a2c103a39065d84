"""Whether two files hold the same pixels: saved again without loss, or with other metadata."""

from __future__ import annotations

import hashlib
from io import BytesIO

from PIL import Image

from mmsearch.formats import is_raw, sniff
from mmsearch.media import colour
from mmsearch.media.decoding import open_image, upright

_EIGHT_BITS = {"JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF"}
_MOST_BITS = 8


def pixel_hash(data: bytes) -> str:
    """The same for files that hold the same upright pixels and nothing more than these.

    "" where more is in the file than is seen: further frames or pages, another picture or a video
    behind this one, more bits than eight, the sensor's data. Formats that may have more bits are
    equal among themselves only.
    """
    name = sniff(data[:64])
    if name is None or (name == "TIFF" and is_raw(BytesIO(data))):
        return ""
    try:
        image = open_image(BytesIO(data), name)
        if _holds_more(image, name, data):
            return ""
        seen = hashlib.sha256(b"" if name in _EIGHT_BITS else name.encode())
        rgb, _ = upright(image, None)
        seen.update(b"%d %d " % rgb.size + rgb.tobytes())
        seen.update(_unseen(image))
    except Exception:  # whatever a decoder raises on a damaged file
        return ""
    return seen.hexdigest()


def _holds_more(image: Image.Image, name: str, data: bytes) -> bool:
    if getattr(image, "n_frames", 1) > 1:
        return True
    if name == "JPEG":  # after its end: a gain map, the second of two views, the video of a photo
        return "mp" in image.info or not data.rstrip(b"\0").endswith(b"\xff\xd9")
    if name == "PNG":
        return data[24] > _MOST_BITS
    return name == "TIFF" and max(getattr(image, "tag_v2", {}).get(258, (1,))) > _MOST_BITS


def _unseen(image: Image.Image) -> bytes:
    """The pixels as they are stored, where opacity or a profile (also of HDR) has a say in what is
    seen."""
    plain = colour.simple_mode(image)
    if plain.mode in ("LA", "RGBA"):
        plain = plain.convert("RGBA")
        opaque = plain.getchannel("A").getextrema() == (255, 255)
        plain = plain.convert("RGB") if opaque else plain
    as_seen = colour.to_rgb(plain, image.info.get("icc_profile")).tobytes()
    told = plain.mode != "RGBA" and "nclx_profile" not in image.info
    return b"" if told and as_seen == plain.convert("RGB").tobytes() else plain.tobytes()
