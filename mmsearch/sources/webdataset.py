"""What lies in an archive, in samples: a picture, and in a tar the texts and columns beside it.

In shards as webdataset and img2dataset write them, members that follow each other and have one
name but for their endings are one sample: `0007.jpg`, its captions in `0007.txt`, one a line, and
its columns in `0007.json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from mmsearch.errors import MediaError
from mmsearch.sources.archives import Member
from mmsearch.sources.columns import split_columns
from mmsearch.sources.texts import decoded

COLUMNS = ".json"
_MAX_TEXT = 16 << 20
_MAX_MEMBERS = 64
"""Of one sample: what has more of one name is no sample, and is taken apart."""


@dataclass
class Sample:
    """pictures, with captions of the first and columns of all; or texts, each with its lines."""

    pictures: list[Member] = field(default_factory=list)
    captions: tuple[str, ...] = ()
    columns: dict[str, Any] = field(default_factory=dict)
    texts: list[tuple[Member, str]] = field(default_factory=list)
    problems: list[tuple[Member, str]] = field(default_factory=list)


def samples(members: Iterable[Member], wanted: Callable[[str], bool], *, pictures: Container[str],
            texts: Container[str], in_groups: bool) -> Iterator[Sample]:
    """Samples in the order of an archive.

    wanted: whether a name is not excluded. pictures, texts: the suffixes of either.
    in_groups: whether members of one name make one sample (in a tar), or each is its own.
    """
    sample, stem, found = Sample(), "", 0
    try:
        for member in members:
            name, suffix = _split(member.name)
            is_columns = in_groups and suffix == COLUMNS
            if not (suffix in pictures or suffix in texts or is_columns) or not wanted(member.name):
                continue
            if found and not (in_groups and name == stem and found < _MAX_MEMBERS):
                yield _finished(sample)
                sample, found = Sample(), 0
            stem, found = name, found + 1
            _put(sample, member, suffix in pictures, is_columns)
    except MediaError:
        if found:  # the sample before the damage is whole
            yield _finished(sample)
        raise
    if found:
        yield _finished(sample)


def _split(name: str) -> tuple[str, str]:
    stem, _, suffix = name.rpartition(".")
    return stem, f".{suffix.lower()}"


def _put(sample: Sample, member: Member, is_picture: bool, is_columns: bool) -> None:
    """Now, while the member can be read."""
    try:
        if is_picture:
            sample.pictures.append(member)
        elif is_columns:
            sample.columns = _columns(member)
        else:
            sample.texts.append((member, _text(member)))
    except MediaError as error:
        sample.problems.append((member, str(error)))


def _finished(sample: Sample) -> Sample:
    """What its texts and columns say of its picture, if it has one."""
    if sample.pictures:
        lines = tuple(line.strip() for _, text in sample.texts for line in text.splitlines())
        sample.captions, sample.texts = tuple(filter(None, lines)), []
        if sample.columns:
            _, captions, sample.columns = split_columns(sample.columns)
            sample.captions = sample.captions or captions
    return sample


def _text(member: Member) -> str:
    text = decoded(_small(member))
    if text is None:
        raise MediaError("not text")
    return text.replace("\0", "")


def _columns(member: Member) -> dict[str, Any]:
    try:
        found = json.loads(_small(member), parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise MediaError(f"invalid JSON: {error}") from error
    return found if isinstance(found, dict) else {}


def _small(member: Member) -> bytes:
    if member.size > _MAX_TEXT:
        raise MediaError(f"a text of {member.size:,} bytes in an archive, "
                         f"limit {_MAX_TEXT >> 20} MiB: unpack it")
    return member.read()
