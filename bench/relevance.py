"""How well relevance tells a match from the least bad of nothing, beside a cut-off on the cosine.

    mmsearch index PAIRS.jsonl -i one; mmsearch index OTHER.jsonl -i other
    python bench/relevance.py one other --split val

Every query is asked of a gallery in four states: with its answer (`there`), with the answer taken
out but what is like it left in (`out`), with everything that shares words with it taken out
(`none`), and of a gallery of another kind (`foreign`: it comes from another collection). Judged is
the best hit: it is a match if it is the query's own, or its captions share enough of the query's
words; it is none if they share next to nothing; what lies between is not counted. For pictures
that are asked with pictures, `copy` asks with the middle four fifths of one that is there.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measure import arguments, machine, table, write_json

from mmsearch.collection.collection import Collection
from mmsearch.encoders import Encoder
from mmsearch.media.decoding import decode
from mmsearch.records import Item
from mmsearch.search.relevance import (
    ACROSS,
    SAMPLED,
    WITHIN,
    above,
    features,
    kept_calibration,
    probability,
)

WAYS = {"ti": "text to image", "it": "image to text", "tt": "text to text", "ii": "image to image"}
ALIKE, UNLIKE = 0.4, 0.2
"""Shares of a query's words, each weighted by its rarity: at least, and less than."""
SMALL = frozenset(re.findall(r"\w+", """
    a an the of in on at to and or with for is are be by from his her its it their that this as
    while into up out over near there some other another one two art clip"""))
HEAD = ("set", "gallery", "queries", "AUC", "ECE", "precision", "recall", "none", "foreign",
        "cosine: precision", "recall", "none", "foreign")
LEAST = 0.5
"""The --min-score that is judged."""
ANSWERED, COPIES = ("there", "copy"), 200


@dataclass(frozen=True)
class Space:
    """A collection's unit rows and the calibration's, by kind: "i" or "t"; owner: the picture of
    each row; copies: of the first pictures."""

    name: str
    rows: dict[str, Any]
    owner: dict[str, Any]
    captions: list[str]
    calibration: dict[str, Any]
    copies: Any


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("collections", type=Path, nargs="+", help="of the same model")
    parser.add_argument("--split", help="of all collections")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 8000])
    parser.add_argument("--queries", type=int, default=250, help="for each state of a gallery")
    parser.add_argument("--cosine", type=float, default=0.395, help="the cut-off on the cosine "
                        "beside it; 0.395 is best for text to image, Flickr8k val, built-in model")
    parser.add_argument("--fit", action="store_true", help="fit the coefficients instead")
    args = parser.parse_args()
    spaces = [read(path, args.split) for path in args.collections]
    groups = [group for way in args.ways for group in asked_of_all(spaces, way, args)]
    if args.fit:
        for name, like in (("ACROSS", False), ("WITHIN", True)):
            if these := [g for g in groups if (g["way"][0] == g["way"][1]) is like]:
                print(name, "=", tuple(np.round(fit(these), 2).tolist()))
        return
    print(f"{machine()}\nmatch: relevance >= {LEAST}; beside it: cosine >= {args.cosine}\n")
    lines = [(group["way"], judge(group, args.cosine)) for group in groups]
    for way in args.ways:
        print(f"{WAYS[way]}\n{table(HEAD, [line for its, line in lines if its == way])}\n")
    labels, weights = together(groups, "label"), together(groups, "weight")
    relevance, cosine = together(groups, "relevance"), together(groups, "score")
    print("all together: AUC {:.3f}, of the cosine {:.3f}; Brier {:.3f}, ECE {:.3f}".format(
        auc(relevance, labels, weights), auc(cosine, labels, weights),
        *calibration(relevance, labels, weights)))
    write_json(args.json, results=lines)


def read(path: Path, split: str | None) -> Space:
    collection = Collection.open(path)
    found = {}
    for kind in ("image", "text"):
        items, vectors = collection.vectors(kind)
        kept = [n for n, row in enumerate(items) if split in (None, row.item.meta.get("split"))]
        found[kind[0]] = [items[n].item for n in kept], vectors[kept]
    (pictures, images), (texts, words) = found["i"], found["t"]
    number = {item.uri: n for n, item in enumerate(pictures)}
    encoder = collection.encoder
    shipped = kept_calibration(encoder)
    return Space(path.name, {"i": images, "t": words},
                 {"i": np.arange(len(images)), "t": np.array([number[x.group] for x in texts])},
                 [item.text for item in texts], {"i": shipped.images, "t": shipped.texts},
                 encoder.encode_images([middle(item, encoder) for item in pictures[:COPIES]]))


def middle(item: Item, encoder: Encoder) -> Any:
    picture = decode(Path(item.uri), min_side=encoder.min_side).image
    width, height = picture.size
    return picture.crop((width // 10, height // 10, width - width // 10, height - height // 10))


# -- queries and galleries -------------------------------------------------------------------------


def asked_of_all(spaces: Sequence[Space], way: str, args: argparse.Namespace,
                 ) -> Iterator[dict[str, Any]]:
    """For every set and size: score, relevance, features, label, weight and state of the best hit
    of each query. Weights make queries with an answer count as much as those without, and each
    state of these alike."""
    random = np.random.default_rng(0)
    for space in spaces:
        others = [s.rows[way[0]] for s in spaces if s is not space]
        aliens = [rows[random.permutation(len(rows))[:80]] for rows in others]
        for size in dict.fromkeys(min(size, len(space.rows[way[1]])) for size in args.sizes):
            states = asked(space, way, size, args.queries, aliens, random)
            found = [{"label": label, "state": np.full(len(label), state),
                      **measured(queries, scores, space.calibration[way[1]],
                                 WITHIN if way[0] == way[1] else ACROSS, random)}
                     for state, (queries, scores, label) in states.items() if len(queries)]
            answered = sum(one["state"][0] in ANSWERED for one in found)
            for one in found:
                counted = one["label"] >= 0
                alike = answered if one["state"][0] in ANSWERED else len(found) - answered
                one["weight"] = counted / max(counted.sum(), 1) / alike
            if found:
                yield {"way": way, "set": space.name, "size": size,
                       **{key: together(found, key) for key in found[0]}}


def together(found: Sequence[dict[str, Any]], key: str) -> Any:
    return np.concatenate([one[key] for one in found])


def measured(queries: Any, scores: Any, foreign: Any, coefficients: Sequence[float],
             random: Any) -> dict[str, Any]:
    """The best score of each query, and its relevance as `mmsearch.search.relevance` computes it.

    scores: [queries, gallery], nan for what is not in the gallery.
    """
    known = np.sort(queries @ foreign.T, axis=1).astype(np.float64)
    spread = known[:, : known.shape[1] * 9 // 10].std(axis=1)
    sample = scores[:, random.permutation(scores.shape[1])[:SAMPLED]]
    centre = ((known.sum(1) + np.nansum(sample, axis=1))
              / (known.shape[1] + np.isfinite(sample).sum(1)))
    best, rows = np.nanmax(scores, axis=1), np.isfinite(scores).sum(1)
    heights = above(best, centre, spread)
    return {"score": best, "relevance": probability(heights, rows, coefficients),
            "features": features(heights, rows)}


def asked(space: Space, way: str, size: int, count: int, aliens: Sequence[Any],
          random: Any) -> dict[str, tuple[Any, Any, Any]]:
    """state -> queries, their scores (nan: taken out), and the label of each one's best hit: 1 a
    match, 0 none, -1 between."""
    asking, rows = space.rows[way[0]], space.rows[way[1]]
    meant, shown = space.owner[way[0]], space.owner[way[1]]
    gallery = random.permutation(len(rows))[:size]
    chosen = random.permutation(np.flatnonzero(np.isin(meant, shown[gallery])))[:count]
    scores = asking[chosen] @ rows[gallery].T
    own = meant[chosen][:, None] == shown[gallery][None]
    shares = np.where(own, 1, alike(space, chosen, way[0], gallery, way[1]))
    if way[0] == way[1]:
        scores[chosen[:, None] == gallery[None]] = np.nan  # not itself
    states = {"there": scores, "out": np.where(own, np.nan, scores),
              "none": np.where(shares >= UNLIKE, np.nan, scores)}
    if way == "ii":
        del states["out"]  # no picture but itself is known to be the answer
    found = {}
    for state, left in states.items():
        enough = np.isfinite(left).sum(1) >= max(10, size // 3)
        if state == "there":
            enough &= ((shares >= ALIKE) & np.isfinite(left)).any(1)
        best = shares[np.arange(len(left)), np.where(np.isfinite(left), left, -9).argmax(1)]
        label = np.where(best >= ALIKE, 1, np.where(best < UNLIKE, 0, -1))
        found[state] = asking[chosen][enough], left[enough], label[enough]
    strangers = np.concatenate(aliens) if aliens else asking[:0]
    found["foreign"] = strangers, strangers @ rows[gallery].T, np.zeros(len(strangers), int)
    if way == "ii":
        at = np.flatnonzero(gallery < len(space.copies))
        copies = space.copies[gallery[at]]
        against = copies @ rows[gallery].T
        found["copy"] = copies, against, np.where(against.argmax(1) == at, 1, -1)
    return found


def alike(space: Space, queries: Any, asking: str, gallery: Any, shown: str) -> Any:
    """The share of each query's words that each gallery row's captions have, the rare ones counting
    more (inverse document frequency); of a picture that asks, its best caption. [q, gallery]"""
    captions_of: dict[int, list[str]] = {}
    for caption, owner in zip(space.captions, space.owner["t"], strict=True):
        captions_of.setdefault(owner, []).append(caption)

    def said(kind: str, row: int) -> list[str]:
        return captions_of.get(row, []) if kind == "i" else [space.captions[row]]

    documents = [words(" ".join(said(shown, row))) for row in gallery]
    counts = Counter(word for document in documents for word in document)
    column = {word: n for n, word in enumerate(counts)}
    has = np.zeros((len(documents), len(column)), np.float32)
    for n, document in enumerate(documents):
        has[n, [column[word] for word in document]] = 1
    out = np.zeros((len(queries), len(gallery)), np.float32)
    for n, row in enumerate(queries):
        for caption in said(asking, row):
            known = [word for word in words(caption) if word in column]
            rarity = np.log((len(documents) + 1) / np.array([counts[word] for word in known]))
            if len(known):
                share = has[:, [column[word] for word in known]] @ rarity / max(rarity.sum(), 1e-6)
                out[n] = np.maximum(out[n], share)
    return out


def words(text: str) -> set[str]:
    """What a text is about, without endings of the plural."""
    found = re.findall(r"\w+", text.lower())
    return {w[:-1] if len(w) > 3 and w.endswith("s") else w for w in found} - SMALL


# -- figures ---------------------------------------------------------------------------------------


def judge(group: dict[str, Any], cosine: float) -> list[str]:
    """One line of the table."""
    labels, weights, state = group["label"], group["weight"], group["state"]
    matches = (state == "there") & (labels == 1)

    def shown(key: str, least: float) -> list[str]:
        over = group[key] >= least
        precision = (weights * over)[labels == 1].sum() / max((weights * over).sum(), 1e-9)
        of = (matches, state == "none", state == "foreign")
        return [f"{precision:.2f}", *(f"{over[some].mean():.2f}" if some.any() else "-"
                                      for some in of)]

    return [group["set"], f"{group['size']:,}", f"{len(labels):,}",
            f"{auc(group['relevance'], labels, weights):.3f}",
            f"{calibration(group['relevance'], labels, weights)[1]:.3f}",
            *shown("relevance", LEAST), *shown("score", cosine)]


def auc(values: Any, labels: Any, weights: Any) -> float:
    """How often a match has the higher value than what is none."""
    order = np.argsort(values, kind="stable")
    match, none = weights[order] * (labels[order] == 1), weights[order] * (labels[order] == 0)
    both = match.sum() * none.sum()
    return float((match * (np.cumsum(none) - none / 2)).sum() / both) if both else float("nan")


def calibration(values: Any, labels: Any, weights: Any) -> tuple[float, float]:
    """The Brier score, and the expected calibration error over ten bins."""
    gap, bins = values - labels, np.minimum((values * 10).astype(int), 9)
    off = [abs((weights * gap)[bins == n].sum()) for n in range(10)]
    return float((weights * gap**2).sum() / weights.sum()), float(sum(off) / weights.sum())


def fit(groups: Sequence[dict[str, Any]]) -> Any:
    """Logistic regression by Newton's method; -> A, B, C."""
    labels, weights, x = (together(groups, key) for key in ("label", "weight", "features"))
    x = np.concatenate([np.ones((len(x), 1)), x], axis=1)
    solution = np.array(ACROSS)
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ solution))
        slope = x.T @ (weights * (p - labels))
        solution = solution - np.linalg.solve((x.T * (weights * p * (1 - p))) @ x, slope)
    return solution


if __name__ == "__main__":
    main()
