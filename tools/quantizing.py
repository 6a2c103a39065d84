"""The built-in model's towers in int8, with activations whose scales are found beforehand.

Scales that are fixed make a vector depend on its picture or text alone, whatever else is in the
batch; the weights keep `encoders.int8`'s rule, so that every CPU computes the same. They are
rounded layer by layer, on what the layers before make in int8 of training pictures and captions,
so that every layer makes up for errors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from rounding import compensated, moments, quantized, step_of

from mmsearch.encoders.int8 import attributes, replace_nodes, rounded

FLOAT_CONVOLUTIONS = 9  # the first ones, on the largest maps, lose most in int8 and gain no speed
RANGE_PICTURES = 256
PLACES = 5e5  # of all pictures together, that weights are chosen by
SAMPLE = 400_000  # activations of pictures that a range is chosen by
NARROWER = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4)
SMOOTHING = (0.5, 0.65, 0.75, 0.85)
TOKENS = 4000  # that the smoothing and the range of a product are chosen by
Feeds = dict[str, np.ndarray]
Both = tuple[torch.Tensor, torch.Tensor]  # a value as it is in int8, and as it is in float32


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
            self.batches: Iterator[np.ndarray] = \
                iter(pictures[: -(-RANGE_PICTURES // len(pictures[0]))])

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
    feeds = [{"pixels": pixels} for pixels in pictures]
    with torch.no_grad():
        fit_convolutions(small.graph, exact, feeds)
    return corrected(small, exact, feeds)


def fit_convolutions(
    graph: onnx.GraphProto, exact: onnx.ModelProto, feeds: Sequence[Feeds]
) -> None:
    """Choose every range and all weights again, in the order of the graph.

    The activations of all pictures are kept, in int8 and in float32, for as long as they are used:
    that takes some gigabytes.
    """
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    weights = values_of(exact.graph)
    clipped = {node.output[0] for node in exact.graph.node if node.op_type == "Clip"}
    made = {node.output[0]: node for node in graph.node}
    start = next(node for node in graph.node if node.op_type == "QuantizeLinear").input[0]
    first = torch.from_numpy(run(exact, start, feeds))
    values: dict[str, Both] = {start: (first, first)}
    uses = Counter(name for node in graph.node for name in node.input)

    def put(name: str, value: np.ndarray | np.generic) -> None:
        tensors[name].CopyFrom(numpy_helper.from_array(np.array(value, order="C"), name))

    def get(name: str) -> np.ndarray:
        return numpy_helper.to_array(tensors[name])

    for node in graph.node:
        out, known = node.output[0], [values.get(name) for name in node.input]
        if known[0] is None:
            continue  # before the start, or behind the last convolution
        ours, theirs = known[0]
        if node.op_type == "QuantizeLinear":
            _, scale, zero = node.input
            theirs = theirs.clamp(0, 6) if node.input[0] in clipped else theirs
            low = -float(get(scale)) * int(get(zero))
            found = step_of(*narrowed(ours, theirs, low, low + 255 * float(get(scale))))
            put(scale, found[0])
            put(zero, found[1])
            values[out] = quantized(ours, *found), theirs
        elif node.op_type == "DequantizeLinear":
            values[out] = known[0]
        elif node.op_type == "Add" and known[1] is not None:
            values[out] = ours + known[1][0], theirs + known[1][1]
        elif node.op_type == "Conv":
            names = [made[name].input for name in node.input[1:]]
            exactly = [torch.from_numpy(weights[name[0].removesuffix("_quantized")].copy())
                       for name in names]  # fmt: skip
            step = get(made[node.input[0]].input[1])
            theirs = convolved(theirs, *exactly, node)
            whole, scales, bias = fitted(ours, theirs, exactly[0], float(step), node)
            put(names[0][0], whole.numpy().astype(np.int8))
            put(names[0][1], scales.numpy())
            put(names[1][0], np.rint(bias.numpy() / (step * scales.numpy())).astype(np.int32))
            put(names[1][1], step * scales.numpy())
            ours = convolved(ours, whole * scales[:, None, None, None], bias, node)
            values[out] = ours, theirs
        for name in node.input:
            uses[name] -= 1
            if not uses[name]:
                values.pop(name, None)


def narrowed(
    ours: torch.Tensor, theirs: torch.Tensor, low: float, high: float
) -> tuple[float, float]:
    """The range, within that of all values, in which rounding adds least to what is off already."""
    at = torch.randint(ours.numel(), (SAMPLE,), generator=torch.Generator().manual_seed(0))
    ours, theirs = ours.flatten()[at], theirs.flatten()[at]

    def error(ends: tuple[float, float]) -> float:
        return float((quantized(ours, *step_of(*ends)) - theirs).square().double().sum())

    best = low, high
    for _ in range(2):
        best = min(((best[0], high * share) for share in NARROWER), key=error)
        best = min(((low * share, best[1]) for share in NARROWER), key=error)
    return best


def fitted(
    x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor, step: float, node: onnx.NodeProto
) -> tuple[torch.Tensor, ...]:
    """Weights near the exact ones that make y of x -> whole numbers, scales, bias.

    Depthwise ones sum over places, with kernels of ONNX Runtime that do so in 32 bits: they need
    not keep the rule for pairs.
    """
    depthwise, rows = weight.shape[1] == 1, weight.flatten(1)
    # A few pictures with large maps show more than enough places.
    count = max(16, int(PLACES / y[0, 0].numel() / (rows.shape[1] if depthwise else 1)))
    x, y = x[:count], y[:count].transpose(0, 1).flatten(1)
    size = 16 if depthwise else len(rows)
    found = []
    for at in range(0, len(rows), size):
        if depthwise:
            seen = places(x[:, at : at + size], weight.shape[2], node)
            wanted, near = y[at : at + size, None], rows[at : at + size, :, None]
        else:
            seen, wanted, near = x.transpose(0, 1).flatten(1), y, rows.T
        means, targets, gram, cross, more = moments(seen, wanted)
        best = torch.linalg.solve(gram, cross + more * near.double())
        offset = targets - (means[..., None, :] @ best)[..., 0, :]
        # The bias is a number of 32 bits in the scale of the products.
        least = (offset.abs() / (step * 2.0**30))[..., None, :].float()
        whole, scale = compensated(best, gram, least, pairs=not depthwise)
        offset = targets - (means[..., None, :] @ (whole * scale).double())[..., 0, :]
        found.append((whole.mT.reshape(-1, rows.shape[1]), scale.flatten(), offset.flatten()))
    values, scales, bias = (torch.cat(part) for part in zip(*found, strict=True))
    return values.reshape(weight.shape), scales, bias.float()


def places(x: torch.Tensor, kernel: int, node: onnx.NodeProto) -> torch.Tensor:
    """x [n, C, H, W] -> what a kernel sees of each channel, [C, kernel * kernel, places]."""
    maps = padded(x, node).transpose(0, 1).flatten(0, 1)[:, None]
    seen = torch.nn.functional.unfold(maps, kernel, stride=attributes(node)["strides"][0])
    return seen.unflatten(0, (x.shape[1], -1)).transpose(1, 2).flatten(2)


def convolved(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, node: onnx.NodeProto
) -> torch.Tensor:
    how = attributes(node)
    return torch.nn.functional.conv2d(padded(x, node), weight, bias, stride=how["strides"],
                                      groups=how["group"])  # fmt: skip


def padded(x: torch.Tensor, node: onnx.NodeProto) -> torch.Tensor:
    top, left, bottom, right = attributes(node)["pads"]
    return torch.nn.functional.pad(x, (left, right, top, bottom))


# -- texts -----------------------------------------------------------------------------------------


def int8_text(model: onnx.ModelProto, batches: Sequence[Feeds]) -> onnx.ModelProto:
    """Every product with a layer's matrix of weights in int8 (QDQ).

    A few channels are far larger than the rest. They are made smaller and their weights larger
    (`smoothed`), so that one scale fits all of them. What rounding adds to a product on average is
    taken from its bias.
    """
    small = onnx.ModelProto()
    small.CopyFrom(model)
    weights = values_of(model.graph)
    biases = {node.input[0]: node.input[1] for node in model.graph.node if node.op_type == "Add"}
    for node in filter(_is_in_layer, model.graph.node):
        (x, name), out = node.input, node.output[0]
        seen = torch.from_numpy(run(small, x, batches))
        wanted = torch.from_numpy(run(model, out, batches))
        weight = torch.from_numpy(weights[name].copy())
        channels, scale, zero = smoothed(seen, weight)
        means, targets, gram, *_ = moments(quantized(seen / channels, scale, zero).T, wanted.T)
        values, scales = compensated(weight * channels[:, None], gram)
        bias = targets - means @ (values * scales).double()
        replace_nodes(small.graph, list(with_int8(small.graph, node)), {
            f"{name}.int8": values.numpy().astype(np.int8), f"{name}.scale": scales[0].numpy(),
            f"{name}.zero": np.zeros(len(weight.T), np.int8),
            f"{name}.smooth": (1 / channels).numpy(), f"{x}.scale": scale, f"{x}.zero": zero,
            biases[out]: weights[biases[out]] + bias.numpy().astype(np.float32),
        })  # fmt: skip
    return corrected(small, model, batches)


def smoothed(
    x: torch.Tensor, weight: torch.Tensor
) -> tuple[torch.Tensor, np.float32, np.uint8]:
    """What to divide each channel by, a power of its largest value, and the range of all: those
    with the least error of the product."""
    largest = x.abs().amax(0).clamp(min=1e-6)
    at = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:TOKENS]
    found: list[tuple[float, torch.Tensor, np.float32, np.uint8]] = []
    for power in SMOOTHING:
        channels = largest**power / weight.abs().amax(1).clamp(min=1e-6) ** (1 - power)
        channels = channels / channels.log().mean().exp()
        every, matrix = x / channels, weight * channels[:, None]
        some = every[at]
        values, scales = rounded(matrix.numpy())
        cost = some @ (torch.from_numpy(values * scales) - matrix)
        low, high = min(float(every.min()), 0.0), max(float(every.max()), 0.0)
        for share, other in product((1.0, 0.9, 0.8, 0.7, 0.6, 0.5), (1.0, 0.9, 0.8, 0.7)):
            step = step_of(low * share, high * other)
            error = ((quantized(some, *step) - some) @ matrix).square().sum()
            found.append((float(error + cost.square().sum()), channels, *step))
    return min(found, key=lambda one: one[0])[1:]


def with_int8(graph: onnx.GraphProto, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph, of which one product is made in int8."""
    x, name = node.input
    for other in graph.node:
        if other.output != node.output:
            yield other
            continue
        yield helper.make_node("Mul", [x, f"{name}.smooth"], [f"{x}.smoothed"])
        yield helper.make_node("QuantizeLinear", [f"{x}.smoothed", f"{x}.scale", f"{x}.zero"],
                               [f"{x}.uint8"])  # fmt: skip
        yield helper.make_node("DequantizeLinear", [f"{x}.uint8", f"{x}.scale", f"{x}.zero"],
                               [f"{x}.rounded"])  # fmt: skip
        yield helper.make_node("DequantizeLinear",
                               [f"{name}.int8", f"{name}.scale", f"{name}.zero"],
                               [f"{name}.rounded"], axis=1)  # fmt: skip
        yield helper.make_node("MatMul", [f"{x}.rounded", f"{name}.rounded"], list(node.output))


# -- both ------------------------------------------------------------------------------------------


def run(model: onnx.ModelProto, name: str, batches: Sequence[Feeds]) -> np.ndarray:
    """A value of a graph, of all pictures or of all tokens."""
    part = onnx.ModelProto()
    part.CopyFrom(model)
    del part.graph.output[:]
    part.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = session_of(part)
    found = []
    for feeds in batches:
        (value,) = session.run([name], feeds)
        found.append(value[feeds["mask"].astype(bool)] if "mask" in feeds else value)
    return np.concatenate(found)


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
