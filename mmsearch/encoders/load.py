"""Encoders turn images and texts into unit vectors of one space; `load_encoder` finds one by name.

    "small", "good", …                   what `choices.csv` says
    "builtin"                            the model inside this package (ONNX Runtime, no torch)
    a directory with a model.json        what `mmsearch train` wrote (ONNX Runtime, no torch)
    a directory with open_clip_config…   an open_clip model as the hub keeps it
    "ViT-B-32/laion2b_s34b_b79k", …      any open_clip model (extra `openclip`): on a GPU by torch,
                                         on a CPU by ONNX Runtime; `…@int8` names a precision
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
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
    from mmsearch.encoders.exported import load_openclip
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
    if Path(model, "open_clip_config.json").is_file():
        return load_openclip(name)
    if Path(model).is_dir():
        raise ModelError(f"{model} is a directory without model.json or open_clip_config.json; "
                         "point --model at what `mmsearch train` wrote, at a folder with an "
                         "open_clip model, or give the name of one")
    if name.startswith(("/", ".", "~")):
        raise ModelError(f"there is no model directory {name}")
    if "/" not in name and not name.startswith("hf-hub:") and not _is_architecture(model):
        raise ModelError(f"no model called {name!r}; give builtin, a directory that `mmsearch "
                         "train` wrote, or an open_clip model as ARCHITECTURE/TAG")
    return load_openclip(name)


def _is_architecture(name: str) -> bool:
    """Whether open_clip, which takes seconds to import, has an architecture of this name."""
    found = find_spec("open_clip")
    return bool(found and found.origin
                and (Path(found.origin).parent / "model_configs" / f"{name}.json").is_file())


def absolute_name(name: str) -> str:
    """A model's name that means the same from every working directory, and for ever."""
    name = chosen(name)
    model, precision = split_precision(name)
    if model != BUILTIN and Path(model).is_dir():
        return f"{Path(model).resolve()}{precision}"
    architecture, _, file = model.partition("/")
    return f"{architecture}/{Path(file).resolve()}{precision}" \
        if file and Path(file).is_file() else name
