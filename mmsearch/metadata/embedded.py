"""Metadata inside of an opened picture: EXIF, XMP and IPTC, in this order where they disagree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from PIL import Image, ImageFile

from mmsearch.metadata import exif, xmp
from mmsearch.metadata.dates import moment
from mmsearch.metadata.encodings import readable, text_in
from mmsearch.metadata.fields import (
    MAX_CHARACTERS,
    UNSURE,
    Metadata,
    clean_captions,
    clean_keywords,
    clean_text,
    distinct_captions,
    merge_metadata,
)
from mmsearch.metadata.machine_words import is_of_machine

# Datasets of IPTC's record 2 (IIM 4.2): headline and city are short texts, keywords repeat.
_TITLE, _KEYWORDS, _CITY, _REGION, _COUNTRY, _CAPTION = 5, 25, 90, 95, 101, 120
_DATE, _TIME = 55, 60


def metadata_in(image: Image.Image) -> Metadata:
    """Captions and metadata; whatever cannot be read is left out. PNG must have been loaded."""
    camera, packet, listed = exif.read(image), _xmp(image), _iptc(image)
    captions = [*packet.captions, *listed.captions, *camera.captions, *_comments(image)]
    # Of title and keywords, what Windows writes into EXIF counts last.
    words = {name: camera.meta[name] for name in ("title", "keywords") if name in camera.meta}
    merged = merge_metadata(listed.meta, packet.meta, words)
    merged |= {name: value for name, value in camera.meta.items() if name not in words}
    dated = (one.meta.get("taken") for one in (camera, packet, listed))
    if taken := next(filter(None, dated), None):
        merged["taken"] = taken
    elif taken := exif.fallback_date(image):
        merged["taken"] = merged[UNSURE] = taken
    if described := clean_keywords(captions):
        merged["description"] = described
    return Metadata(distinct_captions(
        text for text in captions if not is_of_machine(text)), merged)


def _comments(image: Image.Image) -> Iterator[str]:
    """Comments of a JPEG, which any tool may have left there."""
    if image.format in ("JPEG", "MPO"):
        for name, data in getattr(image, "applist", ()):
            if name == "COM":
                yield readable(text_in(data))


def _xmp(image: Image.Image) -> Metadata:
    packet = image.info.get("xmp")
    if isinstance(packet, str):
        packet = packet.encode("utf-8", "replace")
    if not isinstance(packet, bytes) or not packet:
        return Metadata()
    try:
        return xmp.read(packet)
    except Exception:  # whatever a parser makes of hostile bytes
        return Metadata()


def _iptc(image: Image.Image) -> Metadata:
    if image.format not in ("JPEG", "MPO", "TIFF") or (
            image.format != "TIFF" and "photoshop" not in image.info):
        return Metadata()
    try:
        from PIL.IptcImagePlugin import getiptcinfo

        sets: dict[tuple[int, int], Any] = getiptcinfo(cast(ImageFile.ImageFile, image)) or {}
        texts = {number: list(_texts(value)) for (record, number), value in sets.items()
                 if record == 2}
    except Exception:  # the same
        return Metadata()
    meta: dict[str, Any] = {
        name: clean_text(texts[number][0])[:MAX_CHARACTERS] for name, number in (
            ("title", _TITLE), ("city", _CITY), ("region", _REGION), ("country", _COUNTRY))
        if number in texts}
    meta["taken"] = moment(" ".join(texts[number][0] for number in (_DATE, _TIME)
                                    if number in texts))
    meta["keywords"] = clean_keywords(texts.get(_KEYWORDS, ()))
    return Metadata(clean_captions(texts.get(_CAPTION, ())), {n: v for n, v in meta.items() if v})


def _texts(value: bytes | list[bytes]) -> Iterator[str]:
    for one in value if isinstance(value, list) else [value]:
        yield readable(text_in(one))
