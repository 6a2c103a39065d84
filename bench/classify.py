"""Accuracy of `mmsearch classify` by words, and from 1, 4, 16 and all examples of each label.

    python bench/classify.py products.jsonl --column articleType --column baseColour --split val

Examples come from the split `train`, what is measured from --split; of few examples the mean of
--draws. Beside it stands scikit-learn's logistic regression on what the image tower makes of the
pictures before its projection head, its C chosen by the same cross-validation, from the same
examples. Ranges are 95 % of a bootstrap over pictures and draws, in the last rows over the
differences. Labels that no example has are in no row. Of labels that are paths (animals/birds) the
first part counts. `--seen PAIRS` says how near the nearest of other pictures are, such as those
that the model was trained on. `--fit` instead finds the constant of labels in words. Labels that
the model has never read: `bench/unread.py`.
"""

from __future__ import annotations

import hashlib
from argparse import Namespace
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from measure import arguments, machine, table, write_json

from mmsearch.classification import Things, few_shot, zero_shot
from mmsearch.classification.by_examples import STRENGTHS, Method
from mmsearch.classification.by_words import heights, open_softmax
from mmsearch.classification.labels import labels_of
from mmsearch.encoders import Encoder, load_encoder
from mmsearch.media.decoding import decode
from mmsearch.sources.manifests import Row, read_rows
from mmsearch.storage.rows import Row as Stored

RAW = "logistic regression, tower features"
PROBE = [Method(strength) for strength in STRENGTHS]


def encoded(path: Path, encoder: Any, cache: Path) -> tuple[list[Row], dict[str, Any]]:
    """The rows of a manifest, and what the model makes of each: vectors of its picture and of its
    first caption, and the features of the image tower."""
    rows = [row for row in read_rows(path) if isinstance(row, Row) and row.image]
    key = hashlib.sha256(f"{encoder.name} {path.resolve()} {path.stat().st_mtime_ns}".encode())
    kept = cache / f"classify-{key.hexdigest()[:16]}.npz"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)

        def pixels(row: Row) -> Any:
            return encoder.prepare(decode(path.parent / str(row.image),
                                          min_side=encoder.min_side).image)

        found: dict[str, list[Any]] = {"images": [], "features": []}
        with ThreadPoolExecutor() as pool:
            for at in range(0, len(rows), 256):
                batch = list(pool.map(pixels, rows[at : at + 256]))
                found["images"].append(encoder.encode_images(batch))
                found["features"].append(encoder.run_images(batch)[1])
        texts = encoder.encode_texts([(row.captions or ("",))[0] for row in rows])
        np.savez(kept, texts=texts, **{name: np.concatenate(v) for name, v in found.items()})
    return rows, dict(np.load(kept))


def things(vectors: dict[str, Any], at: Any, which: str = "images") -> Things:
    rows: list[Stored] = [None] * len(at)  # type: ignore[list-item]
    return Things(rows, vectors[which][at], vectors["texts"][at])


Right: TypeAlias = npt.NDArray[np.bool_]
"""[draws, pictures]"""


def accuracies(rows: Sequence[Row], vectors: dict[str, Any], column: str, encoder: Encoder,
               args: Namespace) -> dict[str, dict[str, Right]]:
    """What was right, by method and number of examples ("0": words alone), in the table's order."""
    label = np.array([str(row.meta.get(column) or "").partition("/")[0] for row in rows])
    of = np.array([row.meta.get("split") for row in rows])
    train = np.flatnonzero((of == "train") & (label != ""))
    names = sorted(set(label[train]))
    test = np.flatnonzero((of == args.split) & np.isin(label, names))
    truth = label[test]
    kinds = ("image", "text", "fused") if any(row.captions for row in rows) else ("image",)

    def judged(made: Any, which: str = "images") -> Right:
        shares = made.probabilities(things(vectors, test, which))
        return np.asarray(np.array(made.labels)[shares.argmax(1)] == truth)

    out: dict[str, dict[str, Right]] = {f"words, {features}": {"0": judged(zero_shot(
        encoder, labels_of(names), features, always=True))[None]}  # type: ignore[arg-type]
        for features in kinds}
    learners: list[tuple[str, str, str, Any]] = [
        *((f"mmsearch, {features}", "images", features, None) for features in kinds),
        ("nearest mean, image", "images", "image", [Method()]),
        (RAW, "features", "image", PROBE)]
    for name, which, features, methods in learners:
        out[name] = {}
        for shots in (*args.shots, None):
            right = []
            for draw in range(args.draws if shots else 1):
                at = train if shots is None else drawn(label, train, names, shots, args.seed + draw)
                made = few_shot(things(vectors, at, which), label[at].tolist(),
                                features, methods=methods)  # type: ignore[arg-type]
                right.append(judged(made, which))
            out[name][str(shots or "all")] = np.array(right)
        print(".", end="", flush=True)
    print(f"\n{column}: {len(names)} labels, {len(train)} examples, {len(test)} pictures of "
          f"{args.split}; the most frequent label is {max((truth == n).mean() for n in names):.3f}")
    return out


def shown(found: dict[str, dict[str, Right]], seed: int) -> list[dict[str, str]]:
    """Means with their ranges, and those of what mmsearch has more than the features."""
    out = [{"method": method} | {shots: "{:.3f} ({:.2f} to {:.2f})".format(*interval(right, seed))
                                 for shots, right in by_shots.items()}
           for method, by_shots in found.items()]
    for method in found:
        if method.startswith("mmsearch, "):
            out.append({"method": f"{method}, less {RAW}"} | {
                shots: "{:+.3f} ({:+.2f} to {:+.2f})".format(*interval(
                    found[method][shots].astype(float) - other, seed))
                for shots, other in found[RAW].items()})
    return out


def interval(values: Any, seed: int) -> tuple[float, float, float]:
    """The mean of [draws, pictures], and 95 % of means of resampled draws and pictures."""
    random, (draws, pictures) = np.random.default_rng(seed), values.shape
    means = [values[random.integers(draws, size=draws)].mean(0)[
        random.integers(pictures, size=pictures)].mean() for _ in range(2000)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(values.mean()), float(low), float(high)


def drawn(label: Any, train: Any, names: Sequence[str], shots: int, seed: int) -> Any:
    """So many examples of each label, or all that it has."""
    random = np.random.default_rng(seed)
    return np.concatenate([random.permutation(train[label[train] == name])[:shots]
                           for name in names])


def nearest(features: Any, seen: Any) -> Any:
    """The cosine of each picture to the nearest of those seen, by features of the image tower,
    [n, d] and [m, d], in deviations from those seen."""
    centre, spread = seen.mean(0), seen.std(0) + 1e-6
    one, other = ((x - centre) / spread for x in (features, seen))
    one, other = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (one, other))
    return (one @ other.T).max(1)


def fit(sets: Sequence[tuple[Any, Any]], encoder: Encoder, foreign: Any) -> None:
    """The loss (mean negative log-likelihood, what fits none and what fits one counted alike) of
    random subsets of the labels, for each FITS and steepness."""
    random, cases = np.random.default_rng(0), []
    for vectors, label in sets:
        names = sorted(set(label))
        words = zero_shot(encoder, labels_of(names)).images
        truth = np.array([names.index(one) for one in label])
        for size in [n for n in (2, 3, 5, 10, 20, 40) if n < len(names)]:
            for _ in range(6):
                keep = random.choice(len(names), size, replace=False)
                place = np.full(len(names), size)
                place[keep] = np.arange(size)
                y = place[truth]
                if 0 < (y == size).sum() < len(y):
                    weight = np.where(y == size, 0.5 / (y == size).sum(), 0.5 / (y < size).sum())
                    cases.append((heights(vectors, words[keep], foreign), y, weight / len(sets)))
    for steepness in (0.5, 0.7, 1.0, 1.4, 2.0):
        row = []
        for fits in (0.0, 0.5, 1.0, 1.5, 2.0):
            total = 0.0
            for high, y, weight in cases:
                # A steeper softmax of the same heights: all of them, and what stands for none.
                none = (fits + np.sqrt(2 * np.log(high.shape[1]))) * steepness
                shares = open_softmax(high * steepness, fits=none - np.sqrt(
                    2 * np.log(high.shape[1])))
                whole = np.concatenate([shares, 1 - shares.sum(1, keepdims=True)], axis=1)
                total -= float((weight * np.log(np.maximum(whole[np.arange(len(y)), y],
                                                           1e-9))).sum())
            row.append(f"{total / len(cases) * len(sets):.3f}")
        print(f"steepness {steepness}: FITS 0, 0.5, 1, 1.5, 2: {', '.join(row)}")


def main(args: Namespace) -> None:
    encoder = load_encoder(args.model)
    print(machine())
    results, sets = {}, []
    seen = [encoded(path, encoder, args.cache)[1]["features"] for path in args.seen]
    for path in args.pairs:
        rows, vectors = encoded(path, encoder, args.cache)
        if seen:
            near = nearest(vectors["features"], np.concatenate(seen))
            print(f"{path.parent.name}: cosines to the nearest picture seen are {near.max():.2f} "
                  f"at most, {np.median(near):.2f} in the middle")
        for column in args.column:
            if args.fit:
                at = [n for n, row in enumerate(rows)
                      if row.meta.get("split") == args.split and row.meta.get(column)]
                if at:
                    sets.append((vectors["images"][at], [str(rows[n].meta[column]) for n in at]))
                continue
            if sum(bool(row.meta.get(column)) for row in rows) == 0:
                continue
            found = shown(accuracies(rows, vectors, column, encoder, args), args.seed)
            heads = ["0", *map(str, args.shots), "all"]
            print(table(["method", "words", *heads[1:]], [
                [row["method"], *(row.get(head, "") for head in heads)] for row in found]))
            results[f"{path.parent.name} {column}"] = found
    if args.fit:
        known = zero_shot(encoder, labels_of(["a", "b"])).foreign
        fit(sets, encoder, known)
    write_json(args.json, results=results)


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("pairs", nargs="+", type=Path, help="pictures with labels and splits")
    parser.add_argument("--column", action="append", required=True, help="of the label; repeatable")
    parser.add_argument("--split", default="val", help="what is measured on")
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--seen", type=Path, action="append", default=[], help="repeatable")
    parser.add_argument("--fit", action="store_true")
    main(parser.parse_args())
