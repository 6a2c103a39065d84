"""The command that trains a model: train."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import typer

from mmsearch.cli.options import JsonOption
from mmsearch.cli.terminal import print_json, progress, say, say_skipped

Loss: TypeAlias = Literal["infonce", "siglip"]
Precision: TypeAlias = Literal["auto", "fp32", "bf16"]


def train(
    pairs: Annotated[Path, typer.Argument(
        metavar="PAIRS", help="Pictures and captions: JSON lines with image, captions, split.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Where the model is written.")],
    val: Annotated[Path | None, typer.Option(
        help="Pairs that choose the best epoch (default: split 'val' of PAIRS).")] = None,
    base: Annotated[str, typer.Option(
        help="The model to start from.")] = "builtin",
    tune: Annotated[str, typer.Option(
        metavar="WHAT", help="heads; or, in the networks before them: last:N (blocks of each), "
        "lora, full.")] = "heads",
    rank: Annotated[int, typer.Option(min=1, help="Of what lora adds to each weight.")] = 16,
    epochs: Annotated[int | None, typer.Option(
        min=1, help="Passes over all pairs.", show_default="20, or 5 beyond heads")] = None,
    batch_size: Annotated[int | None, typer.Option(
        min=2, help="Pictures in each step.", show_default="512, or 64 beyond heads")] = None,
    captions: Annotated[int, typer.Option(
        min=1, help="Captions of each picture in a step, all of them right.")] = 1,
    chunk: Annotated[int, typer.Option(
        min=0, help="Pictures encoded together, where memory is short; the result is that of the "
        "whole batch (gradient caching).")] = 0,
    loss: Annotated[Loss, typer.Option(
        help="infonce: which caption is the picture's? siglip: is this caption the picture's?")]
        = "infonce",
    hard_negatives: Annotated[float, typer.Option(
        min=0, max=2, metavar="BETA", help="How much more the likeliest wrong captions and "
        "pictures count (infonce).")] = 0.0,
    adversarial: Annotated[float, typer.Option(
        min=0, max=100, metavar="WEIGHT", help="Make the vectors of pictures and captions hard to "
        "tell apart.")] = 0.0,
    accumulate: Annotated[int, typer.Option(
        min=1, help="Batches whose gradients make a step, beyond heads.")] = 1,
    precision: Annotated[Precision, typer.Option(
        help="What networks compute in (auto: bf16 on a GPU).")] = "auto",
    lr: Annotated[float | None, typer.Option(
        help="Peak learning rate.", show_default="1e-4, or 1e-5 for last and full")] = None,
    warmup: Annotated[float, typer.Option(
        help="Share of the run in which the learning rate rises; then it falls as a cosine.")]
        = 0.05,
    ema: Annotated[float, typer.Option(
        metavar="DECAY", help="Keep a moving average of the weights, e.g. 0.99.")] = 0.0,
    patience: Annotated[int, typer.Option(
        min=0, help="Stop after so many epochs without a better recall (0: never).")] = 0,
    blend: Annotated[bool, typer.Option(
        help="Also try weights between start and end, on the validation pairs (WiSE-FT).")] = True,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that stopped.")] = False,
    json_: JsonOption = False,
) -> None:
    """Adapt a model to your own pictures and captions.

    By default only its last layers are trained, the projection heads of images and texts. The
    folder also gets log.jsonl and training.html, how loss and recall went.

    Example: mmsearch train captions.jsonl -o models/mine
    """
    from mmsearch.cli.training_report import report
    from mmsearch.sources import Skipped
    from mmsearch.training import TrainConfig, steps, train as run

    given: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "lr": lr}
    config = TrainConfig(
        base=base, val=val, tune=tune, rank=rank, accumulate=accumulate,
        precision=precision, blend=blend, captions=captions, chunk=chunk,
        loss=loss, hard_negatives=hard_negatives, adversarial=adversarial,
        warmup=warmup, ema=ema, patience=patience, seed=seed, resume=resume,
        **{name: value for name, value in given.items() if value is not None})
    first = os.environ.get("RANK", "0") == "0"  # of torchrun's processes, which says it
    count = steps(pairs, config)
    bar = progress("training", lambda: count) if first else nullcontext(lambda done: None)
    with bar as advance:
        result = run(pairs, out, config, progress=advance, on_epoch=lambda r: say(
            f"epoch {r.epoch}/{r.epochs}  "
            f"{'start' if r.epoch == 0 else f'loss {r.loss:.3f}'}  val R@10 "
            f"{r.recall.text_to_image[2]:.3f} text to image, {r.recall.image_to_text[2]:.3f} back "
            f"(gallery {r.recall.gallery})"))
    if not first:
        return
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text("utf-8").splitlines()]
    (out / "training.html").write_text(report(out.name, lines, result.best_epoch), "utf-8")
    say_skipped([Skipped(path, reason) for path, reason in result.skipped.items()])
    if json_:
        print_json(asdict(result))
    else:
        print(f"wrote {out} (epoch {result.best_epoch}); use it: mmsearch index PATH --model {out} "
              "-i DIR")
