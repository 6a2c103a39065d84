"""XMP packets (ISO 16684-1), inside a picture or in an `.xmp` beside it, as captions and metadata.

Packets come from strangers: defusedxml refuses any that declare entities or a document type, so
that none can grow when it is read or make us read anything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mmsearch.metadata.dates import moment
from mmsearch.metadata.fields import (
    MAX_CHARACTERS,
    Metadata,
    clean_captions,
    clean_keywords,
    clean_text,
    gps_position,
    number_within,
)

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MOST_BYTES = 8 << 20
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_DC = "{http://purl.org/dc/elements/1.1/}"
_XMP = "{http://ns.adobe.com/xap/1.0/}"
_EXIF = "{http://ns.adobe.com/exif/1.0/}"
_PHOTOSHOP = "{http://ns.adobe.com/photoshop/1.0/}"
_IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
_LIGHTROOM = "{http://ns.adobe.com/lightroom/1.0/}"
_DIGIKAM = "{http://www.digikam.org/ns/1.0/}"
_REGIONS = "{http://www.metadataworkinggroup.com/schemas/regions/}"
_MICROSOFT = "{http://ns.microsoft.com/photo/1.2/t/Region#}"
_COORDINATE = re.compile(
    r"(\d{1,3}),(\d{1,2}(?:\.\d+)?)(?:,(\d{1,2}(?:\.\d+)?))?([NSEW])", re.ASCII)
_DATES = (_EXIF + "DateTimeOriginal", _PHOTOSHOP + "DateCreated", _EXIF + "DateTimeDigitized",
          _XMP + "CreateDate", _EXIF + "GPSTimeStamp")
_TREES = ((_LIGHTROOM + "hierarchicalSubject", "|"), (_DIGIKAM + "TagsList", "/"))


def read(packet: bytes) -> Metadata:
    """ValueError: it is no XMP, with the reason in one line."""
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import ParseError, fromstring

    if len(packet) > MOST_BYTES:
        raise ValueError(f"XMP of more than {MOST_BYTES >> 20} MB")
    try:
        root = fromstring(packet.strip(b"\0 \t\r\n"), forbid_dtd=True)
    except DefusedXmlException as error:
        raise ValueError("XMP with a document type or entities, which it never needs") from error
    except (ParseError, LookupError, ValueError) as error:  # LookupError: an unknown encoding
        raise ValueError(f"damaged XMP: {' '.join(str(error).split())[:100]}") from error
    return _metadata(root)


def _metadata(root: Element) -> Metadata:
    title = next(iter(clean_captions(_values(root, _DC + "title"))), "")
    meta: dict[str, Any] = {
        "title": clean_text(title)[:MAX_CHARACTERS],
        "keywords": clean_keywords([*_values(root, _DC + "subject"), *_tags(root)]),
        "people": clean_keywords(_people(root)),
        "rating": _rating(_first(root, _XMP + "Rating")),
        "taken": next(filter(None, (moment(_first(root, name)) for name in _DATES)), None),
        "country": clean_text(_first(root, _PHOTOSHOP + "Country"))[:MAX_CHARACTERS],
        "region": clean_text(_first(root, _PHOTOSHOP + "State"))[:MAX_CHARACTERS],
        "city": clean_text(_first(root, _PHOTOSHOP + "City"))[:MAX_CHARACTERS],
        **gps_position(_degrees(_first(root, _EXIF + "GPSLatitude")),
                   _degrees(_first(root, _EXIF + "GPSLongitude"))),
    }
    found = {name: value for name, value in meta.items() if value not in (None, "", [])}
    described = clean_captions(_values(root, _DC + "description"))
    return Metadata(described or clean_captions([title]), found)


def _values(root: Element, name: str) -> Iterator[str]:
    """The values of a property, written as an element, a list in one, or an attribute."""
    for element in root.iter():
        if element.tag == name:
            # Not wherever below: properties of this name in each other would take hours.
            listed = [item.text or "" for path in (f"*/{_RDF}li", f"{_RDF}li")
                      for item in element.iterfind(path)]
            yield from listed or [element.text or ""]
        elif name in element.attrib:
            yield element.attrib[name]


def _first(root: Element, name: str) -> str:
    return next(_values(root, name), "")


def _tags(root: Element) -> Iterator[str]:
    """Each level of tags that are in a tree: Lightroom separates them by |, digiKam by /."""
    for name, separator in _TREES:
        for value in _values(root, name):
            yield from value.split(separator)


def _people(root: Element) -> Iterator[str]:
    """Names given by hand, and names of faces that were marked."""
    yield from _values(root, _IPTC + "PersonInImage")
    yield from _values(root, _MICROSOFT + "PersonDisplayName")
    for region in root.iter():
        if _first_of(region, _REGIONS + "Type") == "Face":
            yield _first_of(region, _REGIONS + "Name")


def _first_of(element: Element, name: str) -> str:
    return element.attrib.get(name) or element.findtext(name) or ""


def _rating(value: str) -> int | None:
    found = number_within(clean_text(value), -1, 5)
    return None if found is None else int(found)


def _degrees(value: str) -> float | None:
    """Degrees from `38,43.338N` or `38,43,20N`."""
    match = _COORDINATE.fullmatch(clean_text(value))
    if match is None:
        return None
    size = int(match[1]) + float(match[2]) / 60 + float(match[3] or 0) / 3600
    return -size if match[4] in "SW" else size
