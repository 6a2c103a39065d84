"""Build the memory of names of the built-in model (`mmsearch/encoders/names.py`), offline.

    python tools/build_names.py --data DATA --wordnet DIR [--wheels WHEELS] [--model DIR]

1. names     the thousand classes of ImageNet, with their synonyms in WordNet. The classifier that
             the image tower was taught with has a vector of weights for each: what is added to
             mean features, and taken through the image head, is a picture of the class without one
2. groups    names for several of them (dog, musical instrument): the mean of their members
3. captions  nouns that captions of training pictures share: the mean of those pictures
4. apart     each is turned to where its pictures differ from others, not where all pictures vary
5. measure   captions, their nouns, and names as queries for pictures; on test once

DIR is Debian's wordnet-base (/usr/share/wordnet), version 3.0. Written to names.npy of the model.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import wordfreq
from build_model import find_wheels, log, pictures, read_data, recall_of, say

from mmsearch.encoders import BUILTIN_DIR
from mmsearch.encoders.names import ENDINGS, Names
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.evaluation.pairs import Pair, load_pairs
from mmsearch.records import Vectors
from mmsearch.training.heads import read_heads, unit

HERE = Path(__file__).parent
SETTINGS = {"strength": 3.5, "sharpness": 0.03, "least": 0.8,
            "within": 6.0, "near": 0.25}  # chosen on val
CLASS = 4.0  # how much of a class's weights is added to mean features; 1 to 32 give the same
LARGEST = 130  # classes in a group: dog has 118, animal 398
FEWEST = 3  # pictures that captions of a noun must have
MIXED = 30  # from so many on they count beside a class or group of that name
USED = 1e-7  # share of all words
COMMON = 0.3  # of all pictures: a noun of so many names nothing
NO_NOUNS = {  # though WordNet has them
    "all", "and", "are", "back", "being", "can", "down", "each", "for", "from", "front", "has",
    "have", "her", "his", "into", "its", "like", "near", "next", "not", "off", "one", "other",
    "out", "over", "set", "side", "some", "that", "the", "there", "this", "through", "top", "two",
    "was", "what", "while", "who", "with", "you"}  # fmt: skip
MEASURED = (("flickr8k", "val"), ("fashion_products", "val"), ("coco_captioned_train", None),
            ("flickr8k", "test"), ("fashion_products", "test"), ("tuxpaint_stamps", "test"),
            ("openclipart", "test"))
GROUPS = (  # measured, where the pictures have three of it
    "dog", "bird", "snake", "fish", "insect", "spider", "butterfly", "monkey", "bear", "lizard",
    "frog", "turtle", "cat", "crab", "beetle", "car", "truck", "boat", "ship", "aircraft",
    "furniture", "musical instrument", "tool", "weapon", "fruit", "vegetable", "building", "hat",
    "ball", "clothing", "computer")
FRAMES = ("a {} on a table", "a {} in the snow", "two {}s", "close up of a {}", "my new {}",
          "black and white {}", "a man with a {}", "{} at night")  # chosen on


class WordNet:
    """Nouns: synsets by offset, each with its words and the synsets above it."""

    def __init__(self, folder: Path) -> None:
        self.synsets: dict[str, tuple[list[str], list[str]]] = {}
        for fields in self._lines(folder / "data.noun"):
            count = int(fields[3], 16)
            words = [word.replace("_", " ").lower() for word in fields[4 : 4 + 2 * count : 2]]
            links = fields[5 + 2 * count :]
            above = [links[n + 1] for n in range(0, 4 * int(fields[4 + 2 * count]), 4)
                     if links[n] in ("@", "@i")]
            self.synsets[fields[0]] = words, above
        self.first_sense = {fields[0].replace("_", " "): fields[-int(fields[2])]
                            for fields in self._lines(folder / "index.noun")}
        self.irregular = dict(line.split()[:2] for line in
                              (folder / "noun.exc").read_text("latin-1").splitlines())
        every = [fields[0] for pos in ("noun", "verb", "adj", "adv") for name in
                 (f"index.{pos}", f"{pos}.exc") for fields in self._lines(folder / name)]
        self.words = {word for word in every if re.fullmatch("[a-z]{3,}", word)}

    def _lines(self, path: Path) -> Iterator[list[str]]:
        for line in path.read_text("latin-1").splitlines():
            if not line.startswith(" "):
                yield line.partition(" | ")[0].split()

    def groups(self, synset: str) -> set[str]:
        """All synsets above one."""
        found: set[str] = set()
        rest = [synset]
        while rest:
            new = set(self.synsets[rest.pop()][1]) - found
            found |= new
            rest += new
        return found

    def noun(self, word: str) -> str | None:
        """The singular of a noun."""
        if word in self.first_sense or word in self.irregular:
            return self.irregular.get(word, word)
        for ending, instead in ENDINGS:
            if word.endswith(ending) and word.removesuffix(ending) + instead in self.first_sense:
                return word.removesuffix(ending) + instead
        return None


def main() -> None:
    options = read_options()
    encoder, wordnet = OnnxEncoder(options.model), WordNet(options.wordnet)
    pairs = read_data(options.data, options.work)
    vectors, features = encoded(encoder, pairs["train"])
    classes = [line.split("\t") for line in
               (HERE / "imagenet_names.tsv").read_text("utf-8").splitlines()]
    image_wheel, _ = find_wheels(options.wheels, options.work)
    apart = discriminant(vectors)
    directions = unit(class_directions(image_wheel, options.model, features.mean(0)) @ apart)
    memory = of_classes(classes, directions, wordnet) | of_groups(classes, directions, wordnet)
    found = of_captions(pairs["train"], vectors, apart, wordnet)
    for word, (direction, count) in found.items():
        if word not in memory:
            memory[word] = direction
        elif count >= MIXED:
            memory[word] = unit(memory[word] + direction)
    path = options.model / "names.npy"
    write(path, encoder, memory)
    write_words(options.model / "words.txt.gz", wordnet, pairs["train"])
    say(f"{len(memory)} names, {path.stat().st_size / 1e6:.1f} MB")
    measure(encoder, Names(path, SETTINGS), options.data, classes, wordnet)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--wheels", type=Path, help="a folder with the wheel of the image tower")
    parser.add_argument("--work", type=Path, default=Path("build/model"))
    parser.add_argument("--model", type=Path, default=BUILTIN_DIR, help="the model's directory")
    return parser.parse_args()


def encoded(encoder: OnnxEncoder, pairs: Sequence[Pair]) -> tuple[Vectors, Vectors]:
    parts = [encoder.run_images(list(pixels)) for _, pixels in pictures(encoder, pairs)]
    return np.concatenate([v for v, _ in parts]), np.concatenate([f for _, f in parts])


# -- 1. to 4. --------------------------------------------------------------------------------------


def class_directions(wheel: Path, model: Path, mean: Vectors) -> Vectors:
    """Where pictures of each class lie, from the mean of all classes: float32 [1000, dim]."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".pth"))
        state = torch.load(io.BytesIO(archive.read(name)), map_location="cpu", weights_only=True)
    weights = state["_fc.weight"].numpy()
    seen = np.repeat(mean[None], len(weights), 0)
    pooled = slice(weights.shape[1])
    seen[:, pooled] = np.maximum(seen[:, pooled] + CLASS * (weights - weights.mean(0)), 0)
    vectors = read_heads(model).image(seen)
    return unit(vectors - vectors.mean(0))


def of_classes(classes: Sequence[Sequence[str]], directions: Vectors, wordnet: WordNet
               ) -> dict[str, Vectors]:
    memory: dict[str, Vectors] = {}
    for (synset, name), direction in zip(classes, directions, strict=True):
        for word in (name.lower(), *wordnet.synsets[synset[1:]][0]):
            memory.setdefault(word, direction)
    return memory


def of_groups(classes: Sequence[Sequence[str]], directions: Vectors, wordnet: WordNet
              ) -> dict[str, Vectors]:
    """Words that mean a group before all else."""
    members: dict[str, list[int]] = defaultdict(list)
    for n, (synset, _) in enumerate(classes):
        for group in wordnet.groups(synset[1:]):
            members[group].append(n)
    return {word: directions[those].mean(0)
            for group, those in members.items() if 2 <= len(those) <= LARGEST
            for word in wordnet.synsets[group][0] if wordnet.first_sense.get(word) == group}


def of_captions(pairs: Sequence[Pair], vectors: Vectors, apart: Vectors, wordnet: WordNet
                ) -> dict[str, tuple[Vectors, int]]:
    """Nouns, where pictures that they describe lie, and how many those are. The fewer pictures,
    the shorter."""
    mean = vectors.mean(0)
    return {word: (unit((vectors[those].mean(0) - mean) @ apart) * len(those) / (len(those) + 10),
                   len(those))
            for word, those in by_noun(pairs, wordnet).items()
            if FEWEST <= len(those) <= COMMON * len(pairs)}


def discriminant(vectors: Vectors) -> Vectors:
    """Fisher's: what turns a difference of means into the direction that tells them apart best,
    float32 [dim, dim]; with as much of the identity as the covariance has on average."""
    covariance = np.cov(vectors.T.astype(np.float64), bias=True)
    inverse = np.linalg.inv(covariance + np.trace(covariance) / len(covariance)
                            * np.eye(len(covariance)))
    return np.asarray(inverse, np.float32)


def by_noun(pairs: Sequence[Pair], wordnet: WordNet) -> dict[str, list[int]]:
    """Which pictures nouns describe: those of which two captions, or the only one, have it."""
    shown: dict[str, list[int]] = defaultdict(list)
    for n, pair in enumerate(pairs):
        times: Counter[str] = Counter()
        for caption in pair.captions:
            words = {wordnet.noun(word) for word in re.findall(r"[a-z]{3,}", caption.lower())
                     if word not in NO_NOUNS}
            times.update(word for word in words if word)
        for word, count in times.items():
            if count >= min(2, len(pair.captions)):
                shown[word].append(n)
    return shown


def write(path: Path, encoder: OnnxEncoder, memory: dict[str, Vectors]) -> None:
    words = sorted(memory)
    keys = unit(encoder.run_texts(words)[1])
    width = max(len(word.encode()) for word in words)
    table = np.zeros(len(words), [("word", f"S{width}"), ("key", "i1", keys.shape[1]),
                                  ("value", "f2", encoder.dim)])
    table["word"] = [word.encode() for word in words]
    table["key"] = np.rint(keys * (127 / np.abs(keys).max(1, keepdims=True)))
    table["value"] = np.stack([memory[word] for word in words])
    np.save(path, table)
    describe(path, names=SETTINGS)


def write_words(path: Path, wordnet: WordNet, pairs: Sequence[Pair]) -> None:
    """What is no misspelling: the words of WordNet, of three training captions or more, and those
    that are one of ten million words or more (PyPI package wordfreq): names, brands, dishes."""
    times = Counter(word for pair in pairs for caption in pair.captions
                    for word in set(re.findall(r"[a-z]{3,}", caption.lower())))
    said = {word for word, count in times.items() if count >= FEWEST}
    common = {word for word, share in wordfreq.get_frequency_dict("en", "best").items()
              if share >= USED and re.fullmatch("[a-z]{5,}", word)}
    words = "\n".join(sorted(said | wordnet.words | common))
    path.write_bytes(gzip.compress(words.encode(), mtime=0))
    describe(path, spelling={})


def describe(path: Path, **parts: dict[str, float]) -> None:
    """Name a file in model.json."""
    spec_path = path.parent / "model.json"
    spec = json.loads(spec_path.read_text("utf-8"))
    spec |= {part: {"file": path.name, **settings} for part, settings in parts.items()}
    spec["sha256"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    spec_path.write_text(json.dumps(spec, indent=1) + "\n")


# -- 5. --------------------------------------------------------------------------------------------


def measure(encoder: OnnxEncoder, names: Names, data: Path, classes: Sequence[Sequence[str]],
            wordnet: WordNet) -> None:
    """As sentences, nouns and names find pictures, without the memory and with it."""
    def with_memory(texts: Sequence[str]) -> Vectors:
        return names.queries(texts, encoder.run_texts)[0]

    def without(texts: Sequence[str]) -> Vectors:
        return encoder.run_texts(texts)[0]

    for label, encode in (("without", without), ("with", with_memory)):
        for source, split in MEASURED:
            pairs = load_pairs(data / source / "pairs.jsonl", split=split)
            images = encoded(encoder, pairs)[0]
            texts = [caption for pair in pairs for caption in pair.captions]
            log(f"{label}: captions, {source} {split or 'whole'}",
                recall_of(images, encode(texts), pairs))
            say(f"{label}: nouns of these: {of_nouns(encode, images, pairs, wordnet)}")
        folder = data / "imagenet_names"
        rows = [json.loads(line) for line in (folder / "pairs.jsonl").open(encoding="utf-8")]
        images = encoded(encoder, [Pair(folder / row["image"], ()) for row in rows])[0]
        chosen = np.array([row["split"] == "val" for row in rows])
        truth = np.array([[one for one, _ in classes].index(row["wordnet"]) for row in rows])
        queries = encode([name for _, name in classes])
        first = (images @ queries.T).argmax(1) == truth
        scores = queries[truth] @ images.T
        ranks = (scores > np.diag(scores)[:, None]).sum(1)
        for part, those in (("val", chosen), ("all", np.ones(len(rows), bool))):
            found = "/".join(f"{100 * (ranks[those] < k).mean():.1f}" for k in (1, 5, 10))
            say(f"{label}: names, {those.sum()} pictures ({part}): right of 1,000 for "
                f"{100 * first[those].mean():.1f} %, R@1/5/10 of {len(rows)} {found}")
        for frame in FRAMES:
            scores = encode([frame.format(name.lower()) for _, name in classes])[truth] @ images.T
            ranks = (scores > np.diag(scores)[:, None]).sum(1)
            found = "/".join(f"{100 * (ranks < k).mean():.1f}" for k in (1, 5, 10))
            say(f"{label}: names within {frame!r}: R@1/5/10 of {len(rows)} {found}")
        say(f"{label}: groups {of_groups_found(encode, images, truth, classes, wordnet)}")


def of_groups_found(encode: Callable[[Sequence[str]], Vectors], images: Vectors,
                    truth: np.ndarray, classes: Sequence[Sequence[str]], wordnet: WordNet) -> str:
    """Precision at 10 (at as many as there are, if less) of `GROUPS` as queries."""
    above = [wordnet.groups(synset[1:]) | {synset[1:]} for synset, _ in classes]
    precisions = []
    for group in GROUPS:
        senses = [one for one, (words, _) in wordnet.synsets.items() if group in words]
        largest = max(senses, key=lambda one: sum(one in those for those in above))
        right = np.array([largest in above[n] for n in truth])
        if (count := min(10, right.sum())) >= 3:
            nearest = np.argsort(-(images @ encode([group])[0]))[:count]
            precisions.append(right[nearest].mean())
    return f"P@10 {np.mean(precisions):.3f} over {len(precisions)}"


def of_nouns(encode: Callable[[Sequence[str]], Vectors], images: Vectors, pairs: Sequence[Pair],
             wordnet: WordNet) -> str:
    """Mean average precision of nouns as queries; right are the pictures that they describe."""
    right = {word: those for word, those in by_noun(pairs, wordnet).items()
             if 2 <= len(those) <= len(pairs) / 5}
    precisions = []
    for those, scores in zip(right.values(), encode([*right]) @ images.T, strict=True):
        hits = np.isin(np.argsort(-scores), those)
        precisions.append((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())
    return f"mAP {100 * np.mean(precisions):.1f} over {len(precisions)}"


if __name__ == "__main__":
    main()
