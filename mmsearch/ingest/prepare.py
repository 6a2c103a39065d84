"""What is in a file, ready to be encoded: a picture and its tiles, or frames, or pages.

A file may give several items (see `media.frames` and `media.tiles`): only decoding tells how
many, and of which kinds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from mmsearch.encoders import Encoder
from mmsearch.errors import MediaError
from mmsearch.fragments import MOST, Part, is_named_container, part_of, room
from mmsearch.ingest.hashes import content_hash, file_hash, hash_at, part_hash
from mmsearch.media import (
    Grid,
    colours,
    decode,
    decode_side,
    frames,
    read_metadata,
    tile_item,
    tiles_of,
)
from mmsearch.metadata import Metadata
from mmsearch.records import Item, Pixels
from mmsearch.sources import Described, described, locate, with_sidecars_of
from mmsearch.stages import Stages


class Prepared(NamedTuple):
    """A picture ready to be encoded; or, without pixels, a text that came with one."""

    about: Described
    hash: str
    pixels: Pixels | None


@dataclass(frozen=True)
class Preparer:
    """Reads and decodes files, from any thread."""

    encoder: Encoder
    stages: Stages
    grid: Grid

    def of(self, item: Item) -> Iterable[Prepared]:
        """What is in a file, read and decoded now, or as it is drawn."""
        if (part := part_of(item)) is not None:  # its vector was lost
            return [self._part(part, item)]
        if is_named_container(item) and locate.is_large(item):  # or dozens of these fill the memory
            return chain.from_iterable(map(self._pictures, [item]))
        return self._pictures(item)

    def _pictures(self, item: Item) -> Iterable[Prepared]:
        """The picture in a file, and its tiles; or several, which are then decoded as they are
        drawn."""
        path = locate.own_file(item.uri)
        with self.stages.at("read"):
            if path is not None and frames.holds_several(path):
                if room(item) == 1:
                    raise MediaError("a video or a document that is named like a picture; rename "
                                     "it")
                return self._parts(item, path, *file_hash(path))
            data, fingerprint = locate.read(item.uri)
            hash = content_hash(data)
        if room(item) > 1 and (frames.moves(data) or (
                path is None and frames.holds_several(data))):
            return self._parts(item, data, hash, fingerprint)
        with self.stages.at("decode"):
            largest = decode_side(self.encoder.min_side, next(iter(self.grid.regions()), None))
            picture = decode(data, min_side=largest)
            seen = {"colour": colours(picture.image), "size": len(data)}
            item = replace(item, fingerprint=with_sidecars_of(fingerprint, item.fingerprint))
            about = described(item, {**picture.meta, **seen}, picture.captions)
        with self.stages.at("prepare"):
            found = [Prepared(about, hash, self.encoder.prepare(picture.image))]
            size = picture.width, picture.height
            for fragment, image in tiles_of(picture.image, self.grid, size, self.encoder.min_side):
                tile = tile_item(about.item, fragment, colours(image))
                found.append(Prepared(Described(tile), part_hash(hash, tile),
                                      self.encoder.prepare(image)))
        return found

    def _part(self, part: Part, item: Item) -> Prepared:
        """One of the pictures in a file, once more."""
        with self.stages.at("decode"):
            hash, fingerprint = hash_at(part.file)
            shown = frames.read_part(locate.source(part.file), part, self.encoder.min_side)
            again = Described(replace(item, fingerprint=fingerprint))
            return Prepared(again, part_hash(hash, item), self.encoder.prepare(shown))

    def _parts(self, file: Item, source: Path | bytes, hash: str, fingerprint: str
               ) -> Iterator[Prepared]:
        """What a file that holds several pictures gives, in its group, the first with all captions.

        source: the bytes of an animation, a TIFF or of what has no file of its own, else the path.
        MediaError, after what could be read, says what could not be.
        """
        embedded, size = Metadata(), fingerprint.partition(":")[0]
        if isinstance(source, bytes):
            size = str(len(source))
            with suppress(MediaError):  # a video
                embedded = read_metadata(source)
        seen = {**embedded.meta, "size": int(size)}
        file = replace(file, fingerprint=with_sidecars_of(fingerprint, file.fingerprint))
        about: Described | None = None
        for frame in self.stages.each("decode", frames.read(source, self.encoder.min_side, MOST)):
            first = about is None
            about = about or described(file, {**frame.meta, **seen}, embedded.captions)
            own = {name: frame.meta[name] for name in ("width", "height") if name in frame.meta}
            if frame.image is not None:
                own["colour"] = colours(frame.image)
            item = Item(f"{file.uri}#{frame.fragment}", "text" if frame.image is None else "frame",
                        frame.text, file.uri, {**about.item.meta, **own, **file.meta},
                        about.item.fingerprint)
            with self.stages.at("prepare"):
                pixels = None if frame.image is None else self.encoder.prepare(frame.image)
            yield Prepared(about._replace(item=item) if first else Described(item),
                           part_hash(hash, item), pixels)
