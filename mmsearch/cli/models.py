"""The command that lists models: models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from mmsearch.cli.options import JsonOption
from mmsearch.cli.tables import Fitted
from mmsearch.cli.terminal import console, print_json, say

if TYPE_CHECKING:
    from mmsearch.encoders import Known


def models(json_: JsonOption = False) -> None:
    """List models: the built-in one and some of open_clip's, with their published recall.

    R@10 is how often the right picture is among the ten best for a caption, in per cent, on the
    test split of MSCOCO (5,000 pictures), as open_clip's authors published it. --json adds the
    source, the recall on Flickr30k, and the folder on the hub. Any other open_clip model works,
    too.

    Example: mmsearch models
    """
    from mmsearch.encoders import known_models

    known = list(known_models())
    if json_:
        print_json([asdict(one) for one in known])
    else:
        console().print(_table(known))
        say("parameters in millions; recall in per cent, words to images, on MSCOCO")


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
