"""open_clip models with random weights, and what an export of any of them must give."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from conftest import DEMO
from PIL import Image

from mmsearch.encoders import cache_directory, load_encoder
from mmsearch.encoders.onnx import OnnxEncoder


@cache
def pictures() -> list[Image.Image]:
    found = [Image.open(path).convert("RGB") for path in sorted(DEMO.glob("*.jpg"))[:6]]
    return [*found, Image.new("RGB", (3, 500), "red"), Image.new("RGB", (901, 224), "blue")]


@cache
def checkpoint(architecture: str) -> str:
    """A file of weights, named as a user would name it."""
    import open_clip
    import torch

    torch.manual_seed(0)
    path = cache_directory() / f"{architecture}.pt"
    torch.save(open_clip.create_model(architecture).state_dict(), path)
    return f"{architecture}/{path}"


def folder_of(path: Path, model: Any, config: dict[str, Any], **preprocessing: object) -> str:
    """A model as a hub keeps it."""
    from safetensors.torch import save_file

    path.mkdir()
    save_file(model.state_dict(), path / "open_clip_model.safetensors")
    how = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "interpolation": "bicubic",
           "resize_mode": "squash", **preprocessing}
    (path / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": how}))
    return str(path)


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return np.einsum("ij,ij->i", one, other)


def exported_alike(name: str, texts: list[str]) -> OnnxEncoder:
    """The export of a model, whose vectors must be those of torch."""
    from mmsearch.encoders.openclip import OpenClipEncoder

    theirs, ours = OpenClipEncoder(name), load_encoder(f"{name}@fp32")
    assert isinstance(ours, OnnxEncoder)
    assert (ours.name, ours.dim, ours.min_side) == (theirs.name, theirs.dim, theirs.min_side)
    for picture in pictures():
        np.testing.assert_array_equal(ours.prepare(picture), theirs.prepare(picture))
    assert cosines(ours.encode_images(pictures()), theirs.encode_images(pictures())).min() > 0.9999
    assert cosines(ours.encode_texts(texts), theirs.encode_texts(texts)).min() > 0.9999
    return ours


def libraries_for(model: str) -> str:
    """Which of the heavy libraries a query loads."""
    code = (f"import sys; from PIL import Image; from mmsearch import load_encoder; "
            f"e = load_encoder({model!r}); e.encode_texts(['x']); "
            f"e.encode_images([Image.open({str(DEMO / 'cat.jpg')!r}).convert('RGB')]); "
            "print([m for m in ('torch', 'open_clip', 'transformers') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()
