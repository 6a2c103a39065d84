"""Commands about models: eval, train, demo."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.options import (
    IndexOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    with_precision,
)
from mmsearch.cli.terminal import console, print_json, progress, say, say_skipped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from mmsearch.encoders import Known


def evaluate(
    pairs: Annotated[Path, typer.Argument(
        metavar="PAIRS", help="Images and captions: .jsonl, .csv, .tsv, or Karpathy's .json.")],
    directory: Annotated[Path | None, typer.Option(
        "-i", "--index", help="Search this collection; without it, the pairs alone are encoded.",
    )] = None,
    split: Annotated[str | None, typer.Option(help="Only pairs of this split.")] = None,
    k: Annotated[list[int] | None, typer.Option(
        "-k", help="Cut-offs of recall@k (default 1, 5, 10). Repeatable.")] = None,
    model: ModelOption = None,
    precision: PrecisionOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap intervals.")] = 0,
    json_: JsonOption = False,
) -> None:
    """Measure recall@k, MRR and median rank, text to image and image to text.

    Example: mmsearch eval captions.jsonl --split test
    """
    from mmsearch.cli import present
    from mmsearch.collection import Collection
    from mmsearch.evaluation import evaluate_collection, evaluate_model, load_pairs, splits

    loaded = load_pairs(pairs, split=split)
    if len(mixed := splits(loaded)) > 1:
        say(f"note: all splits together ({', '.join(mixed)}); choose one with --split")
    cutoffs = tuple(k or (1, 5, 10))
    with progress("encoding", lambda: sum(len(pair.captions) + (directory is None)
                                           for pair in loaded)) as advance:
        if directory is None:
            name = with_precision(model or "builtin", precision)
            evaluation = evaluate_model(loaded, model=name, ks=cutoffs, seed=seed,
                                        progress=advance)
        else:
            evaluation = evaluate_collection(Collection.open(directory, model=model), loaded,
                                             ks=cutoffs, seed=seed, progress=advance)
    say_skipped(evaluation.skipped)
    if json_:
        print_json(evaluation.to_json())
        return
    console().print(present.report_table(evaluation.report))
    for name, value in (evaluation.ann or {}).items():
        print(f"approximate index against exact search: {name} {value:.3f}")


def models(json_: JsonOption = False) -> None:
    """List models: the built-in one, and a choice of open_clip's, with their published recall.

    Recall is from words to images, zero-shot, on the test split of MSCOCO (5,000 pictures), in per
    cent, as open_clip's authors published it; --json says where, has Flickr30k beside it, and the
    folder on the hub that the weights are in. Any other open_clip model works, too.

    Example: mmsearch models
    """
    from mmsearch.encoders import known_models

    known = list(known_models())
    if json_:
        print_json([asdict(one) for one in known])
    else:
        console().print(_table(known))


def train(
    pairs: Annotated[Path, typer.Argument(
        metavar="PAIRS", help="JSONL of {image, captions, split}.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Where the model is written.")],
    val: Annotated[Path | None, typer.Option(
        help="Pairs to choose the best epoch on (default: split 'val' of PAIRS).")] = None,
    base: Annotated[str, typer.Option(help="The model whose towers are kept.")] = "builtin",
    epochs: Annotated[int, typer.Option(min=1)] = 20,
    batch_size: Annotated[int, typer.Option(min=2)] = 512,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-4,
    seed: Annotated[int, typer.Option()] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a run stopped.")] = False,
    json_: JsonOption = False,
) -> None:
    """Train the projection heads of a model on pairs of images and captions (towers frozen).

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


def demo(directory: IndexOption = Path("indexes/demo")) -> None:
    """Index the pictures that come with mmsearch, and search them three ways.

    Example: mmsearch demo
    """
    from mmsearch.cli.demo import show

    show(directory)


def _table(known: Sequence[Known]) -> Table:
    """Models, a line each."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model", no_wrap=True)
    for name in ("dim", "million parameters", "COCO R@1", "R@10"):
        table.add_column(name, justify="right")
    table.add_column("on this machine")
    for one in known:
        recall = ["-", "-"] if one.coco is None else [f"{one.coco[0]:.1f}", f"{one.coco[2]:.1f}"]
        size = "-" if one.parameters is None else f"{one.parameters:,}"
        table.add_row(one.name, str(one.dim), size, *recall, "yes" if one.here else "no")
    return table
