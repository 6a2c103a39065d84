"""More like these, less like those: what is liked is found more of, and nothing is shown twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import DEMO

from mmsearch.collection.reader import Reader
from mmsearch.errors import ItemNotFound, UsageError
from mmsearch.records import Hit
from mmsearch.search.compose import KEPT_AWAY

BIRDS = {"wren", "nuthatch", "osprey"}


@pytest.fixture(scope="module")
def reader(demo_index: Path) -> Iterator[Reader]:
    with Reader.open(demo_index) as opened:
        yield opened


def names(hits: list[Hit]) -> list[str]:
    return [Path(hit.item.group or hit.item.uri).stem for hit in hits]


def id_of(reader: Reader, name: str) -> int:
    (row,) = reader.of_uris([str(DEMO / f"{name}.jpg")])
    return row.id


def test_rounds_go_through_a_collection_without_repeats(reader: Reader) -> None:
    session, shown = reader.feedback(text="an animal"), list[str]()
    while hits := session.next(12):
        shown += names(hits)
        session.like(hits[0].id)
        session.dislike(hits[-1].id)
    assert len(shown) == len(set(shown)) == 50


def test_what_is_liked_comes_nearer_and_what_is_disliked_goes(reader: Reader) -> None:
    wren, bus = id_of(reader, "wren"), id_of(reader, "bus")

    def places(*, like: int, dislike: int) -> dict[str, int]:
        session = reader.feedback(text="outdoors")
        session.like(like)
        session.dislike(dislike)
        return {name: place for place, name in enumerate(names(session.next(50)))}

    birds, buses = places(like=wren, dislike=bus), places(like=bus, dislike=wren)
    assert not {"wren", "bus"} & {*birds, *buses}
    assert all(birds[name] < buses[name] for name in BIRDS - {"wren"})


def test_without_feedback_it_is_a_search(reader: Reader) -> None:
    hits = reader.search(text="a bird", k=6)
    session = reader.feedback(text="a bird")
    assert session.next(4) + session.next(2) == hits


def test_what_it_begins_with_is_not_shown(reader: Reader) -> None:
    session = reader.feedback(image=DEMO / "wren.jpg", without_image=[str(DEMO / "osprey.jpg")])
    found = names(session.next(50))
    assert found[0] == "nuthatch"
    assert len(found) == 48
    assert not {"wren", "osprey"} & set(found)


def test_a_mind_may_be_changed(reader: Reader) -> None:
    one, other = (reader.feedback(image=DEMO / "cat.jpg") for _ in range(2))
    one.like(id_of(reader, "bus"))
    one.dislike(id_of(reader, "bus"))
    other.dislike(id_of(reader, "bus"))
    assert one.next() == other.next()


def test_similar_is_one_round(reader: Reader) -> None:
    session = reader.feedback(where="kind = image")
    session.like(id_of(reader, "wren"))
    hits = reader.similar(id_of(reader, "wren"), k=5, where="kind = image")
    assert hits == session.next(5)
    assert names(hits)[0] == "nuthatch"


def test_pictures_that_are_kept_away_count_little_together(reader: Reader) -> None:
    """So that less like a near one does not take away what both have in common."""
    wren, osprey, bus = (DEMO / f"{name}.jpg" for name in ("wren", "osprey", "bus"))
    rows = [reader.embed(images=[one]) for one in (wren, osprey, bus)]
    wanted = 2 * rows[0] - 2 * KEPT_AWAY / 2 * (rows[1] + rows[2])
    np.testing.assert_allclose(
        reader.embed(images=[wren], without_images=[osprey, bus], weights=[2]),
        wanted / np.linalg.norm(wanted), atol=1e-5)


def test_it_complains_plainly(reader: Reader) -> None:
    with pytest.raises(UsageError, match="give a text or a picture"):
        reader.feedback().next()
    with pytest.raises(ItemNotFound, match="there is no item 99999 in"):
        reader.feedback().like(99_999)
    with pytest.raises(UsageError, match="does not exist"):
        reader.feedback(image="nothing.jpg").next()
