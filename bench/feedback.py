"""What relevance feedback gives: `mmsearch similar`, `--not-image`, `Collection.feedback`.

    python bench/feedback.py --data DATA --split val

All pictures of the folders of bench/teach.py are searched together. Right is what is of one kind of
product or stamp, or what a noun of captions names. Printed are

1. the mean average precision of 1 to 10 right examples (random) and the three wrong pictures that
   are most like them: wrong ones left out, kept away from as the engine does it, and taken off at
   the full weight of an example each;
2. the share of all right pictures among the first 10, 20, 30 and 60 results, if of every ten shown
   the right ones are liked and the others disliked; beginning with a picture, and with a word.
   `classifier`: logistic regression, trained on what was liked (from five on), disliked, and a
   sample of the collection, in the place of the engine's own way; needs scikit-learn.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from measure import arguments, machine, table, write_json
from teach import nouns, product, ranks_of, read, stamp, those_of

from mmsearch import load_encoder
from mmsearch.collection.feedback import Feedback
from mmsearch.encoders import Encoder
from mmsearch.errors import MmsearchError
from mmsearch.metrics import average_precisions
from mmsearch.records import Hit, Item, Vectors
from mmsearch.search import Asked, Embedded, Query, TextVectors, asked_of
from mmsearch.storage import Row

ROUNDS, K, FEWEST = 6, 10, 12
EXAMPLES = (1, 2, 5, 10)
WRONG = 3
FROM = 5
"""So many liked pictures train a classifier."""


class Gallery:
    """Vectors as a collection that is searched exactly; ids are row numbers."""

    def __init__(self, encoder: Encoder, vectors: Vectors) -> None:
        self.encoder, self.vectors, self.texts = encoder, vectors, TextVectors()

    def rows(self, ids: Iterable[int]) -> dict[int, Row]:
        return {n: Row(n, n, Item(f"/{n}", "image"), "") for n in ids}

    def vector(self, row: Row) -> Vectors:
        found: Vectors = self.vectors[row.id]
        return found

    def asked(self, query: Query) -> Vectors:
        (asked,) = asked_of([query], self.encoder.dim, lambda how: self.encoder,
                            lambda name: None, self.texts)
        assert isinstance(asked, Asked)
        return asked.pictures

    def search_many(self, queries: Sequence[Query]) -> list[list[Hit] | MmsearchError]:
        return [[Hit(int(n), float(scores[n]), Item(f"/{n}", "image"))
                 for n in np.argsort(-scores)[: query.k]]
                for query in queries for scores in [self.vectors @ self.asked(query)]]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--draws", type=int, default=3)
    args = parser.parse_args()
    encoder = load_encoder()
    sets = read(encoder, args.data, args.cache, args.split)
    gallery = Gallery(encoder, np.concatenate([one.vectors for one in sets.values()]))
    kinds: dict[str, list[int]] = {}
    first = 0
    for name, found in (("fashion_products", those_of(product, sets["fashion_products"].rows)),
                        ("tuxpaint_stamps", those_of(stamp, sets["tuxpaint_stamps"].rows)),
                        ("flickr8k", nouns(sets["flickr8k"].rows))):
        kinds |= {kind: [first + n for n in those] for kind, those in found.items()
                  if len(those) >= FEWEST}
        first += len(sets[name].rows)
    print(f"{machine()}\n{len(gallery.vectors)} pictures, {len(kinds)} kinds\n")
    away = kept_away(gallery, kinds, args.draws)
    print(table(("examples", "wrong left out", "kept away", "at full weight"), [
        [count, *(f"{100 * float(np.mean(value)):.1f}" for value in row)]
        for count, row in away.items()]))
    rounds = {begin: feedback(gallery, kinds, begin, args.draws) for begin in ("picture", "word")}
    for begin, rows in rounds.items():
        print(f"\nbeginning with a {begin}")
        print(table(("", *(f"of {K * n}" for n in (1, 2, 3, ROUNDS))), [
            [how, *(f"{100 * values[n - 1]:.1f}" for n in (1, 2, 3, ROUNDS))]
            for how, values in rows.items()]))
    write_json(args.json, split=args.split, model=encoder.name,
               kept_away={count: [float(np.mean(value)) for value in row]
                          for count, row in away.items()}, rounds=rounds)


def kept_away(gallery: Gallery, kinds: dict[str, list[int]], draws: int
              ) -> dict[int, tuple[list[float], ...]]:
    """By the number of examples: average precisions in the three ways."""
    rng, found = random.Random(1), dict[int, tuple[list[float], ...]]()
    for count in EXAMPLES:
        found[count] = [], [], []
        for those in kinds.values():
            for _ in range(draws if len(those) >= count + 5 else 0):
                right = rng.sample(those, count)
                examples = [Embedded(gallery.vectors[n]) for n in right]
                near = np.argsort(-gallery.vectors @ gallery.asked(Query(image=examples)))
                wrong = [int(n) for n in near if n not in those][:WRONG]
                others = [Embedded(gallery.vectors[n]) for n in wrong]
                kept = np.setdiff1d(np.arange(len(gallery.vectors)), right + wrong)
                full = gallery.vectors[right].sum(0) - gallery.vectors[wrong].sum(0)
                for values, vector in zip(found[count], (
                        gallery.asked(Query(image=examples)),
                        gallery.asked(Query(image=examples, without_image=others)), full),
                        strict=True):
                    values.append(precision(gallery.vectors[kept] @ vector,
                                            np.isin(kept, those)))
    return found


def precision(scores: Vectors, right: np.ndarray[Any, np.dtype[np.bool_]]) -> float:
    return float(average_precisions(ranks_of(scores[None], [np.flatnonzero(right)]))[0])


def feedback(gallery: Gallery, kinds: dict[str, list[int]], begin: str, draws: int
             ) -> dict[str, list[float]]:
    """By how it is done: of all right pictures, the share that was shown after each round."""
    rng, found = random.Random(1), defaultdict[str, list[Any]](list)
    ways: dict[str, Callable[..., list[int]]] = {"no feedback": plain, "feedback": liking}
    if find_spec("sklearn"):
        ways["classifier"] = classifying
    for kind, those in kinds.items():
        for _ in range(draws if begin == "picture" else 1):
            start = rng.choice(those) if begin == "picture" else None
            right = set(those) - {start}
            for how, way in ways.items():
                shown = way(gallery, kind, start, right)
                counts = np.cumsum([n in right for n in shown]).reshape(ROUNDS, K)[:, -1]
                found[how].append(counts / len(right))
    return {how: np.mean(values, 0).tolist() for how, values in found.items()}


def plain(gallery: Gallery, kind: str, start: int | None, right: set[int]) -> list[int]:
    return [hit.id for hit in begun(gallery, kind, start).next(ROUNDS * K)]


def liking(gallery: Gallery, kind: str, start: int | None, right: set[int]) -> list[int]:
    session, shown = begun(gallery, kind, start), list[int]()
    for _ in range(ROUNDS):
        for hit in session.next(K):
            (session.like if hit.id in right else session.dislike)(hit.id)
            shown.append(hit.id)
    return shown


def classifying(gallery: Gallery, kind: str, start: int | None, right: set[int]) -> list[int]:
    from sklearn.linear_model import LogisticRegression

    sample = gallery.vectors[np.random.default_rng(0).choice(len(gallery.vectors), 256, False)]
    session, shown = begun(gallery, kind, start), list[int]()
    for _ in range(ROUNDS):
        liked = [n for n in shown if n in right] + ([] if start is None else [start])
        wrong = [n for n in shown if n not in right]
        if len(liked) < FROM:
            new = [hit.id for hit in session.next(K)]
        else:
            rows = np.concatenate([gallery.vectors[liked], gallery.vectors[wrong], sample])
            share = 0.5 if wrong else 1.0
            weights = np.concatenate([
                np.full(len(liked), 1 / len(liked)), np.full(len(wrong), 0.5 / max(len(wrong), 1)),
                np.full(len(sample), share / len(sample))]) * len(rows) / 2
            trained = LogisticRegression(C=0.3, max_iter=300).fit(
                rows, np.arange(len(rows)) < len(liked), weights)
            scores = gallery.vectors @ trained.coef_[0]
            scores[[*shown, *liked]] = -np.inf
            new = np.argsort(-scores)[:K].tolist()
        for n in new:
            (session.like if n in right else session.dislike)(n)
        shown += new
    return shown


def begun(gallery: Gallery, kind: str, start: int | None) -> Feedback:
    if start is None:
        return Feedback(gallery, text=kind)
    session = Feedback(gallery)
    session.like(start)
    return session


if __name__ == "__main__":
    main()
