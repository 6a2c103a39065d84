"""Build what keeps hubs down in the built-in model (`mmsearch/encoders/hubness.py`), offline.

    python tools/build_hubness.py --data DATA [--model DIR] [--test]

1. choose    4,096 texts and as many pictures of the training data, of all its kinds
2. axes      the two directions in which both have least
3. write     hubness.npz, golden.json and calibration.json of the model
4. measure   without and with, on val; with --test, once, on test

After `build_names.py`: names are among the texts, moved as queries are.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from build_model import golden, log, pictures, read_data, recall_of, texts_of

from mmsearch.encoders import BUILTIN_DIR
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.evaluation.pairs import Pair, load_pairs
from mmsearch.records import Vectors
from mmsearch.search.relevance import make_calibration
from mmsearch.training.heads import unit
from mmsearch.training.hubs import describe_hubs, write_hubs

PICTURES = {"flickr8k": 1500, "coco_distractors": 1000, "openclipart": 600,
            "fashion_products": 400, "tuxpaint_stamps": 346, "imagenet_names": 250}
TEXTS = {"flickr8k": 1200, "caption_texts": 1200, "names": 550, "openclipart": 500,
         "tuxpaint_stamps": 346, "fashion_products": 300}
VAL = (("flickr8k", "val"), ("coco_captioned_train", None), ("fashion_products", "val"),
       ("imagenet_names", None))
TEST = (("flickr8k", "test"), ("fashion_products", "test"), ("tuxpaint_stamps", "test"),
        ("openclipart", "test"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("build/model"))
    parser.add_argument("--model", type=Path, default=BUILTIN_DIR, help="the model's directory")
    parser.add_argument("--test", action="store_true", help="measure on test, too")
    options = parser.parse_args()
    describe_hubs(options.model, None)
    plain = OnnxEncoder(options.model)
    write(options.model, plain, options.data, options.work)
    built = OnnxEncoder(options.model)
    (options.model / "golden.json").write_text(json.dumps(golden(options.model)) + "\n")
    (options.model / "calibration.json").write_text(
        json.dumps({"encoder": built.name, **make_calibration(built).to_json()}) + "\n")
    for source, split in (*VAL, *(TEST if options.test else ())):
        pairs = [p for p in load_pairs(options.data / source / "pairs.jsonl", split=split)
                 if p.captions]
        for label, encoder in (("without", plain), ("with", built)):
            images, texts = images_of(encoder, pairs), texts_of(pairs)
            what = f"{label}: {source} {split or 'whole'}"
            for how, words in (("queries", encoder.encode_queries(texts)[0]),
                               ("captions", encoder.encode_texts(texts))):
                log(f"{what}, texts as {how}", recall_of(images, words, pairs))


def write(model: Path, encoder: OnnxEncoder, data: Path, work: Path) -> None:
    pairs = [*read_data(data, work)["train"],
             *load_pairs(data / "imagenet_names" / "pairs.jsonl", split="train")]
    random = np.random.default_rng(0)

    def some(of: Sequence[Any], count: int) -> Iterator[Any]:
        return (of[n] for n in random.permutation(len(of))[:count])

    images = unit(images_of(encoder, [pair for source, count in PICTURES.items()
                                      for pair in some(of_source(pairs, source), count)]))
    sentences = [text for source, count in TEXTS.items()
                 for text in some(texts_in(data, source, model, pairs), count)]
    texts = unit(encoder.encode_queries(sentences)[0])
    write_hubs(model / "hubness.npz", images, texts)
    describe_hubs(model, "hubness.npz")


def of_source(pairs: Sequence[Pair], source: str) -> list[Pair]:
    return [pair for pair in pairs if pair.image.parents[1].name == source]


def texts_in(data: Path, source: str, model: Path, pairs: Sequence[Pair]) -> list[str]:
    if source == "names":
        return [word.decode() for word in np.load(model / "names.npy")["word"]]
    if source == "caption_texts":
        with gzip.open(data / source / "coco.jsonl.gz", "rt", encoding="utf-8") as rows:
            return [caption for row in rows for caption in json.loads(row)["captions"]]
    return texts_of(of_source(pairs, source))


def images_of(encoder: OnnxEncoder, pairs: Sequence[Pair]) -> Vectors:
    return np.concatenate([encoder.encode_images(list(pixels))
                           for _, pixels in pictures(encoder, pairs)])


if __name__ == "__main__":
    main()
