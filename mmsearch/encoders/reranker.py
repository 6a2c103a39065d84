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
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.records import Vectors

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from mmsearch.encoders.onnx import OnnxEncoder
    from mmsearch.encoders.protocol import Encoder, Picture


@dataclass(frozen=True)
class Reranker:
    """weight: what a unit of log odds counts beside a cosine.
    made_by: identifies what makes places: a hash of the image graph.

    What is looked at of a picture, its places, is kept packed: a float16 scale for each of the 82
    rows, then the rows as int8; 21 kB.
    """

    encoder: OnnxEncoder
    session: InferenceSession
    weight: float
    made_by: str

    def encode_images(self, images: Sequence[Picture]) -> tuple[Vectors, list[bytes]]:
        """What the encoder of that name gives, and the places of each picture, of one run."""
        vectors, places = self.encoder.encode_images_also(images, "places")
        return vectors, [_packed(one) for one in places]

    def places(self, images: Sequence[Picture]) -> list[bytes]:
        """What of each picture is looked at, packed. Most of the time goes into this."""
        return self.encode_images(images)[1]

    def unpacked(self, packed: Sequence[bytes]) -> Vectors:
        """The places of pictures, float32 [n, 82, d]."""
        rows, width = self._shape
        kept = np.frombuffer(b"".join(packed), np.uint8).reshape(len(packed), -1)
        scales, values = np.split(kept, [2 * rows], axis=1)
        scale = np.ascontiguousarray(scales).view("<f2").astype(np.float32)
        return values.view(np.int8).reshape(-1, rows, width) * scale[:, :, None]

    def odds(self, text: str, places: Vectors) -> Vectors:
        """How well each picture fits a text, float32 [n], as log odds: only their differences
        mean something.

        places: float32 [n, 82, d].
        """
        embedding, states = self.encoder.run_texts([text], also="states")
        inputs: dict[str, Any] = {"states": states, "text": embedding}
        parts = np.array_split(places, min(self.encoder.workers, len(places)))
        with ThreadPoolExecutor(len(parts)) as pool:
            found = pool.map(lambda part: self.session.run(["odds"], inputs | {"places": part})[0],
                             parts)
            return np.concatenate(list(found))

    @cached_property
    def _shape(self) -> tuple[int, int]:
        places = next(one for one in self.session.get_inputs() if one.name == "places")
        return int(places.shape[1]), int(places.shape[2])


def _packed(places: Vectors) -> bytes:
    """[82, d]: they come out of a layer norm, and lose nothing that can be measured in int8."""
    scale = np.maximum(np.abs(places).max(1, keepdims=True) / 127, 1e-4).astype("<f2")
    values = np.rint(places / scale.astype(np.float32)).clip(-127, 127).astype(np.int8)
    packed: bytes = scale.tobytes() + values.tobytes()
    return packed


def reranker_of(encoder: Encoder) -> Reranker | None:
    """That of an encoder, if its model has one."""
    found: Reranker | None = getattr(encoder, "reranker", None)
    return found


def reads(encoder: Encoder, text: str) -> bool:
    """Whether a text is in the language that the reranker behind an encoder for queries reads."""
    return bool(getattr(encoder, "is_english", bool)(text))
