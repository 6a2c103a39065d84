"""Contrastive training of a dual encoder, one file read top to bottom.

Two towers (an image network, a text network) turn a picture and a caption into features; a head
on each projects the features into one space where a picture lies close to its captions. Here the
towers stay as they are, in ONNX, and the heads are trained:

    1. read      a manifest of pictures and captions -> training and validation pairs
    2. features  every picture, and its mirror image, once through the tower; cached on disk
    3. start     closed form: whitened text, and ridge regression from pictures to their captions
    4. train     symmetric InfoNCE with a learned temperature, a checkpoint every epoch
    5. choose    on validation: the best epoch, and how far to go from the start towards it
    6. export    the base model's ONNX graphs with the new heads in them: a model directory

What a head is, and how it gets in and out of ONNX: `training.heads`; step 2: `training.features`.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mmsearch.errors import MissingExtra, ModelError, UsageError
from mmsearch.records import Ids, Vectors
from mmsearch.training.features import Features, encode
from mmsearch.training.heads import Head, Heads, read_heads, save_whole, unit, write_model

if TYPE_CHECKING:
    import torch

    from mmsearch.encoders import OnnxEncoder
    from mmsearch.evaluation import Pair

MAX_VAL = 2000  # pictures; more would cost more than the training itself


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """base: "builtin" or a model directory, whose towers are kept.
    val: pairs to choose the best epoch on; default: split "val" of the pairs, else a tenth of them.
    start: "ridge" starts from a closed-form fit to these pairs alone; "base" keeps the base's text
        head and fits the change of its image head, which suits a few hundred pairs better.
    ridge: weight of the closed form's penalty, per training picture.
    whiten: 0 leaves the text features as they are, 1 makes all their directions equally long.
    dropout: share of the features hidden at each step.
    """

    base: str = "builtin"
    val: Path | None = None
    epochs: int = 20
    batch_size: int = 512
    lr: float = 1e-4
    seed: int = 0
    resume: bool = False
    start: str = "base"
    ridge: float = 1.0
    whiten: float = 0.75
    dropout: float = 0.3
    temperature: float = 0.05


@dataclass(frozen=True, slots=True)
class Recall:
    """Recall at 1, 5 and 10, fractions, for `gallery` pictures."""

    text_to_image: tuple[float, float, float]
    image_to_text: tuple[float, float, float]
    gallery: int

    @property
    def total(self) -> float:
        return sum(self.text_to_image) + sum(self.image_to_text)


@dataclass(frozen=True, slots=True)
class EpochReport:
    """epoch: 0 is the closed-form start (loss is then nan); recall is on the validation pairs."""

    epoch: int
    epochs: int
    loss: float
    recall: Recall


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
    config: TrainConfig | None = None,
    *,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> TrainResult:
    """Train heads on a manifest of pictures and captions and write a model directory to `out`.

    Killed, it can be called again with `resume=True` and comes to the very same result. The same
    pairs, configuration, machine and number of threads give the same weights.

    UsageError: the pairs or the configuration cannot be used, or `out` holds something already.
    ModelError: the base model cannot be loaded, or its towers cannot be reused.
    MissingExtra: torch, onnx or safetensors is not installed.
    """
    config = config or TrainConfig()
    _check(config)
    _need_extra()
    base = _load_base(config.base)
    train_pairs, val_pairs = _split(pairs, config)
    work = _work_directory(out, base, pairs, config)

    skipped: dict[str, str] = {}
    train_set = encode(base, train_pairs, work / "features", skipped)
    val_set = encode(base, val_pairs, work / "features", skipped, mirrored=False)
    if train_set.images.shape[1] < 2 or not val_set.images.shape[1]:
        raise UsageError(f"{pairs}: too few pictures can be decoded; skipped: {list(skipped)[:1]}")

    before = read_heads(base.directory) if config.start == "base" else None
    start = closed_form(train_set, ridge=config.ridge, whiten=config.whiten, base=before)
    heads, best_epoch, share, best = fit(start, train_set, val_set, config, work, on_epoch)
    write_model(base.directory, heads, out, name=f"{out.name}-heads",
                source=f"heads trained by mmsearch on {train_set.images.shape[1]} pictures")
    shutil.rmtree(work)
    return TrainResult(out, best_epoch, share, best, skipped)


# -- 1. read ---------------------------------------------------------------------------------------


def _check(config: TrainConfig) -> None:
    if config.epochs < 0 or config.batch_size < 2:
        raise UsageError("epochs must be at least 0 and the batch size at least 2")
    if not 0 < config.lr < 1 or not 0 <= config.dropout < 1 or config.ridge <= 0:
        raise UsageError("expected 0 < lr < 1, 0 <= dropout < 1 and ridge > 0")
    if config.start not in ("base", "ridge"):
        raise UsageError(f"start must be 'base' or 'ridge', not {config.start!r}")


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


# -- 3. start --------------------------------------------------------------------------------------


def closed_form(data: Features, *, ridge: float, whiten: float, base: Heads | None = None) -> Heads:
    """Heads without a single step of descent.

    Text: centred and softly whitened, so that rare distinctions count as much as common ones.
    Image: ridge regression from standardised features to the mean vector of the captions. With
    `base`, its text head stays and the regression is of what its image head still gets wrong.
    """
    text = base.text if base else _whitening(unit(data.texts), whiten)
    wanted = np.zeros((data.images.shape[1], text.weight.shape[0]))
    np.add.at(wanted, data.owner, text(data.texts))
    wanted /= np.bincount(data.owner, minlength=len(wanted))[:, None]

    views = [unit(view) for view in data.images]
    mean, spread = _moments(views)
    known: list[npt.NDArray[Any]] = [np.zeros_like(wanted) for _ in views]
    before = Head(np.zeros((wanted.shape[1], len(mean)), np.float32),
                  np.zeros(wanted.shape[1], np.float32))
    if base:
        raw = [view @ base.image.weight.T + base.image.bias for view in views]
        # A head's scale means nothing; the one that fits best makes the two comparable.
        scale = sum(float((r * wanted).sum()) for r in raw) / sum(float((r * r).sum()) for r in raw)
        before = Head(base.image.weight * scale, base.image.bias * scale)
        known = [r * scale for r in raw]
    gram = np.eye(len(mean)) * ridge * len(wanted)
    cross = np.zeros((len(mean), wanted.shape[1]))
    for view, done in zip(views, known, strict=True):
        x = (view - mean) / spread
        gram += x.T @ x / len(views)
        cross += x.T @ (wanted - done) / len(views)
    weight = (np.linalg.solve(gram, cross) / spread[:, None]).T
    change = Head(_f32(weight), _f32(-weight @ mean))
    return Heads(Head(before.weight + change.weight, before.bias + change.bias), text)


def _whitening(texts: Vectors, power: float) -> Head:
    mean = texts.mean(0, dtype=np.float64)
    values, axes = np.linalg.eigh(np.cov((texts - mean).T, bias=True))
    # The floor keeps directions in which a small set hardly varies from being blown up.
    weight = (axes * np.maximum(values, 0.03 * values[-1]) ** (-power / 2)).T
    return Head(_f32(weight), _f32(-weight @ mean))


def _f32(values: npt.NDArray[Any]) -> Vectors:
    return np.asarray(values, np.float32)


def _moments(
    views: Sequence[Vectors],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and standard deviation of every feature over all views."""
    mean = np.mean([view.mean(0, dtype=np.float64) for view in views], axis=0)
    spread = np.sqrt(np.mean([view.var(0, dtype=np.float64) for view in views], axis=0))
    return np.asarray(mean), np.maximum(spread, 1e-6)


# -- 4. train and 5. choose ------------------------------------------------------------------------


class HeadParameters:
    """One head as torch parameters that act on standardised features, where Adam works best."""

    def __init__(self, head: Head, features: Vectors) -> None:
        """features: unit rows, which say what standard is."""
        import torch

        self.mean, self.spread = (_f32(a) for a in _moments([features]))
        self.weight = torch.tensor(head.weight * self.spread, requires_grad=True)
        self.bias = torch.tensor(head.bias + head.weight @ self.mean, requires_grad=True)
        self.parameters = [self.weight, self.bias]

    def __call__(self, features: torch.Tensor, dropout: float) -> torch.Tensor:
        """Unit rows -> unit rows."""
        import torch
        from torch.nn import functional

        x = (features - torch.from_numpy(self.mean)) / torch.from_numpy(self.spread)
        x = functional.dropout(x, dropout)
        return functional.normalize(x @ self.weight.T + self.bias, dim=-1)

    def head(self) -> Head:
        weight = self.weight.detach().numpy() / self.spread
        return Head(_f32(weight), _f32(self.bias.detach().numpy() - weight @ self.mean))


def fit(start: Heads, data: Features, val: Features, config: TrainConfig, work: Path,
        on_epoch: Callable[[EpochReport], None] | None = None) -> tuple[Heads, int, float, Recall]:
    """Symmetric InfoNCE from `start`; -> the best heads on `val`, their epoch, blend and recall."""
    import torch

    images, texts = np.stack([unit(view) for view in data.images]), unit(data.texts)
    sides = [HeadParameters(start.image, images.reshape(-1, images.shape[-1])),
             HeadParameters(start.text, texts)]
    sharpness = torch.tensor(-np.log(config.temperature), dtype=torch.float32, requires_grad=True)
    parameters = [p for side in sides for p in side.parameters] + [sharpness]
    optimizer = torch.optim.AdamW(parameters, lr=config.lr, weight_decay=0.0)

    best, best_epoch, best_share = start, 0, 0.0
    best_recall = recall(start, val)
    checkpoint = work / "checkpoint.pt"
    done = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        with torch.no_grad():
            for parameter, value in zip(parameters, state["parameters"], strict=True):
                parameter.copy_(value)
        optimizer.load_state_dict(state["optimizer"])
        best = Heads.of({name: t.numpy() for name, t in state["best"].items()})
        done, best_epoch, best_share = state["epoch"], state["best_epoch"], state["best_share"]
        best_recall = recall(best, val)
    elif on_epoch:
        on_epoch(EpochReport(0, config.epochs, float("nan"), best_recall))

    for epoch in range(done + 1, config.epochs + 1):
        loss = _epoch(epoch, sides, sharpness, optimizer, images, texts, data, config)
        trained = Heads(sides[0].head(), sides[1].head())
        for share in (0.25, 0.5, 0.75, 1.0):
            blended = start.blend(trained, share)
            found = recall(blended, val)
            if found.total > best_recall.total:
                best, best_epoch, best_share, best_recall = blended, epoch, share, found
        if on_epoch:
            on_epoch(EpochReport(epoch, config.epochs, loss, found))
        state = {"epoch": epoch, "parameters": [p.detach() for p in parameters],
                 "optimizer": optimizer.state_dict(), "best_epoch": best_epoch,
                 "best_share": best_share,
                 "best": {n: torch.tensor(t) for n, t in best.tensors().items()}}
        save_whole(checkpoint, partial(torch.save, state))
    return best, best_epoch, best_share, best_recall


def _epoch(epoch: int, sides: list[HeadParameters], sharpness: torch.Tensor,
           optimizer: torch.optim.Optimizer, images: Vectors, texts: Vectors, data: Features,
           config: TrainConfig) -> float:
    """Every picture once, with one of its captions and one of its views; -> the mean loss."""
    import torch
    from torch.nn import functional

    # All chance in an epoch comes from (seed, epoch), so a resumed run repeats it exactly.
    random = np.random.default_rng([config.seed, epoch])
    captions = one_caption_each(data.owner, images.shape[1], random)
    plan = list(batches(data.group, config.batch_size, random))
    losses: list[float] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(random.integers(2**31)))
        for number, batch in enumerate(plan):
            share_done = (epoch - 1 + number / len(plan)) / config.epochs
            for group in optimizer.param_groups:
                group["lr"] = config.lr * min(1.0, 20 * share_done + 0.05) * 0.5 * (
                    1 + math.cos(math.pi * share_done))
            view = random.integers(len(images), size=len(batch))
            text = captions[batch]
            seen = sides[0](torch.from_numpy(images[view, batch]), config.dropout)
            said = sides[1](torch.from_numpy(texts[text]), 0.0)
            scores = sharpness.clamp(max=np.log(100)).exp() * seen @ said.T
            # The same words under two pictures are no mistake to learn from.
            twins = torch.from_numpy(data.same[text][:, None] == data.same[text][None])
            scores = scores.masked_fill(twins.fill_diagonal_(False), -1e4)
            target = torch.arange(len(batch))
            loss = (functional.cross_entropy(scores, target)
                    + functional.cross_entropy(scores.T, target)) / 2
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
    return float(np.mean(losses))


def one_caption_each(owner: Ids, pictures: int, random: np.random.Generator) -> Ids:
    shuffled = random.permutation(len(owner))
    chosen = np.zeros(pictures, np.int64)
    chosen[owner[shuffled]] = shuffled  # the last one written stays
    return chosen


def batches(group: Ids, size: int, random: np.random.Generator) -> Iterator[Ids]:
    """All pictures in batches of about `size`, each from one group; small groups are joined."""
    counts = np.bincount(group)
    group = np.where(counts[group] < size // 2, -1, group)
    found: list[Ids] = []
    for one in np.unique(group):
        members = random.permutation(np.flatnonzero(group == one))
        found += np.array_split(members, max(1, round(len(members) / size)))
    yield from (found[i] for i in random.permutation(len(found)))


def recall(heads: Heads, data: Features) -> Recall:
    """Recall of both directions among `data`, of its first view."""
    from mmsearch.metrics import best_ranks, recall_at

    scores = heads.text(data.texts) @ heads.image(data.images[0]).T
    by_text = best_ranks(scores, list(data.owner[:, None]))
    captions = np.split(np.argsort(data.owner, kind="stable"),
                        np.cumsum(np.bincount(data.owner))[:-1])
    by_image = best_ranks(np.ascontiguousarray(scores.T), captions)

    def at(ranks: Ids) -> tuple[float, float, float]:
        return recall_at(ranks, 1), recall_at(ranks, 5), recall_at(ranks, 10)

    return Recall(at(by_text), at(by_image), data.images.shape[1])


# -- files -----------------------------------------------------------------------------------------


def _load_base(name: str) -> OnnxEncoder:
    from mmsearch.encoders import OnnxEncoder, load_encoder

    encoder = load_encoder(name)
    if not isinstance(encoder, OnnxEncoder):
        raise ModelError(f"{name} has no ONNX towers to train heads on; expected 'builtin' or a "
                         "model directory")
    return encoder


def _work_directory(out: Path, base: OnnxEncoder, pairs: Path, config: TrainConfig) -> Path:
    """The folder of an unfinished run inside `out`; a resumed run must be the same run."""
    work = out / "training"
    settings = asdict(replace(config, resume=False)) | {"base": base.name, "val": str(config.val)}
    settings["pairs"] = hashlib.sha256(pairs.read_bytes()).hexdigest()
    written = work / "config.json"
    if written.exists():
        if not config.resume:
            raise UsageError(f"{out} holds an unfinished run; go on with resume, or remove it")
        before = json.loads(written.read_text("utf-8"))
        other = sorted(k for k in settings if before.get(k) != settings[k])
        if other:
            raise UsageError(f"{out} holds a run with another {', '.join(other)}; remove it first")
        return work
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists already; give a new directory")
    work.mkdir(parents=True, exist_ok=True)
    text = json.dumps(settings).encode()
    save_whole(written, lambda file: file.write(text))
    return work
