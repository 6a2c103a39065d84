"""Heads: the projections that bring the features of two towers into one space.

A head is `unit(weight @ unit(features) + bias)`. Standardisation and whitening are linear, so they
end up inside `weight` and `bias`, and a blend of two heads is a head. In a model directory the
heads are the last few nodes of the two ONNX graphs, where `write_model` puts them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmsearch.encoders import replace_nodes
from mmsearch.errors import ModelError
from mmsearch.records import Vectors

SIDES = ("image", "text")


@dataclass(frozen=True, slots=True)
class Head:
    """weight: float32 [D, F]; bias: float32 [D]."""

    weight: Vectors
    bias: Vectors

    def __call__(self, features: Vectors) -> Vectors:
        return unit(unit(features) @ self.weight.T + self.bias)


@dataclass(frozen=True, slots=True)
class Heads:
    image: Head
    text: Head

    def tensors(self) -> dict[str, Vectors]:
        return {f"{side}.{part}": np.ascontiguousarray(getattr(getattr(self, side), part))
                for side in SIDES for part in ("weight", "bias")}

    @classmethod
    def of(cls, tensors: dict[str, Vectors]) -> Heads:
        f32 = {name: np.asarray(value, np.float32) for name, value in tensors.items()}
        return cls(Head(f32["image.weight"], f32["image.bias"]),
                   Head(f32["text.weight"], f32["text.bias"]))

    def blend(self, other: Heads, share: float) -> Heads:
        """This with `share` of `other` mixed in, weight by weight."""
        theirs = other.tensors()
        return Heads.of({name: (1 - share) * mine + share * theirs[name]
                         for name, mine in self.tensors().items()})


def unit(rows: npt.NDArray[Any]) -> Vectors:
    """Every row at unit length, float32."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12), np.float32)


def write_model(base: Path, heads: Heads, out: Path, *, name: str, source: str,
                graphs: dict[str, Any] | None = None) -> None:
    """Write a model directory: the towers of `base` (as exact as they are there) with `heads`.

    graphs: ONNX towers of each side to write instead, with `heads` in them already.
    """
    import onnx
    from safetensors.numpy import save_file

    spec = json.loads((base / "model.json").read_text("utf-8"))
    out.mkdir(parents=True, exist_ok=True)
    for side in SIDES:
        file = spec[side]["file"]
        model = graphs[side] if graphs else with_head(onnx.load(base / file), side,
                                                      getattr(heads, side))
        save_whole(out / file, partial(onnx.save, model))
    for file in (spec["text"]["tokens"], spec["text"]["tokenizer"]):
        if base.resolve() != out.resolve():
            shutil.copyfile(base / file, out / file)
    save_file(heads.tensors(), out / "heads.safetensors")
    files = [spec["image"]["file"], *(spec["text"][k] for k in ("file", "tokens", "tokenizer")),
             "heads.safetensors"]
    # What is of another space, that of `base`.
    for part in ("encoder", "names", "hubness", "spelling", "rerank"):
        spec.pop(part, None)
    spec |= {"name": name, "dim": len(heads.image.bias), "source": source,
             "sha256": {f: hashlib.sha256((out / f).read_bytes()).hexdigest() for f in files}}
    written = (json.dumps(spec, indent=1) + "\n").encode()
    save_whole(out / "model.json", lambda file: file.write(written))


def with_head(model: Any, side: str, head: Head) -> Any:
    """An ONNX tower whose "embedding" output comes from `head`; what stood there before goes."""
    from onnx import TensorProto, helper

    graph = model.graph
    nodes = leading_to(graph, "features")
    if not nodes:
        raise ModelError(f"the {side} tower has no output named features: its heads are fixed")
    constants = {
        f"{side}.weight": np.ascontiguousarray(head.weight.T),
        f"{side}.bias": head.bias,
        f"{side}.least": np.float32(1e-12),
    }
    made: list[Any] = []

    def add(kind: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        out = out or f"{side}.head{len(made)}"
        made.append(helper.make_node(kind, list(inputs), [out], **attributes))
        return out

    def unit_rows(x: str, out: str = "") -> str:
        length = add("ReduceL2", x, axes=[-1], keepdims=1)
        return add("Div", x, add("Max", length, f"{side}.least"), out=out)

    moved = add("Add", add("MatMul", unit_rows("features"), f"{side}.weight"), f"{side}.bias")
    unit_rows(moved, out="embedding")
    replace_nodes(graph, [*nodes, *made], constants)
    outputs = [o for o in graph.output if o.name == "features"]
    embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", len(head.bias)])
    del graph.output[:]
    graph.output.extend([embedding, *outputs])
    return model


def leading_to(graph: Any, *outputs: str) -> list[Any]:
    """The nodes of a graph that these outputs need."""
    needed = set(outputs)
    nodes: list[Any] = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            nodes.insert(0, node)
            needed.update(node.input)
    return nodes


def read_heads(directory: Path) -> Heads:
    """The heads inside the graphs of a model directory."""
    import onnx
    from onnx import numpy_helper

    spec = json.loads((directory / "model.json").read_text("utf-8"))
    found: dict[str, Vectors] = {}
    for side in SIDES:
        graph = onnx.load(directory / spec[side]["file"]).graph
        found |= {t.name: numpy_helper.to_array(t) for t in graph.initializer
                  if t.name in (f"{side}.weight", f"{side}.bias")}
    if len(found) != 4:
        raise ModelError(f"{directory} holds heads of another kind")
    return Heads.of(found | {f"{side}.weight": found[f"{side}.weight"].T for side in SIDES})


def save_whole(path: Path, write: Callable[[Any], object]) -> None:
    """Write a file so that it is either there in full or not at all."""
    unfinished = path.with_name(path.name + ".partial")
    with unfinished.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
