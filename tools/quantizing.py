"""The built-in model's towers in int8, with activations whose scales are found beforehand.

Scales that are fixed make a vector depend on its picture or text alone, whatever else is in the
batch; the weights keep `encoders.int8`'s rule, so that every CPU computes the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from mmsearch.encoders.int8 import replace_nodes, rounded

FLOAT_CONVOLUTIONS = 9  # the first ones, on the largest maps, lose most in int8 and gain no speed
SMOOTHING = 0.75
Feeds = dict[str, np.ndarray]


# -- pictures --------------------------------------------------------------------------------------


def int8_image(path: Path, target: Path, pictures: Sequence[np.ndarray]) -> onnx.ModelProto:
    """Static int8 (QDQ, per channel): this network was designed for it, but for its beginning.

    path: the tower in float32; target: a file to work with; pictures: batches of pixels.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Pictures(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches: Iterator[np.ndarray] = iter(pictures)

        def get_next(self) -> Feeds | None:
            pixels = next(self.batches, None)
            return None if pixels is None else {"pixels": pixels}

    exact = onnx.load(path)
    nodes = exact.graph.node
    convolutions = [at for at, node in enumerate(nodes) if node.op_type == "Conv"]
    quantize_static(
        str(path), str(target), Pictures(),
        nodes_to_exclude=[n.name for n in nodes[: convolutions[FLOAT_CONVOLUTIONS]]],
        quant_format=QuantFormat.QDQ, per_channel=True, activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8, op_types_to_quantize=["Conv", "Add", "Clip"],
    )  # fmt: skip
    small = onnx.load(target)
    round_convolutions(small.graph, values_of(exact.graph))
    return corrected(small, exact, [{"pixels": pixels} for pixels in pictures])


def round_convolutions(graph: onnx.GraphProto, exact: dict[str, np.ndarray]) -> None:
    """Give the convolutions that sum over channels weights that keep the rule for pairs.

    The depthwise ones sum over places, with kernels of ONNX Runtime that do so in 32 bits.
    """
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    made = {node.output[0]: node for node in graph.node}

    def put(name: str, value: np.ndarray) -> None:
        tensors[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), name))

    for node in graph.node:
        if node.op_type != "Conv" or node.input[1] not in made:
            continue
        x, weight, bias = (made[name].input for name in node.input)
        whole = exact[weight[0].removesuffix("_quantized")]
        if whole.shape[1] == 1:
            continue
        offset = exact[bias[0].removesuffix("_quantized")]
        step = numpy_helper.to_array(tensors[x[1]])
        # The bias is a number of 32 bits in the scale of the products.
        values, scale = rounded(whole.reshape(len(whole), -1).T, np.abs(offset) / (step * 2.0**30))
        put(weight[0], values.T.reshape(whole.shape))
        put(weight[1], scale)
        put(bias[1], step * scale)
        put(bias[0], np.rint(offset / (step * scale)).astype(np.int32))


# -- texts -----------------------------------------------------------------------------------------


def int8_text(model: onnx.ModelProto, batches: Sequence[Feeds]) -> onnx.ModelProto:
    """Every product with a layer's matrix of weights in int8 (QDQ).

    A few channels are far larger than the rest. They are made smaller and their weights larger, by
    the power `SMOOTHING` of their largest value, so that one scale fits all of them.
    """
    largest, least = ranges(model, batches)
    small = onnx.ModelProto()
    small.CopyFrom(model)
    graph = small.graph
    weights = values_of(graph)
    nodes: list[onnx.NodeProto] = []
    made: dict[str, Any] = {}
    for node in graph.node:
        if not _is_in_layer(node):
            nodes.append(node)
            continue
        x, name = node.input
        weight = weights[name]
        channels = np.maximum(largest[x], -least[x]).clip(1e-6) ** SMOOTHING \
            / np.abs(weight).max(1).clip(1e-6) ** (1 - SMOOTHING)  # fmt: skip
        channels = (channels / np.exp(np.log(channels).mean())).astype(np.float32)
        low, high = min((least[x] / channels).min(), 0), max((largest[x] / channels).max(), 0)
        scale = np.float32((high - low) / 255)
        values, scales = rounded(weight * channels[:, None])
        made |= {
            f"{name}.int8": values, f"{name}.scale": scales,
            f"{name}.zero": np.zeros(len(scales), np.int8), f"{name}.smooth": 1 / channels,
            f"{x}.scale": scale, f"{x}.zero": np.uint8(np.rint(-low / scale)),
        }  # fmt: skip
        nodes += [
            helper.make_node("Mul", [x, f"{name}.smooth"], [f"{x}.smoothed"]),
            helper.make_node("QuantizeLinear", [f"{x}.smoothed", f"{x}.scale", f"{x}.zero"],
                             [f"{x}.uint8"]),
            helper.make_node("DequantizeLinear", [f"{x}.uint8", f"{x}.scale", f"{x}.zero"],
                             [f"{x}.rounded"]),
            helper.make_node("DequantizeLinear", [f"{name}.int8", f"{name}.scale", f"{name}.zero"],
                             [f"{name}.rounded"], axis=1),
            helper.make_node("MatMul", [f"{x}.rounded", f"{name}.rounded"], list(node.output)),
        ]  # fmt: skip
    replace_nodes(graph, nodes, made)
    return corrected(small, model, batches)


def ranges(
    model: onnx.ModelProto, batches: Sequence[Feeds]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The largest and the least value of every channel that a matrix of weights multiplies."""
    seen = onnx.ModelProto()
    seen.CopyFrom(model)
    names = [node.input[0] for node in model.graph.node if _is_in_layer(node)]
    seen.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    session = session_of(seen)
    largest: dict[str, np.ndarray] = {}
    least: dict[str, np.ndarray] = {}
    for feeds in batches:
        real = feeds["mask"].astype(bool)
        for name, value in zip(names, session.run(names, feeds), strict=True):
            rows = value.reshape(*real.shape, -1)[real]
            largest[name] = np.maximum(largest.get(name, -np.inf), rows.max(0))
            least[name] = np.minimum(least.get(name, np.inf), rows.min(0))
    return largest, least


def corrected(
    small: onnx.ModelProto, exact: onnx.ModelProto, batches: Sequence[Feeds]
) -> onnx.ModelProto:
    """A tower whose features are less by what rounding adds to those of all inputs alike."""
    ours, theirs = (np.concatenate([session.run(["features"], feeds)[0] for feeds in batches])
                    for session in (session_of(small), session_of(exact)))  # fmt: skip
    nodes = list(small.graph.node)
    (last,) = (node for node in nodes if "features" in node.output)
    last.output[0] = "features.rounded"
    less = helper.make_node("Sub", ["features.rounded", "features.error"], ["features"])
    nodes.insert(nodes.index(last) + 1, less)
    replace_nodes(small.graph, nodes, {"features.error": (ours - theirs).mean(0)})
    onnx.checker.check_model(small, full_check=True)
    return small


def session_of(model: onnx.ModelProto) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(model.SerializeToString(),
                                        providers=["CPUExecutionProvider"])


def _is_in_layer(node: onnx.NodeProto) -> bool:
    """Whether it multiplies with a matrix of a layer, and not of a head."""
    return node.op_type == "MatMul" and node.input[1].startswith("encoder.")


def values_of(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
