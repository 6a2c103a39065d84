"""The command that lists models: models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from mmsearch.cli.options import JsonOption
from mmsearch.cli.terminal import console, print_json

if TYPE_CHECKING:
    from rich.table import Table

    from mmsearch.encoders import Known


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
