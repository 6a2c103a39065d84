"""Moments, in the forms that cameras and programs write them, as ISO 8601 has them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from mmsearch.metadata.fields import clean_text

_ZONE = r"Z|UTC|GMT|[+-]\d\d(?::?\d\d)?"
_MOMENT = re.compile(
    r"(?P<year>\d{4}) (?: (?P<to>[-:/.]?)(?P<month>\d\d) (?: (?P=to)(?P<day>\d\d) (?:"
    r"(?:T|:|,?\ ) (?P<hour>\d\d):?(?P<minute>\d\d)(?: :?(?P<second>\d\d)"
    r"(?: [.,:](?P<fraction>\d+))? )? \ ?(?P<half>[AP]M)? \ ?(?P<zone>" + _ZONE + r")?"
    r")? )? )?", re.VERBOSE | re.IGNORECASE | re.ASCII)
_LONE_DIGIT = re.compile(r"(?<=[-:/ T])(\d)(?!\d)", re.ASCII)
_EARLIEST = 1000
_NEVER_SET = (datetime(1970, 1, 1), datetime(1904, 1, 1))
"""Where clocks begin: of computers, and in QuickTime."""


def moment(date: object, fraction: object = "", zone: object = "") -> str | None:
    """What is told of a date and time, else None: 2015, 2015-02, 2015-02-01, 2015-02-01T14:42:59,
    2015-02-01T14:42:59.25+01:00.

    fraction, zone: as written beside the date; what `date` says itself counts more.
    """
    # Blanks, and then lone colons, stand for what is not known; 9 may be written " 9".
    text = clean_text(date).rstrip(" -:/.").replace(": ", ":")
    match = _MOMENT.fullmatch(_LONE_DIGIT.sub(r"0\1", text))
    if match is None or int(match["year"]) < _EARLIEST:
        return None
    try:
        day = datetime(int(match["year"]), int(match["month"] or 1), int(match["day"] or 1))
        if match["hour"] is None:
            return day.date().isoformat()[:10 if match["day"] else 7 if match["month"] else 4]
        local = day + _since_midnight(match)
        written = _zone(match["zone"] or zone)
        utc = datetime.fromisoformat(f"{local.isoformat()}{written or '+00:00'}")
        if {local, local - (utc.utcoffset() or timedelta())}.intersection(_NEVER_SET):
            return None
    except (ValueError, OverflowError):
        return None
    digits = re.fullmatch(r"\d{1,9}", match["fraction"] or clean_text(fraction), re.ASCII)
    return local.isoformat() + (f".{digits[0]}" if digits else "") + written


def _since_midnight(match: re.Match[str]) -> timedelta:
    """24:00:00 is the next day; a leap second, the next minute."""
    hour, minute, second = (int(match[part] or 0) for part in ("hour", "minute", "second"))
    if match["half"]:
        if not 1 <= hour <= 12:
            raise ValueError("no hour of a half day")
        hour = hour % 12 + (12 if match["half"].lower() == "pm" else 0)
    if minute > 59 or second > 60 or (hour, minute, second) > (24, 0, 0):
        raise ValueError("no time of a day")
    return timedelta(hours=hour, minutes=minute, seconds=second)


def _zone(value: object) -> str:
    """`+01:00`, however it is written; empty if it is no offset from UTC."""
    text = _LONE_DIGIT.sub(r"0\1", clean_text(value))
    if re.fullmatch("Z|UTC|GMT", text, re.IGNORECASE):
        return "+00:00"
    match = re.fullmatch(r"([+-])(0\d|1[0-4])(?::?([0-5]\d))?", text, re.ASCII)
    return f"{match[1]}{match[2]}:{match[3] or '00'}" if match else ""
