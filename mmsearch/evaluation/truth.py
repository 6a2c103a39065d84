"""Which pictures answer a caption, and which captions a picture.

By default each caption is a query of its own, and only its own picture answers it, even where
another picture has the very same caption; a picture is answered by any of its captions. Files of
several positives say otherwise, and so do captions that are merged.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mmsearch.errors import UsageError
from mmsearch.evaluation.pairs import Pair
from mmsearch.records import Ids


@dataclass(frozen=True, slots=True)
class Truth:
    """images_of: for each caption the pictures that answer it, none if it is no query;
    captions_of: the same for each picture;
    groups: the picture that each caption was written for, int64 [captions]."""

    images_of: list[Ids]
    captions_of: list[Ids]
    groups: Ids

    @classmethod
    def owned(cls, owners: Ids, images: int) -> Truth:
        """owners: the one picture that answers each caption; images: how many there are."""
        order = np.argsort(owners, kind="stable")
        ends = np.cumsum(np.bincount(owners, minlength=images))[:-1]
        return cls(list(owners[:, np.newaxis]), np.split(order, ends), owners)

    @property
    def text_queries(self) -> Ids:
        """The captions that are queries."""
        return np.flatnonzero([len(one) for one in self.images_of])

    @property
    def image_queries(self) -> Ids:
        return np.flatnonzero([len(one) for one in self.captions_of])

    def only(self, kept: npt.NDArray[np.bool_]) -> Truth:
        """Without the other captions; kept: bool [captions]."""
        number = np.cumsum(kept) - 1
        return Truth([one for one, stays in zip(self.images_of, kept, strict=True) if stays],
                     [number[one[kept[one]]] for one in self.captions_of], self.groups[kept])


@dataclass(frozen=True, slots=True)
class Captions:
    """The captions of pairs in order, their languages ("" if not said), and what answers what."""

    texts: list[str]
    languages: list[str]
    truth: Truth


def one_per_picture(pairs: Iterable[Pair]) -> list[Pair]:
    """Pairs of the same picture in several splits become one."""
    found: dict[str, Pair] = {}
    for pair in pairs:
        same = found.setdefault(pair.uri, pair)
        if same is not pair:
            found[pair.uri] = replace(
                same, captions=same.captions + pair.captions,
                languages=_known(same.languages, same) + _known(pair.languages, pair),
                caption_ids=_known(same.caption_ids, same) + _known(pair.caption_ids, pair))
    return list(found.values())


def _known(of_captions: tuple[str, ...], pair: Pair) -> tuple[str, ...]:
    return of_captions or ("",) * len(pair.captions)


def captions_of(pairs: Sequence[Pair], *, merge: bool = False,
                positives: Iterable[Path] = ()) -> Captions:
    """All captions of pairs, numbered, and what answers what.

    merge: equal captions are one, answered by all their pictures.
    positives: files of answers, in which each picture or caption that is a query has several.

    UsageError: such a file cannot be read, or names what is not in the pairs.
    """
    texts = [text for pair in pairs for text in pair.captions]
    languages = [name for pair in pairs for name in _known(pair.languages, pair)]
    owners = np.repeat(np.arange(len(pairs), dtype=np.int64),
                       [len(pair.captions) for pair in pairs])
    truth = Truth.owned(owners, len(pairs))
    for path in positives:
        truth = _with_positives(truth, path, pairs)
    if not merge:
        return Captions(texts, languages, truth)
    number: dict[tuple[str, str], int] = {}
    merged = np.array([number.setdefault(one, len(number))
                       for one in zip(texts, languages, strict=True)], np.int64)
    images_of: list[list[Ids]] = [[] for _ in number]
    for at, images in zip(merged, truth.images_of, strict=True):
        images_of[at].append(images)
    _, first = np.unique(merged, return_index=True)
    return Captions(
        [text for text, _ in number], [language for _, language in number],
        Truth([np.unique(np.concatenate(images)) for images in images_of],
              [np.unique(merged[one]) for one in truth.captions_of], owners[first]))


def _with_positives(truth: Truth, path: Path, pairs: Sequence[Pair]) -> Truth:
    """Answers to captions or to pictures, whichever a file is about, in the place of the others."""
    answers = _read_positives(path)
    images = _numbers(pair.id for pair in pairs)
    captions = _numbers(one for pair in pairs for one in _known(pair.caption_ids, pair))
    if not (images and captions):
        raise UsageError(f"{path} names pictures and captions by their ids, and the pairs have "
                         "none; expected cocoid and sentids, as in Karpathy's dataset_coco.json")
    unknown = []
    for of, their in ((captions, images), (images, captions)):
        missing = [one for key, values in answers.items() for one, known in
                   ((key, of), *((value, their) for value in values)) if one not in known]
        if not missing:
            about_captions = of is captions
            rows: list[Ids] = [np.empty(0, np.int64)] * len(
                truth.images_of if about_captions else truth.captions_of)
            for key, values in answers.items():
                rows[of[key]] = np.array(sorted(their[value] for value in values), np.int64)
            return (replace(truth, images_of=rows) if about_captions
                    else replace(truth, captions_of=rows))
        unknown.append(missing)
    fewest = min(unknown, key=len)
    raise UsageError(f"{path}: {len(fewest)} of its ids are not in the pairs (first: {fewest[0]}); "
                     "it needs all pictures and captions of its split (--split)")


def _numbers(ids: Iterable[str]) -> dict[str, int]:
    return {one: n for n, one in enumerate(ids) if one}


def _read_positives(path: Path) -> Mapping[str, list[str]]:
    """As ECCV Caption has them: {"query id": [ids of what answers it, ...]}."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path}: invalid JSON: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(one, list) for one in found.values()):
        raise UsageError(f'{path}: expected answers by query, {{"id": [ids, ...]}}')
    return {key: [str(value) for value in values] for key, values in found.items() if values}
