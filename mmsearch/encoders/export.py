"""An open_clip model as a model directory that ONNX Runtime runs: exported once, and checked.

Normalisation is part of the image graph, which takes uint8 pixels. The token table is not part of
the text graph (see `encoders.onnx`). Where attention is causal, sequences may have any
length: what follows the end of a text changes nothing, and short texts are not padded to 77 tokens.
"""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mmsearch.encoders.int8 import INT8, quantize_matrices
from mmsearch.encoders.onnx import FORMAT, OnnxEncoder
from mmsearch.encoders.openclip import OpenClipEncoder
from mmsearch.encoders.tokenizing import check_tokens, converted
from mmsearch.errors import ModelError
from mmsearch.records import Vectors

SAME = 0.9999
"""Least cosine between the vectors of an export in float32 and those of torch."""
_OPSET = 17
_BATCH = 8


def export(encoder: OpenClipEncoder, directory: Path) -> None:
    """Write `encoder` to `directory` (there, and empty), in float32; afterwards it is of no use:
    its text tower has been taken apart.

    Raises:
        ModelError: it has a tower, tokenizer or preprocessing that this module does not know, or
            the export does not give the same vectors.
    """
    import torch

    model = encoder.module
    image = {"file": "image.onnx", "batch": _BATCH, **image_spec(model.visual.preprocess_cfg)}
    tower = _text_tower(model)
    with _quietly(), _plain_attention(), torch.no_grad():
        _write(_image_tower(model), directory / "image.onnx", {
            "pixels": torch.zeros(2, image["size"], image["size"], 3, dtype=torch.uint8)}, {0: "n"})
        ids = encoder.tokenizer(["a dog on the beach", "two"])
        length = ids.shape[1]
        tokenizer, how = converted(encoder.tokenizer, length, padded=not tower.any_length)
        varies = {0: "n", 1: "length"} if tower.any_length else {0: "n"}
        _write(tower, directory / "text.onnx",
               {"ids": ids, "tokens": tower.table(ids)}, varies)
        np.save(directory / "tokens.npy", tower.table.weight.detach().numpy().astype(np.float16))
    tokenizer.save(str(directory / "tokenizer.json"))
    text = {"file": "text.onnx", "tokens": "tokens.npy", "tokenizer": "tokenizer.json", **how}
    _describe(directory, {"encoder": encoder.name, "dim": encoder.dim, "max_tokens": length,
                          "image": image, "text": text})
    check_tokens(OnnxEncoder(directory), encoder.tokenizer)


def quantize(source: Path, directory: Path) -> None:
    """Write the model in `source`, an export, to `directory` with its products in int8; the token
    table is float16. Pictures go in one at a time, so that none is scaled by its neighbours."""
    import shutil

    import onnx

    spec = json.loads((source / "model.json").read_text("utf-8"))
    for part, name in ((spec["image"], "image.onnx"), (spec["text"], "text.onnx")):
        model = _loaded(source / part["file"])
        if part is spec["text"] and "tokens" not in part:
            _take_table(model.graph, directory, part)
        quantize_matrices(model.graph)
        onnx.save(model, directory / name)
        part["file"] = name
    for name in ("tokens.npy", "tokenizer.json"):
        if (source / name).is_file():
            shutil.copy(source / name, directory / name)
    spec["image"]["batch"] = 1
    _describe(directory, {**spec, "int8": INT8})


def _loaded(path: Path) -> Any:
    """A graph with its weights. Where these are in other files, `onnx` takes no links to them."""
    import shutil
    from tempfile import TemporaryDirectory

    import onnx

    if not any(tensor.HasField("data_location") and tensor.data_location
               for tensor in onnx.load(path, load_external_data=False).graph.initializer):
        return onnx.load(path)
    with TemporaryDirectory(dir=path.parent.parent) as copy:
        for file in path.parent.iterdir():
            shutil.copyfile(file, Path(copy, file.name))
        return onnx.load(Path(copy, path.name))


def _take_table(graph: Any, directory: Path, spec: dict[str, Any]) -> None:
    """Take the token table out of a text graph, which is given its rows from then on."""
    from onnx import TensorProto, helper, numpy_helper

    weights = {tensor.name: tensor for tensor in graph.initializer if len(tensor.dims) == 2}
    ids = {one.name: one for one in graph.input if one.name in ("text", "input_ids")}
    same = set(ids)
    for node in graph.node:
        if node.op_type in ("Cast", "Identity") and node.input[0] in same:
            same.add(node.output[0])
    found = [node for node in graph.node if node.op_type == "Gather"
             and node.input[0] in weights and node.input[1] in same]
    if len(found) != 1:
        return
    table, rows = weights[found[0].input[0]], found[0].output[0]
    shape = [one.dim_value or one.dim_param
             for one in next(iter(ids.values())).type.tensor_type.shape.dim]
    np.save(directory / "tokens.npy", numpy_helper.to_array(table).astype(np.float16))
    spec["tokens"] = "tokens.npy"
    graph.input.append(helper.make_tensor_value_info(
        "tokens", TensorProto.FLOAT, [*shape, table.dims[1]]))
    graph.node.remove(found[0])
    for node in graph.node:
        for at, name in enumerate(node.input):
            if name == rows:
                node.input[at] = "tokens"
    used = {name for node in graph.node for name in node.input}
    for one in ids.values():
        if one.name not in used:
            graph.input.remove(one)


def check(exported: OnnxEncoder, images: list[Any], texts: list[str], image_vectors: Vectors,
          text_vectors: Vectors) -> None:
    """Compare the vectors of an export with those that torch made of the same pictures and texts.

    Raises:
        ModelError: a cosine is below `SAME`.
    """
    for what, ours, theirs in (("pictures", exported.encode_images(images), image_vectors),
                               ("texts", exported.encode_texts(texts), text_vectors)):
        if (least := float(np.einsum("ij,ij->i", ours, theirs).min())) < SAME:
            raise ModelError(f"its export gives other vectors for {what} than torch does "
                             f"(cosine {least:.4f})")


# -- towers ----------------------------------------------------------------------------------------


def _image_tower(model: Any) -> Any:
    import torch

    mean, std = (255 * torch.tensor(model.visual.preprocess_cfg[key]).view(1, 3, 1, 1)
                 for key in ("mean", "std"))

    class ImageTower(torch.nn.Module):
        """uint8 [n, size, size, 3] -> float32 [n, dim], unit rows."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixels: Any) -> Any:
            scaled = (pixels.permute(0, 3, 1, 2).float() - mean) / std
            return self.model.encode_image(scaled, normalize=True)

    return ImageTower().eval()


def _text_tower(model: Any) -> Any:
    """A module (ids int64 [n, length], their rows of the token table float32 [n, length, width])
    -> float32 [n, dim], unit rows."""
    import torch
    from open_clip.model import CLIP
    from open_clip.transformer import TextTransformer, text_global_pool

    class Given(torch.nn.Module):
        """Stands for the token table: gives what was looked up already."""

        rows: Any = None

        def forward(self, ids: Any) -> Any:
            return self.rows

    class TextTower(torch.nn.Module):
        any_length = False

        def __init__(self, table: Any) -> None:
            super().__init__()
            self.model, self.table = model, table

        def forward(self, ids: Any, tokens: Any) -> Any:
            tower = getattr(self.model, "text", self.model)
            tower.token_embedding = given = Given()
            given.rows = tokens
            try:
                return self.model.encode_text(ids, normalize=True)
            finally:
                tower.token_embedding = self.table

    class CausalTower(TextTower):
        """What `open_clip.CLIP.encode_text` does, for sequences of any length."""

        any_length = True

        def forward(self, ids: Any, tokens: Any) -> Any:
            m, length = self.model, ids.shape[1]
            out = tokens + m.positional_embedding[:length]
            out = m.ln_final(m.transformer(out, attn_mask=m.attn_mask[:length, :length]))
            out = text_global_pool(out, ids, m.text_pool_type,
                                   eos_token_id=getattr(m, "text_eos_id", None))
            project = m.text_projection
            out = project(out) if isinstance(project, torch.nn.Linear) else out @ project
            return torch.nn.functional.normalize(out, dim=-1)

    if getattr(model, "attn_mask", None) is not None and model.text_pool_type in ("argmax", "eos"):
        for block in model.transformer.resblocks:
            block.attn = _attention(block.attn)
        return CausalTower(model.token_embedding).eval()
    if isinstance(model, CLIP) or isinstance(getattr(model, "text", None), TextTransformer):
        return TextTower(getattr(model, "text", model).token_embedding).eval()
    raise ModelError("its text tower is of a kind that cannot be exported")


def _attention(inner: Any) -> Any:
    """The same as `torch.nn.MultiheadAttention` (self-attention, a batch first), in steps whose
    export keeps the length of the sequence variable."""
    import torch

    if not isinstance(inner, torch.nn.MultiheadAttention) or not inner.batch_first:
        raise ModelError("its attention is of a kind that cannot be exported")

    class Attention(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, query: Any, key: Any, value: Any, need_weights: bool = False,
                    attn_mask: Any = None) -> tuple[Any, None]:
            n, length, width = query.shape
            heads = self.inner.num_heads
            parts = torch.nn.functional.linear(
                query, self.inner.in_proj_weight, self.inner.in_proj_bias)
            q, k, v = parts.reshape(n, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            weights = (q * (width // heads) ** -0.5) @ k.transpose(-1, -2)
            weights = weights if attn_mask is None else weights + attn_mask
            mixed = (weights.softmax(-1) @ v).transpose(1, 2).reshape(n, length, width)
            return self.inner.out_proj(mixed), None

    return Attention()


def _write(tower: Any, path: Path, inputs: dict[str, Any], varies: dict[int, str]) -> None:
    import torch

    axes = {**dict.fromkeys(inputs, varies), "embedding": {0: "n"}}
    torch.onnx.export(tower, tuple(inputs.values()), str(path), input_names=list(inputs),
                      output_names=["embedding"], dynamic_axes=axes, opset_version=_OPSET,
                      dynamo=False)


# -- what surrounds them ---------------------------------------------------------------------------


def image_spec(how: dict[str, Any]) -> dict[str, Any]:
    """model.json's description of an open_clip preprocessing.

    Raises:
        ModelError: `media.decoding.fit` has no counterpart.
    """
    size = how["size"] if isinstance(how["size"], int) else how["size"][0]
    square = isinstance(how["size"], int) or how["size"][0] == how["size"][1]
    if not square or how["resize_mode"] not in ("shortest", "squash"):
        raise ModelError(f"its preprocessing ({how['resize_mode']}, {how['size']}) cannot be "
                         "exported")
    resize = "stretch" if how["resize_mode"] == "squash" else "shortest"
    return {"size": size, "resize": resize, "interpolation": how["interpolation"]}


def _describe(directory: Path, spec: dict[str, Any]) -> None:
    files = [spec["image"]["file"], *(spec["text"][key] for key in ("file", "tokens", "tokenizer")
                                      if key in spec["text"])]
    sums = {name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in files}
    (directory / "model.json").write_text(
        json.dumps({"format": FORMAT, **spec, "sha256": sums}, indent=1), "utf-8")


@contextmanager
def _quietly() -> Iterator[None]:
    """The exporter and the quantiser warn of what this module knows."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Without torch's fused attention, which has no counterpart in ONNX."""
    import torch

    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was)
