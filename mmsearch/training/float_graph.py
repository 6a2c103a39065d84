"""The ONNX graph of an int8 tower as one of floats: what is tuned, and what is written then."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmsearch.encoders import replace_nodes
from mmsearch.training.heads import leading_to

SMOOTH = ".smooth"
"""What a weight's inputs are multiplied by where its int8 has been divided by it."""


def with_floats(model: Any) -> Any:
    """An ONNX tower in which weights are floats and activations are not rounded. Where rounding has
    taken the place of a ReLU6, as its range begins at 0, there is one again. The tower is changed.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    made = {name: node for node in graph.node for name in node.output}
    same: dict[str, str] = {}
    nodes: list[Any] = []
    for node in leading_to(graph, "embedding", "features"):  # and not what a reranker sees
        inputs = [same.get(name, name) for name in node.input]
        out = node.output[0]
        if node.op_type == "DequantizeLinear" and inputs[0] in constants:
            values, scale, zero = (constants[name] for name in inputs)
            axis = next((one.i for one in node.attribute if one.name == "axis"), 1)
            shape = [-1 if at == axis else 1 for at in range(values.ndim)] if scale.ndim else []
            constants[out] = (values.astype(np.float32) - zero.astype(np.float32).reshape(shape)) \
                * scale.reshape(shape)
        elif node.op_type == "QuantizeLinear":
            before = made.get(inputs[0])
            if before is not None and before.input[-1].endswith(SMOOTH):
                same[out] = before.input[0]
                nodes = [one for one in nodes if one.output[0] != before.output[0]]
                continue
            zero = constants[inputs[2]]
            ends = np.iinfo(zero.dtype)
            if zero != ends.min:
                same[out] = inputs[0]
                continue
            constants |= {f"{out}.least": np.zeros((), np.float32), f"{out}.most": np.asarray(
                (ends.max - float(zero)) * constants[inputs[1]], np.float32)}
            nodes.append(helper.make_node("Clip", [inputs[0], f"{out}.least", f"{out}.most"],
                                          [out]))
        elif node.op_type == "DequantizeLinear":
            same[out] = inputs[0]
        elif node.op_type == "Sub" and inputs[1] == "features.error":  # that of rounding
            nodes.append(helper.make_node("Identity", [inputs[0]], [out]))
        else:
            if node.op_type == "MatMul" and (name := inputs[1].removesuffix(".rounded")
                                             + SMOOTH) in constants:
                constants[inputs[1]] = constants[inputs[1]] * constants[name].reshape(-1, 1)
            kept = type(node)()
            kept.CopyFrom(node)
            del kept.input[:]
            kept.input.extend(inputs)
            nodes.append(kept)
    outputs = [one for one in graph.output if one.name in ("embedding", "features")]
    del graph.output[:]
    graph.output.extend(outputs)
    used = {name for node in nodes for name in node.input}
    del graph.initializer[:]
    replace_nodes(graph, nodes, {name: value for name, value in constants.items() if name in used})
    return model
