"""Groups, their names, and places in the plane."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import unit_vectors

from mmsearch import Collection
from mmsearch.classification import cluster, common_words, gather, named, places_of, read_labels
from mmsearch.classification.layout import neighbours
from mmsearch.errors import UsageError
from mmsearch.records import Vectors


def heaps(each: int, count: int = 3) -> tuple[Vectors, np.ndarray]:  # type: ignore[type-arg]
    """Vectors around a few others, and which each is near to; the first heap is twice as large."""
    of = np.array([0] * each + [n for n in range(count) for _ in range(each)])
    vectors = unit_vectors(count, 32)[of] + 0.4 * unit_vectors(len(of), 32, seed=1)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), of


def test_what_lies_together_is_one_cluster_and_the_largest_comes_first() -> None:
    vectors, of = heaps(40)
    found, centres = cluster(vectors, 3)
    assert len(set(zip(found.tolist(), of.tolist(), strict=True))) == 3
    assert np.bincount(found).tolist() == [80, 40, 40]
    assert centres.shape == (3, 32)
    again, _ = cluster(vectors, 3)
    np.testing.assert_array_equal(found, again)
    for wrong in (1, 201):
        with pytest.raises(UsageError, match="--clusters takes a number from 2 to 200"):
            cluster(vectors, wrong)


def test_copies_are_no_more_clusters_than_there_are_pictures() -> None:
    found, _ = cluster(np.repeat(unit_vectors(2, 8), 5, axis=0))
    assert np.bincount(found).tolist() == [5, 5]


def test_neighbours_begin_with_the_item_itself_even_among_copies() -> None:
    vectors = np.concatenate([unit_vectors(30, 16), np.repeat(unit_vectors(1, 16, seed=3), 6, 0)])
    ids, distances = neighbours(vectors, 4)
    np.testing.assert_array_equal(ids[:, 0], np.arange(36))
    assert all(len(set(row)) == 4 for row in ids.tolist())
    cosines = vectors @ vectors.T
    expected = 1 - np.sort(cosines[:30], axis=1)[:, ::-1][:, :4]
    np.testing.assert_allclose(distances[:30], expected, atol=5e-3)


def test_places_keep_together_what_is_alike_and_are_the_same_again() -> None:
    vectors, of = heaps(30)
    places = places_of(vectors)
    assert places.shape == (120, 2) and places.min() >= 0 and places.max() <= 1
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    assert (of[apart.argmin(1)] == of).mean() > 0.95
    np.testing.assert_array_equal(places, places_of(vectors))


@pytest.mark.parametrize("count", [2, 3, 9])
def test_a_few_have_places_too(count: int) -> None:
    places = places_of(unit_vectors(count, 16))
    assert places.shape == (count, 2) and np.isfinite(places).all()
    assert len(np.unique(places, axis=0)) == count


def test_groups_have_names_that_fit(demo_index: Path) -> None:
    demo = Collection.open(demo_index)
    things = gather(demo, "image", where="path = */cat.jpg or path = */dogs.jpg or path = "
                    "*/otter.jpg or path = */temple.jpg or path = */colosseum.jpg or path = "
                    "*/skyline.jpg")
    of, centres = cluster(things.images, 2)
    words = read_labels("animal,building,vehicle,fruit", ["{}"])
    groups = named(things, of, centres, words, demo.encoder)
    assert {one.name for one in groups} == {"animal", "building"}
    for one in groups:
        assert 0 < one.confidence <= 1 and one.name not in one.also
        stems = {Path(things.rows[n].item.uri).stem for n in one.items}
        assert stems == ({"cat", "dogs", "otter"} if one.name == "animal"
                         else {"temple", "colosseum", "skyline"})


def test_the_common_words_are_single_words() -> None:
    words = [one.name for one in common_words()]
    assert len(words) == len(set(words)) > 2000
    assert {"cat", "mountain", "watch"} <= set(words) and all(map(str.isalpha, words))
