"""When, where and with what a picture was taken, in a line for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmsearch.records import Item


def when_and_where(item: Item) -> str:
    """`2021-05-03, Lisbon`; empty where neither is known."""
    return ", ".join(_known(item.meta, "taken", "city", "country")[:2])


def legend(item: Item) -> str:
    """`2021-05-03, Lisbon, Portugal · Canon EOS 80D · 35 mm f/2.8 1/250 s ISO 800 · ★★★★`."""
    meta = item.meta
    parts = [", ".join(_known(meta, "taken", "city", "country")), *_known(meta, "camera"),
             " ".join(_settings(meta)), *_stars(meta), ", ".join(_listed(meta, "people"))]
    return " · ".join(part for part in parts if part)


def _known(meta: Mapping[str, Any], *names: str) -> list[str]:
    """The values that are there; of a moment only the day."""
    found = [(name, meta.get(name)) for name in names]
    return [value[:10] if name == "taken" else value for name, value in found
            if isinstance(value, str) and value]


def _settings(meta: Mapping[str, Any]) -> Iterator[str]:
    numbers = {name: value for name in ("focal_length", "aperture", "exposure", "iso")
               if isinstance(value := meta.get(name), (int, float)) and value > 0}
    if "focal_length" in numbers:
        yield f"{numbers['focal_length']:g} mm"
    if "aperture" in numbers:
        yield f"f/{numbers['aperture']:g}"
    if "exposure" in numbers:
        yield exposure(numbers["exposure"])
    if "iso" in numbers:
        yield f"ISO {numbers['iso']:g}"


def exposure(seconds: float) -> str:
    """As cameras show it: `1/250 s` below a third of a second, `2.5 s` from there on."""
    return f"{seconds:g} s" if seconds > 0.3 else f"1/{1 / seconds:.0f} s"


def _stars(meta: Mapping[str, Any]) -> Iterator[str]:
    rating = meta.get("rating")
    if isinstance(rating, int) and 1 <= rating <= 5:
        yield "★" * rating


def _listed(meta: Mapping[str, Any], name: str) -> list[str]:
    value = meta.get(name)
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
