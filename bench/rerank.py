"""What `--rerank` brings to a search by words, and what it costs.

    python bench/rerank.py PAIRS.jsonl --split val

Every caption asks for its picture among those of the split, which have no captions in the
collection: recall@1/5/10 without and with the first 50 results looked at more closely, for several
weights of that look beside the cosine. What is looked at was stored by `mmsearch index --rerank`;
`--exact`: and the same with what the image tower gives, in float32, not in int8. `--captions 1`:
only the first of each picture asks.

Then what one query and its steps take on all cores, with what was stored and without; and what
storing it adds to indexing, each by the median. `--steps`: only these.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from measure import arguments, machine, table, write_json

from mmsearch.collection import Collection
from mmsearch.encoders import Reranker, reranker_of
from mmsearch.evaluation import Pair, load_pairs
from mmsearch.media import decode
from mmsearch.records import Hit, Vectors
from mmsearch.search import Places, Query
from mmsearch.sources import Scan, iter_items
from mmsearch.storage import stored_places

FIRST, TOGETHER, TIMED, INDEXED = 50, 64, 30, 3
WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Times that of the model."""
Seen = Callable[[Sequence[Hit]], Vectors]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--captions", type=int)
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--steps", action="store_true")
    args = parser.parse_args()
    pairs = [pair for pair in load_pairs(args.pairs, split=args.split) if pair.captions]
    print(machine())
    rows: list[list[Any]] = []
    with TemporaryDirectory() as folder:
        added = indexed(Path(folder), pairs)
        if not args.steps:
            with Collection.open(Path(folder) / "stored") as collection:
                for how, seen in [("int8", stored), ("float32", exactly)][: 1 + args.exact]:
                    rows += recall(collection, pairs, seen(collection, pairs), args.captions, how)
            print(table(("weight of the closer look", "of", "R@1", "R@5", "R@10"), rows))
        times = timed(Path(folder), [pair.captions[0] for pair in pairs[:TIMED]])
        print(table(("one query", "ms, median", "of the processor"), times))
    print(table(("indexing", "pictures/s, median", "/s of the processor", "kB each"), added))
    write_json(args.json, pairs=str(args.pairs), split=args.split, recall=rows, times=times,
               indexing=added)


def indexed(folder: Path, pairs: list[Pair]) -> list[list[Any]]:
    """Make the collections "plain" and "stored", in turns."""
    rates: dict[str, list[tuple[float, float]]] = {"plain": [], "stored": []}
    sizes: dict[str, float] = {}
    for n in range(INDEXED):
        for name, found in rates.items():
            path = folder / (name if n == INDEXED - 1 else f"{name}{n}")
            with Collection.create(path, rerank=name == "stored") as collection:
                scan = Scan()
                report = collection.add(iter_items([pair.image for pair in pairs], scan=scan),
                                        scan=scan)
                found.append((report.added / report.seconds, report.added / report.cpu_seconds))
                sizes[name] = collection.info()["bytes"] / 1000 / report.added
    return [[name, *(f"{one:.1f}" for one in np.median(np.array(found), axis=0)),
             f"{sizes[name]:.1f}"] for name, found in rates.items()]


def recall(collection: Collection, pairs: list[Pair], seen: Seen, captions: int | None, how: str
           ) -> list[list[Any]]:
    ranks: dict[float, list[int]] = {weight: [] for weight in (0.0, *WEIGHTS)}
    for truth, base, odds in looks(collection, pairs, seen, captions):
        for weight, found in ranks.items():
            score = base + weight * odds
            found.append(int((score > score[truth]).sum()) if truth >= 0 else FIRST)
    return [[weight or "none", how,
             *(f"{100 * np.mean(np.array(found) < k):.1f}" for k in (1, 5, 10))]
            for weight, found in ranks.items()]


def looks(collection: Collection, pairs: list[Pair], seen: Seen, captions: int | None
          ) -> Iterator[tuple[int, np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Of each caption: where its picture is among the first results, -1 for not at all; their
    cosines; what the closer look adds to them."""
    reranker = the_reranker(collection)
    asked = [(caption, str(pair.image)) for pair in pairs
             for caption in pair.captions[:captions]]
    for at in range(0, len(asked), TOGETHER):
        some = asked[at:at + TOGETHER]
        answers = collection.search_many([Query(text=text, k=FIRST) for text, _ in some])
        for (text, uri), hits in zip(some, answers, strict=True):
            assert isinstance(hits, list)
            odds = reranker.odds(text, seen(hits))
            uris = [hit.item.uri for hit in hits]
            yield (uris.index(uri) if uri in uris else -1, np.array([hit.score for hit in hits]),
                   reranker.weight * odds)


def stored(collection: Collection, pairs: list[Pair]) -> Seen:
    """What was stored of all pictures."""
    rows, _ = collection.vectors("image")
    reranker = the_reranker(collection)
    found = stored_places(collection.path, reranker.made_by, [row.hash for row in rows])
    by_id = {row.id: found[row.hash] for row in rows}
    return lambda hits: reranker.unpacked([by_id[hit.id] for hit in hits])


def exactly(collection: Collection, pairs: list[Pair]) -> Seen:
    """What the image tower gives of all pictures."""
    encoder = the_reranker(collection).encoder
    by_uri: dict[str, Vectors] = {}
    for pair in pairs:
        pixels = encoder.prepare(decode(pair.image, min_side=encoder.min_side).image)
        by_uri[str(pair.image)] = encoder.run_images([pixels], also="places")[1][0]
    return lambda hits: np.stack([by_uri[hit.item.uri] for hit in hits])


def timed(folder: Path, texts: list[str]) -> list[list[Any]]:
    """The steps of one query, and all of it, each on a handle that is open but has seen nothing."""
    took = Took()
    for text in texts:
        with Collection.open(folder / "plain") as plain, \
                Collection.open(folder / "stored") as kept:
            one_query(plain, kept, text, took)
    return took.medians()


def one_query(plain: Collection, kept: Collection, text: str, took: Took) -> None:
    reranker = the_reranker(kept)
    for collection in (plain, kept):
        collection.search(text="to open the files")
    hits = took.step("the search", lambda: kept.search(text=text, k=FIRST))
    took.step(f"reading {FIRST} pictures", lambda: Places().of(reranker, hits))

    def read() -> Vectors:
        rows = kept.rows([hit.id for hit in hits]).values()
        return reranker.unpacked([*stored_places(
            kept.path, reranker.made_by, {row.hash for row in rows}).values()])

    seen = took.step(f"or reading what is stored of {FIRST}", read)
    took.step("looking closer", lambda: reranker.odds(text, seen))
    took.step(f"all, --rerank {FIRST}", lambda: plain.search(text=text, rerank=FIRST))
    took.step(f"all, --rerank {FIRST}, stored", lambda: kept.search(text=text, rerank=FIRST))


class Took:
    """What steps took, by the clock and in time of the processor."""

    def __init__(self) -> None:
        self.steps: dict[str, list[tuple[float, float]]] = {}

    def step(self, name: str, do: Callable[[], Any]) -> Any:
        start, cpu = time.perf_counter(), time.process_time()
        done = do()
        self.steps.setdefault(name, []).append(
            (time.perf_counter() - start, time.process_time() - cpu))
        return done

    def medians(self) -> list[list[Any]]:
        return [[name, *(f"{1000 * one:.1f}" for one in np.median(np.array(each[1:]), axis=0))]
                for name, each in self.steps.items()]


def the_reranker(collection: Collection) -> Reranker:
    found = reranker_of(collection.encoder)
    assert found is not None
    return found


if __name__ == "__main__":
    main()
