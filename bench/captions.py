"""What the captions of pictures bring to a search by words.

    python bench/captions.py PAIRS.jsonl --split val

One caption of each picture is its own, and indexed with it; the last of the others asks for it.
All pictures have theirs, or half of them, or none; recall@1/5/10 of those that have and of those
that have not is printed for what the pictures show alone, for that and their captions (what
`mmsearch query` does), and for the mode hybrid, which also matches words.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from measure import arguments, machine, table, write_json

from mmsearch.collection import Collection
from mmsearch.evaluation import Pair, load_pairs
from mmsearch.search import Query
from mmsearch.sources import Scan, iter_items

WAYS: dict[str, dict[str, Any]] = {
    "pictures alone": {"captions": False}, "and captions": {},
    "hybrid": {"mode": "hybrid"}, "hybrid without": {"mode": "hybrid", "captions": False}}
_TOGETHER = 64


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--split", default="val")
    args = parser.parse_args()
    pairs = [pair for pair in load_pairs(args.pairs, split=args.split) if len(pair.captions) > 1]
    print(machine())
    rows = []
    for share in (1.0, 0.5, 0.0):
        has = np.random.default_rng(0).random(len(pairs)) < share
        with TemporaryDirectory() as folder:
            ranks = ranked(Path(folder), pairs, has)
        for way, found in ranks.items():
            rows.append([f"{share:.0%}", way, *(
                " / ".join(f"{100 * (found[those] < k).mean():.1f}" for k in (1, 5, 10))
                if those.any() else "" for those in (has, ~has))])
    print(table(("have captions", "by", "R@1/5/10 of those that have", "of others"), rows))
    write_json(args.json, pairs=str(args.pairs), split=args.split, rows=rows)


def ranked(folder: Path, pairs: Sequence[Pair], has: np.ndarray[Any, Any]
           ) -> dict[str, np.ndarray[Any, Any]]:
    """The rank of each picture, from 0, by each way to ask; 10 is not among the first ten."""
    manifest = folder / "pairs.jsonl"
    manifest.write_text("".join(json.dumps({
        "image": str(pair.image), "captions": list(pair.captions[:1]) if own else []}) + "\n"
        for pair, own in zip(pairs, has, strict=True)))
    found: dict[str, list[int]] = {way: [] for way in WAYS}
    with Collection.create(folder / "index") as collection:
        scan = Scan()
        collection.add(iter_items([manifest], scan=scan), scan=scan)
        for way, parts in WAYS.items():
            for at in range(0, len(pairs), _TOGETHER):
                some = pairs[at:at + _TOGETHER]
                answers = collection.search_many([
                    Query(text=pair.captions[-1], k=10, **parts) for pair in some])
                for pair, hits in zip(some, answers, strict=True):
                    assert isinstance(hits, list)
                    uris = [hit.item.uri for hit in hits]
                    found[way].append(uris.index(str(pair.image)) if str(pair.image) in uris
                                      else len(uris))
    return {way: np.array(those) for way, those in found.items()}


if __name__ == "__main__":
    main()
