"""What `mmsearch teach` gives: made-up names for what a few pictures show, asked for afterwards.

    python bench/teach.py --data DATA --split val

DATA has the folders fashion_products, tuxpaint_stamps and flickr8k, each with pairs.jsonl. A name
("Zorblax") is given to 1, 3 or 5 random pictures of a kind (of product, of stamp) or of what a noun
of captions names; these pictures are then left out of what is searched. Asked for are

    name        the name alone; right is what else is of the kind
    sentence    the name in sentences that say nothing else of note
    colour      "red NAME": products of this kind and colour
    caption     captions of photographs with the name in the place of the noun; right is the picture

with and without a word for what it is (--is). Beside that: not taught at all, the plain mean of the
pictures as a query, and the words that the model knows ("red shirts"). Each figure is R@1 / R@10 /
mAP, in per cent, over all names and draws. `--unread OUT` adds kinds of pictures of which the model
has not read the names either: sky and emoji of `bench/unread.py`.
"""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from measure import arguments, machine, table, write_json

from mmsearch import load_encoder
from mmsearch.encoders import Encoder
from mmsearch.media import decode
from mmsearch.metrics import Ranks, average_precisions, hits_at
from mmsearch.records import Vectors
from mmsearch.search import Asked, Query, TextVectors, asked_of
from mmsearch.search.names import STRENGTH, Names
from mmsearch.search.relevance import kept_calibration
from mmsearch.storage import TaughtPicture

NAME = "Zorblax"
SENTENCES = ("a photo of {}", "{} on a white background", "two {}", "my {}",
             "a picture of the {} in the shop")
NOUNS = {noun: (noun,) for noun in (
    "dog", "boy", "girl", "bike", "horse", "skateboard", "snowboard", "surfer", "motorcycle",
    "baby", "ball", "bird", "kayak", "guitar", "car", "mountain", "umbrella", "pool", "beach",
    "hat", "football", "bench", "fountain", "tree", "boat")} | {"bike": ("bike", "bicycle")}
COUNTS = (1, 3, 5)

ROWS = ("not taught", "by its pictures", "taught", "taught --is", "the words it knows")


class Set(NamedTuple):
    rows: list[dict[str, Any]]
    vectors: Vectors


class Task(NamedTuple):
    """A name that was given to pictures of a kind, and what is asked: texts with {} for the name,
    and which pictures are right. kind: what it is, in words that the model knows."""

    what: str
    kind: str
    taught: list[int]
    asked: list[tuple[str, list[int]]]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--unread", type=Path, help="a folder that bench/unread.py has made")
    parser.add_argument("--strength", type=float, nargs="*", help="others than the engine's")
    args = parser.parse_args()
    encoder = load_encoder()
    sets = read(encoder, args.data, args.cache, args.split)
    if args.unread:
        sets |= {name: _read(encoder, args.unread / name, args.cache, splits) for name, splits in (
            ("sky", ("test",)), ("emoji", ("train", "test")))}
    print(machine())
    print(f"largest change of a sentence without the name: {cost(encoder, sets):g}")
    found: dict[str, Any] = {}
    for count in COUNTS:
        for strength in args.strength or [None]:
            columns = measured(encoder, sets, count, args.draws, strength)
            print(f"\n{count} picture{'s' * (count > 1)}, strength {strength or STRENGTH}")
            print(table(("", *(f"{name} ({len(rows[ROWS[0]])})" for name, rows in columns.items())),
                        [[row, *(shown(rows[row]) for rows in columns.values())] for row in ROWS]))
            found[f"{count}, {strength or STRENGTH}"] = {name: {row: np.mean(values, 0).tolist()
                                                    for row, values in rows.items()}
                                             for name, rows in columns.items()}
    write_json(args.json, split=args.split, model=encoder.name, found=found)


def shown(values: Sequence[tuple[float, float, float]]) -> str:
    return " / ".join(f"{100 * value:.1f}" for value in np.mean(values, 0))


def read(encoder: Encoder, data: Path, cache: Path, split: str) -> dict[str, Set]:
    """The three folders; the stamps have no split val."""
    return {name: _read(encoder, data / name, cache, (other.get(split, split),))
            for name, other in (("fashion_products", {}), ("tuxpaint_stamps", {"val": "train"}),
                                ("flickr8k", {}))}


def _read(encoder: Encoder, folder: Path, cache: Path, splits: Sequence[str]) -> Set:
    lines = (folder / "pairs.jsonl").read_text("utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["split"] in splits]
    kept = cache / f"teach-{folder.name}-{'-'.join(splits)}-{encoder.name.rpartition('@')[2]}.npy"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, np.concatenate([encoder.encode_images(
            [decode(folder / row["image"], min_side=encoder.min_side).image
             for row in rows[at : at + 32]]) for at in range(0, len(rows), 32)]))
    return Set(rows, np.load(kept))


# -- what is asked ---------------------------------------------------------------------------------


def tasks(sets: dict[str, Set], count: int, draws: int) -> Iterator[tuple[Set, Task]]:
    rng = random.Random(1)
    for _ in range(draws):
        for folder, what, kind_of in (("fashion_products", "products", product),
                                      ("tuxpaint_stamps", "stamps", stamp),
                                      ("sky", "sky", in_sky), ("emoji", "emoji", emoji)):
            if not (some := sets.get(folder)):
                continue
            for kind, those in those_of(kind_of, some.rows).items():
                if len(those) >= (max(COUNTS) + 2 if folder != "emoji" else count + 1):
                    for task in of_kind(some, what, kind, those, rng.sample(those, count)):
                        yield some, task
        for task in of_nouns(sets["flickr8k"], count, rng):
            yield sets["flickr8k"], task


def product(row: dict[str, Any]) -> str:
    return str(row["attributes"]["articleType"]).lower()


def stamp(row: dict[str, Any]) -> str:
    parts = [part for part in row["category"].split("/") if part != "cartoon"]
    return "" if "symbols" in parts else parts[-1].replace("_", " ")


def in_sky(row: dict[str, Any]) -> str:
    return str(row["label"])


def emoji(row: dict[str, Any]) -> str:
    """Only names of which no word was read."""
    return str(row.get("strict", ""))


def those_of(key: Callable[[dict[str, Any]], str], rows: list[dict[str, Any]]
             ) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for n, row in enumerate(rows):
        found[key(row)].append(n)
    found.pop("", None)
    return found


def of_kind(some: Set, what: str, kind: str, those: list[int], taught: list[int]) -> Iterator[Task]:
    rest = [n for n in those if n not in taught]
    yield Task(f"{what}, name", kind, taught, [("{}", rest)])
    yield Task(f"{what}, sentence", kind, taught, [(text, rest) for text in SENTENCES])
    if what == "products":
        colours = those_of(lambda row: str(row["attributes"]["baseColour"]),
                           [some.rows[n] for n in rest])
        yield Task(f"{what}, colour", kind, taught, [
            (f"{colour.lower()} {{}}", [rest[n] for n in right])
            for colour, right in sorted(colours.items())])


def of_nouns(photos: Set, count: int, rng: random.Random) -> Iterator[Task]:
    """Names for what a noun names: pictures with it in at least two captions."""
    for kind, has in nouns(photos.rows).items():
        if len(has) < max(COUNTS) + 5:
            continue
        noun = pattern(kind)
        taught = rng.sample(has, count)
        rest = [n for n in has if n not in taught]
        captions = [(noun.sub("{}", caption), [n]) for n in rest
                    for caption in photos.rows[n]["captions"] if len(noun.findall(caption)) == 1]
        yield Task("photos, name", kind, taught, [("{}", rest)])
        yield Task("photos, caption", kind, taught, rng.sample(captions, min(12, len(captions))))


def nouns(rows: list[dict[str, Any]]) -> dict[str, list[int]]:
    """What has a noun in at least two captions."""
    return {noun: [n for n, row in enumerate(rows)
                   if sum(bool(pattern(noun).search(caption)) for caption in row["captions"]) >= 2]
            for noun in NOUNS}


def pattern(noun: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(NOUNS[noun])})\b", re.IGNORECASE)


# -- how it is answered ----------------------------------------------------------------------------


def measured(encoder: Encoder, sets: dict[str, Set], count: int, draws: int, strength: float | None
             ) -> dict[str, dict[str, list[tuple[float, float, float]]]]:
    """By what is asked and how it is answered: R@1, R@10 and average precision of each query."""
    strengths = STRENGTH if strength is None else dict.fromkeys(STRENGTH, strength)
    texts, calibration = TextVectors(100_000), kept_calibration(encoder)
    found: dict[str, dict[str, list[tuple[float, float, float]]]] = {}
    for some, task in tasks(sets, count, draws):
        kept = np.setdiff1d(np.arange(len(some.rows)), task.taught)
        pictures = some.vectors[task.taught]

        def asked(word: str, is_a: str | None = None, task: Task = task,
                  pictures: Vectors = pictures) -> Vectors:
            names = None if is_a is None else Names([
                TaughtPicture(NAME, is_a, str(n), encoder.name, vector)
                for n, vector in enumerate(pictures)], calibration, strengths)
            return vectors_of(encoder, [text.replace("{}", word) for text, _ in task.asked], texts,
                              names)

        mean = pictures.mean(0) / np.linalg.norm(pictures.mean(0))
        answers = dict(zip(ROWS, (
            asked(NAME), np.repeat(mean[None], len(task.asked), 0), asked(NAME, ""),
            asked(NAME, task.kind), asked(task.kind)), strict=True))
        right = [np.searchsorted(kept, numbers) for _, numbers in task.asked]
        for row, vectors in answers.items():
            scores = vectors @ some.vectors[kept].T
            ranks = ranks_of(scores, right)
            found.setdefault(task.what, {}).setdefault(row, []).extend(zip(
                hits_at(ranks.best, 1), hits_at(ranks.best, 10), average_precisions(ranks),
                strict=True))
    return found


def ranks_of(scores: Vectors, right: Sequence[Any]) -> Ranks:
    """Where all that is right comes, by scores [queries, pictures]."""
    return Ranks.of([np.argsort(np.argsort(-row))[those]
                     for row, those in zip(scores, right, strict=True)])


def cost(encoder: Encoder, sets: dict[str, Set]) -> float:
    """The greatest difference in any number of the vector of a caption, which has no taught name in
    it, by names that were taught."""
    captions = [caption for row in sets["flickr8k"].rows[:200] for caption in row["captions"]]
    names = Names([TaughtPicture(NAME, "dog", "", encoder.name, sets["flickr8k"].vectors[0])],
                  kept_calibration(encoder))
    texts = TextVectors()
    return float(np.abs(vectors_of(encoder, captions, texts, names)
                        - vectors_of(encoder, captions, texts)).max())


def vectors_of(encoder: Encoder, queries: Sequence[str], texts: TextVectors,
               names: Names | None = None) -> Vectors:
    """As the engine makes them of queries for pictures."""
    asked = asked_of([Query(text=query) for query in queries], encoder.dim, lambda how: encoder,
                     lambda name: None, texts, names)
    return np.stack([one.pictures for one in asked if isinstance(one, Asked)])


if __name__ == "__main__":
    main()
