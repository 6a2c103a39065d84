"""How well pictures are found by queries as people type them: a word or two, not a sentence.

    python bench/queries.py PAIRS.jsonl --split val

What is asked comes from captions. A picture has what two of its captions name, or its only one;
queries are what at least two pictures have, and at most a fifth of all. The mean average precision
(mAP) over all pictures is printed by kind of query, and recall@10: the share of a query's pictures
(of ten of them, if it has more) among the first ten. `plain` is the same words without what the
kind changes.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from measure import arguments, machine, table, write_json

from mmsearch.encoders import BUILTIN, BUILTIN_DIR, encode_queries, load_encoder
from mmsearch.evaluation.pairs import Pair, load_pairs
from mmsearch.media.decoding import decode
from mmsearch.records import Vectors

COLOURS = ("black", "blue", "brown", "green", "grey", "orange", "pink", "purple", "red", "white",
           "yellow")
COUNTS = ("two", "three", "four", "five")
MOST = 300
"""Queries of a kind."""


class Asked(NamedTuple):
    """A query, the same without what makes its kind, and the numbers of its pictures."""

    text: str
    plain: str
    right: list[int]
    without: str = ""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--model", default=BUILTIN)
    args = parser.parse_args()
    pairs = load_pairs(args.pairs, split=args.split)
    encoder = load_encoder(args.model)
    images = np.concatenate([encoder.encode_images(
        [decode(pair.image, min_side=encoder.min_side).image for pair in pairs[at : at + 32]])
        for at in range(0, len(pairs), 32)])

    def scores(texts: Sequence[str]) -> Vectors:
        found: Vectors = encode_queries(encoder, texts)[0] @ images.T
        return found

    rows = []
    for kind, asked in kinds(pairs).items():
        asked = random.Random(0).sample(asked, min(MOST, len(asked)))
        if not asked:
            continue
        of_query = scores([one.text for one in asked])
        if any(one.without for one in asked):
            of_query = of_query - scores([one.without for one in asked])
        quality = measured(of_query, asked)
        rows.append((kind, asked[0].text, len(asked), *quality,
                     measured(scores([one.plain for one in asked]), asked)[0]))
    print(machine())
    print(table(("kind", "such as", "queries", "mAP", "R@10", "plain mAP"),
                [[*row[:3], *(f"{100 * value:.1f}" for value in row[3:])] for row in rows]))
    write_json(args.json, pairs=str(args.pairs), split=args.split, model=encoder.name, rows=rows)


def kinds(pairs: Sequence[Pair]) -> dict[str, list[Asked]]:
    nouns = {word.decode() for word in np.load(BUILTIN_DIR / "names.npy")["word"]}
    single = shown(pairs, r"\b[a-z]{3,}\b", nouns)
    named = {noun: right for noun, right in single.items() if len(right) <= len(pairs) / 5}

    def changed(change: Callable[[str], str], least: int = 3) -> list[Asked]:
        return [Asked(change(noun), noun, right) for noun, right in named.items()
                if len(noun) >= least]

    def pairs_of(first: Sequence[str]) -> list[Asked]:
        found = shown(pairs, rf"\b(?:{'|'.join(first)}) [a-z]{{3,}}\b", nouns)
        return [Asked(words, words.split()[1], right) for words, right in found.items()]

    both = [(one, other, sorted(set(named[one]) & set(named[other])))
            for one, other in combinations(sorted(named), 2)]
    return {
        "noun": changed(str),
        "plural": changed(plural),
        "article": changed(lambda noun: f"a {noun}"),
        "photo of": changed(lambda noun: f"photo of {noun}"),
        "capitals": changed(str.upper),
        "typo": changed(swapped, least=5),
        "two nouns": [Asked(f"{one} {other}", one, right) for one, other, right in both
                      if len(right) >= 2],
        "colour": pairs_of(COLOURS),
        "count": pairs_of(COUNTS),
        "--not": [Asked(one, one, rest, other) for one, other, right in both
                  if len(right) >= 2 and len(rest := sorted(set(named[one]) - set(right))) >= 2],
    }


def shown(pairs: Sequence[Pair], pattern: str, nouns: set[str]) -> dict[str, list[int]]:
    """What pictures have, by what captions say, and which; if at least two pictures have it."""
    found: dict[str, list[int]] = defaultdict(list)
    for n, pair in enumerate(pairs):
        said = [{words for words in re.findall(pattern, caption.lower())
                 if words.split()[-1] in nouns} for caption in pair.captions]
        for words in set().union(*said):
            if sum(words in one for one in said) >= min(2, len(said)):
                found[words].append(n)
    return {words: right for words, right in sorted(found.items()) if len(right) >= 2}


def plural(noun: str) -> str:
    if noun.endswith("s"):
        return noun
    return noun + ("es" if noun.endswith(("ch", "sh", "x")) else "s")


def swapped(noun: str) -> str:
    """Two letters in the middle have changed places."""
    at = len(noun) // 2
    return f"{noun[: at - 1]}{noun[at]}{noun[at - 1]}{noun[at + 1 :]}"


def measured(scores: Vectors, asked: Sequence[Asked]) -> tuple[float, float]:
    """-> mAP, recall@10."""
    precisions, recalls = [], []
    for one, row in zip(asked, scores, strict=True):
        hits = np.isin(np.argsort(-row, kind="stable"), one.right)
        precisions.append((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())
        recalls.append(hits[:10].sum() / min(10, len(one.right)))
    return float(np.mean(precisions)), float(np.mean(recalls))


if __name__ == "__main__":
    main()
