"""The command that trains the heads of a model: train."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mmsearch.cli.options import JsonOption
from mmsearch.cli.terminal import print_json, say, say_skipped


def train(
    pairs: Annotated[Path, typer.Argument(
        metavar="PAIRS", help="Pictures and captions: JSON lines with image, captions, split.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Where the model is written.")],
    val: Annotated[Path | None, typer.Option(
        help="Pairs that choose the best epoch (default: split 'val' of PAIRS).")] = None,
    base: Annotated[str, typer.Option(
        help="The model to start from.")] = "builtin",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over all pairs.")] = 20,
    batch_size: Annotated[int, typer.Option(min=2, help="Pairs in each step.")] = 512,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-4,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that stopped.")] = False,
    json_: JsonOption = False,
) -> None:
    """Adapt a model to your own pictures and captions.

    Only its last layers are trained, the projection heads of images and texts.

    Example: mmsearch train captions.jsonl -o models/mine
    """
    from mmsearch.sources import Skipped
    from mmsearch.training import TrainConfig, train as train_heads

    config = TrainConfig(base=base, val=val, epochs=epochs, batch_size=batch_size, lr=lr,
                         seed=seed, resume=resume)
    result = train_heads(pairs, out, config, on_epoch=lambda r: say(
        f"epoch {r.epoch}/{r.epochs}  "
        f"{'closed form' if r.epoch == 0 else f'loss {r.loss:.3f}'}  val R@10 "
        f"{r.recall.text_to_image[2]:.3f} text to image, {r.recall.image_to_text[2]:.3f} back "
        f"(gallery {r.recall.gallery})"))
    say_skipped([Skipped(path, reason) for path, reason in result.skipped.items()])
    if json_:
        print_json(asdict(result))
    else:
        print(f"wrote {out} (epoch {result.best_epoch}); use it: mmsearch index PATH --model {out} "
              "-i DIR")
