"""A photo and its movie, such as a Live Photo, are one moment: one of them is shown."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from mmsearch.formats import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from mmsearch.records import Item
from mmsearch.uris import nfc

_SECONDS = 5
"""Between a photo and the end of its movie, in times that may be rounded."""
_DAY, _ZONE = 86_400, 900
"""Seconds that time zones differ by, or a multiple: a time need not say which it is in."""


class Moments:
    """The photos and movies that were shown so far."""

    def __init__(self) -> None:
        self._shown: dict[tuple[str, bool], list[Item]] = {}

    def is_shown(self, item: Item) -> bool:
        """Whether the other half of a moment was: a movie of the same name, folder and time as a
        photo, or the reverse. If not, the item counts as shown from now on."""
        stem, suffix = _split(item.group)
        is_movie = suffix in VIDEO_SUFFIXES
        if not is_movie and suffix not in IMAGE_SUFFIXES:
            return False
        if is_movie:  # IMG_1.HEIC.MOV
            before, inner = _split(stem)
            stem = before if inner in IMAGE_SUFFIXES else stem
        if any(_agree(item, other) for other in self._shown.get((stem, not is_movie), ())):
            return True
        self._shown.setdefault((stem, is_movie), []).append(item)
        return False


def _split(uri: str) -> tuple[str, str]:
    stem, dot, suffix = uri.rpartition(".")
    return nfc(stem).lower(), (dot + suffix).lower()


def _agree(one: Item, other: Item) -> bool:
    """Whether both were taken at one time; where one does not say, whether they were written then.
    """
    for field in ("taken", "modified"):
        first, second = _time(one.meta.get(field)), _time(other.meta.get(field))
        if first and second:
            return _apart(first, second) <= _SECONDS
    return False


def _apart(first: datetime, second: datetime) -> float:
    """Seconds, but for those of a time zone that one of the two does not say."""
    if (first.tzinfo is None) == (second.tzinfo is None):
        return abs((first - second).total_seconds())
    seconds = abs((first.replace(tzinfo=None) - second.replace(tzinfo=None)).total_seconds())
    return min(seconds % _ZONE, -seconds % _ZONE) if seconds < _DAY else seconds


def _time(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
