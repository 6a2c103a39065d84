"""open_clip models with random weights, exported as others publish them."""

from __future__ import annotations

import copy
import json
import shutil
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import open_clip
import torch
from random_models import folder_of, pictures
from test_tokenizing import hub_folder, small
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from mmsearch.encoders.openclip import OpenClipEncoder
from mmsearch.records import Vectors

TEXT = {"width": 64, "heads": 2, "layers": 2}
MEAN, STD = [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]
OURS = {"ViT-B-32/openai": ("immich-app/ViT-B-32__openai", "Xenova/clip-vit-base-patch32"),
        "ViT-B-16-SigLIP2/webli": ("immich-app/ViT-B-16-SigLIP2__webli",
                                   "onnx-community/siglip2-base-patch16-224-ONNX"),
        "MobileCLIP2-S0/dfndr2b": ("immich-app/MobileCLIP2-S0__dfndr2b", "Xenova/mobileclip_s0")}
"""Names of open_clip, and the repositories with exports of these models: as Immich has them, and as
transformers.js has them."""


class Made(NamedTuple):
    """A model as open_clip has it, in a folder; images: what it makes of `pictures()`."""

    folder: str
    theirs: OpenClipEncoder
    images: Vectors


def make(model: str, path: Path) -> Made:
    """One of the architecture, with less of everything where that is no other architecture."""
    architecture = model.partition("/")[0]
    if "SigLIP" in architecture:
        folder = hub_folder(path, architecture, small(architecture))
    else:
        how = copy.deepcopy(open_clip.get_model_config(architecture))
        how["text_cfg"] |= TEXT
        if architecture == "ViT-B-32":
            how["vision_cfg"] |= {"layers": 2, "width": 64, "head_width": 32}
        torch.manual_seed(0)
        kind = open_clip.CustomTextCLIP if how.get("custom_text") else open_clip.CLIP
        folder = folder_of(path, kind(**{k: v for k, v in how.items() if k != "custom_text"}), how,
                           mean=MEAN, std=STD, resize_mode="shortest", interpolation="bilinear")
    torch.backends.mha.set_fastpath_enabled(False)
    theirs = OpenClipEncoder(folder)
    return Made(folder, theirs, theirs.encode_images(pictures()))


def _config(made: Made) -> Any:
    return json.loads(Path(made.folder, "open_clip_config.json").read_text())


def _tokenizer_files(made: Made, path: Path, pad: str) -> None:
    """As `transformers` saves them."""
    if Path(made.folder, "tokenizer.json").exists():
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(Path(made.folder, name), path)
        return
    theirs = open_clip.tokenizer.SimpleTokenizer()
    ends = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {ends.get(token, token): number for token, number in theirs.encoder.items()}
    start, end = ends.values()
    tokenizer = Tokenizer(models.BPE(vocabulary, list(theirs.bpe_ranks), unk_token=end,
                                     end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    words = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(words, "removed", invert=True), pre_tokenizers.ByteLevel(False)])
    tokenizer.add_special_tokens([start, end])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(t, vocabulary[t]) for t in (start, end)])
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": pad}))


class _Tower(torch.nn.Module):
    def __init__(self, module: Any, encode: str, normalize: bool) -> None:
        super().__init__()
        self.module, self.encode, self.normalize = module, encode, normalize

    def forward(self, given: Any) -> Any:
        return getattr(self.module, self.encode)(given, normalize=self.normalize)


def _export(tower: _Tower, given: Any, path: Path, takes: str, gives: str,
            axes: dict[str, Any] | None = None) -> None:
    path.parent.mkdir(exist_ok=True)
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):
        torch.onnx.export(tower.eval(), (given,), str(path), input_names=[takes],
                          output_names=[gives], dynamic_axes=axes, opset_version=17, dynamo=False)


def as_immich(made: Made, path: Path) -> None:
    """A batch of one; texts of int32; vectors of unit length."""
    config = _config(made)
    size, length = made.theirs.min_side, made.theirs.tokenizer.context_length
    module = made.theirs.module
    path.mkdir(parents=True)
    _export(_Tower(module, "encode_image", True), torch.zeros(1, 3, size, size),
            path / "visual" / "model.onnx", "image", "embedding")
    _export(_Tower(module, "encode_text", True), torch.ones(1, length, dtype=torch.int32),
            path / "textual" / "model.onnx", "text", "embedding")
    (path / "config.json").write_text(json.dumps(config["model_cfg"]))
    (path / "visual" / "preprocess_cfg.json").write_text(json.dumps(
        {"size": [size, size], "mode": "RGB", "fill_color": 0, **config["preprocess_cfg"]}))
    _tokenizer_files(made, path / "textual", "<|endoftext|>")
    for name in ("README.md", "visual/model.armnn", "textual/model.armnn",
                 "textual/special_tokens_map.json"):
        (path / name).write_text("{}")


def as_transformers_js(made: Made, path: Path) -> None:
    """Batches of any size; texts of int64; vectors as they come; a choice of precisions."""
    siglip = "SigLIP" in made.folder
    size, length = made.theirs.min_side, made.theirs.tokenizer.context_length
    how = _config(made)["preprocess_cfg"]
    path.mkdir(parents=True)
    for kind, given, file, takes, gives in (
            ("encode_image", torch.zeros(1, 3, size, size), "vision", "pixel_values",
             "image_embeds"),
            ("encode_text", torch.ones(1, length, dtype=torch.int64), "text", "input_ids",
             "text_embeds")):
        gives = "pooler_output" if siglip else gives
        _export(_Tower(made.theirs.module, kind, False), given,
                path / "onnx" / f"{file}_model.onnx", takes, gives,
                {takes: {0: "batch_size"}, gives: {0: "batch_size"}})
    for name in ("vision_model_fp16", "text_model_fp16", "vision_model_int8", "text_model_int8",
                 "model", "model_quantized"):
        (path / "onnx" / f"{name}.onnx").write_text("another precision")
    (path / "config.json").write_text(json.dumps({"model_type": "siglip" if siglip else "clip"}))
    sides = {"height": size, "width": size}
    (path / "preprocessor_config.json").write_text(json.dumps(
        {"do_resize": True, "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255,
         "image_mean": how["mean"], "image_std": how["std"],
         "resample": 3 if how["interpolation"] == "bicubic" else 2,
         **({"size": sides} if how["resize_mode"] == "squash" else
            {"size": {"shortest_edge": size}, "do_center_crop": True, "crop_size": sides})}))
    _tokenizer_files(made, path, "!")
    if siglip:
        config = json.loads((path / "tokenizer_config.json").read_text())
        (path / "tokenizer_config.json").write_text(
            json.dumps({**config, "model_max_length": length}))
