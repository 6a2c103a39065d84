"""Any open_clip model as towers to tune; what comes out is a folder as the hub has it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from mmsearch.encoders import OpenClipEncoder
from mmsearch.errors import UsageError
from mmsearch.training.heads import save_whole

if TYPE_CHECKING:
    from PIL.Image import Image


class OpenClipTowers:
    """`Towers` over an open_clip model by name or folder (see `OpenClipEncoder`)."""

    def __init__(self, name: str) -> None:
        encoder = OpenClipEncoder(name, "fp32", ["cpu"])
        self.module: Any = encoder.module
        self.name, self.architecture = encoder.name, encoder.architecture
        self.min_side = encoder.min_side
        self.tokens = encoder.tokens
        self._tokenizer = encoder.tokenizer
        self.temperature: float | None = \
            float((-self.module.logit_scale.detach()).exp())

    def transform(self, augment: bool) -> Callable[[Image], torch.Tensor]:
        from open_clip.transform import PreprocessCfg, image_transform_v2

        made: Callable[[Image], torch.Tensor] = image_transform_v2(
            PreprocessCfg(**self.module.visual.preprocess_cfg), is_train=augment)
        return made

    def see(self, pixels: torch.Tensor) -> torch.Tensor:
        rows: torch.Tensor = self.module.encode_image(pixels)
        return rows

    def read(self, tokens: torch.Tensor) -> torch.Tensor:
        rows: torch.Tensor = self.module.encode_text(tokens)
        return rows

    def ends(self, blocks: int) -> Iterator[nn.Parameter]:
        """As open_clip locks towers, whose last group is the projection."""
        before = {one: one.requires_grad for one in self.module.parameters()}
        for one in before:
            one.requires_grad_()
        try:
            # One of its text towers prints what it unlocks.
            with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
                self.module.lock_image_tower(unlocked_groups=1 + blocks)
                self.module.lock_text_tower(unlocked_layers=1 + blocks)
        except (AssertionError, AttributeError, RuntimeError) as error:  # what its towers raise
            raise UsageError(f"open_clip cannot lock a part of {self.architecture}; tune it with "
                             "lora or full") from error
        ends = [one for one in before if one.requires_grad]
        for one, was in before.items():
            one.requires_grad_(was)
        numbers = {id(getattr(self.module, name, None)) for name in ("logit_scale", "logit_bias")}
        yield from (one for one in ends if id(one) not in numbers)

    def write(self, out: Path, temperature: float, source: str) -> None:
        import open_clip
        from safetensors.torch import save_file

        with torch.no_grad():
            self.module.logit_scale.copy_(-torch.tensor(temperature).log())
        config = open_clip.get_model_config(self.architecture)
        if any(type(one).__name__ == "QuickGELU" for one in self.module.modules()):
            config["quick_gelu"] = True  # some published weights want it, which the tag alone says
        how = self.module.visual.preprocess_cfg
        written = {"model_cfg": config, "preprocess_cfg": {
            key: how[key] for key in ("mean", "std", "interpolation", "resize_mode")},
            "source": source}
        weights = {name: value.detach().cpu().clone().contiguous()
                   for name, value in self.module.state_dict().items()}
        save_file(weights, out / "open_clip_model.safetensors")
        if hasattr(self._tokenizer, "save_pretrained"):
            self._tokenizer.save_pretrained(out)
        text = (json.dumps(written, indent=1) + "\n").encode()
        save_whole(out / "open_clip_config.json", partial(_put, text))


def _put(text: bytes, file: Any) -> None:
    file.write(text)
