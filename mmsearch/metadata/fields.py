"""Metadata of a picture: its fields, and values that make sense."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, SupportsFloat, cast

FIELDS: dict[str, tuple[str, str]] = {
    "width": ("integer", "pixels of the upright picture"),
    "height": ("integer", "pixels of the upright picture"),
    "format": ("text", "the true format, whatever the file's name says: JPEG, HEIC, …"),
    "size": ("integer", "bytes of the file"),
    "damaged": ("text", "what is missing in a damaged picture: the last 2 % are missing"),
    "colour": ("list", "basic colour terms, the largest area first"),
    "taken": ("date", "local time, as exactly as it is known, with fraction and offset from UTC"),
    "camera": ("text", "maker and model"),
    "lens": ("text", "maker and model"),
    "exposure": ("number", "seconds"),
    "aperture": ("number", "f-number: 2.8 for f/2.8"),
    "iso": ("integer", "sensitivity"),
    "focal_length": ("number", "millimetres"),
    "focal_length_equivalent": ("number", "millimetres, for 35 mm film"),
    "flash": ("true/false", "whether it fired"),
    "latitude": ("number", "degrees, north is positive"),
    "longitude": ("number", "degrees, east is positive"),
    "altitude": ("number", "metres above the sea"),
    "country": ("text", "as a person wrote it, else that of the nearest place"),
    "region": ("text", "state or province, from the same sources"),
    "city": ("text", "from the same sources; a town within 15 km of a city of 100,000 counts as "
                     "that city"),
    "district": ("text", "the nearest place, if that is not the city"),
    "title": ("text", "title"),
    "description": ("list", "descriptions and comments inside the picture, also those of machines"),
    "keywords": ("list", "keywords and tags; `Places/Portugal/Lisbon` counts as three"),
    "people": ("list", "names of people, as tagged"),
    "rating": ("integer", "stars, 0 to 5; -1 is rejected"),
}
"""All metadata that is found in or beside a picture: its type, and what it is."""

CONTAINER_FIELDS = frozenset({"duration", "codec", "fps", "pages"})
"""What is found beyond that in videos and documents, see `media.frames`."""
PIXEL_FIELDS = frozenset({"width", "height", "format", "colour", "damaged"})
"""What it takes a decoder to know."""
LABEL, CONFIDENCE = "label:", "confidence:"
"""What the fields begin with that `mmsearch classify` writes."""
_PLACE = ("latitude", "longitude", "altitude")
_OWN_FIRST = ("taken", *_PLACE)
UNSURE = "unsure date"
"""Until a picture's metadata are merged with those beside it: a date that may be of a change."""
MOST_CAPTIONS, MOST_WORDS, MAX_CHARACTERS = 64, 256, 200
"""Captions of one picture, keywords or names of one picture, characters of one such value."""

_STOPS = (".", "!", "?", "\u2026", "\u3002", "\uff01", "\uff1f")
_ENDS = ("".join(_STOPS) + " ,;:\"'`()[]-_*\u2013\u2014\u2018\u2019\u201a\u201c\u201d\u201e"
         "\xab\xbb\u3001")
_ASKED = re.compile(r"[^\x00-\x7f]+|\?+")


def is_label(name: str) -> bool:
    """Whether a field was written by `mmsearch classify`, and not said by anybody."""
    return name.startswith((LABEL, CONFIDENCE))


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a picture, or a file beside it, says of it.

    captions: whole texts, each once; meta: values of FIELDS, as JSON can hold them.
    """

    captions: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


def merge_metadata(picture: Mapping[str, Any], *beside: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata of a picture and of the files beside it, as one.

    The files count first, for people edit them instead of the picture; but when and where it was
    taken, the picture knows best. Lists are joined.
    """
    if all(name in picture for name in _PLACE[:2]):
        beside = tuple({name: value for name, value in one.items() if name not in _PLACE}
                       for one in beside)
    known = {name: value for name, value in picture.items() if name != UNSURE}
    found: dict[str, Any] = {}
    for one in (*beside, known):
        for name, value in one.items():
            if isinstance(value, list) and isinstance(found.get(name), list):
                found[name] = list(dict.fromkeys([*found[name], *value]))[:MOST_WORDS]
            else:
                found.setdefault(name, value)
    found.update({name: known[name] for name in _OWN_FIRST
                  if name in known and known[name] != picture.get(UNSURE)})
    return found


# --- values that make sense ---------------------------------------------------------------------


def clean_text(value: object) -> str:
    """One line of printable text up to the first NUL; empty for anything that is no text."""
    text = value.split("\0")[0] if isinstance(value, str) else ""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(text.split())


def clean_keywords(values: Iterable[object]) -> list[str]:
    """Keywords or names, each once."""
    found = dict.fromkeys(clean_text(value)[:MAX_CHARACTERS].strip() for value in values)
    return [word for word in found if word][:MOST_WORDS]


def clean_captions(values: Iterable[object]) -> tuple[str, ...]:
    """Texts that are not blank, each once, with their line ends."""
    found = dict.fromkeys(_paragraph(value) for value in values)
    return tuple(text for text in found if text)[:MOST_CAPTIONS]


def _paragraph(value: object) -> str:
    text = value if isinstance(value, str) else ""
    kept = (c if c.isprintable() or c == "\n" else " " for c in text.split("\0")[0])
    return "".join(kept).strip()


def distinct_captions(values: Iterable[object]) -> tuple[str, ...]:
    """Captions from several places, of those that say the same (see `caption_key`) the first that
    is written with most care; without those in which question marks are in place of what a writer
    of ASCII could not write."""
    texts = clean_captions(values)
    written = {_asked(text) for text in texts if not text.isascii()}
    found: dict[str, list[str]] = {}
    for text in texts:
        if not (text.isascii() and "?" in text and _asked(text) in written):
            found.setdefault(caption_key(text), []).append(text)
    return tuple(max(same, key=_care) for key, same in found.items() if key)


def _care(text: str) -> tuple[bool, bool]:
    return not (text.islower() or text.isupper()), text.endswith(_STOPS)


def _asked(text: str) -> str:
    return _ASKED.sub("?", " ".join(unicodedata.normalize("NFC", text).lower().split()))


def caption_key(text: str) -> str:
    """Equal for captions that say the same: but for case, blanks, how accents are composed, and
    punctuation at the ends. Empty for what says nothing."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split()).strip(_ENDS)


def number_within(value: object, low: float, high: float, digits: int = 7) -> float | None:
    """A finite number within bounds, to so many significant digits; of several, the first."""
    if isinstance(value, (tuple, list)):
        value = value[0] if value else None
    if isinstance(value, bool) or value is None:
        return None
    try:
        found = float(cast(SupportsFloat, value))
    except (TypeError, ValueError, ArithmeticError):
        return None
    if not math.isfinite(found) or not low <= found <= high:
        return None
    return float(f"{found:.{digits}g}")


def gps_position(latitude: object, longitude: object, altitude: object = None) -> dict[str, float]:
    """The three as far as they are known; nothing for 0, 0, where broken receivers are."""
    north, east = number_within(latitude, -90, 90, 9), number_within(longitude, -180, 180, 9)
    if north is None or east is None or north == east == 0:
        return {}
    up = number_within(altitude, -12_000, 100_000, 6)
    return {"latitude": north, "longitude": east} | ({} if up is None else {"altitude": up})
