"""Products of eight bits that come out the same on every CPU.

ONNX Runtime multiplies activations of 0 to 255 with weights of -127 to 127. Where a CPU has no
VNNI, its kernels add two neighbouring products in 16 bits: what does not fit is cut off, and the
vectors are others than elsewhere. Here no two neighbouring weights of one sign add up to more than
128, and 128 * 255 = 32,640 fits. Every column has the scale that costs least under this rule. Seven
bits, the usual remedy, cost twice the error of eight; this costs a quarter more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

INT8 = 2
"""Raise it when models come out differently in int8: those in the cache are then made anew."""
PAIR = 128
"""Most that two neighbouring weights of one sign may add up to."""
_SHARES = (1.0, 0.95, 0.9, 0.8, 0.7)
"""Of the scale that holds all weights: a smaller one cuts the largest and rounds the rest less."""

Int8 = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float32]


def rounded(weight: Floats, least_scale: Floats | float = 0) -> tuple[Int8, Floats]:
    """weight [K, N], summed up over K -> int8 [K, N] and, of every column, the scale with the least
    squared error, but for scales below `least_scale`."""
    odd = len(weight) % 2
    pairs = np.pad(weight, ((0, odd), (0, 0))).reshape(-1, 2, weight.shape[1])
    whole = np.maximum(np.abs(weight).max(0) / 127, largest_pairs(weight) / PAIR)
    whole = np.maximum(np.where(whole > 0, whole, 1), least_scale).astype(np.float32)
    best, scale = np.zeros(pairs.shape, np.int8), whole
    least = np.full(weight.shape[1], np.inf, np.float32)
    for share in _SHARES:
        tried = np.maximum(whole * np.float32(share), least_scale).astype(np.float32)
        values = _within(np.clip(np.rint(pairs / tried), -127, 127))
        error = np.square(values * tried - pairs).sum((0, 1))
        better = error < least
        best[..., better] = values[..., better]
        scale, least = np.where(better, tried, scale), np.where(better, error, least)
    return best.reshape(-1, weight.shape[1])[: len(weight)], scale


def largest_pairs(weight: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """weight [K, N] -> by column, the most that two neighbours of one sign add up to."""
    wide = np.int64 if weight.dtype.kind == "i" else weight.dtype
    pairs = np.pad(weight, ((0, len(weight) % 2), (0, 0))).reshape(-1, 2, weight.shape[1])
    above = np.maximum(pairs, 0).sum(1, dtype=wide).max(0)
    below = np.minimum(pairs, 0).sum(1, dtype=wide).min(0)
    most: npt.NDArray[Any] = np.maximum(above, -below)
    return most


def _within(pairs: Floats) -> Floats:
    """Pairs of whole numbers [P, 2, N], brought within `PAIR` by taking half of what is over from
    each."""
    one, other = pairs[:, 0], pairs[:, 1]
    over = np.where(one * other > 0, np.maximum(np.abs(one + other) - PAIR, 0), 0)
    pairs[:, 0] = one - np.sign(one) * np.ceil(over / 2)
    pairs[:, 1] = other - np.sign(other) * np.floor(over / 2)
    return pairs


def quantize_matrices(graph: GraphProto) -> None:
    """Every product with a matrix of weights in int8, with activations that are scaled as they
    come, a tensor at a time; of a batch, that is over all that is in it."""
    from onnx import TensorProto, helper, numpy_helper

    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[NodeProto] = []
    made: dict[str, Any] = {}
    scaled: set[str] = set()
    for node in graph.node:
        if not _is_product(node, weights):
            nodes.append(node)
            continue
        x, name, *bias = node.input
        weight = numpy_helper.to_array(weights[name])
        values, scale = rounded(weight.T if attributes(node).get("transB") else weight)
        out = node.output[0]
        made |= {f"{out}.int8": values, f"{out}.scale": scale, f"{out}.zero": np.int8(0)}
        if x not in scaled:
            scaled.add(x)
            nodes.append(helper.make_node("DynamicQuantizeLinear", [x],
                                          [f"{x}.uint8", f"{x}.step", f"{x}.origin"]))
        nodes += [
            helper.make_node("MatMulInteger", [f"{x}.uint8", f"{out}.int8", f"{x}.origin",
                                               f"{out}.zero"], [f"{out}.int32"]),
            helper.make_node("Cast", [f"{out}.int32"], [f"{out}.sums"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{x}.step", f"{out}.scale"], [f"{out}.scales"]),
            helper.make_node("Mul", [f"{out}.sums", f"{out}.scales"],
                             [f"{out}.product" if bias else out]),
        ]
        if bias:
            nodes.append(helper.make_node("Add", [f"{out}.product", *bias], [out]))
    replace_nodes(graph, nodes, made)


def _is_product(node: NodeProto, weights: dict[str, Any]) -> bool:
    """Whether it multiplies with a matrix of weights, and does no more than add a bias to that."""
    if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in weights:
        return False
    how = attributes(node)
    return (len(weights[node.input[1]].dims) == 2 and not how.get("transA")
            and how.get("alpha", 1) == how.get("beta", 1) == 1)


def attributes(node: NodeProto) -> dict[str, Any]:
    from onnx import helper

    return {one.name: helper.get_attribute_value(one) for one in node.attribute}


def replace_nodes(graph: GraphProto, nodes: list[NodeProto], made: dict[str, Any]) -> None:
    """Give a graph these nodes, and these constants beside those that it still needs."""
    from onnx import numpy_helper

    needed = {name for node in nodes for name in node.input} - set(made)
    kept = [tensor for tensor in graph.initializer if tensor.name in needed]
    kept += [numpy_helper.from_array(np.asarray(value), name) for name, value in made.items()]
    for container, values in ((graph.node, nodes), (graph.initializer, kept)):
        del container[:]
        container.extend(values)
