"""int8: no sum of two products leaves 16 bits, so every CPU computes the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import DEMO
from hypothesis import given, settings, strategies as st
from onnx import TensorProto, helper, numpy_helper

from mmsearch.encoders import BUILTIN_DIR, load_encoder
from mmsearch.encoders.int8 import PAIR, largest_pairs, quantize_matrices, rounded
from mmsearch.encoders.onnx import OnnxEncoder, alike
from mmsearch.media.decoding import decode

MOST = 2**15 - 1
CAPTIONS = [caption for line in (DEMO / "captions.jsonl").read_text("utf-8").splitlines()
            for caption in json.loads(line)["captions"]]


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString(),
                                        providers=["CPUExecutionProvider"])


# -- the rule --------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 2**32), st.booleans())
def test_rounded_weights_keep_the_rule_and_are_near(k: int, n: int, seed: int, spiky: bool) -> None:
    random = np.random.default_rng(seed)
    weight = random.standard_normal((k, n)).astype(np.float32)
    if spiky:
        weight *= np.exp(3 * random.standard_normal((k, n))).astype(np.float32)
    values, scale = rounded(weight)
    assert values.dtype == np.int8
    assert (scale.dtype, values.shape, scale.shape) == (np.float32, weight.shape, (n,))
    assert largest_pairs(values).max() <= PAIR
    assert np.linalg.norm(values * scale - weight) <= 0.02 * np.linalg.norm(weight)


def test_columns_of_zeros_and_least_scales_are_kept() -> None:
    weight = np.array([[0, 1e-9], [0, -1e-9]], np.float32)
    values, scale = rounded(weight)
    assert not values[:, 0].any()
    assert (scale > 0).all()
    values, scale = rounded(weight, np.array([0.5, 0.5], np.float32))
    assert not values.any()
    assert (scale >= 0.5).all()


@pytest.mark.parametrize("rows", [1, 2, 5, 64])
def test_the_largest_sums_come_out_right_on_this_cpu(rows: int) -> None:
    """Pairs of 128 beside pairs of 128: were others summed up than those of the rule, 254 would."""
    pattern = np.array([1, 127, 127, 1, -64, -64, -1, -127, -127, -1, 128 - 5, 5], np.int8)
    weight = np.resize(pattern, (96, 1)).repeat(40, 1)
    assert largest_pairs(weight).max() == PAIR
    pixels = np.full((rows, 96), 255, np.uint8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [rows, 96])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [rows, 40])],
        [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (found,) = session(model).run(None, {"x": pixels})
    np.testing.assert_array_equal(found, pixels.astype(np.int32) @ weight.astype(np.int32))


# -- the built-in model ----------------------------------------------------------------------------


def products(path: Path) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """The name of the activations and the weights [K, N] of every product of int8 in a model."""
    graph = onnx.load(path).graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    made = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type == "MatMulInteger":
            yield node.input[0], constants[node.input[1]]
        elif node.op_type in ("Conv", "MatMul") and \
                all(made.get(name) and made[name].op_type == "DequantizeLinear"
                    for name in node.input[:2]):
            weight = constants[made[node.input[1]].input[0]]
            if node.op_type == "Conv" and weight.shape[1] == 1:
                continue  # depthwise: summed up in 32 bits
            yield (made[node.input[0]].input[0],
                   weight.reshape(len(weight), -1).T if node.op_type == "Conv" else weight)


@pytest.mark.parametrize(("side", "count"), [("image", 35), ("text", 24)])
def test_no_weights_of_the_built_in_model_can_leave_16_bits(side: str, count: int) -> None:
    found = list(products(BUILTIN_DIR / f"{side}.onnx"))
    assert len(found) >= count
    for _, weight in found:
        assert weight.dtype == np.int8
        assert int(largest_pairs(weight).max()) * 255 <= MOST


def seen(path: Path, names: list[str], feeds: dict[str, Any]) -> list[np.ndarray[Any, Any]]:
    """The values that some tensors of a graph have."""
    model = onnx.load(path)
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.UINT8, None)
                              for name in names)
    found: list[np.ndarray[Any, Any]] = session(model).run(names, feeds)
    return found


def saturating(path: Path, feeds: dict[str, Any]) -> int:
    """How many sums of two neighbouring products leave 16 bits, on real activations."""
    found = list(products(path))
    wrong = 0
    for (_, weight), x in zip(found, seen(path, [name for name, _ in found], feeds), strict=True):
        assert x.dtype == np.uint8
        channels = 1 if path.name.startswith("image") else -1
        rows = np.moveaxis(x, channels, -1).reshape(-1, len(weight))[:40].astype(np.int32)
        wide = weight.astype(np.int32)
        for at in range(0, len(weight) - 1, 2):
            sums = (rows[:, at : at + 1] * wide[at] + rows[:, at + 1 : at + 2] * wide[at + 1])
            wrong += int((np.abs(sums) > MOST).sum())
    return wrong


def feeds_of(encoder: OnnxEncoder, side: str) -> dict[str, Any]:
    if side == "image":
        picture = decode(DEMO / "dogs.jpg", min_side=encoder.min_side).image
        return {"pixels": encoder.prepare(picture)[None]}
    ids = encoder.cut(CAPTIONS[:1])[0]
    return {"tokens": encoder.table[ids].astype(np.float32)[None],
            "mask": np.ones((1, len(ids)), np.int64)}


@pytest.mark.parametrize("side", ["image", "text"])
def test_no_sum_of_the_built_in_model_leaves_16_bits(side: str) -> None:
    encoder = load_encoder()
    assert isinstance(encoder, OnnxEncoder)
    assert saturating(BUILTIN_DIR / f"{side}.onnx", feeds_of(encoder, side)) == 0


def test_the_simulation_notices_what_does(tmp_path: Path) -> None:
    """The same weights in all of eight bits, whatever their neighbours are."""
    encoder = load_encoder()
    assert isinstance(encoder, OnnxEncoder)
    model = onnx.load(BUILTIN_DIR / "text.onnx")
    for tensor in model.graph.initializer:
        if tensor.name.endswith(".int8"):
            values = numpy_helper.to_array(tensor).astype(np.int32)
            full = np.rint(values * (127 / np.abs(values).max(0))).astype(np.int8)
            tensor.CopyFrom(numpy_helper.from_array(full, tensor.name))
    onnx.save(model, tmp_path / "text.onnx")
    assert saturating(tmp_path / "text.onnx", feeds_of(encoder, "text")) > 0


# -- what is exported ------------------------------------------------------------------------------


@pytest.mark.parametrize("transposed", [False, True])
def test_products_are_quantised_with_their_bias(transposed: bool) -> None:
    random = np.random.default_rng(0)
    weight = random.standard_normal((24, 10)).astype(np.float32)
    bias = random.standard_normal(10).astype(np.float32)
    square = random.standard_normal((10, 10)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["m"], transB=int(transposed)),
         helper.make_node("MatMul", ["m", "v"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 24])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(weight.T.copy() if transposed else weight, "w"),
         numpy_helper.from_array(bias, "b"), numpy_helper.from_array(square, "v")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    quantize_matrices(model.graph)
    onnx.checker.check_model(model, full_check=True)
    assert {"Gemm", "MatMul"}.isdisjoint(node.op_type for node in model.graph.node)
    x = random.standard_normal((7, 24)).astype(np.float32)
    (found,), exact = session(model).run(None, {"x": x}), (x @ weight + bias) @ square
    assert np.linalg.norm(found - exact) < 0.03 * np.linalg.norm(exact)


# -- batches of texts ------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 600), max_size=60), st.integers(1, 20), st.floats(0, 2))
def test_parts_hold_every_text_once_and_little_padding(
        lengths: list[int], most: int, padding: float) -> None:
    parts = alike(lengths, most, padding)
    assert sorted(n for part in parts for n in part) == list(range(len(lengths)))
    for part in parts:
        assert 1 <= len(part) <= most
        among = [lengths[n] for n in part]
        assert max(among) <= (1 + padding) * min(among)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(CAPTIONS) | st.text(max_size=60), min_size=1, max_size=12))
def test_a_text_has_its_vector_whatever_is_beside_it(texts: list[str]) -> None:
    encoder = load_encoder()
    alone = np.concatenate([encoder.encode_texts([text]) for text in texts])
    assert np.einsum("ij,ij->i", encoder.encode_texts(texts), alone).min() > 0.9999
