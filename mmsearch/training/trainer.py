"""Contrastive training of a dual encoder, from a manifest to a model directory.

Two towers (an image network, a text network) turn a picture and a caption into features; a head
on each projects the features into one space where a picture lies close to its captions.

Where the towers stay as they are, in ONNX, the heads alone are trained, in seconds:

    1. read      a manifest of pictures and captions -> training and validation pairs
    2. features  every picture, and its mirror image, once through the tower; cached on disk
    3. start     the base's heads, or in closed form (ridge regression) some of what its image head
                 gets wrong made good: as validation says
    4. train     a contrastive loss with a learned temperature, a checkpoint every epoch
    5. choose    on validation: the best epoch, and how far to go from the start towards it
    6. export    the base model's ONNX graphs with the new heads in them: a model directory, with
                 what keeps hubs down, if validation finds more with it (`hubs`)

Step 2 is in `features`, 3 in `closed_form`, 4 and 5 in `contrastive` and `validation`; what 4
may add: `losses`, `gradient_cache` (large batches), `adversary` (alignment of the modalities). What
a head is, and how it gets in and out of ONNX: `heads`.

Where towers are tuned, in torch, every picture is decoded, augmented and encoded in each epoch:

    1. read      as above
    2. towers    of the model, and which of their weights are trained: `towers`, `openclip_towers`,
                 `builtin_towers`
    3. tune      the same losses, over one process or several (`tuning`, `pictures`, `joint`)
    4. choose    on validation: the best epoch, and how far to go from the start towards it
    5. export    what LoRA added becomes part of the weights; a model directory
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.encoders import absolute_name, is_openclips
from mmsearch.errors import MissingExtra, ModelError, UsageError
from mmsearch.records import Vectors
from mmsearch.training.closed_form import starts
from mmsearch.training.config import EpochReport, TrainConfig
from mmsearch.training.features import encode
from mmsearch.training.heads import read_heads, save_whole, write_model
from mmsearch.training.hubs import LEAST, add_hubs, some
from mmsearch.training.validation import Recall, recall

if TYPE_CHECKING:
    from mmsearch.encoders import OnnxEncoder
    from mmsearch.evaluation import Pair
    from mmsearch.training.builtin_towers import BuiltinTowers
    from mmsearch.training.joint import Joint
    from mmsearch.training.openclip_towers import OpenClipTowers

MAX_VAL = 2000  # pictures; more would cost more than the training itself


@dataclass(frozen=True, slots=True)
class TrainResult:
    """best_epoch: 0 when no epoch beat the start; blend: the share of the trained heads;
    skipped: pictures that could not be decoded, with the reason."""

    out: Path
    best_epoch: int
    blend: float
    recall: Recall
    skipped: dict[str, str]


def train(
    pairs: Path,
    out: Path,
    config: TrainConfig,
    *,
    on_epoch: Callable[[EpochReport], None] | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> TrainResult:
    """Train on a manifest of pictures and captions and write a model directory to `out`.

    Killed, it can be called again with `resume=True` and comes to the very same result. The same
    pairs, configuration, machine and number of threads give the same weights.
    progress: called with how many more of `steps` are done.

    UsageError: the pairs or the configuration cannot be used, or `out` holds something already.
    ModelError: the base model cannot be loaded, or its towers cannot be reused.
    MissingExtra: torch, onnx or safetensors is not installed.
    """
    train_pairs, val_pairs = _split(pairs, config)
    _need_extra()
    if config.tune != "heads" or is_openclips(absolute_name(config.base)):
        return _tune(train_pairs, val_pairs, pairs, out, config, on_epoch, progress)
    from mmsearch.training.contrastive import SHARES, fit
    from mmsearch.training.joint import ALONE

    base = _load_base(config.base)
    work = _work_directory(out, base.name, pairs, config, ALONE)

    skipped: dict[str, str] = {}
    train_set = encode(base, train_pairs, work / "features", skipped, progress=progress)
    val_set = encode(base, val_pairs, work / "features", skipped, mirrored=False,
                     progress=progress)
    if train_set.images.shape[1] < 2 or not val_set.images.shape[1]:
        raise UsageError(f"{pairs}: too few pictures can be decoded; skipped: {list(skipped)[:1]}")

    start = max(starts(train_set, read_heads(base.directory), (0.0, *SHARES, 1.0)),
                key=lambda heads: recall(heads, val_set).total)
    best = fit(start, train_set, val_set, config, work, on_epoch)
    write_model(base.directory, best.heads, out, name=f"{out.name}-heads",
                source=f"heads trained by mmsearch on {train_set.images.shape[1]} pictures")
    pictures, texts = train_set.images[0], train_set.texts
    found = add_hubs(out, best.heads.image(pictures[some(len(pictures))]),
                     best.heads.text(texts[some(len(texts))]),
                     (best.heads.image(val_set.images[0]), best.heads.text(val_set.texts),
                      val_set.owner))
    (work / "log.jsonl").replace(out / "log.jsonl")
    shutil.rmtree(work)
    return TrainResult(out, best.epoch, best.share, found or best.recall, skipped)


def _tune(train_pairs: list[Pair], val_pairs: list[Pair], pairs: Path, out: Path,
          config: TrainConfig, on_epoch: Callable[[EpochReport], None] | None,
          progress: Callable[[int], None]) -> TrainResult:
    """`train`, where the towers take part."""
    import torch

    from mmsearch.training.joint import joined
    from mmsearch.training.pictures import readable
    from mmsearch.training.towers import merge
    from mmsearch.training.tuning import tune

    towers = _load_towers(absolute_name(config.base))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    with joined(device) as joint:
        skipped: dict[str, str] = {}
        good, good_val = (readable(part, towers.min_side, skipped)
                          for part in (train_pairs, val_pairs))
        if len(good) < 2 or not good_val:
            raise UsageError(f"{pairs}: too few pictures can be decoded; skipped: "
                             f"{list(skipped)[:1]}")
        if min(config.batch_size, len(good), len(good_val)) < joint.size:
            raise UsageError(f"{joint.size} processes are too many for {len(good)} pictures in "
                             f"batches of {config.batch_size}, and {len(good_val)} to choose on")
        work = _work_directory(out, towers.name, pairs, config, joint)
        best = tune(towers, good, good_val, config, work, joint, device, on_epoch, progress)
        found: Recall | None = None
        if joint.rank == 0:
            merge(towers)
            towers.write(out, best.temperature, f"{config.base}, tuned ({config.tune}) by mmsearch "
                         f"on {len(good)} pictures")
            if not is_openclips(absolute_name(config.base)):
                found = _with_hubs(out, good, good_val)
            (work / "log.jsonl").replace(out / "log.jsonl")
            shutil.rmtree(work)
        joint.wait()
    return TrainResult(out, best.epoch, best.share, found or best.recall, skipped)


def steps(pairs: Path, config: TrainConfig) -> int:
    """What `train` counts as its progress: where networks stay as they are, the pictures and
    captions that they encode once; else the pictures that they see at most, in all epochs."""
    train_pairs, val_pairs = _split(pairs, config)
    _need_extra()
    if config.tune != "heads" or is_openclips(absolute_name(config.base)):
        from mmsearch.training.contrastive import SHARES

        measured = config.epochs + 1 + (len(SHARES) if config.blend else 0)
        return config.epochs * len(train_pairs) + measured * len(val_pairs)
    return sum(1 + len(pair.captions) for pair in (*train_pairs, *val_pairs))


# -- 1. read ---------------------------------------------------------------------------------------


def _need_extra() -> None:
    try:
        import onnx  # noqa: F401
        import safetensors  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtra("training", "train") from error


def _split(path: Path, config: TrainConfig) -> tuple[list[Pair], list[Pair]]:
    """Training and validation pairs; what is marked "test" is never looked at."""
    from mmsearch.evaluation import load_pairs

    captioned = [pair for pair in load_pairs(path) if pair.captions and pair.split != "test"]
    chosen = [pair for pair in captioned if pair.split != "val"]
    val = [pair for pair in captioned if pair.split == "val"]
    if config.val is not None:
        val = [pair for pair in load_pairs(config.val) if pair.captions]
        marked = [pair for pair in val if pair.split == "val"]
        val = marked or val
    if not val:
        val, chosen = chosen[::10], [p for i, p in enumerate(chosen) if i % 10]
    if len(chosen) < 2 or not val:
        raise UsageError(f"{path}: {len(captioned)} captioned pictures are too few to train on")
    return chosen, val[:: max(1, -(-len(val) // MAX_VAL))]


# -- files -----------------------------------------------------------------------------------------


def _load_base(name: str) -> OnnxEncoder:
    from mmsearch.encoders import OnnxEncoder, load_encoder

    encoder = load_encoder(name)
    if not isinstance(encoder, OnnxEncoder):
        raise ModelError(f"{name} has no ONNX towers to train heads on; expected 'builtin' or a "
                         "model directory")
    return encoder


def _load_towers(name: str) -> OpenClipTowers | BuiltinTowers:
    if is_openclips(name):
        from mmsearch.training.openclip_towers import OpenClipTowers

        return OpenClipTowers(name)
    from mmsearch.training.builtin_towers import BuiltinTowers

    return BuiltinTowers(_load_base(name))


def _with_hubs(out: Path, pairs: list[Pair], val: list[Pair]) -> Recall | None:
    """`add_hubs`, of a model that has been written."""
    from mmsearch.encoders import OnnxEncoder
    from mmsearch.media import decode

    if len(pairs) < LEAST:
        return None
    model = OnnxEncoder(out)  # not one that the cache keeps: it is another with hubs

    def seen(pairs: Sequence[Pair]) -> Vectors:
        steps = [pairs[at : at + 256] for at in range(0, len(pairs), 256)]
        return np.concatenate([model.encode_images([
            decode(pair.image, min_side=model.min_side).image for pair in part]) for part in steps])

    texts = [caption for pair in pairs for caption in pair.captions]
    asked = [caption for pair in val for caption in pair.captions]
    owner = np.repeat(np.arange(len(val)), [len(pair.captions) for pair in val])
    return add_hubs(out, seen([pairs[n] for n in some(len(pairs))]),
                    model.encode_texts([texts[n] for n in some(len(texts))]),
                    (seen(val), model.encode_texts(asked), owner))


def _work_directory(out: Path, base: str, pairs: Path, config: TrainConfig, joint: Joint) -> Path:
    """The folder of an unfinished run inside `out`; a resumed run must be the same run. What is
    wrong, every process says; what is right, the first one writes."""
    work = out / "training"
    settings = asdict(replace(config, resume=False)) | {"base": base, "val": str(config.val)}
    settings["pairs"] = hashlib.sha256(pairs.read_bytes()).hexdigest()
    written = work / "config.json"
    if written.exists():
        if not config.resume:
            raise UsageError(f"{out} holds an unfinished run; continue it with --resume, or remove "
                             "it")
        before = json.loads(written.read_text("utf-8"))
        other = sorted(k for k in settings if before.get(k) != settings[k])
        if other:
            raise UsageError(f"{out} holds a run with another {', '.join(other)}; remove it first")
        return work
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists already; give a new directory")
    joint.wait()
    if joint.rank == 0:
        work.mkdir(parents=True, exist_ok=True)
        text = json.dumps(settings).encode()
        save_whole(written, lambda file: file.write(text))
    joint.wait()
    return work
