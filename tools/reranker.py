"""The reranker as a network in torch, and how it becomes part of a model directory.

Words look at parts of a picture: the states of the text tower's tokens attend to the last three
stages of the image tower, 81 places of it (cross-attention), and to each other (self-attention);
what comes of it says by how much the picture rather belongs to the text than others that the two
towers put beside it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from cross_attention import fold_cross_attention
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

GRID = 9
STAGES = {7: "t123", 6: "t118", 5: "t89"}
"""The last stages of the image tower (`towers.image_tower`); 5 is pooled to the grid of the others.
"""
CHANNELS = 352 + 208 + 120
DIM = 384
WIDE = DIM**0.5
"""Unit vectors times this have numbers of about 1."""
OPSET = 17


class Layer(nn.Module):
    """One layer: tokens attend to places, then to each other, then each alone."""

    def __init__(self, d: int, heads: int, drop: float) -> None:
        super().__init__()
        self.heads = heads
        self.n1, self.n2, self.n3 = nn.LayerNorm(d), nn.LayerNorm(d), nn.LayerNorm(d)
        self.q, self.kv, self.o = nn.Linear(d, d), nn.Linear(d, 2 * d), nn.Linear(d, d)
        self.qkv, self.so = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.f1, self.f2, self.drop = nn.Linear(d, 4 * d), nn.Linear(4 * d, d), nn.Dropout(drop)

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor, places: Tensor, mask: Tensor | None) -> Tensor:
        """x [B, S, T, d]: S texts for each of B pictures; places [B, R, d]; mask [B, S, T]."""
        k, v = self.kv(places).chunk(2, -1)
        q = self.q(self.n1(x)).flatten(1, 2)
        y = scaled_dot_product_attention(self.split(q), self.split(k), self.split(v))
        x = x + self.drop(self.o(y.transpose(1, 2).flatten(2)).view(x.shape))
        q, k, v = self.qkv(self.n2(x)).flatten(0, 1).chunk(3, -1)
        blocked = None if mask is None else mask.flatten(0, 1)[:, None, None, :]
        y = scaled_dot_product_attention(self.split(q), self.split(k), self.split(v), blocked)
        x = x + self.drop(self.so(y.transpose(1, 2).flatten(2)).view(x.shape))
        return x + self.drop(self.f2(gelu(self.f1(self.n3(x)))))


class Reranker(nn.Module):
    def __init__(self, d: int, layers: int, heads: int = 4, drop: float = 0.1) -> None:
        super().__init__()
        self.img, self.pos = nn.Linear(CHANNELS, d), nn.Parameter(torch.randn(GRID**2, d) * 0.02)
        self.gimg, self.txt, self.gtxt = nn.Linear(DIM, d), nn.Linear(DIM, d), nn.Linear(DIM, d)
        self.ni, self.nt, self.nf = nn.LayerNorm(d), nn.LayerNorm(d), nn.LayerNorm(d)
        self.layers = nn.ModuleList(Layer(d, heads, drop) for _ in range(layers))
        self.out = nn.Sequential(nn.Linear(2 * d, d), nn.GELU(), nn.Dropout(drop), nn.Linear(d, 1))
        self.drop = nn.Dropout(drop)

    def places(self, stages: Tensor, embedding: Tensor) -> Tensor:
        """stages [N, 81, 680], standardised; embedding [N, 384], unit rows -> [N, 82, d]."""
        x = torch.cat([self.img(stages) + self.pos, self.gimg(embedding * WIDE)[:, None]], 1)
        return self.drop(self.ni(x))

    def tokens(self, states: Tensor, embedding: Tensor) -> Tensor:
        """states [M, T, 384], embedding [M, 384], unit rows -> [M, 1 + T, d]."""
        x = torch.cat([self.gtxt(embedding * WIDE)[:, None], self.txt(states)], 1)
        return self.drop(self.nt(x))

    def pairs(self, x: Tensor, places: Tensor, mask: Tensor | None) -> Tensor:
        """Tokens [B, S, T, d] of S texts for each of B pictures [B, R, d] -> log odds [B, S]."""
        for layer in self.layers:
            x = layer(x, places, mask)
        x = self.nf(x)
        if mask is None:
            mean = x.mean(-2)
        else:
            share = mask[..., None].to(x.dtype)
            mean = (x * share).sum(-2) / share.sum(-2)
        return self.out(torch.cat([x[..., 0, :], mean], -1))[..., 0]


class Places(nn.Module):
    """What the image graph adds: raw stages and the embedding -> places."""

    def __init__(self, net: Reranker, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.net, pool = net, torch.zeros(GRID, 17)
        for i in range(GRID):  # adaptive average pooling of 17 places to 9, as a product
            start, end = i * 17 // GRID, -(-(i + 1) * 17 // GRID)
            pool[i, start:end] = 1 / (end - start)
        self.register_buffer("pool", pool)
        with torch.no_grad():  # standardised stages are linear in raw ones
            net.img.bias -= net.img.weight @ (mean / std)
            net.img.weight /= std

    def forward(self, s7: Tensor, s6: Tensor, s5: Tensor, embedding: Tensor) -> Tensor:
        s5 = self.pool @ s5 @ self.pool.T
        stages = torch.cat([s7, s6, s5], 1).flatten(2).transpose(1, 2)
        return self.net.places(stages, embedding)


class Match(nn.Module):
    """The graph of its own: one text and the places of many pictures -> log odds [N]."""

    def __init__(self, net: Reranker) -> None:
        super().__init__()
        self.net = net

    def forward(self, states: Tensor, text: Tensor, places: Tensor) -> Tensor:
        x = self.net.tokens(states, text)[:, None].expand(places.shape[0], -1, -1, -1)
        return self.net.pairs(x, places, None)[:, 0]


def write_reranker(net: Reranker, mean: Tensor, std: Tensor, weight: float, model: Path) -> None:
    """Put a reranker into a model directory: rerank.onnx, and outputs that its towers had not."""
    from mmsearch.training.heads import save_whole

    net = net.eval().float()
    spec = json.loads((model / "model.json").read_text("utf-8"))
    d = net.pos.shape[1]
    image = onnx.load(model / spec["image"]["file"])
    places = exported(
        Places(net, mean, std),
        {"s7": torch.randn(2, 352, 9, 9), "s6": torch.randn(2, 208, 9, 9),
         "s5": torch.randn(2, 120, 17, 17), "embedding": torch.randn(2, DIM)},
        {"s7": {0: "n"}, "s6": {0: "n"}, "s5": {0: "n"}, "embedding": {0: "n"}}, "places")
    stages = {f"s{number}": f"{tensor}_DequantizeLinear_Output"
              for number, tensor in STAGES.items()}
    graft(image, places, stages, d)
    text = onnx.load(model / spec["text"]["file"])
    show_states(text)
    match = exported(
        Match(net),
        {"states": torch.randn(1, 5, DIM), "text": torch.randn(1, DIM),
         "places": torch.randn(3, GRID**2 + 1, d)},
        {"states": {1: "t"}, "places": {0: "n"}}, "odds")
    fold_cross_attention(match, net.layers[0].heads)
    spec["rerank"] = {"file": "rerank.onnx", "weight": weight}
    for file, graph in ((spec["image"]["file"], image), (spec["text"]["file"], text),
                        ("rerank.onnx", match)):
        written = graph.SerializeToString()
        save_whole(model / file, lambda out, written=written: out.write(written))
        spec["sha256"][file] = hashlib.sha256(written).hexdigest()
    (model / "model.json").write_text(json.dumps(spec, indent=1) + "\n", "utf-8")


def exported(module: nn.Module, inputs: dict[str, Tensor], axes: dict[str, dict[int, str]],
             output: str) -> Any:
    import io

    file = io.BytesIO()
    torch.onnx.export(module, tuple(inputs.values()), file, input_names=list(inputs),
                      output_names=[output], dynamic_axes=axes | {output: {0: "n"}},
                      opset_version=OPSET, dynamo=False)
    return in_int8(onnx.load_from_string(file.getvalue()))


def in_int8(model: Any) -> Any:
    """Its large weights as int8 with a scale for each column; all is still computed in float32."""
    graph, nodes = model.graph, []
    for tensor in list(graph.initializer):
        value = numpy_helper.to_array(tensor)
        if value.dtype != np.float32 or value.ndim != 2 or value.size < 4096:
            continue
        scale = np.maximum(np.abs(value).max(0) / 127, 1e-12).astype(np.float32)
        graph.initializer.remove(tensor)
        graph.initializer.extend([
            numpy_helper.from_array(np.rint(value / scale).astype(np.int8), f"{tensor.name}.int8"),
            numpy_helper.from_array(scale, f"{tensor.name}.scale")])
        nodes += [
            helper.make_node("Cast", [f"{tensor.name}.int8"], [f"{tensor.name}.float"], to=1),
            helper.make_node("Mul", [f"{tensor.name}.float", f"{tensor.name}.scale"],
                             [tensor.name])]
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])
    return model


def graft(model: Any, part: Any, stages: dict[str, str], d: int) -> None:
    """Add the graph `part` to `model`, fed by its tensors `stages` and its embedding."""
    clear(model)

    def name(old: str) -> str:
        return stages.get(old, old if old in ("embedding", "places", "") else f"rerank/{old}")

    for node in part.graph.node:
        added = helper.make_node(node.op_type, [name(i) for i in node.input],
                                 [name(o) for o in node.output], name=f"rerank/{node.output[0]}")
        added.attribute.extend(node.attribute)
        model.graph.node.append(added)
    for tensor in part.graph.initializer:
        tensor.name = name(tensor.name)
        model.graph.initializer.append(tensor)
    model.graph.output.append(helper.make_tensor_value_info(
        "places", TensorProto.FLOAT, ["N", GRID**2 + 1, d]))


def clear(model: Any) -> None:
    """Take away what an earlier reranker added."""
    graph = model.graph
    for those, is_added in ((graph.node, "rerank/"), (graph.initializer, "rerank/"),
                            (graph.output, ("places", "states"))):
        for one in [one for one in those if one.name.startswith(is_added)]:
            those.remove(one)


def show_states(model: Any) -> None:
    """Make the last layer of the text tower, before its mean, an output."""
    clear(model)
    graph = model.graph
    made = {output: node for node in graph.node for output in node.output}
    total = next(node for node in graph.node if node.op_type == "ReduceSum")
    states = made[total.input[0]].input[0]
    graph.node.append(helper.make_node("Identity", [states], ["states"], name="rerank/states"))
    graph.output.append(helper.make_tensor_value_info("states", TensorProto.FLOAT, ["N", "T", DIM]))
