"""Encoders turn images and texts into unit vectors of one space; `load_encoder` finds one by name.

    "small", "good", …                   what `choices.csv` says
    "builtin"                            the model inside this package (ONNX Runtime, no torch)
    a directory with a model.json        what `mmsearch train` wrote (ONNX Runtime, no torch)
    a directory with open_clip_config…   an open_clip model as the hub keeps it
    a directory with visual/model.onnx   an export as Immich has it (ONNX Runtime, no torch)
    a directory with onnx/vision_model…  an export as transformers.js has it, likewise
    "Xenova/clip-vit-base-patch32", …    such an export on the hub
    "ViT-B-32/laion2b_s34b_b79k", …      any open_clip model: on a CPU its export on the hub, by
                                         ONNX Runtime; without one, or on a GPU, by torch (extra
                                         `openclip`); `…@int8` names a precision
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from mmsearch.encoders.choice import chosen
from mmsearch.encoders.precision import split_precision
from mmsearch.encoders.protocol import Encoder
from mmsearch.errors import ModelError, UsageError

BUILTIN = "builtin"
BUILTIN_DIR = Path(__file__).parent / "builtin"


@lru_cache(maxsize=2)
def load_encoder(name: str = BUILTIN) -> Encoder:
    """The encoder called `name` (see the top of this file); kept loaded, since loading costs.

    Raises:
        ModelError: no such model, or its files are damaged.
        MissingExtra: an open_clip model, but open_clip is not installed.
        UsageError: a precision for a model that has but one.
    """
    from mmsearch.encoders.onnx import OnnxEncoder

    model, precision = split_precision(name)
    if precision and (model == BUILTIN or Path(model, "model.json").is_file()):
        raise UsageError("--precision is for open_clip models: the built-in model, and what "
                         "`mmsearch train` makes of it, is int8 already")
    if name == BUILTIN:
        return OnnxEncoder(BUILTIN_DIR)
    if (meant := chosen(name)) != name:
        return load_encoder(meant)
    if Path(name, "model.json").is_file():
        return OnnxEncoder(Path(name))
    from mmsearch.encoders.exported import load_openclip
    from mmsearch.encoders.openclip import is_architecture, is_folder
    from mmsearch.encoders.published import is_published

    if is_folder(model) or is_published(model):
        return load_openclip(name)
    if Path(model).is_dir():
        raise ModelError(f"{model} is a directory without model.json, open_clip_config.json, "
                         "visual/model.onnx or onnx/vision_model.onnx; point --model at what "
                         "`mmsearch train` wrote, at a folder with an open_clip model or its "
                         "export, or give the name of one")
    if name.startswith(("/", ".", "~")):
        raise ModelError(f"there is no model directory {name}")
    if "/" not in name and not name.startswith("hf-hub:") and not is_architecture(model):
        raise ModelError(f"no model called {name!r}; give small, good, best, multilingual "
                         "(`mmsearch models`), a directory that `mmsearch train` wrote, or an "
                         "open_clip model as ARCHITECTURE/TAG")
    return load_openclip(name)


def pinned_name(name: str, encoder: Encoder) -> str:
    """The name by which the very files of an encoder are found again; `name` is what found them."""
    pinned: str = getattr(encoder, "pinned", "")
    return f"{pinned}{split_precision(name)[1]}" if pinned else name


def absolute_name(name: str) -> str:
    """A model's name that means the same from every working directory, and for ever."""
    name = chosen(name)
    model, precision = split_precision(name)
    if model != BUILTIN and Path(model).is_dir():
        return f"{Path(model).resolve()}{precision}"
    architecture, _, file = model.partition("/")
    return f"{architecture}/{Path(file).resolve()}{precision}" \
        if file and Path(file).is_file() else name
