"""What frozen towers make of pictures and captions: computed once, kept, trained on often."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.errors import MediaError
from mmsearch.records import Ids, Pixels, Vectors
from mmsearch.training.heads import save_whole

if TYPE_CHECKING:
    from mmsearch.encoders import OnnxEncoder
    from mmsearch.evaluation import Pair

CHUNK = 512
"""Pictures whose features are kept in one cache file: what a killed run loses at most."""


@dataclass(frozen=True, slots=True)
class Features:
    """images: float32 [views, n, F_i]; texts: float32 [m, F_t]; owner: int64 [m], the picture of
    each text; same: int64 [m], equal where two captions are the same words; group: int64 [n],
    pictures of one group meet in a batch, where they are harder to tell apart."""

    images: Vectors
    texts: Vectors
    owner: Ids
    same: Ids
    group: Ids


def encode(base: OnnxEncoder, pairs: Sequence[Pair], cache: Path, skipped: dict[str, str], *,
           mirrored: bool = True, progress: Callable[[int], None] = lambda done: None
           ) -> Features:
    """Tower features of pairs, and of the mirrored pictures as a second view.

    Every finished chunk is kept below `cache`, so a run that is killed loses one chunk at most.
    Pictures that cannot be decoded are left out and named in `skipped`.
    progress: called with the number of pictures, and of captions, that are done more.
    """
    cache.mkdir(parents=True, exist_ok=True)
    views: list[Vectors] = []
    kept: list[Pair] = []
    for at in range(0, len(pairs), CHUNK):
        part = pairs[at : at + CHUNK]
        file = cache / f"{_chunk_key(base, part, mirrored)}.npz"
        if not file.exists():
            good, pixels, bad = _decode(base, part)
            sides = [pixels, [p[:, ::-1] for p in pixels]] if mirrored else [pixels]
            found = np.stack([base.run_images(side)[1] for side in sides])
            save_whole(file, partial(np.savez, features=found, good=np.array(good, np.int64),
                                     bad=json.dumps(bad)))
        with np.load(file) as stored:
            views.append(stored["features"].reshape(1 + mirrored, len(stored["good"]), -1))
            kept += [part[i] for i in stored["good"]]
            skipped.update(json.loads(str(stored["bad"])))
        progress(len(part))
    wide = max((view.shape[2] for view in views), default=0)
    images = np.concatenate([v.reshape(*v.shape[:2], v.shape[2] or wide) for v in views], axis=1)
    captions = [caption for pair in kept for caption in pair.captions]
    texts = []
    for at in range(0, max(1, len(captions)), CHUNK):
        texts.append(base.run_texts(captions[at : at + CHUNK])[1])
        progress(len(captions[at : at + CHUNK]))
    return with_index(kept, images, np.concatenate(texts))


def with_index(pairs: Sequence[Pair], images: Vectors, texts: Vectors) -> Features:
    """`Features` of pairs whose pictures and captions, in order, have these features."""
    captions = [caption.lower() for pair in pairs for caption in pair.captions]
    words: dict[str, int] = {}
    folders: dict[Path, int] = {}
    return Features(
        images, texts,
        owner=np.repeat(np.arange(len(pairs)), [len(pair.captions) for pair in pairs]),
        same=np.array([words.setdefault(c, len(words)) for c in captions], np.int64),
        group=np.array([folders.setdefault(p.image.parent, len(folders)) for p in pairs], np.int64),
    )


def _decode(base: OnnxEncoder, part: Sequence[Pair]
            ) -> tuple[list[int], list[Pixels], dict[str, str]]:
    from mmsearch.media import decode

    def one(pair: Pair) -> Pixels | str:
        try:
            return base.prepare(decode(pair.image, min_side=base.min_side).image)
        except MediaError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(one, part))
    good = [i for i, pixels in enumerate(found) if not isinstance(pixels, str)]
    bad = {str(p.image): why for p, why in zip(part, found, strict=True) if isinstance(why, str)}
    return good, [pixels for pixels in found if not isinstance(pixels, str)], bad


def _chunk_key(base: OnnxEncoder, part: Sequence[Pair], mirrored: bool) -> str:
    text = [base.name, str(mirrored)]
    for pair in part:
        stat = pair.image.stat()
        text.append(f"{pair.image}:{stat.st_size}:{stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(text).encode("utf-8", "surrogateescape")).hexdigest()[:24]
