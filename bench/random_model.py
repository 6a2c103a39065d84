"""A model directory of any length of vectors, with random weights: a collection needs some model.

What `ann.py` searches comes from `clipvectors.py`; no picture is ever embedded for it. But a
collection is made for a model, and may ask it what it makes of a few pictures and texts. This one
answers with random projections of a picture's mean colour, or of a text's mean token.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from mmsearch.encoders import BUILTIN_DIR

WIDTH = 8
"""Numbers a token has."""


def write_model(path: Path, dim: int) -> Path:
    """Write the model unless it is there; -> `path`."""
    if (path / "model.json").exists():
        return path
    from tokenizers import Tokenizer

    path.mkdir(parents=True, exist_ok=True)
    shutil.copy(BUILTIN_DIR / "tokenizer.json", path)
    random = np.random.default_rng(0)
    words = Tokenizer.from_file(str(path / "tokenizer.json")).get_vocab_size()
    np.save(path / "tokens.npy", random.standard_normal((words, WIDTH)).astype(np.float16))
    _write_graph(path / "image.onnx", dim, "pixels", [None, None, None, 3], axes=[1, 2])
    _write_graph(path / "text.onnx", dim, "tokens", [None, None, WIDTH], axes=[1])
    spec = {"format": 1, "name": f"random-{dim}", "dim": dim, "max_tokens": 64, "sha256": {},
            "image": {"file": "image.onnx", "size": 32, "resize": "squash",
                      "interpolation": "bilinear"},
            "text": {"file": "text.onnx", "tokens": "tokens.npy", "tokenizer": "tokenizer.json"}}
    (path / "model.json").write_text(json.dumps(spec))
    return path


def _write_graph(path: Path, dim: int, name: str, shape: list[int | None],
                 axes: list[int]) -> None:
    """The mean of the input over `axes`, projected to `dim` numbers, of unit length."""
    from onnx import TensorProto, checker, helper, numpy_helper, save

    weights = np.random.default_rng(dim).standard_normal((shape[-1], dim)).astype(np.float32)
    constants: dict[str, Any] = {"weights": weights, "axes": np.array(axes, np.int64),
                                 "offset": np.full(dim, 0.01, np.float32)}
    nodes = [
        helper.make_node("Cast", [name], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["numbers", "axes"], ["features"], keepdims=0),
        helper.make_node("MatMul", ["features", "weights"], ["projected"]),
        helper.make_node("Add", ["projected", "offset"], ["moved"]),
        helper.make_node("LpNormalization", ["moved"], ["embedding"], axis=-1, p=2),
    ]
    kind = TensorProto.UINT8 if name == "pixels" else TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info(name, kind, shape)]
    if name == "tokens":
        inputs.append(helper.make_tensor_value_info("mask", TensorProto.INT64, [None, None]))
    outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [None, dim]),
               helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, shape[-1]])]
    graph = helper.make_graph(nodes, path.stem, inputs, outputs, [
        numpy_helper.from_array(value, key) for key, value in constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    checker.check_model(model)
    save(model, str(path))
