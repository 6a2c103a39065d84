"""The towers of the built-in model, and of what was trained from it, to tune: their ONNX graphs in
floats, which are also what is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from mmsearch.encoders import OnnxEncoder
from mmsearch.training.float_graph import with_floats
from mmsearch.training.heads import SIDES, Head, Heads, read_heads, write_model
from mmsearch.training.torch_graph import TorchGraph

if TYPE_CHECKING:
    from PIL.Image import Image

SMALLEST = 0.5
"""Of a picture's area, what is left of it when it is cropped by chance."""
PADDING = -1


class _Both(nn.Module):
    def __init__(self, image: TorchGraph, text: TorchGraph) -> None:
        super().__init__()
        self.image, self.text = image, text


class BuiltinTowers:
    """`Towers` over a model directory."""

    temperature: float | None = None

    def __init__(self, encoder: OnnxEncoder) -> None:
        import onnx

        read_heads(encoder.directory)  # or it says that they are of another kind
        self._encoder = encoder
        self.name, self.min_side = encoder.name, encoder.min_side
        self.module: Any = _Both(*(TorchGraph(with_floats(onnx.load(encoder.graph(side))))
                                   for side in SIDES)).to(memory_format=torch.channels_last)
        # Words keep their rows: few of them are in any captions to learn from.
        self._table = torch.from_numpy(np.array(encoder.table))

    def transform(self, augment: bool) -> Callable[[Image], torch.Tensor]:
        prepare = self._encoder.prepare
        return lambda image: torch.from_numpy(prepare(_cropped(image) if augment else image).copy())

    def tokens(self, texts: Sequence[str]) -> torch.Tensor:
        """int64 [n, longest], PADDING behind the tokens of each."""
        return nn.utils.rnn.pad_sequence([torch.tensor(ids) for ids in self._encoder.cut(texts)],
                                         batch_first=True, padding_value=PADDING)

    def see(self, pixels: torch.Tensor) -> torch.Tensor:
        rows: torch.Tensor = self.module.image(pixels=pixels)
        return rows

    def read(self, tokens: torch.Tensor) -> torch.Tensor:
        self._table = self._table.to(tokens.device)
        rows: torch.Tensor = self.module.text(
            tokens=self._table[tokens.clamp(min=0)].float(), mask=(tokens != PADDING).long())
        return rows

    def ends(self, blocks: int) -> Iterator[nn.Parameter]:
        for side in SIDES:
            found = getattr(self.module, side).blocks()
            most = max(found.values())
            yield from (one for one, block in found.items() if block in (-1, *range(
                most - blocks + 1, most + 1)))

    def write(self, out: Path, temperature: float, source: str) -> None:
        graphs = {side: getattr(self.module, side).written() for side in SIDES}
        heads = Heads(*(Head(*(getattr(self.module, side).parameter(f"{side}.{part}").detach()
                               .cpu().numpy() for part in ("weight", "bias"))) for side in SIDES))
        write_model(self._encoder.directory, heads, out, name=f"{out.name}-towers", source=source,
                    graphs=graphs)


def _cropped(image: Image) -> Image:
    """A part of it, at least SMALLEST, of another shape, and in one of two cases mirrored."""
    from PIL.Image import Transpose

    area, shape, left, top, mirrored = torch.rand(5).tolist()
    side = (SMALLEST + (1 - SMALLEST) * area) ** 0.5
    ratio = (3 / 4) ** (shape - 0.5)
    wide, high = (min(1.0, part) for part in (side * ratio, side / ratio))
    x, y = left * (1 - wide) * image.width, top * (1 - high) * image.height
    part = image.crop((round(x), round(y), max(round(x) + 1, round(x + wide * image.width)),
                       max(round(y) + 1, round(y + high * image.height))))
    return part.transpose(Transpose.FLIP_LEFT_RIGHT) if mirrored < 0.5 else part
