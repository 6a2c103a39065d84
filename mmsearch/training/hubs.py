"""What keeps hubs down in a model (`encoders.hubness`), from what it was trained on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mmsearch.encoders import Hubness
from mmsearch.records import Ids, Vectors
from mmsearch.training.heads import save_whole
from mmsearch.training.validation import Recall, recall_of

SETTINGS = {"neighbours": 10, "weight": 0.5, "scale": 2.0}
"""Chosen on the validation sets of the built-in model."""
MOST = 4096
"""Pictures, and texts, that what is near in general is found by."""
LEAST = 100


def write_hubs(path: Path, images: Vectors, texts: Vectors) -> None:
    """The file, from unit rows of pictures and of texts as they are asked for."""
    every = np.concatenate([images, texts]).astype(np.float64)
    axes = np.linalg.eigh(every.T @ every)[1][:, :2].T
    cosines, most = images @ texts.T, int(SETTINGS["neighbours"])
    usual = np.sort(cosines, axis=0)[-most:].mean(), np.sort(cosines, axis=1)[:, -most:].mean()
    save_whole(path, lambda file: np.savez(
        file, axes=axes.astype(np.float32), texts=_int8(texts), pictures=_int8(images),
        usual=np.array(usual, np.float32)))


def describe_hubs(model: Path, file: str | None) -> None:
    """Name the file in a model directory's model.json, or none."""
    path = model / "model.json"
    spec = json.loads(path.read_text("utf-8"))
    spec.pop("hubness", None)
    if file:
        spec["hubness"] = {"file": file, **SETTINGS}
        spec["sha256"][file] = hashlib.sha256((model / file).read_bytes()).hexdigest()
    written = (json.dumps(spec, indent=1) + "\n").encode()
    save_whole(path, lambda out: out.write(written))


def some(count: int) -> Ids:
    """The numbers of as many of `count` as are wanted, by chance."""
    return np.random.default_rng(0).permutation(count)[:MOST]


def add_hubs(model: Path, images: Vectors, texts: Vectors, val: tuple[Vectors, Vectors, Ids]
             ) -> Recall | None:
    """Put the file into a model directory, if more is found with it; -> the recall then.

    images, texts: unit rows of what the model was trained on; val: of pictures and captions to
    judge by, and the picture of each caption.
    """
    if min(len(images), len(texts)) < LEAST:
        return None
    file = model / "hubness.npz"
    write_hubs(file, images, texts)
    hubs = Hubness(file, SETTINGS)
    found = recall_of(hubs.pictures(val[0]), hubs.texts(val[1]), val[2])
    if found.total <= recall_of(*val).total:
        file.unlink()
        return None
    describe_hubs(model, file.name)
    return found


def _int8(rows: Vectors) -> npt.NDArray[np.int8]:
    wide = np.rint(rows * (127 / np.abs(rows).max(1, keepdims=True)))
    return np.asarray(wide, np.int8)
