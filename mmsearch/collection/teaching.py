"""Names for what a collection's model has no word for: a pet, a product, a place.

    collection.teach("Rex", ["rex1.jpg", "rex2.jpg"], is_a="dog")
    collection.search(text="Rex on the beach")

What searches make of them: `search.names`. Nothing is indexed again.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from hashlib import blake2b
from io import BytesIO
from typing import Any

from mmsearch.collection.browsing import calibration_in
from mmsearch.collection.reader import Reader
from mmsearch.encoders import Encoder
from mmsearch.errors import MediaError, UsageError
from mmsearch.media import Crop
from mmsearch.records import Vectors
from mmsearch.search import example_picture, kept_calibration, several
from mmsearch.sources import uri_of
from mmsearch.storage import Catalog, Change, TaughtPicture, key_of
from mmsearch.uris import nfc

_KEPT_SIDE = 512
"""Pixels of the shorter side of the copies: more than any known model looks at."""


class Teaching(Reader):
    """What gives names to pictures, and takes them away."""

    @abstractmethod
    def _writing(self) -> AbstractContextManager[Catalog]: ...

    def teach(self, name: str, images: Any, *, is_a: str = "") -> int:
        """Give a name to a few pictures, or more pictures to a name; -> how many it has now.

        From now on, texts with this word among theirs find what these pictures show.

        images: one or several, as `Query.image`: files, indexed or not, parts of them
            (`media.Crop`), uris of items, bytes, PIL pictures. Small copies are kept, for another
            model.
        is_a: a word for what it is, such as "dog": searches get much better by it. "" keeps what
            was said before.

        Raises:
            UsageError: no name, or no picture; or one that is none.
            MediaError: a picture cannot be decoded.
            CollectionBusy: another process is writing.
        """
        name, is_a = (_plain(text) for text in (name, is_a))
        if not any(letter.isalnum() for letter in name):
            raise UsageError("give a name of at least one letter or digit")
        if not (examples := several(images)):
            raise UsageError(f"give at least one picture of {name}")
        with self._writing() as catalog:
            old = [one for one in catalog.taught(pictures=True) if key_of(one.name) == key_of(name)]
            is_a = is_a or next((one.is_a for one in old), "")
            taught = {one.uri: replace(one, name=name, is_a=is_a) for one in old}
            for image in examples:
                vector, copy = self.embed(images=[image]), _copy(image)
                uri = _source(image, vector)
                taught[uri] = TaughtPicture(
                    name, is_a, uri, catalog.settings["encoder"], vector, copy)
            change = Change(teach=list(taught.values()))
            if calibration_in(catalog) is None:
                change.settings = {"ruler": kept_calibration(self.encoder).to_json()}
            catalog.commit(change)
        return len(taught)

    def forget(self, name: str) -> int:
        """Take a name away; -> how many pictures it had, 0 if there was no such name."""
        name = _plain(name)
        with self._writing() as catalog:
            those = [one for one in catalog.taught() if key_of(one.name) == key_of(name)]
            catalog.commit(Change(forget=[name]))
        return len(those)


def encoded_again(taught: Sequence[TaughtPicture], encoder: Encoder) -> list[TaughtPicture]:
    """Pictures of names, by another model; what has no copy keeps the vector that it has."""
    from mmsearch.media import decode

    return [replace(one, encoder=encoder.name, vector=encoder.encode_images(
        [decode(one.picture, min_side=encoder.min_side).image])[0])
        for one in taught if one.picture is not None]


def _plain(text: str) -> str:
    """With single blanks; what a shell hands over need not be UTF-8."""
    return " ".join(nfc(text.encode("utf-8", "replace").decode()).split())


def _source(image: Any, vector: Vectors) -> str:
    """Where a picture comes from; what has no address is known by what the model makes of it."""
    if isinstance(image, Crop):
        return f"{_source(image.image, vector)}#xywh={image.area.removeprefix('xywh=')}"
    if isinstance(image, str | os.PathLike):
        return uri_of(image)
    return f"picture:{blake2b(vector.tobytes(), digest_size=8).hexdigest()}"


def _copy(image: Any) -> bytes | None:
    """A small JPEG; None of what is known by its vector alone: its file is gone."""
    with suppress(MediaError, UsageError):
        picture = image.cut(example_picture(image.image, None)) if isinstance(image, Crop) else \
            example_picture(image, _KEPT_SIDE)
        smaller = min(_KEPT_SIDE / min(picture.size), 1)
        width, height = (max(round(side * smaller), 1) for side in picture.size)
        picture.resize((width, height), reducing_gap=2).save(
            file := BytesIO(), "JPEG", quality=90)
        return file.getvalue()
    return None
