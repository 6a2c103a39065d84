"""How well relevance tells a match from the least bad of nothing, beside a cut-off on the cosine.

    python bench/relevance.py --pairs PAIRS.jsonl OTHER.jsonl --split val

Every query is asked of a gallery in four states: with its answer (`there`), with the answer taken
out but what is like it left in (`out`), with everything that shares words with it taken out
(`none`), and of a gallery of another kind (`foreign`: it comes from another of the files). Judged
is the best hit: it is a match if it is the query's own, or its captions share enough of the query's
words; it is none if they share next to nothing; what lies between is not counted. For pictures
that are asked with pictures, `copy` asks with the middle four fifths of one that is there.

A model may be `shifted:NAME`: all vectors of NAME rotated, plus one constant direction.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from measure import machine, table

from mmsearch.encoders import load_encoder
from mmsearch.evaluation.recall import flatten, load_pairs
from mmsearch.media.decoding import decode
from mmsearch.search.relevance import (
    ACROSS,
    SAMPLED,
    WITHIN,
    above,
    features,
    make_calibration,
    probability,
)

WAYS = {"ti": "text to image", "it": "image to text", "tt": "text to text", "ii": "image to image"}
ALIKE, UNLIKE = 0.4, 0.2
"""Shares of a query's words, each weighted by its rarity: at least, and less than."""
SMALL = frozenset(re.findall(r"\w+", """
    a an the of in on at to and or with for is are be by from his her its it their that this as
    while into up out over near there some other another one two art clip"""))
HEAD = ("set", "gallery", "queries", "AUC", "ECE", "precision", "recall",
        "shown: there", "out", "none", "foreign", "copy",
        "cosine: precision", "cosine: recall", "cosine: none", "cosine: foreign")
LEAST = 0.5
"""The --min-score that is judged."""


@dataclass(frozen=True)
class Space:
    """A set as a model sees it: unit rows; owner: the picture of each text."""

    name: str
    images: Any
    copies: Any
    texts: Any
    owner: Any
    captions: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=Path, nargs="+", required=True)
    parser.add_argument("--split", help="of all files")
    parser.add_argument("--model", nargs="+", default=["builtin"])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 8000])
    parser.add_argument("--queries", type=int, default=250, help="for each state of a gallery")
    parser.add_argument("--cosine", type=float, default=0.395, help="the cut-off on the cosine "
                        "beside it; 0.395 is best for text to image, Flickr8k val, built-in model")
    parser.add_argument("--fit", action="store_true", help="fit the coefficients instead")
    parser.add_argument("--cache", type=Path, default=Path("build/bench"))
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    print(machine())
    found = [case for model in args.model for case in cases(model, args)]
    if args.fit:
        for name, ways in (("ACROSS", ("ti", "it")), ("WITHIN", ("tt", "ii"))):
            these = [case for case in found if case["way"] in ways]
            if these:
                print(name, "=", tuple(np.round(fit(these), 2).tolist()))
        return
    print(f"shown: relevance >= {LEAST}; beside it: cosine >= {args.cosine}\n")
    figures = []
    for model in args.model:
        for way in args.ways:
            here = [c for c in found if (c["model"], c["way"]) == (model, way)]
            rows = [judge(group, args.cosine) for group in grouped(here)]
            print(f"{model}, {WAYS[way]}\n{table(HEAD, [list(row.values()) for row in rows])}\n")
            figures += [{"model": model, "way": way, **row} for row in rows]
    everything = np.concatenate([c["relevance"] for c in found])
    labels, weights = labels_and_weights(found)
    raw = np.concatenate([c["score"] for c in found])
    print("all together: AUC {:.3f}, of the cosine {:.3f}; Brier {:.3f}, ECE {:.3f}".format(
        auc(everything, labels, weights), auc(raw, labels, weights),
        *calibration(everything, labels, weights)))
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(), "results": figures}, indent=1))


# -- queries and galleries -----------------------------------------------------------------------


def cases(model: str, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every (set, way, size, state): score, relevance, label of the best hit of each query."""
    plain = model.removeprefix("shifted:")
    spaces = [encoded(plain, path, args.split, args.cache) for path in args.pairs]
    shipped = make_calibration(load_encoder(plain))
    foreign = {"i": shipped.images, "t": shipped.texts}
    if plain != model:
        move = shifting(shipped.images.shape[1])
        foreign = {kind: move(rows) for kind, rows in foreign.items()}
        spaces = [replace(s, images=move(s.images), copies=move(s.copies), texts=move(s.texts))
                  for s in spaces]
    random = np.random.default_rng(0)
    for space in spaces:
        for way in args.ways:
            others = [s.texts if way[0] == "t" else s.images for s in spaces if s is not space]
            aliens = [rows[random.permutation(len(rows))[:80]] for rows in others]
            entries = len(space.images if way[1] == "i" else space.texts)
            for size in dict.fromkeys(min(size, entries) for size in args.sizes):
                states = asked(space, way, size, args.queries, aliens, random)
                for state, (queries, scores, label) in states.items():
                    if len(queries):
                        yield {"model": model, "set": space.name, "way": way, "size": size,
                               "state": state, "label": label,
                               **measured(queries, scores, foreign[way[1]],
                                          WITHIN if way[0] == way[1] else ACROSS, random)}


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
    rows, shown = ((space.images, np.arange(len(space.images))) if way[1] == "i"
                   else (space.texts, space.owner))
    asking, meant = ((space.images, np.arange(len(space.images))) if way[0] == "i"
                     else (space.texts, space.owner))
    gallery = random.permutation(len(rows))[:size]
    there = np.flatnonzero(np.isin(meant, shown[gallery]))
    chosen = random.permutation(there)[:count]
    scores = asking[chosen] @ rows[gallery].T
    shares = alike(space, chosen, way[0], gallery, way[1])
    own = meant[chosen][:, None] == shown[gallery][None]
    shares[own] = 1
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
        right = against.argmax(1) == at
        found["copy"] = copies, against, np.where(right, 1, -1)
    return found


def alike(space: Space, queries: Any, asking: str, gallery: Any, shown: str) -> Any:
    """The share of each query's words that each gallery row's captions have, the rare ones counting
    more (inverse document frequency); of a picture that asks, its best caption. [q, gallery]"""
    captions_of: list[list[str]] = [[] for _ in space.images]
    for caption, owner in zip(space.captions, space.owner, strict=True):
        captions_of[owner].append(caption)

    def said(kind: str, row: int) -> list[str]:
        return captions_of[row] if kind == "i" else [space.captions[row]]

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


# -- vectors -------------------------------------------------------------------------------------


def name_of(path: Path) -> str:
    return path.parent.name or path.stem


def encoded(model: str, path: Path, split: str | None, cache: Path) -> Space:
    """The vectors of a file's pairs, encoded once and kept in the cache."""
    encoder = load_encoder(model)
    pairs = load_pairs(path, split=split)
    texts, owner = flatten(pairs)
    key = hashlib.sha256(repr((encoder.name, pairs)).encode()).hexdigest()[:16]
    file = cache / f"relevance-{key}.npz"
    if not file.exists():
        def middle(picture: Any) -> Any:
            w, h = picture.size
            return picture.crop((w // 10, h // 10, w - w // 10, h - h // 10))

        def images(some: Sequence[Any], change: Callable[[Any], Any]) -> Any:
            with ThreadPoolExecutor() as pool:
                made = [encoder.encode_images([*pool.map(lambda pair: encoder.prepare(change(
                    decode(pair.image, min_side=encoder.min_side).image)), some[at : at + 256])])
                    for at in range(0, len(some), 256)]
            return np.concatenate(made)

        np.savez(file, images=images(pairs, lambda picture: picture),
                 copies=images(pairs[:200], middle), texts=encoder.encode_texts(texts))
    with np.load(file) as stored:
        images, copies, said = stored["images"], stored["copies"], stored["texts"]
    return Space(name_of(path), images, copies, said, owner, texts)


def shifting(dim: int) -> Callable[[Any], Any]:
    """Rotates rows at random and adds the same unit vector to each: cosines become half of what
    they were, plus a half, and no neighbour changes much."""
    random = np.random.default_rng(1)
    rotation, _ = np.linalg.qr(random.standard_normal((dim, dim)))
    constant = random.standard_normal(dim)
    constant /= np.linalg.norm(constant)

    def move(rows: Any) -> Any:
        moved = rows @ rotation.T + constant
        return (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)

    return move


# -- figures -------------------------------------------------------------------------------------


def grouped(found: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    groups: dict[Any, list[dict[str, Any]]] = {}
    for case in found:
        groups.setdefault((case["model"], case["set"], case["way"], case["size"]), []).append(case)
    return list(groups.values())


def labels_and_weights(found: Sequence[dict[str, Any]]) -> tuple[Any, Any]:
    """Labels, and weights that make every group count alike, and in a group queries with an answer
    (states there, copy) as much as those without, and each state of these alike."""
    weights = {}
    for group in grouped(found):
        for side in (("there", "copy"), ("out", "none", "foreign")):
            here = [case for case in group if case["state"] in side]
            for case in here:
                counted = case["label"] >= 0
                weights[id(case)] = counted / max(counted.sum(), 1) / len(here)
    return (np.concatenate([case["label"] for case in found]),
            np.concatenate([weights[id(case)] for case in found]))


def judge(group: list[dict[str, Any]], cosine: float) -> dict[str, Any]:
    """One line of the table."""
    labels, weights = labels_and_weights(group)
    states = {case["state"]: case for case in group}
    relevance = np.concatenate([case["relevance"] for case in group])

    def share(state: str, key: str, least: float) -> str:
        return f"{(states[state][key] >= least).mean():.2f}" if state in states else ""

    def kept(key: str, least: float) -> tuple[str, str]:
        shown = np.concatenate([case[key] for case in group]) >= least
        over, matches = weights * shown, states["there"]["label"] == 1
        found = states["there"][key][matches] >= least
        precision = f"{over[labels == 1].sum() / over.sum():.2f}" if over.sum() else "-"
        return precision, f"{found.mean():.2f}" if matches.any() else "-"

    row = [group[0]["set"], f"{group[0]['size']:,}", f"{len(labels):,}",
           f"{auc(relevance, labels, weights):.3f}",
           f"{calibration(relevance, labels, weights)[1]:.3f}", *kept("relevance", LEAST),
           *(share(state, "relevance", LEAST)
             for state in ("there", "out", "none", "foreign", "copy")),
           *kept("score", cosine),
           *(share(state, "score", cosine) for state in ("none", "foreign"))]
    return dict(zip(HEAD, row, strict=True))


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


def fit(found: Sequence[dict[str, Any]]) -> Any:
    """Logistic regression by Newton's method; -> A, B, C."""
    labels, weights = labels_and_weights(found)
    x = np.concatenate([case["features"] for case in found])
    x = np.concatenate([np.ones((len(x), 1)), x], axis=1)
    solution = np.array(ACROSS)
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ solution))
        slope = x.T @ (weights * (p - labels))
        solution = solution - np.linalg.solve((x.T * (weights * p * (1 - p))) @ x, slope)
    return solution


if __name__ == "__main__":
    main()
