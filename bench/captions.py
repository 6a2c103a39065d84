"""What the captions of pictures bring to a search by words.

    python bench/captions.py PAIRS.jsonl --split val

One caption of each picture is its own, and indexed with it; the last of the others asks for it.
All pictures have theirs, or half of them; recall@1/5/10 of those that have and of those
that have not is printed for each way to fuse what pictures show, what captions mean and what words
match. `--ask` takes other queries: the name of the file, the two words of the picture's own caption
that are rarest in all, or the name of the file and five words of the caption that asks.

`--own` gives the pictures other texts than a caption: `keywords`, those of two captions; or a
`page` of forty-one sentences, of which forty are captions of other pictures.

    python bench/captions.py PAIRS.jsonl --split val --time 100000

prints instead what one search takes in a collection of so many pictures with a caption each, their
vectors random.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from measure import arguments, machine, random_shards, table, write_json

from mmsearch.collection import Collection
from mmsearch.encoders import BUILTIN, load_encoder
from mmsearch.evaluation import Pair, load_pairs
from mmsearch.records import Item
from mmsearch.search import Query
from mmsearch.sources import Scan, iter_items

WAYS: dict[str, dict[str, Any]] = {
    "picture alone": {"captions": False},
    "captions alone, by meaning": {"find": "text"},
    "words alone (BM25)": {"mode": "text"},
    "joint: picture and captions": {},
    "hybrid: joint and words, by scores": {"mode": "hybrid"},
    "hybrid, by ranks (RRF)": {"mode": "hybrid", "fusion": "rrf"},
    "hybrid, text weight 0.25": {"mode": "hybrid", "text_weight": 0.25},
    "hybrid, text weight 0.75": {"mode": "hybrid", "text_weight": 0.75},
    "hybrid: picture alone and words": {"mode": "hybrid", "captions": False}}
_TOGETHER, _DEPTH, _TIMED = 64, 10, 20
_SENTENCES = 40
_FILLERS = (
    "a an the is are in on of with and at to while near from by for his her their its it this that "
    "there two one some through into up out over down off as be has have who another other very "
    "several three")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--ask", choices=("caption", "name", "rare", "name and words"),
                        default="caption")
    parser.add_argument("--own", choices=("caption", "keywords", "page"), default="caption")
    parser.add_argument("--time", type=int, metavar="N", help="measure times, with N pictures")
    parser.add_argument("--share", type=float, action="append", help="of pictures with a caption; "
                        "repeatable (default: 1 and 0.5)")
    parser.add_argument("--queries", type=int, default=1000, help="at most, drawn")
    args = parser.parse_args()
    pairs = [pair for pair in load_pairs(args.pairs, split=args.split) if len(pair.captions) > 1]
    print(machine())
    if args.time:
        print(table(("by", "ms", "90 % within"), times([pair.captions for pair in pairs],
                                                       args.time)))
        return
    rows = []
    texts = asked(pairs, args.ask)
    owned = own(pairs, args.own)
    drawn = np.sort(np.random.default_rng(1).permutation(len(pairs))[:args.queries])
    for share in args.share or (1.0, 0.5):
        has = np.random.default_rng(0).random(len(pairs)) < share
        with TemporaryDirectory() as folder:
            ranks = ranked(Path(folder), pairs, owned, has, texts, drawn)
        for way, found in ranks.items():
            rows.append([f"{share:.0%}", way, *(
                " / ".join(f"{100 * (found[those] < k).mean():.1f}" for k in (1, 5, 10))
                if those.any() else "" for those in (has[drawn], ~has[drawn]))])
    print(table(("have captions", "by", "R@1/5/10 of those that have", "of others"), rows))
    write_json(args.json, pairs=str(args.pairs), split=args.split, ask=args.ask, own=args.own,
               rows=rows)


def asked(pairs: Sequence[Pair], how: str) -> list[str]:
    """What asks for each picture, see the top of this file."""
    words = [list(dict.fromkeys(re.findall(r"\w+", pair.captions[0].lower()))) for pair in pairs]
    count = Counter(word for those in words for word in those)
    return [{"caption": pair.captions[-1], "name": pair.image.stem,
             "rare": " ".join(sorted(those, key=lambda word: count[word])[:2]),
             "name and words": " ".join([pair.image.stem, *pair.captions[-1].split()[:5]])}[how]
            for pair, those in zip(pairs, words, strict=True)]


def own(pairs: Sequence[Pair], what: str) -> list[str]:
    """The text of each picture, see the top of this file."""
    if what == "caption":
        return [pair.captions[0] for pair in pairs]
    if what == "keywords":
        words = [re.findall("[a-z]+", " ".join(pair.captions[:2]).lower()) for pair in pairs]
        fillers = set(_FILLERS.split())
        return [", ".join(dict.fromkeys(word for word in those if word not in fillers))
                for those in words]
    others = [caption for pair in pairs for caption in pair.captions[2:-1]]
    generator = np.random.default_rng(7)
    pages = []
    for pair in pairs:
        page = [others[n] for n in generator.permutation(len(others))[:_SENTENCES]]
        page.insert(int(generator.integers(_SENTENCES + 1)), pair.captions[0])
        pages.append(" ".join(sentence.rstrip(" .") + "." for sentence in page))
    return pages


def times(captions: Sequence[Sequence[str]], size: int) -> list[list[str]]:
    """Rows of a way, the median of milliseconds for one search, and what 90 % stay within."""
    encoder = load_encoder(BUILTIN)
    with TemporaryDirectory() as folder, Collection.create(Path(folder) / "index") as collection:
        every = [text for those in captions for text in those[:-1]]
        collection.add((item for n in range(size) for item in (
            Item(f"/p/{n:07d}.jpg", "image", group=f"/p/{n:07d}.jpg", fingerprint=f"{n}"),
            Item(f"/p/{n:07d}.jpg#caption1", "text", every[n % len(every)], f"/p/{n:07d}.jpg",
                 fingerprint=f"{n}"))),
            run=lambda _, shards: random_shards(shards, encoder.dim))
        rows = []
        for way, parts in WAYS.items():
            took: list[tuple[str, float]] = []
            for those in captions[:_TIMED + 1]:
                collection.search_many([Query(text=those[-1], k=_DEPTH, **parts)],
                                       took=lambda *stage, took=took: took.append(stage))
            searches = [seconds for stage, seconds in took if stage == "search"]
            del searches[0]  # which also opened what is searched
            rows.append([way, *(f"{1000 * np.quantile(searches, at):.1f}" for at in (0.5, 0.9))])
            print(*rows[-1], file=sys.stderr)
    return rows


def ranked(folder: Path, pairs: Sequence[Pair], owned: Sequence[str], has: np.ndarray[Any, Any],
           texts: Sequence[str], drawn: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """The rank of each picture, from 0, by each way to ask; 10 is not among the first ten."""
    manifest = folder / "pairs.jsonl"
    manifest.write_text("".join(json.dumps({
        "image": str(pair.image), "captions": [text] if had else []}) + "\n"
        for pair, text, had in zip(pairs, owned, has, strict=True)))
    found: dict[str, list[int]] = {way: [] for way in WAYS}
    with Collection.create(folder / "index") as collection:
        scan = Scan()
        collection.add(iter_items([manifest], scan=scan), scan=scan)
        for way, parts in WAYS.items():
            for at in range(0, len(drawn), _TOGETHER):
                some = drawn[at:at + _TOGETHER]
                answers = collection.search_many([
                    Query(text=texts[n], k=_DEPTH, **parts) for n in some])
                for n, hits in zip(some, answers, strict=True):
                    assert isinstance(hits, list)
                    groups = [hit.item.group for hit in hits]
                    found[way].append(groups.index(pairs[n].uri) if pairs[n].uri in groups
                                      else _DEPTH)
    return {way: np.array(those) for way, those in found.items()}


if __name__ == "__main__":
    main()
