"""Models that others have exported to ONNX and put on the hub, or into a folder, in one of two
layouts, as model directories that `OnnxEncoder` runs.

    immich-app/ViT-B-32__openai   Immich's: visual/model.onnx and textual/model.onnx of an open_clip
                                  model, with open_clip's configuration
    Xenova/clip-vit-base-patch32  transformers.js's: onnx/vision_model.onnx and
                                  onnx/text_model.onnx, with the configuration of `transformers`

Pictures are prepared as the model's own configuration says, and texts become the tokens that it
was taught with, which is not always what the owners of these layouts do themselves.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmsearch.encoders.cleaning import CLEANERS
from mmsearch.encoders.export import image_spec
from mmsearch.encoders.hub import Unreachable, cached, fetch, kept_in, look_up, model_of
from mmsearch.encoders.onnx import FORMAT, OnnxEncoder
from mmsearch.encoders.openclip import is_openclips
from mmsearch.encoders.tokenizing import byte_pairs
from mmsearch.errors import ModelError

_PINNED = re.compile(r"([^/@]+/[^/@]+)@([0-9a-f]{40})")
_ELSEWHERE = {"MobileCLIP-S1/datacompdr": "Xenova/mobileclip_s1",
              "MobileCLIP-S2/datacompdr": "Xenova/mobileclip_s2",
              "MobileCLIP-B/datacompdr": "Xenova/mobileclip_b",
              "MobileCLIP-B/datacompdr_lt": "Xenova/mobileclip_blt"}
"""Models of open_clip that Immich does not publish."""
_PRECISIONS = ("", "_fp16", "_quantized", "_int8", "_uint8")
"""What transformers.js calls files of one graph, best first: one of them is taken."""
_NO_WEIGHTS = {".onnx", ".json", ".txt", ".md", ".model", ".py", ".armnn", ".rknn", ".xml", ".bin",
               ".pt", ".pth", ".pkl", ".safetensors", ".tflite"}
"""Endings of what may lie beside Immich's graphs and is none of their data."""
_LONGEST, _SHORT = 512, 128
"""Tokens of a text that are seen at most, and to how many texts were padded when they were taught.
"""
_LOWER_CASE = ("siglip", "siglip2")
"""Kinds of `transformers` whose texts were in lower case when they were taught."""


class Layout(NamedTuple):
    """What is needed of an export; files: all that, each graph after its data."""

    files: tuple[str, ...]
    image: str
    text: str


def layout(files: Collection[str]) -> Layout | None:
    """The export among these files, if there is one in a layout that is known."""
    image, text = "visual/model.onnx", "textual/model.onnx"
    if image in files and text in files:
        beside = ["config.json", "visual/preprocess_cfg.json", "textual/tokenizer.json",
                  "textual/tokenizer_config.json"]
        data = [file for file in sorted(files) if Path(file).parent.name in ("visual", "textual")
                and file.count("/") == 1 and Path(file).suffix not in _NO_WEIGHTS]
        return Layout((*beside, *data, image, text), image, text)
    for precision in _PRECISIONS:
        image, text = (f"onnx/{tower}_model{precision}.onnx" for tower in ("vision", "text"))
        if image in files and text in files:
            beside = ["config.json", "preprocessor_config.json", "tokenizer.json",
                      *{"tokenizer_config.json"}.intersection(files)]
            data = [file for file in sorted(files) if file.startswith((f"{image}_data",
                                                                       f"{text}_data"))]
            return Layout((*beside, *data, image, text), image, text)
    return None


def layout_of(folder: Path) -> Layout | None:
    """The export in a folder, if there is one."""
    return layout([path.relative_to(folder).as_posix() for path in files_in(folder)])


def is_published(name: str) -> bool:
    """Whether a name is that of an export and of nothing else: pinned, or a folder with one."""
    return bool(_PINNED.fullmatch(name)) or layout_of(Path(name)) is not None


def repositories(model: str) -> Iterator[str]:
    """Where on the hub an export of a model may be, the likeliest first."""
    if model.startswith("hf-hub:"):
        yield model.removeprefix("hf-hub:")
        model = model_of(model.removeprefix("hf-hub:")) or ""
    architecture, _, tag = model.partition("/")
    if not tag:
        return
    if not is_openclips(model):
        yield model
        return
    if model in _ELSEWHERE:
        yield _ELSEWHERE[model]
    architecture = re.sub("^xlm-roberta-(.)", lambda m: f"XLM-Roberta-{m[1].upper()}", architecture)
    tag = tag.replace("_", "-") if tag.startswith("laion2b_s") else tag  # as they are called there
    yield f"immich-app/{architecture}__{tag}"


def pinned_here(model: str) -> str | None:
    """The export of a model that the hub's client has fetched to this machine, and its commit."""
    for name in repositories(model):
        if (found := cached(name)) and layout_of(found[1]):
            return f"{name}@{found[0]}"
    return None


def pinned_on_hub(model: str) -> str | None:
    """The export of a model that the hub has, with its commit of now.

    Raises:
        Unreachable, ModelError, MissingExtra: the hub cannot be asked.
    """
    for name in repositories(model):
        if (found := look_up(name)) and layout(found.files):
            return f"{name}@{found.commit}"
    return None


def folder_of(model: str) -> tuple[Path, Layout]:
    """The folder with an export, fetched if it is not there. model: pinned, or itself a folder.

    Raises:
        ModelError, MissingExtra: it is neither on this machine nor can it be fetched.
    """
    pin = _PINNED.fullmatch(model)
    here = (cached(*pin.groups()) or ("", None))[1] if pin else Path(model)
    found = layout_of(here) if here else None
    if here and found and (pin is None or all((here / one).is_file() for one in found.files)):
        return here, found
    if pin is None:
        raise ModelError(f"{model} holds no export that mmsearch knows")
    try:
        repository = look_up(*pin.groups())
    except Unreachable as error:
        raise ModelError(f"{model} is not on this machine: {error}; {by_hand(pin[1])}") from error
    found = layout(repository.files) if repository else None
    if repository is None or found is None:
        raise ModelError(f"the hub has no {model} any more; {by_hand(pin[1])}")
    return fetch(repository, found.files), found


def by_hand(repository: str) -> str:
    """What to do where the hub cannot be reached."""
    return (f"on a machine with a network, run `hf download {repository}`, and copy its folder in "
            f"~/.cache/huggingface/hub to {kept_in()} here, or give a folder with these files as "
            "--model")


def prepare(model: str, directory: Path) -> None:
    """Write an export to `directory` (there, and empty): links to its graphs and their data, its
    tokenizer, and model.json. It is run once.

    Raises:
        ModelError, MissingExtra: it cannot be had, or not be run.
    """
    source, found = folder_of(model)
    for file in found.files:
        if not file.endswith(".json"):
            _link(source / file, directory / file)
    read = _immich if found.image.startswith("visual/") else _transformers
    try:
        image, text, tokenizer = read(source)
        tokenizer.save(str(directory / "tokenizer.json"))
    except (OSError, ValueError, LookupError, TypeError, AttributeError,
            OverflowError) as error:
        raise ModelError(f"the configuration of {model} cannot be read "
                         f"({type(error).__name__}: {error})") from error
    sums = {file: _sum(source / file) for file in found.files}
    pin = _PINNED.fullmatch(model)
    digest = hashlib.sha256("".join(sums[file] for file in sorted(sums)).encode()).hexdigest()
    spec = {"format": FORMAT, "dim": 0, "max_tokens": tokenizer.truncation["max_length"],
            "encoder": f"{Path(pin[1] if pin else model).name}@{digest[:12]}",
            "pinned": model if pin else "", "normalize": True, "sha256": sums,
            "image": {"file": found.image, "batch": 1, **image},
            "text": {"file": found.text, "tokenizer": "tokenizer.json", **text}}
    _write(directory, spec)
    _write(directory, spec | {"dim": _tried(directory, spec, model)})


def _tried(directory: Path, spec: dict[str, Any], model: str) -> int:
    """The length of its vectors; completes what its text graph has to be given."""
    encoder = OnnxEncoder(directory)
    takes = {one.name: one.shape for one in encoder._text_session.get_inputs()}
    lengths = [shape[1] for shape in takes.values() if isinstance(shape[1], int)]
    # In short texts, what is not masked is part of them.
    if lengths or ("attention_mask" not in takes and spec["max_tokens"] <= _SHORT):
        spec["text"]["pad"]["to"] = lengths[0] if lengths else spec["max_tokens"]
        _write(directory, spec)
        encoder = OnnxEncoder(directory)
    side = encoder.min_side
    try:
        vectors = (encoder.encode_images([np.full((side, side, 3), 128, np.uint8)]),
                   encoder.encode_texts(["a photo"]))
    except Exception as error:  # onnxruntime's own errors share no base class
        raise ModelError(f"{model} is not an export that mmsearch can run: "
                         f"{str(error).splitlines()[0]}") from error
    dims = {found.shape[1:] for found in vectors}
    if len(dims) != 1 or not all(np.isfinite(found).all() for found in vectors):
        raise ModelError(f"{model} makes vectors of {vectors[0].shape[1:]} of pictures and "
                         f"{vectors[1].shape[1:]} of texts, not of one space")
    return int(vectors[0].shape[1])


# -- what surrounds the graphs ---------------------------------------------------------------------


def _immich(source: Path) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """What model.json says of pictures and of texts, and the tokenizer; as open_clip has them."""
    of_text = _json(source / "config.json")["text_cfg"]
    how = {"resize_mode": "shortest", "interpolation": "bicubic",
           **_json(source / "visual" / "preprocess_cfg.json")}
    kwargs = of_text.get("tokenizer_kwargs") or {}
    tokenizer, text = _tokenizer(source / "textual", int(of_text.get("context_length", 77)))
    if "clean" not in text:
        # What has no tokenizer of its own in open_clip's configuration is M-CLIP, which does not
        # touch its texts.
        default = "whitespace" if "hf_tokenizer_name" in of_text else ""
        text["clean"] = kwargs.get("clean", default)
    if text["clean"] not in CLEANERS:
        raise ValueError(f"tokenizer_kwargs {kwargs}")
    if kwargs.get("strip_sep_token"):
        separators = (tokenizer.token_to_id(one) for one in ("[SEP]", "</s>"))
        text["zeroed"] = next(number for number in separators if number is not None)
    return {**image_spec(how), "mean": how["mean"], "std": how["std"]}, text, tokenizer


def _transformers(source: Path) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """The same, as `transformers` has them."""
    config, how = (_json(source / name) for name in ("config.json", "preprocessor_config.json"))
    kind, of_text = config.get("model_type", ""), config.get("text_config") or {}
    given = [of_text.get("max_position_embeddings"),
             _json(source / "tokenizer_config.json").get("model_max_length")
             if (source / "tokenizer_config.json").is_file() else None]
    length = min((int(one) for one in given if one and one < 10_000),
                 default=64 if kind in _LOWER_CASE else 77)
    length = min(length, _LONGEST)
    tokenizer, text = _tokenizer(source, length)
    if kind in _LOWER_CASE and "clean" not in text:
        _lower(tokenizer)
    if "resize_mode" in how:  # Jina's, which has it from open_clip
        return {**image_spec(how), "mean": how["mean"], "std": how["std"]}, text, tokenizer
    side = how["size"]
    side = side if isinstance(side, int) else side.get("shortest_edge") or side["height"]
    crop = how.get("crop_size", side) if how.get("do_center_crop") else side
    crop = crop if isinstance(crop, int) else crop["height"]
    if crop != side:
        raise ValueError(f"pictures of {side} pixels, of which {crop} are cut out")
    squash = not how.get("do_center_crop")
    # 1/255 scales to what mean and deviation are given for.
    scale = 255 * float(how.get("rescale_factor", 1 / 255)) if how.get("do_rescale", True) else 255
    mean, std = ((how[f"image_{key}"] if how.get("do_normalize", True) else [plain] * 3)
                 for key, plain in (("mean", 0.0), ("std", 1.0)))
    return {"size": side, "resize": "stretch" if squash else "shortest",
            "interpolation": _resampling(how.get("resample", 3)),
            "mean": [one / scale for one in mean], "std": [one / scale for one in std]}, \
        text, tokenizer


def _resampling(number: int) -> str:
    from PIL.Image import Resampling

    return Resampling(number).name.lower()


def _tokenizer(folder: Path, length: int) -> tuple[Any, dict[str, Any]]:
    """The tokenizer in a folder, cutting at `length` tokens, and what model.json says of it. That
    of CLIP, which `transformers` has with rules of its own, becomes as open_clip has it."""
    from tokenizers import Tokenizer

    file = _json(folder / "tokenizer.json")
    inner = file["model"]
    if inner.get("end_of_word_suffix") == "</w>":
        vocabulary = inner["vocab"] | {one["content"]: one["id"] for one in file["added_tokens"]}
        made = byte_pairs(vocabulary, [tuple(one.split(" ") if isinstance(one, str) else one)
                                       for one in inner["merges"]])
        made.enable_truncation(length)
        return made, {"clean": "lower", "pad": {"id": 0}}
    made = Tokenizer.from_file(str(folder / "tokenizer.json"))
    pad: Any = None
    if (folder / "tokenizer_config.json").is_file():
        pad = _json(folder / "tokenizer_config.json").get("pad_token")
    pad = pad["content"] if isinstance(pad, dict) else pad
    number = made.token_to_id(pad) if pad else (made.padding or {}).get("pad_id")
    made.no_padding()
    made.enable_truncation(length)
    return made, {"pad": {"id": number or 0}}


def _lower(tokenizer: Any) -> None:
    from tokenizers import normalizers

    before = tokenizer.normalizer
    if before is None or before.normalize_str("A") == "A":
        steps = [normalizers.Lowercase(), *([] if before is None else [before])]
        tokenizer.normalizer = normalizers.Sequence(steps)


# -- files -----------------------------------------------------------------------------------------


def files_in(folder: Path) -> list[Path]:
    """The files in a folder, and in those that are in it."""
    found = (*folder.glob("*"), *folder.glob("[!.]*/*"))
    return sorted(path for path in found if path.is_file())


def _link(source: Path, target: Path) -> None:
    """The same file under another name: gigabytes are not copied where that can be helped."""
    target.parent.mkdir(exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _json(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text("utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} is no object")
    return found


def _write(directory: Path, spec: dict[str, Any]) -> None:
    (directory / "model.json").write_text(json.dumps(spec, indent=1), "utf-8")
