"""Any open_clip model, on torch: `ARCHITECTURE/PRETRAINED`, `hf-hub:…`, or `ARCHITECTURE/FILE`."""

from __future__ import annotations

import copy
import hashlib
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mmsearch.encoders.hub import do_not_wait_for_no_network, in_words, kept_in
from mmsearch.encoders.protocol import stacked
from mmsearch.errors import MissingExtra, ModelError
from mmsearch.records import Pixels, Vectors

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmsearch.encoders.protocol import Picture

_FAMILIES = re.compile("ViT|RN[0-9]|EVA0|MobileCLIP|PE-Core|convnext|coca|xlm-roberta|roberta-|"
                       "mt5-|nllb-|swin_|vit_")
"""How the names of architectures begin."""
AT_ONCE = 2
"""Calls that share a GPU: while one computes, the next is stacked and copied there."""


class OpenClipEncoder:
    """An `Encoder` over an open_clip model, with the model's own preprocessing.

    On GPUs there is a copy of the model on each, and calls go to whichever is free: up to `workers`
    of them run at once.

    Args:
        model: ``ViT-B-32/laion2b_s34b_b79k`` (architecture / pretrained tag or checkpoint file)
            or ``hf-hub:organisation/name``, or a folder as the hub has it.
        precision: of weights and activations; the vectors are float32 in any case.
        devices: as torch calls them; by default all GPUs, or the CPU.

    Raises:
        MissingExtra: torch or open_clip is not installed.
        ModelError: no such model, or its weights are not on this machine and cannot be fetched.
    """

    def __init__(self, model: str, precision: Literal["fp32", "bf16"] = "fp32",
                 devices: Sequence[str] = ()) -> None:
        architecture, _, pretrained = model.partition("/")
        if model.startswith("hf-hub:"):
            architecture, pretrained = model, ""
        if is_folder(model):
            architecture, pretrained = f"local-dir:{model}", ""
        if not (is_folder(model) or Path(pretrained).is_file()):
            do_not_wait_for_no_network()
        try:
            import open_clip
            import torch
        except ImportError as error:
            raise MissingExtra(in_words(model), "openclip") from error
        if not architecture.startswith(("hf-hub:", "local-dir:")):
            _check_known(model, architecture, pretrained, open_clip)
        logging.disable(logging.CRITICAL)  # what matters of it is in the error below
        try:
            made: Any = open_clip.create_model_from_pretrained(
                architecture, pretrained=pretrained or None, return_transform=True)
            self.tokenizer = open_clip.get_tokenizer(architecture)
        except ImportError as error:  # transformers, which has the tokenizer
            raise MissingExtra(in_words(model), "openclip") from error
        except Exception as error:  # hub, network, file and shape errors share no base class
            raise _cannot_load(model, architecture, error) from error
        finally:
            logging.disable(logging.NOTSET)
        self._torch = torch
        self.module, transform = made
        self.architecture = architecture
        self.module.eval()
        self._resize, self._normalisation = _split(transform)
        size = self.module.visual.image_size
        self.min_side = int(min(size)) if isinstance(size, tuple | list) else int(size)
        # Not by the path of a checkpoint: the same weights elsewhere are the same encoder.
        known_as = Path(model).name if is_folder(model) else architecture
        self.name = f"{known_as}@{_digest(self.module)}"
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        # The weights, not autocast: that would convert them anew at every call.
        self.module.to(self._dtype)
        self._place(devices or [f"cuda:{n}" for n in range(torch.cuda.device_count())] or ["cpu"])
        self.dim = int(self.encode_texts(["a"]).shape[1])

    def prepare(self, image: Image) -> Pixels:
        out = image
        for step in self._resize:
            out = step(out)
        return np.asarray(out.convert("RGB"))

    def encode_images(self, images: Sequence[Picture]) -> Vectors:
        return self._each(self._encode_images, images)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        return self._each(self._encode_texts, texts)

    def _each(self, encode: Callable[[Any, Any, Any], Any], rows: Sequence[Any]) -> Vectors:
        """`encode` for every batch of rows, on a device that is free."""
        done = [np.zeros((0, getattr(self, "dim", 0)), np.float32)] if not len(rows) else []
        with self._free() as (module, device), self._torch.inference_mode():
            for at in range(0, len(rows), self.batch):
                vectors = encode(module, device, rows[at : at + self.batch]).float()
                # Unit rows that were not rounded to bfloat16.
                vectors = self._torch.nn.functional.normalize(vectors, dim=-1)
                done.append(np.asarray(vectors.cpu().numpy(), np.float32))
        return np.concatenate(done)

    def _encode_images(self, module: Any, device: Any, images: Sequence[Picture]) -> Any:
        pixels = self._torch.from_numpy(stacked(self, images))
        if device.type == "cuda":
            pixels = pixels.pin_memory().to(device, non_blocking=True)
        return module.encode_image(self._scaled(pixels).to(self._dtype))

    def _encode_texts(self, module: Any, device: Any, texts: Sequence[str]) -> Any:
        return module.encode_text(self.tokens(texts).to(device))

    def tokens(self, texts: Sequence[str]) -> Any:
        """What the module takes of texts: int64 [n, context length]."""
        return self.tokenizer(list(texts))

    def _scaled(self, pixels: Any) -> Any:
        """uint8 [n, size, size, 3] -> what the model's own transform makes of it, float32
        [n, 3, size, size], computed where the pixels are."""
        mean, std = (self._torch.tensor(values, device=pixels.device).view(-1, 1, 1)
                     for values in self._normalisation)
        return (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std

    def _place(self, devices: Sequence[str]) -> None:
        """A copy of the model on every device; the first is `module` itself."""
        on_gpu = devices[0] != "cpu"
        self.batch = 256 if on_gpu else 32
        self.workers = len(devices) * (AT_ONCE if on_gpu else 1)
        self._replicas: SimpleQueue[tuple[Any, Any]] = SimpleQueue()
        copies = [self.module, *(copy.deepcopy(self.module) for _ in devices[1:])]
        placed = [(module.to(device), self._torch.device(device))
                  for module, device in zip(copies, devices, strict=True)]
        for n in range(self.workers):
            self._replicas.put(placed[n % len(placed)])

    @contextmanager
    def _free(self) -> Iterator[tuple[Any, Any]]:
        """A model and its device, for as long as one call takes."""
        replica = self._replicas.get()
        try:
            yield replica
        finally:
            self._replicas.put(replica)


def is_architecture(name: str) -> bool:
    """Whether open_clip, which takes seconds to import, has an architecture of this name."""
    found = find_spec("open_clip")
    return bool(found and found.origin
                and (Path(found.origin).parent / "model_configs" / f"{name}.json").is_file())


def repository_of(model: str) -> str:
    """Where on the hub open_clip has the weights of a model from; empty where it does not say."""
    if model.startswith("hf-hub:"):
        return model.removeprefix("hf-hub:")
    architecture, _, tag = model.partition("/")
    if not is_architecture(architecture):
        return ""
    from open_clip.pretrained import get_pretrained_cfg

    return "/".join(get_pretrained_cfg(architecture, tag).get("hf_hub", "").split("/")[:2])


def is_openclips(model: str) -> bool:
    """Whether a name looks like one of open_clip's, which need not be installed; else it is that of
    a repository."""
    architecture = model.partition("/")[0]
    return (model.startswith("hf-hub:") or is_folder(model) or is_architecture(architecture)
            or _FAMILIES.match(architecture) is not None)


def is_folder(model: str) -> bool:
    """Whether a name is that of a folder with an open_clip model: weights, and a configuration that
    says how pictures are prepared."""
    return Path(model, "open_clip_config.json").is_file()


def _cannot_load(model: str, architecture: str, error: Exception) -> ModelError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "ownload" in reason or "Hub" in reason:
        reason = "its weights are neither on this machine nor could they be fetched"
    elsewhere = "" if model.startswith("hf-hub:") else \
        f", or give a file of them: --model {architecture}/FILE"
    repository = repository_of(model) or "REPOSITORY"
    return ModelError(f"{model} cannot be loaded: {reason}; on a machine with a network, run "
                      f"`hf download {repository}`, and copy its folder in "
                      f"~/.cache/huggingface/hub to {kept_in()} here{elsewhere}")


def _check_known(model: str, architecture: str, pretrained: str, open_clip: Any) -> None:
    if architecture not in open_clip.list_models():
        import difflib

        near = difflib.get_close_matches(architecture, open_clip.list_models(), 3, 0.4)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise ModelError(f"no model called {model!r}: it is neither an export that could be found, "
                         f"nor is {architecture!r} an architecture of open_clip{hint}")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if pretrained not in tags and not Path(pretrained).is_file():
        raise ModelError(f"{model!r} names no weights: give {architecture}/TAG with one of "
                         f"{', '.join(tags) or 'no published tags'}, or {architecture}/FILE")


def _split(transform: Any) -> tuple[list[Any], tuple[Any, Any]]:
    """The model's own transform, cut where pictures become tensors: before it, decode threads;
    after it, mean and deviation by channel."""
    from torchvision.transforms import Normalize, ToTensor

    steps = list(transform.transforms)
    at = next(n for n, step in enumerate(steps) if isinstance(step, ToTensor))
    rest = steps[at + 1 :]
    if len(rest) != 1 or not isinstance(rest[0], Normalize):
        raise ModelError(f"the model's preprocessing ends in {rest}, not in Normalize alone, which "
                         "mmsearch does not know")
    return steps[:at], (rest[0].mean, rest[0].std)


def _digest(model: Any) -> str:
    """A hash over all weights, so that a collection knows the encoder it was made with."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()[:12]
