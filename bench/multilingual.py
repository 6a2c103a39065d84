"""Queries in other languages: recall of the built-in model as it is, and with `--multilingual`.

    python bench/multilingual.py DATA

DATA: a folder with `pairs.jsonl` (English), `pairs_multilingual.jsonl.gz` and the pictures they
name, such as tuxpaint-stamps. Asked is of the split test; printed are recall@1/5/10 in per cent.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mmsearch.encoders import load_encoder
from mmsearch.encoders.multilingual import Multilingual
from mmsearch.media.decoding import decode

encoder = load_encoder("builtin")


def captions(data: Path, split: str) -> dict[str, dict[str, str]]:
    """Language -> picture -> its first caption."""
    found = dict[str, dict[str, str]]()
    others = gzip.decompress((data / "pairs_multilingual.jsonl.gz").read_bytes()).decode()
    for line in ((data / "pairs.jsonl").read_text("utf8") + others).splitlines():
        row = json.loads(line)
        if row["split"] == split:
            found.setdefault(row["lang"], {})[row["image"]] = row["captions"][0]
    return found


def pictures(data: Path, names: Iterable[str]) -> np.ndarray:
    return encoder.encode_images([decode(data / name, min_side=260).image for name in names])


def recall(queries: np.ndarray, truth: np.ndarray, gallery: np.ndarray) -> list[float]:
    """recall@1, 5, 10 in per cent; ties count against."""
    scores = queries @ gallery.T
    rank = (scores >= scores[np.arange(len(truth)), truth][:, None]).sum(1)
    return [100 * float((rank <= k).mean()) for k in (1, 5, 10)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    args = parser.parse_args()
    ways = {"as it is": encoder.encode_texts,
            "--multilingual": Multilingual(encoder).encode_texts}
    test = captions(args.data, "test")
    names = sorted(test["en"])
    gallery = pictures(args.data, names)
    english = encoder.encode_texts([test["en"][name] for name in names])
    print("language", "queries", "the same in English", *ways, sep=" | ")
    for language, asked in sorted(test.items()):
        texts = list(asked.values())
        truth = np.array([names.index(name) for name in asked])
        queries = [english[truth], *(way(texts) for way in ways.values())]
        cells = (" / ".join(f"{r:.1f}" for r in recall(q, truth, gallery)) for q in queries)
        print(language, len(texts), *cells, sep=" | ", flush=True)


if __name__ == "__main__":
    main()
