"""open_clip models on a CPU: exported to ONNX once, or fetched as others exported them, kept in a
cache, run without torch ever after.

    int8     8 bits for weights and activations: two to three times as fast as fp32, a quarter of
             its size
    bf16     torch, weights in bfloat16; fast only where the CPU has AVX512-BF16 or AMX
    fp32     the vectors of the original, to a cosine of 0.9999
    auto     the fastest of them whose recall on the demo pictures (mean of recall@1/5/10, both
             ways) is at most half a point below that of fp32

A precision is part of a model's name, `MODEL@int8`, so that it travels wherever the name goes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from mmsearch.encoders import published
from mmsearch.encoders.hub import Unreachable, cache_directory, has_weights, in_words
from mmsearch.encoders.int8 import INT8
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.openclip import is_openclips, repository_of
from mmsearch.encoders.precision import Precision, split_precision
from mmsearch.encoders.protocol import Encoder
from mmsearch.errors import MissingExtra, ModelError
from mmsearch.metrics import best_ranks, recall_at

if TYPE_CHECKING:
    from mmsearch.encoders.openclip import OpenClipEncoder

TOLERATED = 0.005
"""Recall that a precision may cost."""
DEMO = Path(__file__).parent.parent / "demo"
CAPTIONS = 2
EXPORT = 2
"""Raise it when exports come out differently: older ones are then left alone."""
_REFUSED = "stays-on-torch"
"""A file that says why a model is not exported."""
_NOTED = "published"
"""A file that says which export is used for a model."""


def load_openclip(name: str) -> Encoder:
    """A model with or without a precision behind its name: of open_clip, or an export.

    Raises:
        ModelError, MissingExtra: it is not available, or not in this precision.
    """
    from mmsearch.encoders.openclip import OpenClipEncoder

    model, precision = split_precision(name)
    wanted = cast(Precision, precision[1:] or "auto")
    if _is_torchs(model) and _has_gpu():
        if wanted == "int8":
            raise ModelError("int8 is for CPUs; on a GPU use --precision bf16 or fp32")
        return OpenClipEncoder(model, "fp32" if wanted == "fp32" else "bf16")
    for_torch = wanted == "bf16" and _is_torchs(model)
    cached = Cache((not for_torch and _export_of(model)) or model)
    return cached.encoder(cached.fastest() if wanted == "auto" else wanted)


def _export_of(model: str) -> str | None:
    """The name of the ready export to use for a model, pinned; None if torch exports it here.

    What this machine has comes first, then what the hub has, which is noted: it stays the export of
    this model here, whatever the hub has later.

    Raises:
        ModelError, MissingExtra: neither is there.
    """
    if published.is_published(model):
        return model
    own = Cache(model)
    if noted := own.noted():
        return noted
    if Path(model).is_dir() or Path(model.partition("/")[2]).is_file() or own.is_made():
        return None
    found = published.pinned_here(model)
    if found is None and not _is_torch_ready(model):
        try:
            found = published.pinned_on_hub(model)
        except Unreachable as error:
            if _is_torchs(model) and not repository_of(model):  # torch has them from elsewhere
                return None
            raise ModelError(f"{model} is not on this machine: {error}; "
                             f"{published.by_hand(next(published.repositories(model)))}") from error
        if found is None and not _is_torchs(model):
            looked = " or ".join(published.repositories(model))
            raise ModelError(f"the hub has no export {looked} that mmsearch knows" + (
                "; any model of open_clip runs with pip install 'mmsearch[openclip]'"
                if is_openclips(model) else ""))
    if found is not None:
        with suppress(OSError):  # it is looked up again
            own.path.mkdir(parents=True, exist_ok=True)
            (own.path / _NOTED).write_text(found, "utf-8")
    return found


def _is_torchs(model: str) -> bool:
    """Whether torch can run a model here, if there is one of this name."""
    return is_openclips(model) and find_spec("open_clip") is not None


def _is_torch_ready(model: str) -> bool:
    """Whether torch can run a model here without a download."""
    return _is_torchs(model) and has_weights(repository_of(model))


class Cache:
    """What there is of one model in the cache directory, and how it comes there."""

    def __init__(self, model: str) -> None:
        self.model, self.path = model, cache_directory() / "models" / _file_name(model)

    def encoder(self, precision: Precision) -> Encoder:
        """
        Raises:
            ModelError: int8, of a model that cannot be exported, or the model is not available.
        """
        if precision == "bf16":
            if published.is_published(self.model):
                raise ModelError(f"{self.model} is an export, which runs in fp32 or int8 alone")
            return self._torch("bf16")
        if not self._is_made(precision) and self._refused() is None:
            try:
                self._make(precision)
            except OSError as error:
                raise ModelError(f"{self.path} cannot be written ({error.strerror or error}); free "
                                 "space, or name another directory with MMSEARCH_CACHE") from error
        if (why := self._refused()) is None:
            return OnnxEncoder(self.path / precision)
        if precision == "int8":
            raise ModelError(f"{self.model} runs on torch alone ({why}); use --precision fp32 or "
                             "bf16")
        return self._torch("fp32")

    def is_exported(self) -> bool:
        """Whether it can be loaded without its original weights, and without a network."""
        noted = self.noted()
        return (self.is_made() or (noted is not None and Cache(noted).is_made())
                or published.pinned_here(self.model) is not None)

    def is_made(self) -> bool:
        """Whether an export of it is in the cache."""
        return any((self.path / name / "model.json").exists() for name in ("fp32", "int8"))

    def noted(self) -> str | None:
        """The ready export that is used for it."""
        file = self.path / _NOTED
        return file.read_text("utf-8") if file.is_file() else None

    def _is_made(self, precision: Precision) -> bool:
        """Whether it is there, and as this version makes it."""
        spec = self.path / precision / "model.json"
        if precision != "int8":
            return spec.exists()
        try:
            return bool(json.loads(spec.read_text("utf-8")).get("int8") == INT8)
        except (OSError, ValueError, AttributeError):
            return False

    def fastest(self) -> Precision:
        """What "auto" means for this model on this machine; found out once."""
        facts = self.path / "auto.json"
        try:
            known = json.loads(facts.read_text("utf-8"))
            if known["int8"] == INT8:
                return cast(Precision, known["precision"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        encoders = {"fp32": self.encoder("fp32")}
        if self._refused() is None and find_spec("onnx") is not None:
            encoders["int8"] = self.encoder("int8")
        if has_bf16() and not published.is_published(self.model):
            encoders["bf16"] = self.encoder("bf16")
        if len(encoders) == 1:
            return "fp32"
        measured = {name: _measure(encoder) for name, encoder in encoders.items()}
        least = measured["fp32"]["recall"] - TOLERATED
        chosen = max((name for name in measured if measured[name]["recall"] >= least),
                     key=lambda name: measured[name]["images_per_second"])
        with suppress(OSError):  # it is found out again
            facts.write_text(json.dumps({"precision": chosen, "int8": INT8, "measured": measured},
                                        indent=1), "utf-8")
        return cast(Precision, chosen)

    def _torch(self, precision: Literal["fp32", "bf16"]) -> OpenClipEncoder:
        from mmsearch.encoders.openclip import OpenClipEncoder

        return OpenClipEncoder(self.model, precision)

    def _refused(self) -> str | None:
        """Why this model is known not to be exportable; None if it is not."""
        file = self.path / _REFUSED
        return file.read_text("utf-8") if file.exists() else None

    def _make(self, precision: Precision) -> None:
        """Export, or quantise the export; a killed process leaves nothing that looks whole."""
        from filelock import FileLock

        if precision == "int8" and not (self.path / "fp32" / "model.json").exists():
            self.encoder("fp32")
        self.path.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path / "lock"):
            if self._is_made(precision) or self._refused() is not None:  # meanwhile, and in use
                return
            for left in self.path.glob(".*-*"):  # of who was killed; we have the lock
                shutil.rmtree(left, ignore_errors=True)
            with _whole(self.path / precision) as directory:
                self._fill(directory, precision)

    def _fill(self, directory: Path, precision: Precision) -> None:
        """Where it cannot be exported, the directory is removed, and a file says why."""
        from mmsearch.encoders import export

        if precision == "fp32" and published.is_published(self.model):
            published.prepare(self.model, directory)
            return
        if find_spec("onnx") is None:
            raise MissingExtra(in_words(self.model), "hub" if precision == "int8" else "openclip")
        if precision == "int8":
            export.quantize(self.path / "fp32", directory)
            return
        encoder = self._torch("fp32")
        warnings.warn(f"preparing {self.model} for this machine, once; it takes a minute",
                      stacklevel=2)
        pictures, captions = _demo()
        images, texts = pictures[:8], captions[:16]
        wanted = encoder.encode_images(images), encoder.encode_texts(texts)
        try:
            export.export(encoder, directory)
            export.check(OnnxEncoder(directory), images, texts, *wanted)
        except (OSError, MemoryError):  # of this moment, not of the model
            raise
        except Exception as error:  # torch's and ONNX Runtime's errors share no base class
            (self.path / _REFUSED).write_text(str(error).splitlines()[0], "utf-8")
            shutil.rmtree(directory)


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A directory to fill that becomes `target` at the end, unless it was removed."""
    partial = target.with_name(f".{target.name}-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        if partial.exists():
            shutil.rmtree(target, ignore_errors=True)
            partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _measure(encoder: Encoder) -> dict[str, float]:
    """Mean recall of the demo pictures and their captions, and pictures a second."""
    pictures, captions = _demo()
    prepared = [encoder.prepare(picture) for picture in pictures]
    encoder.encode_images(prepared[:1])  # the first call loads the graph
    start = time.perf_counter()
    images = encoder.encode_images(prepared)
    seconds = time.perf_counter() - start
    near = encoder.encode_texts(captions) @ images.T
    numbers = np.arange(len(captions))
    ranks = [best_ranks(near, [numbers[n : n + 1] // CAPTIONS for n in numbers]),
             best_ranks(near.T, list(numbers.reshape(-1, CAPTIONS)))]
    return {"recall": float(np.mean([recall_at(one, k) for one in ranks for k in (1, 5, 10)])),
            "images_per_second": len(pictures) / seconds}


@cache
def _demo() -> tuple[list[Any], list[str]]:
    """The pictures of the demo, and CAPTIONS captions for each, picture by picture."""
    from mmsearch.media import decode

    rows = [json.loads(line) for line in (DEMO / "captions.jsonl").read_text("utf-8").splitlines()]
    return ([decode(DEMO / row["image"]).image for row in rows],
            [caption for row in rows for caption in row["captions"][:CAPTIONS]])


def _file_name(model: str) -> str:
    """A directory name for a model; for files on this machine, for their state of now."""
    files = published.files_in(Path(model)) if Path(model).is_dir() else [
        Path(model.partition("/")[2])]
    state = [(file.name, file.stat().st_size, file.stat().st_mtime_ns)
             for file in files if file.is_file()]
    digest = hashlib.sha256(f"{EXPORT}:{model}:{state}".encode()).hexdigest()[:12]
    return f"{re.sub(r'[^A-Za-z0-9.-]+', '-', model)[-60:]}-{digest}"


def has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware."""
    try:
        flags = Path("/proc/cpuinfo").read_text("utf-8").partition("\nflags")[2].partition("\n")[0]
    except OSError:
        return False
    return bool({"avx512_bf16", "amx_bf16"} & set(flags.split()))


def _has_gpu() -> bool:
    """Whether torch can use a GPU; it is only asked, which takes seconds, where there is a driver.
    """
    if not (Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi")):
        return False
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())
