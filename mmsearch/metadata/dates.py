"""Moments, in the forms that cameras and programs write them, as ISO 8601 has them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from mmsearch.metadata.fields import clean_text

_OFFSET = r"(?:UTC|GMT)?([+-])(\d\d?)(?::?(\d\d))?"
_ZONE = r"Z|UTC|GMT|(?:UTC|GMT)?[+-]\d\d?(?::?\d\d)?|[A-Z]{1,4}T"
"""Letters such as PST stand for several zones: they are left out."""
_NO_ZONE = r"(?(second)|(?!(?<=-\d\d)-)) (?(minute)|(?!\ ?-\d\d?(?!:?\d)))"
"""None after 10-30, unless seconds follow; and 10-3 is neither a time nor a time with a zone."""
_MOMENT = re.compile(
    r"(?P<year>\d{4}) (?: (?P<to>[-:/.])?(?P<month>(?(to)\d\d?|\d\d))"
    r"(?: (?(to)(?P=to))(?P<day>(?(to)\d\d?|\d\d)) (?:"
    r"(?:[T:_]|,?\ |-(?=\d\d:?\d\d:?\d\d)|(?=\d{6}(?!\d))) (?P<hour>\d\d|\d(?!\d))"
    r"(?: (?P<at>[:.]|-(?=\d\d))?(?P<minute>(?(at)\d\d?|\d\d))"
    r"(?: (?(at)(?P=at))(?P<second>(?(at)\d\d?|\d\d)) (?: [.,:](?P<fraction>\d+))? )? )?"
    r"(?: \ ?(?P<half>[AP])\.?M\.? )? " + _NO_ZONE + r" \ ?(?P<zone>" + _ZONE + r")?"
    r"(?: \ ?\[[^]]*\] )?"
    r")? )? )?", re.VERBOSE | re.IGNORECASE | re.ASCII)
_MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september",
           "october", "november", "december")
_SHORT = [name[:3] for name in _MONTHS]
_WORD = rf"(?P<month>{'|'.join([*_MONTHS, *_SHORT, 'sept'])})\.?"
_LATE = r"(?P<day>1[3-9]|2\d|3[01])"
_YEAR_LAST = [re.compile(form, re.IGNORECASE | re.ASCII) for form in (
    _LATE + r"([-/.:])(?P<month>\d\d?)\2(?P<year>\d{4})(?P<time>.*)",
    r"(?P<month>\d\d?)([-/.:])" + _LATE + r"\2(?P<year>\d{4})(?P<time>.*)",
    r"(?:[a-z]{3,9},? )?(?P<day>\d\d?)[- ]" + _WORD + r",?[- ](?P<year>\d{4})(?P<time>.*)",
    r"(?:[a-z]{3,9},? )?" + _WORD + r" (?P<day>\d\d?), (?P<year>\d{4})(?P<time>.*)",
    r"[a-z]{3} " + _WORD + r" (?P<day>\d\d?)(?P<time> .+) (?P<year>\d{4})")]
"""Where no one doubts which number is the day: it is more than 12, or the month a word."""
_EARLIEST = 1000
_FARTHEST = 14
_NEVER_SET = (datetime(1970, 1, 1), datetime(1904, 1, 1))
"""Where clocks begin: of computers, and in QuickTime."""


def moment(date: object, fraction: object = "", zone: object = "") -> str | None:
    """What is told of a date and time, else None: 2015, 2015-02, 2015-02-01, 2015-02-01T14:42:59,
    2015-02-01T14:42:59.25+01:00.

    fraction, zone: as written beside the date; what `date` says itself counts more.
    """
    # Blanks, and then lone colons, stand for what is not known.
    text = clean_text(date).rstrip(" -:/.").replace(": ", ":").replace("\u2212", "-")
    match = _MOMENT.fullmatch(text) or _MOMENT.fullmatch(_year_first(text))
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
    digits = re.fullmatch(r"(\d{1,9})\d*", match["fraction"] or clean_text(fraction), re.ASCII)
    return local.isoformat() + (f".{digits[1]}" if digits else "") + written


def _year_first(text: str) -> str:
    for form in _YEAR_LAST:
        if match := form.fullmatch(text):
            month = match["month"].lower()
            number = month if month.isdigit() else _SHORT.index(month[:3]) + 1
            return f"{match['year']}-{number}-{match['day']}{match['time']}"
    return ""


def _since_midnight(match: re.Match[str]) -> timedelta:
    """24:00:00 is the next day; a leap second, the next minute."""
    hour, minute, second = (int(match[part] or 0) for part in ("hour", "minute", "second"))
    if match["half"]:
        if not 1 <= hour <= 12:
            raise ValueError("no hour of a half day")
        hour = hour % 12 + (12 if match["half"].lower() == "p" else 0)
    if minute > 59 or second > 60 or (hour, minute, second) > (24, 0, 0):
        raise ValueError("no time of a day")
    return timedelta(hours=hour, minutes=minute, seconds=second)


def _zone(value: object) -> str:
    """`+01:00`, however it is written; empty if it is no offset from UTC."""
    text = clean_text(value)
    if re.fullmatch("Z|UTC|GMT", text, re.IGNORECASE):
        return "+00:00"
    match = re.fullmatch(_OFFSET, text, re.IGNORECASE | re.ASCII)
    if match is None or int(match[2]) > _FARTHEST or int(match[3] or 0) > 59:
        return ""
    return f"{match[1]}{match[2]:0>2}:{match[3] or '00'}"
