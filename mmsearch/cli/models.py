"""The commands about models: models, and models get."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.options import JsonOption, PrecisionOption, YesOption, with_precision
from mmsearch.cli.tables import Fitted
from mmsearch.cli.terminal import console, print_json, say

if TYPE_CHECKING:
    from mmsearch.encoders import Choice, Known


def models(context: typer.Context, json_: JsonOption = False) -> None:
    """List models: first those with a short name, small to best, then others of open_clip's.

    Recall is in per cent, words to images. Of the first, it is the mean of recall@1, 5 and 10 on
    Crossmodal-3600 in English, and in five other languages, as Immich published it. Of the rest, it
    is recall@1 and recall@10 on MSCOCO, as open_clip's authors published it. --json adds sources,
    licences, the recall on Flickr30k and the folder on the hub. Any other open_clip model works,
    too.

    Example: mmsearch models
    """
    from dataclasses import asdict

    from mmsearch.encoders import known_models

    if context.invoked_subcommand is not None:
        return
    known = list(known_models())
    if json_:
        print_json([asdict(one) for one in known])
        return
    console().print(_choices([one.choice for one in known if one.choice]))
    print()
    console().print(_table(known))
    say("MB to download, MB of memory, pictures a second on two cores, parameters in millions; "
        "recall in per cent, words to images")


def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As for --model: good, best, …")],
    precision: PrecisionOption = None,
    yes: YesOption = False,
    json_: JsonOption = False,
) -> None:
    """Download a model and prepare it for use, if it is not yet, and try it.

    Example: mmsearch models get good
    """
    from PIL import Image

    from mmsearch.cli.present import size_text
    from mmsearch.encoders import absolute_name, load_encoder

    model = absolute_name(with_precision(name, precision))
    encoder = load_encoder(model)
    encoder.encode_texts(["a photo"])
    encoder.encode_images([Image.new("RGB", (64, 64))])
    directory: Path | None = getattr(encoder, "directory", None)  # torch's are with the hub's
    size = sum(file.stat().st_size for file in directory.rglob("*")) if directory else None
    if json_:
        print_json({"model": model, "encoder": encoder.name, "dim": encoder.dim,
                    "directory": directory, "bytes": size})
    else:
        where = f"{directory}, {size_text(size)}" if directory and size else "with the hub's files"
        print(f"{model} is ready: {where}")


def _choices(choices: Sequence[Choice]) -> Fitted:
    from rich.text import Text

    table = Fitted({"name": "left", "model": "path", "MB": "right", "memory": "right",
                    "img/s": "right", "English": "right", "others": "right"})
    for one in choices:
        figures = (one.download_mb, one.memory_mb, one.pictures_per_second, one.recall,
                   one.recall_others)
        table.rows.append([Text(one.name), Text(one.model), *(
            Text("-" if figure is None else f"{figure:,g}") for figure in figures)])
    return table


def _table(known: Sequence[Known]) -> Fitted:
    """Models, a line each."""
    from rich.text import Text

    table = Fitted({"model": "path", "dim": "right", "params": "right", "R@1": "right",
                    "R@10": "right", "here": "left"})
    for one in known:
        recall = ["-", "-"] if one.coco is None else [f"{one.coco[0]:.1f}", f"{one.coco[2]:.1f}"]
        size = "-" if one.parameters is None else f"{one.parameters:,}"
        here = "yes" if one.here else "no"
        table.rows.append([Text(text) for text in (one.name, str(one.dim), size, *recall, here)])
    return table
