"""What is known of models before any of them is loaded: `mmsearch models`.

The recall of open_clip's models is what its authors published (zero-shot, words to images, test
splits of Flickr30k and MSCOCO).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mmsearch.encoders.choice import Choice, choices
from mmsearch.encoders.exported import Cache
from mmsearch.encoders.hub import TABLE, has_weights
from mmsearch.encoders.load import BUILTIN, BUILTIN_DIR

SOURCE = ("docs/openclip_retrieval_results.csv of https://github.com/mlfoundations/open_clip, as "
          "of commit 05e7db4")


@dataclass(frozen=True)
class Known:
    """name: for --model; parameters: in millions, both towers; flickr, coco: recall@1/5/10 in per
    cent of Flickr30k and MSCOCO, None if nobody published it; here: whether it can be loaded
    without a network; hub: where its weights come from; source: of the recall; choice: the name
    that stands for it, and what goes with that."""

    name: str
    dim: int
    parameters: int | None
    flickr: tuple[float, float, float] | None
    coco: tuple[float, float, float] | None
    here: bool
    hub: str
    source: str
    choice: Choice | None = None


def known_models() -> Iterator[Known]:
    """Those that names stand for, then a choice of open_clip's, best first; any other works, too.
    """
    found = {one.name: one for one in _rows()}
    named = {choice.model: choice for choice in choices().values()}
    yield from (replace(found[model], choice=choice) for model, choice in named.items())
    yield from (one for model, one in found.items() if model not in named)


def _rows() -> Iterator[Known]:
    spec = json.loads((BUILTIN_DIR / "model.json").read_text("utf-8"))
    yield Known(BUILTIN, int(spec["dim"]), 28, None, None, True, "",
                "its model card, on other sets: encoders/builtin/MODEL_CARD.md")
    with TABLE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            flickr, coco = (tuple(float(row[f"{of}_{k}"]) for k in (1, 5, 10))
                            if row[f"{of}_1"] else None for of in ("flickr", "coco"))
            yield Known(row["model"], int(row["dim"]), int(row["parameters_m"]),
                        flickr, coco, _is_here(row["model"], row["hub"]),  # type: ignore[arg-type]
                        row["hub"], SOURCE if coco else "")


def _is_here(model: str, hub: str) -> bool:
    return Cache(model).is_exported() or has_weights(hub)
