"""Names of places, by position."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmsearch.metadata import place_names


def named(latitude: float, longitude: float) -> dict[str, Any]:
    found = place_names.with_place_names({"latitude": latitude, "longitude": longitude})
    return {name: value for name, value in found.items() if isinstance(value, str)}


def test_place_names() -> None:
    pytest.importorskip("reverse_geocode")
    assert named(38.7223, -9.1393) == {"country": "Portugal", "region": "Lisbon",
                                       "city": "Lisbon", "district": "Intendente"}
    assert named(46.8, 8.2) == {"country": "Switzerland", "region": "Obwalden", "city": "Lungern"}
    assert named(0.5, -30.0) == {}  # the open sea
    assert named(90.0, 0.0) == named(-90.0, 123.0) == {}


@pytest.mark.parametrize("longitude", [179.966, 179.999, 180.0, -180.0, -179.999, -179.933])
def test_places_on_the_other_side_of_180_degrees(longitude: float) -> None:
    pytest.importorskip("reverse_geocode")
    assert named(-16.767, longitude)["country"] == "Fiji"


def test_where_degrees_are_narrow_the_nearest_place_is_the_nearest() -> None:
    pytest.importorskip("reverse_geocode")
    assert named(68.35, 18.83)["city"] == "Bjerkvik"
    assert named(69.05, 20.79)["city"] == "Hatteng"
    assert named(78.22, 15.65)["city"] == "Longyearbyen"


def test_the_nearest_place_is_that_of_all_great_circles() -> None:
    """Against the haversine formula to every place, over the whole globe and near some places."""
    pytest.importorskip("reverse_geocode")
    known = place_names._places()
    assert known
    random = np.random.default_rng(1)
    for places in known:
        at = np.array([(one["latitude"], one["longitude"]) for one in places._places])
        sphere = np.stack([np.degrees(np.arcsin(random.uniform(-1, 1, 40))),
                           random.uniform(-180, 180, 40)], 1)
        near = at[random.integers(len(at), size=40)] + random.normal(0, 0.2, (40, 2))
        edges = [(90, 0), (-90, 77), (0, 180), (0, -180), (66, 179.99), (66, -179.99)]
        for north, east in [*sphere, *np.clip(near, (-90, -180), (90, 180)), *edges]:
            one, kilometres = places.nearest(north, east)
            all_of_them = haversine(at, north, east)
            assert kilometres == pytest.approx(all_of_them.min(), abs=1e-3)
            mine = haversine(np.array([(one["latitude"], one["longitude"])]), north, east)
            assert mine[0] == pytest.approx(all_of_them.min(), abs=1e-3)


def haversine(at: np.ndarray, north: float, east: float) -> np.ndarray:
    to, over = np.radians(at[:, 0] - north) / 2, np.radians(at[:, 1] - east) / 2
    part = np.sin(to) ** 2 + (np.cos(np.radians(north)) * np.cos(np.radians(at[:, 0]))
                              * np.sin(over) ** 2)
    return np.asarray(2 * 6371 * np.arcsin(np.sqrt(np.clip(part, 0, 1))))


def test_what_a_person_wrote_about_the_place_stays() -> None:
    said = {"latitude": 40.71, "longitude": -74.0, "city": "Big Apple"}
    assert place_names.with_place_names(said) == said


def test_without_the_extra_a_position_stays_a_position(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "reverse_geocode", None)
    place_names._places.cache_clear()
    place_names._names.cache_clear()
    try:
        said = {"latitude": 38.7223, "longitude": -9.1393}
        assert place_names.with_place_names(said) == said
    finally:
        place_names._places.cache_clear()
        place_names._names.cache_clear()


def test_place_names_are_loaded_only_for_a_position() -> None:
    import subprocess

    code = ("import sys; from mmsearch.metadata.place_names import with_place_names; "
            "with_place_names({'iso': 100}); "
            "print('reverse_geocode' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "False"
