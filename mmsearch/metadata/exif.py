"""EXIF of a picture as metadata: when, where and with what it was taken (CIPA DC-008, EXIF 3.0).

Each value is read by itself and kept only where it makes sense, so that whatever a stranger's file
says costs that value and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from PIL import ExifTags, Image, TiffImagePlugin

from mmsearch.metadata.dates import moment
from mmsearch.metadata.encodings import comment_in, readable, text_in, utf16_in
from mmsearch.metadata.fields import (
    MAX_CHARACTERS,
    Metadata,
    clean_captions,
    clean_keywords,
    clean_text,
    gps_position,
    number_within,
)

_Tags = Mapping[int, Any]
_Base, _Gps = ExifTags.Base, ExifTags.GPS
_DATES = (
    (_Base.DateTimeOriginal, _Base.SubsecTimeOriginal, _Base.OffsetTimeOriginal),
    (_Base.DateTimeDigitized, _Base.SubsecTimeDigitized, _Base.OffsetTimeDigitized),
    (_Base.DateTime, _Base.SubsecTime, _Base.OffsetTime),
)
"""When it was taken, scanned and changed."""
_NUMBERS = {
    "exposure": (_Base.ExposureTime, 1e-7, 1e6),
    "aperture": (_Base.FNumber, 1e-2, 1e3),
    "focal_length": (_Base.FocalLength, 1e-2, 1e5),
    "focal_length_equivalent": (_Base.FocalLengthIn35mmFilm, 1, 1e5),
}
_SENSITIVITIES = (_Base.ISOSpeedRatings, _Base.RecommendedExposureIndex, _Base.ISOSpeed,
                  _Base.StandardOutputSensitivity)
_NO_LENS = re.compile(r"[-\d./ ]*")

# EXIF 3.0 has text in UTF-8 as a type of its own, which Pillow leaves out.
_UTF8 = 129
_Directory = TiffImagePlugin.ImageFileDirectory_v2
_Directory._load_dispatch.setdefault(_UTF8, _Directory._load_dispatch[2])
_Directory._write_dispatch.setdefault(_UTF8, lambda _, text: text.encode("latin-1") + b"\0")


def orientation(image: Image.Image) -> int:
    """1 to 8, or whatever number it says; 1 where there is none."""
    try:
        return int(image.getexif().get(_Base.Orientation, 1))
    except Exception:  # damaged EXIF must not cost the picture
        return 1


def read(image: Image.Image) -> Metadata:
    """Metadata, and as captions all texts, also those of machines."""
    found: dict[str, Any] = {}
    captions: tuple[str, ...] = ()
    with _whatever_it_is():
        exif = image.getexif()
        if not exif:
            return Metadata()
        with _whatever_it_is():
            if camera := camera_name(exif.get(_Base.Make), exif.get(_Base.Model)):
                found["camera"] = camera
        with _whatever_it_is():
            captions = clean_captions(_texts(exif))
            if title := clean_text(utf16_in(exif.get(_Base.XPTitle)))[:MAX_CHARACTERS]:
                found["title"] = title
            if words := clean_keywords(utf16_in(exif.get(_Base.XPKeywords)).split(";")):
                found["keywords"] = words
        with _whatever_it_is():
            _add_details(found, exif.get_ifd(ExifTags.IFD.Exif))
        with _whatever_it_is():
            if taken := next(filter(None, (_moment(exif, *date) for date in _DATES[:2])), None):
                found["taken"] = taken
        with _whatever_it_is():
            found.update(_place(exif.get_ifd(ExifTags.IFD.GPSInfo)))
    return Metadata(captions, found)


def _texts(exif: Image.Exif) -> Iterator[str]:
    """What people, cameras and programs wrote, in every tag that there is for it."""
    yield readable(text_in(exif.get(_Base.ImageDescription)))
    comment = exif.get_ifd(ExifTags.IFD.Exif).get(_Base.UserComment)
    yield comment_in(comment, little=exif.endian == "<")
    for tag in (_Base.XPTitle, _Base.XPSubject, _Base.XPComment):
        yield readable(utf16_in(exif.get(tag)))


@contextmanager
def _whatever_it_is() -> Iterator[None]:
    """What was found so far is kept: parsers of hostile bytes raise anything at all."""
    try:
        yield
    except Exception:
        return


def _add_details(found: dict[str, Any], tags: _Tags) -> None:
    for name, (tag, low, high) in _NUMBERS.items():
        with _whatever_it_is():
            if (value := number_within(tags.get(tag), low, high)) is not None:
                found[name] = value
    readers: dict[str, Callable[[_Tags], Any]] = {
        "lens": _lens, "iso": _iso, "flash": _flash}
    for name, reader in readers.items():
        with _whatever_it_is():
            if (detail := reader(tags)) not in (None, ""):
                found[name] = detail


def _moment(exif: Image.Exif, date: int, fraction: int, zone: int) -> str | None:
    """The offset may be written beside another date that says the same."""
    details = exif.get_ifd(ExifTags.IFD.Exif)

    def told(tag: int) -> str:  # TIFFs and RAW pictures may have all tags in one directory
        return text_in(details.get(tag)) or text_in(exif.get(tag))

    if not (written := told(date)):
        return None
    offset = told(zone) or next((told(other) for same, _, other in _DATES
                                 if told(same) == written and told(other)), "")
    return moment(written, told(fraction), offset)


def fallback_date(image: Image.Image) -> str | None:
    """When a receiver or a program had the picture, for want of anything that says more."""
    with _whatever_it_is():
        exif = image.getexif()
        if found := _seen_by_satellites(exif.get_ifd(ExifTags.IFD.GPSInfo)):
            return found
    with _whatever_it_is():
        if found := _moment(image.getexif(), *_DATES[2]):
            return found
    with _whatever_it_is():
        tags = image.getexif().get_ifd(ExifTags.IFD.GPSInfo)
        return None if _Gps.GPSTimeStamp in tags else moment(text_in(tags.get(_Gps.GPSDateStamp)))
    return None


def _seen_by_satellites(tags: _Tags) -> str | None:
    """UTC."""
    date, time = text_in(tags.get(_Gps.GPSDateStamp)), tags.get(_Gps.GPSTimeStamp)
    if isinstance(time, str):
        return moment(f"{date} {time}", "", "Z") if date else None
    if not isinstance(time, (tuple, list)):
        return None
    parts = [number_within(part, 0, 60, 12) for part in time]
    if len(parts) != 3 or None in parts:
        return None
    hour, minute, second = (int(part or 0) for part in parts)
    fraction = f"{parts[2] or 0:.6f}".partition(".")[2].rstrip("0")
    return moment(f"{date} {hour:02}:{minute:02}:{second:02}", fraction, "Z")


def camera_name(make: object, model: object) -> str:
    """Maker and model in one, without saying "Canon Canon EOS 80D"."""
    maker, name = clean_text(text_in(make))[:100], clean_text(text_in(model))[:100]
    if name and maker and name.split()[0].lower() == maker.split()[0].lower():
        return name
    return f"{maker} {name}".strip()


def _lens(tags: _Tags) -> str | None:
    model = clean_text(text_in(tags.get(_Base.LensModel)))
    return None if _NO_LENS.fullmatch(model) else camera_name(tags.get(_Base.LensMake), model)


def _iso(tags: _Tags) -> int | None:
    for tag in _SENSITIVITIES:
        found = number_within(tags.get(tag), 1, 1e8)
        if found is not None and found != 65535:  # more than the first tag can hold
            return int(found)
    return None


def _flash(tags: _Tags) -> bool | None:
    found = number_within(tags.get(_Base.Flash), 0, 255)
    return None if found is None else bool(int(found) & 1)


def _place(tags: _Tags) -> dict[str, float]:
    altitude = number_within(tags.get(_Gps.GPSAltitude), -1e6, 1e6)
    below = tags.get(_Gps.GPSAltitudeRef) in (1, b"\1")
    return gps_position(_degrees(tags.get(_Gps.GPSLatitude), tags.get(_Gps.GPSLatitudeRef), "S"),
                    _degrees(tags.get(_Gps.GPSLongitude), tags.get(_Gps.GPSLongitudeRef), "W"),
                    -altitude if below and altitude is not None else altitude)


def _degrees(value: object, side: object, negative: str) -> float | None:
    """Degrees from degrees, minutes and seconds, the latter as far as they are there."""
    parts = value if isinstance(value, tuple) else (value,)
    known = [number_within(part, 0, 360, 12) for part in parts[:3]]
    if not known or known[0] is None:
        return None
    size = sum(((part or 0.0) / 60.0**power for power, part in enumerate(known)), 0.0)
    return -size if clean_text(side).upper()[:1] == negative else size
