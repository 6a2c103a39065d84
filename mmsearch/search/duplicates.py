"""Groups of the same picture: copies of a file, and pictures that were resized, recompressed,
cropped a little, brightened, watermarked, mirrored or turned.

    copies       items of one content hash; nothing is decoded
    candidates   for each other content, the stored vectors nearest to its own; a vector tells what
                 is in a picture, so these are merely alike, and few are the same picture
    pairs        candidates whose pixels agree (see `media.perceptual`); only these are decoded.
                 They are the same if nothing differs that would be seen (see `media.closeup`), else
                 similar: a watermark, or a form that somebody else filled in
    groups       pictures that are connected by pairs that are the same, and each agree with the
                 best of the group, the one to keep: A like B and B like C do not put A and C
                 together. Then what is similar to the best of a group joins it

Memory grows by some 300 bytes a picture, whatever the number of candidates.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mmsearch.errors import MediaError, UsageError
from mmsearch.media import Alike, Likeness, perceptual
from mmsearch.records import Item
from mmsearch.search.duplicate_pairs import (
    KINDS,
    Contents,
    Pair,
    Pictures,
    Read,
    candidates,
    rank,
    same_content,
)
from mmsearch.sources import Skipped, locate, own_fingerprint
from mmsearch.storage import Condition, Row
from mmsearch.uris import fingerprint_of, is_unchanged

Star = list[tuple[int, Likeness]]
"""The pictures of a group with how alike each is to the first, which is the one to keep."""
_AGREES_WITH_BEST = 0.9
"""Share of the threshold that each picture of a group reaches with the one to keep."""
_ANOTHER_NAME = "another name of a file that is listed"
_SIMILAR = "similar"
_NO_FILE = "inside another file, or far away"


@dataclass(frozen=True, slots=True)
class Member:
    """A picture of a group.

    how: "" for the one to keep; "copy": the same content as that one; "same pixels": saved again
        without loss; "same", "mirrored", "turned" and the like: the same picture in another file;
        "similar": parts of it differ.
    score: how much of the detail agrees with the one to keep, 0 to 1.
    exact: its bytes or its pixels are those of a member before it, so nothing is lost without it.
    bytes: of the file.
    problem: why the file does not count: it has vanished, or is another name of one that is listed.
    """

    item: Item
    how: str
    score: float
    exact: bool
    bytes: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """The same picture several times; the first member is the one to keep: it has most pixels,
    then most bytes, then it is the oldest file, then the one with the shortest path."""

    members: tuple[Member, ...]

    @property
    def redundant(self) -> tuple[Member, ...]:
        """All that are there and need not be: nothing is lost without them."""
        return tuple(one for one in self.members if one.exact)

    @property
    def near(self) -> tuple[Member, ...]:
        """Others that are there and show the same picture, of less quality or changed."""
        return tuple(one for one in self.members[1:]
                     if not one.exact and not one.problem and not one.how.startswith(_SIMILAR))

    @property
    def freed(self) -> int:
        """Bytes of the redundant files."""
        return sum(one.bytes for one in self.redundant)


@dataclass
class Duplicates:
    """What was found: `groups` largest first; `unconfirmed` are candidates that could not be
    looked at, each with the reason; counts of pictures, candidate pairs and confirmed pairs."""

    groups: list[Group] = field(default_factory=list)
    unconfirmed: list[Skipped] = field(default_factory=list)
    pictures: int = 0
    candidates: int = 0
    confirmed: int = 0


def find_duplicates(read: Read, condition: Condition | None = None, *, exact: bool = False,
                    threshold: float = 0.8, k: int | None = None,
                    progress: Callable[[int], None] = lambda done: None) -> Duplicates:
    """The groups of one collection; see `Collection.duplicates`."""
    if not 0 < threshold <= 1:
        raise UsageError(f"--threshold must be above 0 and at most 1, not {threshold:g}")
    if k is not None and k < 1:
        raise UsageError(f"k must be at least 1, not {k}")
    seqs, twins = read(lambda catalog, _: (catalog.select(condition, KINDS),
                                           catalog.twins(condition, KINDS)))
    contents = Contents(read, seqs, twins)
    found = Duplicates(pictures=len(seqs))
    stars: list[Star] = []
    hashes: Mapping[int, str] = {}
    if exact:
        progress(len(seqs))
    else:
        stars, hashes = _near(contents, found, threshold, progress)
    alone = contents.copied - {place for star in stars for place, _ in star}
    stars += [[(place, Likeness(1.0, 0))] for place in sorted(alone)]
    groups = (_group(star, contents, hashes, found.unconfirmed) for star in stars)
    found.groups = sorted(filter(None, groups), key=_largest_first)[:k]
    found.unconfirmed = list(dict.fromkeys(found.unconfirmed))
    return found


def _largest_first(group: Group) -> tuple[int, int, str]:
    return -len(group.members), -group.freed, group.members[0].item.uri


def _near(contents: Contents, found: Duplicates, threshold: float,
          progress: Callable[[int], None]) -> tuple[list[Star], Mapping[int, str]]:
    """Groups of several contents, and the hashes of their pixels as far as they were compared."""
    pictures = Pictures(contents, _AGREES_WITH_BEST * threshold)
    confirmed: dict[Pair, Likeness] = {}
    for batch, pairs in candidates(contents):
        found.candidates += len(pairs)
        confirmed |= {pair: likeness for pair, likeness in pictures.compare(pairs).items()
                      if likeness.score >= threshold}
        progress(batch)
    found.confirmed = len(confirmed)
    ranks = {place: rank(rows[0]) for place, rows in contents.rows(
        sorted({place for pair in confirmed for place in pair})).items() if rows}
    confirmed = {pair: likeness for pair, likeness in confirmed.items()
                 if pair.one in ranks and pair.other in ranks}
    same = {pair: one for pair, one in confirmed.items() if one.alike >= Alike.SAME}
    stars = star_groups(same, ranks.__getitem__, pictures.compare, threshold)
    heads = {star[0][0]: star for star in stars}
    grouped = {place for star in stars for place, _ in star} - set(heads)
    similar = {pair: one for pair, one in confirmed.items() if not grouped.intersection(pair)}
    for (head, itself), *others in star_groups(
            similar, lambda place: (place not in heads, ranks[place]), pictures.compare, threshold):
        joining = [(place, one) for place, one in others if place not in heads]
        if head in heads:
            heads[head] += joining
        else:
            stars.append([(head, itself), *joining])
    progress(found.pictures - len(contents.seqs))
    found.unconfirmed += pictures.failed.values()
    return stars, pictures.hashes


def star_groups(confirmed: Mapping[Pair, Likeness], rank: Callable[[int], Any],
                look: Callable[[Sequence[Pair]], Mapping[Pair, Likeness]],
                threshold: float) -> list[Star]:
    """Confirmed pairs -> groups of pictures, the one to keep first.

    The best of each connected component takes with it all that it is connected with through
    pictures that agree with it too, if less (`look` compares them): a watermarked and a cropped
    copy may agree with the original, and less with each other. Then the best of the rest does the
    same. What is connected with none of these stays out.
    """
    known = dict(confirmed)
    linked: defaultdict[int, set[int]] = defaultdict(set)
    for pair in confirmed:
        linked[pair.one].add(pair.other)
        linked[pair.other].add(pair.one)
    groups: list[Star] = []
    left = set(linked)
    for start in sorted(linked):
        rest = sorted(_reached(start, linked, left) & left, key=rank)
        left.difference_update(rest)
        while len(rest) > 1:
            best, *others = rest
            pairs = {other: Pair(*sorted((best, other))) for other in others}
            known |= look([pair for pair in pairs.values() if pair not in known])
            likeness = {other: known.get(pair, Likeness(0.0, 0)) for other, pair in pairs.items()}
            linked[best] |= {other for other in others if likeness[other].score >= threshold}
            agreeing = {other for other in others
                        if likeness[other].score >= _AGREES_WITH_BEST * threshold}
            joined = _reached(best, linked, agreeing)
            if len(joined) > 1:
                groups.append([(best, Likeness(1.0, 0)),
                               *((other, likeness[other]) for other in others if other in joined)])
            rest = [other for other in others if other not in joined]
    return groups


def _reached(start: int, linked: Mapping[int, set[int]], among: set[int]) -> set[int]:
    """What is connected with `start` through members of `among`, and itself."""
    reached, waiting = {start}, [start]
    while waiting:
        new = (linked[waiting.pop()] & among) - reached
        reached |= new
        waiting += new
    return reached


def _group(star: Star, contents: Contents, hashes: Mapping[int, str],
           unconfirmed: list[Skipped]) -> Group | None:
    """The files of a group as they are now; None if no two different files are left."""
    rows = contents.rows([place for place, _ in star])
    members: list[Member] = []
    names: dict[tuple[int, int], str] = {}
    kept: set[int | str] = set()
    for number, (place, likeness) in enumerate(star):
        how = "copy" if number == 0 else _how(likeness)
        content = hashes.get(place) or place
        for row in rows[place]:
            try:
                size, problem = _on_disk(row, names)
            except MediaError as error:
                unconfirmed.append(Skipped.because(row.item.uri, error))
                continue
            exact = not problem and content in kept
            members.append(Member(row.item, how, likeness.score, exact, size, problem))
            if not problem:
                kept.add(content)
    # Stable: otherwise best first, as they are.
    members.sort(key=lambda one: (bool(one.problem), one.how.startswith(_SIMILAR)))
    if sum(one.problem != _ANOTHER_NAME for one in members) < 2:
        return None
    return Group((replace(members[0], how=""), *members[1:]))


def _how(likeness: Likeness) -> str:
    if likeness.alike == Alike.EQUAL:
        return "same pixels"
    turn = perceptual.TURNS[likeness.turn]
    if likeness.alike == Alike.SAME:
        return turn or "same"
    return ", ".join(filter(None, [_SIMILAR, turn]))


def _on_disk(row: Row, seen: dict[tuple[int, int], str]) -> tuple[int, str]:
    """A file's size, and why it does not count.

    Links to one file are one file: removing one name frees nothing, and may leave the other
    pointing nowhere.

    Raises:
        MediaError: the file is not what was indexed.
    """
    path = locate.own_file(row.item.uri)
    size = row.item.fingerprint.partition(":")[0]
    if path is None:
        now = locate.fingerprint(row.item.uri)
        if not is_unchanged(now, own_fingerprint(row.item.fingerprint)):
            same_content(row)
        return int(size) if size.isdigit() else 0, _NO_FILE
    try:
        status = path.stat()
    except OSError as error:
        reason = "gone" if isinstance(error, FileNotFoundError) else str(error.strerror)
        return int(size) if size.isdigit() else 0, reason
    if not is_unchanged(fingerprint_of(status), own_fingerprint(row.item.fingerprint)):
        same_content(row)
    first = seen.setdefault((status.st_dev, status.st_ino), row.item.uri)
    return status.st_size, "" if first == row.item.uri else _ANOTHER_NAME
