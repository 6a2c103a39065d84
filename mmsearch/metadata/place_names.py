"""Names for where a picture was taken, without a network: the places of GeoNames (CC BY 4.0) with
1,000 inhabitants or more, from the package reverse_geocode (extra `places`).

Without the extra no place has a name; latitude and longitude are there all the same.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from math import asin, cos, radians, sin, sqrt
from typing import Any

EXTRA = "places"
_CITY, _CITY_KM, _FAR_KM = 100_000, 15, 100
_loading = threading.Lock()  # 0.8 s and 300 MB, once


def with_place_names(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata with country, region, city and district added, where only the position is known.

    The nearest place counts, up to 100 km away; a city of 100,000 within 15 km of the picture is
    its city then, and the nearest place its district, so that Lisbon is found by its name.
    """
    if not {"latitude", "longitude"} <= meta.keys() or meta.keys() & {"city", "country"}:
        return dict(meta)
    return {**meta, **_names(meta["latitude"], meta["longitude"])}


@functools.lru_cache(maxsize=4096)
def _names(latitude: float, longitude: float) -> dict[str, str]:
    with _loading:
        if (get := _getter()) is None:
            return {}
        nearest, city = get((latitude, longitude)), get((latitude, longitude), _CITY)
    here = (latitude, longitude)
    if _kilometres(here, nearest) > _FAR_KM:
        return {}
    inside = _kilometres(here, city) <= _CITY_KM and city["country"] == nearest["country"]
    names = {"country": nearest["country"], "region": nearest.get("state", ""),
             "city": (city if inside else nearest)["city"], "district": nearest["city"]}
    if names["district"] == names["city"]:
        del names["district"]
    return {name: value for name, value in names.items() if value}


@functools.cache
def _getter() -> Callable[..., dict[str, Any]] | None:
    try:
        from reverse_geocode import get
    except ImportError:
        return None
    found: Callable[..., dict[str, Any]] = get
    return found


def _kilometres(here: tuple[float, float], place: Mapping[str, Any]) -> float:
    """The great circle (haversine), on a sphere of 6,371 km."""
    north, east = map(radians, here)
    to_north, to_east = radians(place["latitude"]), radians(place["longitude"])
    part = (sin((to_north - north) / 2) ** 2
            + cos(north) * cos(to_north) * sin((to_east - east) / 2) ** 2)
    return 2 * 6371 * asin(sqrt(min(1.0, part)))
