"""An ONNX tower of floats as a module of torch, and back."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from mmsearch.errors import ModelError

Inputs = list[Any]
How = dict[str, Any]


def _slice(x: Inputs, how: How) -> Any:
    (start,), (stop,) = x[1], x[2]
    return x[0][int(start) : int(stop)]


def _clip(x: Inputs, how: How) -> torch.Tensor:
    return functional.hardtanh(x[0], x[1], x[2])


def _unsqueeze(x: Inputs, how: How) -> torch.Tensor:
    for axis in sorted(int(one) for one in x[1]):
        x[0] = x[0].unsqueeze(axis)
    found: torch.Tensor = x[0]
    return found


def _reshape(x: Inputs, how: How) -> torch.Tensor:
    """0: as long as it was."""
    shape = [x[0].shape[at] if side == 0 else int(side) for at, side in enumerate(x[1])]
    found: torch.Tensor = x[0].reshape(shape)
    return found


def _gather(x: Inputs, how: How) -> Any:
    return x[0].select(how["axis"], int(x[1])) if isinstance(x[0], torch.Tensor) \
        else np.take(x[0], x[1], axis=how["axis"])


def _norm(x: Inputs, how: How) -> torch.Tensor:
    return functional.layer_norm(x[0], x[1].shape, x[1].to(x[0].dtype), x[2].to(x[0].dtype),
                                 how["epsilon"])


OPERATIONS: dict[str, Callable[[Inputs, How], Any]] = {
    "Add": lambda x, how: x[0] + x[1],
    "Sub": lambda x, how: x[0] - x[1],
    "Mul": lambda x, how: x[0] * x[1],
    "Div": lambda x, how: x[0] / x[1],
    "Max": lambda x, how: x[0].clamp(min=x[1]),
    "MatMul": lambda x, how: x[0] @ x[1],
    "Erf": lambda x, how: torch.erf(x[0]),
    "Identity": lambda x, how: x[0],
    "Cast": lambda x, how: x[0].float(),
    "Clip": _clip,
    "Softmax": lambda x, how: x[0].softmax(how["axis"]),
    "Concat": lambda x, how: torch.cat(x, how["axis"]),
    "Transpose": lambda x, how: x[0].permute(how["perm"]),
    "Flatten": lambda x, how: x[0].flatten(1),
    "Reshape": _reshape,
    "Unsqueeze": _unsqueeze,
    "Shape": lambda x, how: np.array(x[0].shape),
    "Gather": _gather,
    "Slice": _slice,
    "GlobalAveragePool": lambda x, how: x[0].float().mean((2, 3), keepdim=True),
    "ReduceL2": lambda x, how: x[0].norm(dim=how["axes"], keepdim=bool(how["keepdims"])),
    "ReduceSum": lambda x, how: x[0].sum([int(axis) for axis in x[1]],
                                         keepdim=bool(how["keepdims"])),
    "LayerNormalization": _norm,
}
"""What our own towers are made of, besides convolutions."""


class TorchGraph(nn.Module):
    """A float ONNX tower in torch. Every constant of floats but for single numbers is a parameter:
    of a convolution or a linear layer in `layers`, or one of `loose`."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        from onnx import helper, numpy_helper

        self._model = model
        self._constants = {one.name: numpy_helper.to_array(one)
                           for one in model.graph.initializer}
        self._nodes = [(node.op_type, list(node.input), node.output[0],
                        {one.name: helper.get_attribute_value(one) for one in node.attribute})
                       for node in model.graph.node]
        last = {name: at for at, (_, inputs, _, _) in enumerate(self._nodes) for name in inputs}
        self._done = [[name for name in inputs if last[name] == at and name not in self._constants]
                      for at, (_, inputs, _, _) in enumerate(self._nodes)]
        self.layers, self.loose = nn.ModuleDict(), nn.ParameterDict()
        self._places: dict[str, tuple[str, str]] = {}
        for kind, inputs, _, how in self._nodes:
            if kind != "Conv" and kind not in OPERATIONS:
                raise ModelError(f"a tower with the operation {kind} cannot be tuned")
            if kind in ("Conv", "MatMul") and inputs[1] in self._constants:
                weight, *bias = (torch.tensor(self._constants[name]) for name in inputs[1:])
                self.layers[_key(inputs[1])] = _convolution(weight, bias[0], how) \
                    if kind == "Conv" else _linear(weight)
                self._places |= {name: (_key(inputs[1]), part) for name, part in
                                 zip(inputs[1:], ("weight", "bias"), strict=False)}
        for name, value in self._constants.items():
            if value.dtype == np.float32 and value.size > 1 and name not in self._places:
                self.loose[_key(name)] = nn.Parameter(torch.tensor(value))

    def forward(self, **given: torch.Tensor) -> torch.Tensor:
        """Named inputs -> the output "embedding"."""
        found: dict[str, Any] = dict(given)
        for (kind, inputs, out, how), done in zip(self._nodes, self._done, strict=True):
            if len(inputs) > 1 and inputs[1] in self._places:
                x = found[inputs[0]]
                if kind == "Conv" and not _even(how):
                    top, left, bottom, right = how["pads"]
                    x = functional.pad(x, (left, right, top, bottom))
                found[out] = self.layers[_key(inputs[1])](x)
            elif kind == "Clip" and inputs[0] in done:  # a third of the memory of an image tower
                least, most = map(self._constant, inputs[1:])
                found[out] = functional.hardtanh_(found[inputs[0]], least, most)
            else:
                values = [found[name] if name in found else self._constant(name)
                          for name in inputs]
                found[out] = OPERATIONS[kind](values, how)
            for name in done:  # what gradients need, torch keeps
                found.pop(name, None)
        embedding: torch.Tensor = found["embedding"]
        return embedding

    def _constant(self, name: str) -> Any:
        if _key(name) in self.loose:
            return self.loose[_key(name)]
        value = self._constants[name]
        return value.item() if value.dtype == np.float32 else value

    def parameter(self, name: str) -> nn.Parameter | None:
        """The parameter that a constant of the graph has become."""
        if name in self._places:
            layer, part = self._places[name]
            one: nn.Parameter = getattr(self.layers[layer], part)
            return one
        loose: nn.Parameter | None = self.loose.get(_key(name), None)
        return loose

    def blocks(self) -> dict[nn.Parameter, int]:
        """Which block of the tower each parameter is in, from 0; the head's are in block -1.

        A layer of a transformer is a block, as its weights are called; elsewhere, what ends with
        the convolution after one that goes channel by channel. What comes after the last block
        belongs to it.
        """
        found: dict[nn.Parameter, int] = {}
        at, whole, ends = 0, 0, False
        for kind, inputs, _, how in self._nodes:
            layers = [re.match(r"encoder\.layer\.(\d+)\.", name) for name in inputs]
            at = next((int(one[1]) for one in layers if one), at)
            for name in inputs:
                if (one := self.parameter(name)) is not None:
                    found[one] = -1 if name.startswith(("image.", "text.")) else at
            if kind == "Conv" and ends:
                at, whole = at + 1, at + 1
            ends = how.get("group", 1) > 1 if kind == "Conv" else ends
        last = whole - 1 if whole else at
        return {one: min(block, last) for one, block in found.items()}

    def written(self) -> Any:
        """The ONNX tower with the parameters of now."""
        from onnx import numpy_helper

        for one in self._model.graph.initializer:
            if (now := self.parameter(one.name)) is not None:
                layer = self.layers[self._places[one.name][0]] if one.name in self._places else None
                values = now.detach().float().cpu().numpy()
                values = values.T if isinstance(layer, nn.Linear) else values
                one.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), one.name))
        return self._model


def _key(name: str) -> str:
    """Names of modules have no points in them."""
    return name.replace(".", "/")


def _even(how: How) -> bool:
    """Whether a convolution pads both ends of each axis alike, as those of torch do."""
    return bool(how["pads"][:2] == how["pads"][2:])


def _convolution(weight: torch.Tensor, bias: torch.Tensor, how: How) -> nn.Conv2d:
    groups = how.get("group", 1)
    made = nn.Conv2d(weight.shape[1] * groups, weight.shape[0], (weight.shape[2], weight.shape[3]),
                     stride=tuple(how["strides"]), groups=groups,
                     padding=tuple(how["pads"][:2]) if _even(how) else 0)
    made.weight, made.bias = nn.Parameter(weight), nn.Parameter(bias)
    return made


def _linear(weight: torch.Tensor) -> nn.Linear:
    made = nn.Linear(weight.shape[0], weight.shape[1], bias=False)
    made.weight = nn.Parameter(weight.T.contiguous())
    return made
