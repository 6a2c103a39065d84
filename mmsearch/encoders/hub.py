"""Which weights the client of the hub has fetched to this machine."""

from __future__ import annotations

import csv
import os
from pathlib import Path

TABLE = Path(__file__).with_name("known.csv")


def has_weights(hub: str) -> bool:
    """hub: the name of a repository."""
    weights = _cache() / f"models--{hub.replace('/', '--')}" / "snapshots"
    return any(file.is_file() for ending in ("safetensors", "bin", "pt")
               for file in weights.glob(f"*/*.{ending}"))


def in_words(model: str) -> str:
    """An open_clip model, with what one should know before installing gigabytes that run it."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        hubs = {row["model"]: row["hub"] for row in csv.DictReader(file)}
    hub = model.removeprefix("hf-hub:") if model.startswith("hf-hub:") else hubs.get(model)
    return f"the model {model!r}, whose weights are not on this machine yet (they are downloaded " \
        "when it is first used)," if hub and not has_weights(hub) else f"the model {model!r}"


def _cache() -> Path:
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")
