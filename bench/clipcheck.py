"""How CLIP-like the vectors of `clipvectors.py` are: figures, beside those of a real collection.

    mmsearch index PAIRS.jsonl -i real          # pictures with captions
    python bench/clipcheck.py --collection real

Prints what decides how hard vectors are to search: mean cosines, spectrum, local intrinsic
dimension (Levina & Bickel 2004), hubs, and above all the recall@10 of an inverted-list index
against the number of lists visited, for queries in words and for queries by example. The real ones
are captions and pictures of the split `--split`, asked of the pictures of all other splits.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ann_data import recall
from clipvectors import ClipVectors
from measure import table

from mmsearch.collection.collection import Collection
from mmsearch.indexes._faiss import load_faiss
from mmsearch.records import Ids, Vectors

NEAR = 100
QUERIES = 1000
SAMPLE = 2000
PROBES = (1, 4, 16, 64, 256)


class Sets(NamedTuple):
    """Vectors to search, and queries by example and in words; float32 rows of unit length."""

    images: Vectors
    held_out: Vectors
    texts: Vectors


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--collection", type=Path, help="a collection of pictures with captions")
    parser.add_argument("--split", default="val", help="whose captions and pictures ask")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    columns = {}
    if args.collection:
        sets = real(args.collection, args.split)
        columns["real"] = statistics(sets)
        args.sizes = [len(sets.images), *args.sizes]
    for size in args.sizes:
        columns[f"made, {size:,}"] = statistics(made(size, args.seed))
    names = next(iter(columns.values()))
    print(table(("", *columns), [[name, *(column[name] for column in columns.values())]
                                 for name in names]))


def made(size: int, seed: int = 0, dim: int = 512) -> Sets:
    vectors = ClipVectors(seed, dim)
    return Sets(vectors.images(0, size), vectors.held_out(0, QUERIES), vectors.texts(0, QUERIES))


def real(path: Path, split: str) -> Sets:
    """Pictures of the other splits, pictures of `split`, and some captions of `split`."""
    collection = Collection.open(path)
    asked: list[Any] = []
    for kind in ("image", "text"):
        rows, vectors = collection.vectors(kind)
        here = np.array([row.item.meta.get("split") == split for row in rows])
        if not here.any():
            raise SystemExit(f"{path} has no {kind} of the split {split!r}")
        asked += [vectors[~here], vectors[here]]
    images, held_out, _, texts = asked
    some = np.random.default_rng(0).permutation(len(texts))[:QUERIES]
    return Sets(images, held_out[:QUERIES], texts[some])


def statistics(sets: Sets) -> dict[str, str]:
    """Figures by name, as text."""
    images = sets.images
    random = np.random.default_rng(0)
    sample = images[random.permutation(len(images))[:SAMPLE]]
    pairs = (sample @ sample.T)[np.triu_indices(len(sample), 1)]
    shares = spectrum(images[random.permutation(len(images))[:20_000]])
    found = {
        "cosine image-image": f"{pairs.mean():.3f} ±{pairs.std():.3f}",
        "cosine text-image": "{:.3f} ±{:.3f}".format(
            *(f(sets.texts @ sample.T) for f in (np.mean, np.std))),
        "variance in 1/10/50/100 axes": "/".join(
            f"{shares[:n].sum():.2f}" for n in (1, 10, 50, 100)),
        "axes taking part": f"{1 / (shares**2).sum():.0f}",
    }
    queries = {"image": sets.held_out, "text": sets.texts}
    near = {kind: nearest(asked, images) for kind, asked in queries.items()}
    for kind, (scores, ids) in near.items():
        among = queries[kind] @ sample.T
        best = (scores[:, 0] - among.mean(axis=1)) / among.std(axis=1)
        found |= {
            f"{kind}: cosine of number 1/10/100": "/".join(
                f"{np.median(scores[:, n - 1]):.2f}" for n in (1, 10, 100)),
            f"{kind}: the best, in deviations": f"{np.median(best):.1f}",
            f"{kind}: local dimension": f"{np.median(local_dimension(scores)):.0f}",
            f"{kind}: most often in a top ten": f"{np.bincount(ids[:, :10].ravel()).max()}",
        }
    for kind, reached in probed(images, queries, near).items():
        found[f"{kind}: recall at {'/'.join(map(str, PROBES))} lists"] = "/".join(
            f"{value:.2f}" for value in reached)
    return found


def spectrum(rows: Vectors) -> Vectors:
    """Shares of the variance in each principal axis, descending."""
    values = np.linalg.eigvalsh(np.cov((rows - rows.mean(axis=0)).T))[::-1]
    shares: Vectors = values / values.sum()
    return shares


def local_dimension(scores: Vectors) -> Vectors:
    """Maximum likelihood estimate from the distances to the nearest NEAR, float32 [n]."""
    distances = np.sqrt(np.maximum(2 - 2 * scores, 1e-9))
    steps: Vectors = np.log(distances[:, -1:] / distances[:, :-1])
    return (distances.shape[1] - 1) / steps.sum(axis=1)


def nearest(queries: Vectors, images: Vectors) -> tuple[Vectors, Ids]:
    faiss = load_faiss()
    scores, ids = faiss.knn(queries, images, NEAR, metric=faiss.METRIC_INNER_PRODUCT)
    return scores, ids


def probed(images: Vectors, queries: dict[str, Vectors],
           near: dict[str, tuple[Vectors, Ids]]) -> dict[str, list[float]]:
    """Recall@10 of an IVF index with 4 √n lists and no compression, for each of PROBES."""
    faiss = load_faiss()
    lists = 2 ** round(np.log2(4 * len(images) ** 0.5))
    quantizer = faiss.IndexFlatIP(images.shape[1])
    index = faiss.IndexIVFFlat(quantizer, images.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.spherical, index.cp.niter, index.cp.min_points_per_centroid = True, 10, 1
    index.train(images[:: max(1, len(images) // (64 * lists))])
    index.add(images)
    reached: dict[str, list[float]] = {kind: [] for kind in queries}
    for index.nprobe in PROBES:
        for kind, asked in queries.items():
            reached[kind].append(recall(index.search(asked, 10)[1], near[kind][1][:, :10]))
    return reached


if __name__ == "__main__":
    main()
