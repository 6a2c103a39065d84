"""Train the reranker of the built-in model, and put it into the model's directory.

    python tools/build_reranker.py --data DATA [--wheels WHEELS] [--work WORK] [--seconds 300]

1. read     all training pictures and captions; what the two towers make of them
2. heads    linear ones that have not seen what they are asked for (`train_reranker.out_of_fold`)
3. train    `train_reranker.fit`, the best on Flickr8k val
4. write    rerank.onnx, and the outputs that the towers' graphs need for it (`reranker`)

Five minutes on a GPU, with some 40 GB of memory on each side; a CPU would take days.
`bench/rerank.py` measures what comes out.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
import towers
from build_model import find_wheels, read_data, texts_of
from onnx import TensorProto, helper
from reranker import STAGES, show_states, write_reranker
from train_reranker import Settings, Texts, Tower, Train, Val, fit, out_of_fold, places_of

from mmsearch.encoders import BUILTIN_DIR, OnnxEncoder
from mmsearch.evaluation import Pair
from mmsearch.media import decode

LONGEST = 32
"""Tokens of a caption that are kept."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--work", type=Path, default=Path("build/reranker"))
    parser.add_argument("--model", type=Path, default=BUILTIN_DIR)
    parser.add_argument("--seconds", type=float, default=Settings.seconds)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    encoder = OnnxEncoder(with_states(options.model, options.work / "model"))
    pairs = read_data(options.data, options.work)
    val: dict[str, list[Pair]] = {}
    for pair in pairs["val"]:
        val.setdefault(pair.image.parents[1].name, []).append(pair)
    first = {"flickr8k": val.pop("flickr8k")}  # what the best is chosen by

    data = train_set(encoder, pairs["train"])
    tests = [val_set(encoder, name, those) for name, those in (first | val).items()]
    image_wheel, _ = find_wheels(options.wheels, options.work)
    folded = towers.fold_batch_norms(towers.read_efficientnet(image_wheel))[:-2]
    net, mean, std, result = fit(data, tests, Tower(folded, towers.STAGES), out_of_fold(data),
                                 Settings(seconds=options.seconds))
    print(json.dumps(result, indent=1))
    weight = max(result["flickr8k"], key=lambda w: sum(result["flickr8k"][w][:3]))
    write_reranker(net.cpu(), mean.cpu(), std.cpu(), weight, options.model)


def with_states(model: Path, copy: Path) -> Path:
    """A copy of a model directory, of which the text tower gives its states."""
    shutil.copytree(model, copy, dirs_exist_ok=True)
    graph = onnx.load(model / "text.onnx")
    show_states(graph)
    onnx.save(graph, copy / "text.onnx")
    return copy


def train_set(encoder: OnnxEncoder, pairs: Sequence[Pair]) -> Train:
    pixels, captions = pictures(encoder, pairs), texts_of(pairs)
    embeddings, features = encoder.run_images(list(pixels))
    words: dict[str, int] = {}
    same = np.array([words.setdefault(caption.lower(), len(words)) for caption in captions])
    return Train(pixels, embeddings, features, texts(encoder, pairs),
                 encoder.run_texts(captions)[1], same)


def val_set(encoder: OnnxEncoder, name: str, pairs: Sequence[Pair]) -> Val:
    pixels, captions = pictures(encoder, pairs), texts_of(pairs)
    images = encoder.encode_images(list(pixels))
    return Val(name, stages(encoder, pixels), encoder.run_images(list(pixels))[0],
               texts(encoder, pairs), encoder.encode_queries(captions)[0] @ images.T,
               images @ encoder.encode_texts(captions).T)


def pictures(encoder: OnnxEncoder, pairs: Sequence[Pair]) -> Any:
    def one(pair: Pair) -> Any:
        return encoder.prepare(decode(pair.image, min_side=encoder.min_side).image)

    with ThreadPoolExecutor() as pool:
        return np.stack(list(pool.map(one, pairs)))


def texts(encoder: OnnxEncoder, pairs: Sequence[Pair]) -> Texts:
    captions = texts_of(pairs)
    found = np.zeros((len(captions), LONGEST, towers.MINILM_WIDTH), np.float16)
    lengths, embeddings = [], []
    for n, caption in enumerate(captions):
        embedding, states = encoder.run_texts([caption], also="states")
        lengths.append(min(LONGEST, states.shape[1]))
        found[n, :lengths[-1]] = states[0, :LONGEST]
        embeddings.append(embedding[0])
    owner = np.repeat(np.arange(len(pairs)), [len(pair.captions) for pair in pairs])
    return Texts(found, np.array(lengths), np.stack(embeddings), owner)


def stages(encoder: OnnxEncoder, pixels: Any) -> Any:
    """float16 [n, 81, 680], by the image tower that ships."""
    model = onnx.load(encoder.directory / "image.onnx")
    names = [f"{tensor}_DequantizeLinear_Output" for tensor in STAGES.values()]
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    parts = (session.run(names, {"pixels": pixels[at:at + 8]}) for at in range(0, len(pixels), 8))
    return np.concatenate([
        places_of(*map(torch.as_tensor, part)).numpy().astype(np.float16) for part in parts])


if __name__ == "__main__":
    main()
