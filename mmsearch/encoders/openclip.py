"""Any open_clip model, on torch: `ARCHITECTURE/PRETRAINED`, `hf-hub:…`, or `ARCHITECTURE/FILE`."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mmsearch.encoders.protocol import stacked
from mmsearch.errors import MissingExtra, ModelError
from mmsearch.records import Pixels, Vectors

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmsearch.encoders.protocol import Picture

class OpenClipEncoder:
    """An `Encoder` over an open_clip model, with the model's own preprocessing.

    Args:
        model: ``ViT-B-32/laion2b_s34b_b79k`` (architecture / pretrained tag or checkpoint file)
            or ``hf-hub:organisation/name``, or a folder as the hub has it.
        precision: of weights and activations; the vectors are float32 in any case.

    Raises:
        MissingExtra: torch or open_clip is not installed.
        ModelError: no such model, or its weights are not on this machine and cannot be fetched.
    """

    batch, workers = 32, 1

    def __init__(self, model: str, precision: Literal["fp32", "bf16"] = "fp32") -> None:
        architecture, _, pretrained = model.partition("/")
        if model.startswith("hf-hub:"):
            architecture, pretrained = model, ""
        if is_folder(model):
            architecture, pretrained = f"local-dir:{model}", ""
        if not (is_folder(model) or Path(pretrained).is_file()):
            _do_not_wait_for_no_network()
        try:
            import open_clip
            import torch
        except ImportError as error:
            raise MissingExtra(f"the model {model!r}", "openclip") from error
        if not architecture.startswith(("hf-hub:", "local-dir:")):
            _check_known(model, architecture, pretrained, open_clip)
        logging.disable(logging.CRITICAL)  # what matters of it is in the error below
        try:
            made: Any = open_clip.create_model_from_pretrained(
                architecture, pretrained=pretrained or None, return_transform=True)
            self.tokenizer = open_clip.get_tokenizer(architecture)
        except ImportError as error:  # transformers, which has the tokenizer
            raise MissingExtra(f"the model {model!r}", "openclip") from error
        except Exception as error:  # hub, network, file and shape errors share no base class
            raise _cannot_load(model, architecture, error) from error
        finally:
            logging.disable(logging.NOTSET)
        self._torch = torch
        self.module, transform = made
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.module.eval().to(self.device)
        self._resize, self._to_tensor = _split(transform)
        size = self.module.visual.image_size
        self.min_side = int(min(size)) if isinstance(size, tuple | list) else int(size)
        # Not by the path of a checkpoint: the same weights elsewhere are the same encoder.
        known_as = Path(model).name if is_folder(model) else architecture
        self.name = f"{known_as}@{_digest(self.module)}"
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        # The weights, not autocast: that would convert them anew at every call.
        self.module.to(self._dtype)
        self.dim = int(self.encode_texts(["a"]).shape[1])

    def prepare(self, image: Image) -> Pixels:
        out = image
        for step in self._resize:
            out = step(out)
        return np.asarray(out.convert("RGB"))

    def encode_images(self, images: Sequence[Picture]) -> Vectors:
        done = [self._run(self.module.encode_image, self._pixels(images[at : at + self.batch]))
                for at in range(0, len(images), self.batch)]
        return np.concatenate(done) if done else np.zeros((0, self.dim), np.float32)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        parts = [list(texts[at : at + self.batch]) for at in range(0, len(texts), self.batch)]
        done = [self._run(self.module.encode_text, self.tokenizer(part)) for part in parts]
        return np.concatenate(done) if done else np.zeros((0, self.dim), np.float32)

    def _pixels(self, images: Sequence[Picture]) -> Any:
        from PIL.Image import fromarray

        batch = []
        for picture in stacked(self, images):
            out: Any = fromarray(picture)
            for step in self._to_tensor:
                out = step(out)
            batch.append(out)
        return self._torch.stack(batch).to(self._dtype)

    def _run(self, encode: Any, batch: Any) -> Vectors:
        with self._torch.inference_mode():
            vectors = encode(batch.to(self.device)).float()  # unit rows: not rounded to bfloat16
            vectors = self._torch.nn.functional.normalize(vectors, dim=-1)
        return np.asarray(vectors.cpu().numpy(), np.float32)


def is_folder(model: str) -> bool:
    """Whether a name is that of a folder with an open_clip model: weights, and a configuration that
    says how pictures are prepared."""
    return Path(model, "open_clip_config.json").is_file()


def _do_not_wait_for_no_network() -> None:
    """Without a network the hub's client retries for a minute; told so, it looks in its cache."""
    host = os.environ.get("HF_ENDPOINT", "https://huggingface.co").split("//")[-1].split("/")[0]
    try:
        socket.getaddrinfo(host.split(":")[0], None)
    except OSError:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")


def _cannot_load(model: str, architecture: str, error: Exception) -> ModelError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "ownload" in reason or "Hub" in reason:
        reason = "its weights are neither on this machine nor could they be fetched"
    elsewhere = "" if model.startswith("hf-hub:") else f", or a file: --model {architecture}/FILE"
    return ModelError(f"{model} cannot be loaded: {reason}; copy them into the hub's cache "
                      f"(HF_HOME) from a machine with a network{elsewhere}")


def _check_known(model: str, architecture: str, pretrained: str, open_clip: Any) -> None:
    if architecture not in open_clip.list_models():
        import difflib

        near = difflib.get_close_matches(architecture, open_clip.list_models(), 3, 0.4)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise ModelError(f"no model called {architecture!r}{hint}")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if pretrained not in tags and not Path(pretrained).is_file():
        raise ModelError(f"{model!r} names no weights: give {architecture}/TAG with one of "
                         f"{', '.join(tags) or 'no published tags'}, or {architecture}/FILE")


def _split(transform: Any) -> tuple[list[Any], list[Any]]:
    """The model's own transform, cut where pictures become tensors: before it, decode threads."""
    from torchvision.transforms import ToTensor

    steps = list(transform.transforms)
    at = next(n for n, step in enumerate(steps) if isinstance(step, ToTensor))
    return steps[:at], steps[at:]


def _digest(model: Any) -> str:
    """A hash over all weights, so that a collection knows the encoder it was made with."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()[:12]
