"""What `--rerank` brings to a search by words, and what it costs.

    python bench/rerank.py PAIRS.jsonl --split val

Every caption asks for its picture among those of the split, which have no captions in the
collection: recall@1/5/10 without and with the first 50 results looked at more closely, for several
weights of that look beside the cosine. Then what the steps of one query take on all cores.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from measure import arguments, machine, table, write_json

from mmsearch.collection import Collection
from mmsearch.encoders import Reranker, reranker_of
from mmsearch.evaluation import Pair, load_pairs
from mmsearch.search import Places, Query
from mmsearch.sources import Scan, iter_items

FIRST, TOGETHER, TIMED = 50, 64, 30
WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Times that of the model."""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--split", default="val")
    args = parser.parse_args()
    pairs = [pair for pair in load_pairs(args.pairs, split=args.split) if pair.captions]
    print(machine())
    with TemporaryDirectory() as folder, Collection.create(Path(folder) / "index") as collection:
        scan = Scan()
        collection.add(iter_items([pair.image for pair in pairs], scan=scan), scan=scan)
        rows = recall(collection, pairs)
        print(table(("weight of the closer look", "R@1", "R@5", "R@10"), rows))
        times = timed(collection, [pair.captions[0] for pair in pairs[:TIMED]])
        print(table(("one query", "ms, median"), times))
    write_json(args.json, pairs=str(args.pairs), split=args.split, recall=rows, times=times)


def recall(collection: Collection, pairs: list[Pair]) -> list[list[Any]]:
    ranks: dict[float, list[int]] = {weight: [] for weight in (0.0, *WEIGHTS)}
    for truth, base, odds in looks(collection, pairs):
        for weight, found in ranks.items():
            score = base + weight * odds
            found.append(int((score > score[truth]).sum()) if truth >= 0 else FIRST)
    return [[weight or "none", *(f"{100 * np.mean(np.array(found) < k):.1f}" for k in (1, 5, 10))]
            for weight, found in ranks.items()]


def looks(collection: Collection, pairs: list[Pair]
          ) -> Iterator[tuple[int, np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Of each caption: where its picture is among the first results, -1 for not at all; their
    cosines; what the closer look adds to them."""
    reranker, places = the_reranker(collection), Places(most=len(pairs))
    asked = [(caption, str(pair.image)) for pair in pairs for caption in pair.captions]
    for at in range(0, len(asked), TOGETHER):
        some = asked[at:at + TOGETHER]
        answers = collection.search_many([Query(text=text, k=FIRST) for text, _ in some])
        for (text, uri), hits in zip(some, answers, strict=True):
            assert isinstance(hits, list)
            seen = places.of(reranker, [hit.item for hit in hits])
            odds = reranker.odds(text, np.stack([seen[n] for n in range(len(hits))]))
            uris = [hit.item.uri for hit in hits]
            yield (uris.index(uri) if uri in uris else -1, np.array([hit.score for hit in hits]),
                   reranker.weight * odds)


def timed(collection: Collection, texts: list[str]) -> list[list[Any]]:
    reranker = the_reranker(collection)
    took: dict[str, list[float]] = {"search": [], f"reading {FIRST} pictures": [],
                                    "looking closer": []}
    for text in texts:
        start = time.perf_counter()
        hits = collection.search(text=text, k=FIRST)
        found = time.perf_counter()
        seen = Places().of(reranker, [hit.item for hit in hits])
        read = time.perf_counter()
        reranker.odds(text, np.stack(list(seen.values())))
        for step, seconds in zip(took, (found - start, read - found, time.perf_counter() - read),
                                 strict=True):
            took[step].append(seconds)
    return [[step, f"{1000 * np.median(each[1:]):.1f}"] for step, each in took.items()]


def the_reranker(collection: Collection) -> Reranker:
    found = reranker_of(collection.encoder)
    assert found is not None
    return found


if __name__ == "__main__":
    main()
