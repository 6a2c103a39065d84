"""A closer look: how well pictures fit a text, by a small Transformer in which the words look at
parts of each picture (cross-attention between the states of the text tower's tokens and the last
stages of the image tower; `tools/build_reranker.py` trains it). Part of a model directory.

Source: the image-text matching of Li et al., "Align before Fuse", 2021,
https://arxiv.org/abs/2107.07651, on towers that stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.records import Vectors

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from mmsearch.encoders.onnx import OnnxEncoder
    from mmsearch.encoders.protocol import Encoder, Picture


@dataclass(frozen=True)
class Reranker:
    """weight: what a unit of log odds counts beside a cosine."""

    encoder: OnnxEncoder
    session: InferenceSession
    weight: float

    def places(self, images: Sequence[Picture]) -> Vectors:
        """What of pictures is looked at: float16 [n, 82, d]. Most of the time goes into this."""
        return self.encoder.run_images(images, also="places")[1].astype(np.float16)

    def odds(self, text: str, places: Vectors) -> Vectors:
        """How well each picture fits a text, float32 [n], as log odds: only their differences
        mean something."""
        embedding, states = self.encoder.run_texts([text], also="states")
        inputs: dict[str, Any] = {"states": states, "text": embedding}
        parts = np.array_split(places.astype(np.float32), min(self.encoder.workers, len(places)))
        with ThreadPoolExecutor(len(parts)) as pool:
            found = pool.map(lambda part: self.session.run(["odds"], inputs | {"places": part})[0],
                             parts)
            return np.concatenate(list(found))


def reranker_of(encoder: Encoder) -> Reranker | None:
    """That of an encoder, if its model has one."""
    found: Reranker | None = getattr(encoder, "reranker", None)
    return found


def reads(encoder: Encoder, text: str) -> bool:
    """Whether a text is in the language that the reranker behind an encoder for queries reads."""
    return bool(getattr(encoder, "is_english", bool)(text))
