"""Results as CLIP_benchmark (github.com/LAION-AI/CLIP_benchmark) writes them, for its tables."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmsearch.evaluation.pairs import Pair
from mmsearch.evaluation.retrieval import Evaluation


def as_clip_benchmark(path: Path, pairs: Iterable[Pair], evaluation: Evaluation) -> dict[str, Any]:
    """path: of the pairs, after which the set is named.

    "image_retrieval_recall@5" is that of text to image. An open_clip model is named by its
    architecture and tag, another by what it is called here and its content. The language is what
    all captions are said to have, else "en".
    """
    architecture, _, tag = evaluation.model.rpartition("/")
    languages = {name for pair in pairs for name in pair.languages}
    report = evaluation.report
    ways = {"image_retrieval": report.text_to_image, "text_retrieval": report.image_to_text}
    return {
        "dataset": path.stem.removeprefix("dataset_") if path.is_file() else path.absolute().name,
        "model": architecture or evaluation.model,
        "pretrained": tag if architecture else evaluation.encoder,
        "task": "zeroshot_retrieval",
        "metrics": {f"{name}_recall@{k}": recall for name, way in ways.items() if way is not None
                    for k, recall in way.recall.items()},
        "language": languages.pop() if len(languages) == 1 else "en",
    }
