"""Files that hold several pictures: videos, animations, documents, TIFFs with pages; and tiles of
one picture.

`read` yields what is worth finding in one, a picture at a time; `read_part` reads one again.
What a file is, is told by its first bytes. Videos and documents are read by libraries that are
extras; each is imported where the first file asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from mmsearch.errors import MediaError
from mmsearch.formats import CONTAINER_HEAD, container, may_move, sniff
from mmsearch.fragments import Part
from mmsearch.media.decoding import decode, opened, reason_of
from mmsearch.media.keyframes import Frame
from mmsearch.media.tiles import cut, decode_side

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Frame", "holds_several", "moves", "read", "read_part"]


def holds_several(source: Path | bytes) -> bool:
    """Whether a file is a video or a document, from its first bytes.

    MediaError: it cannot be read.
    """
    with _opened(source) as (_, name):
        return name not in (None, "TIFF")


def moves(data: bytes) -> bool:
    """Whether a picture is an animation of more than one frame, or a TIFF of more than one page;
    one that is damaged is not."""
    from mmsearch.media.animation import count
    from mmsearch.media.tiff_pages import has_pages

    return (may_move(data) and count(data) > 1) or has_pages(data)


def read(source: Path | bytes, min_side: int, most: int) -> Iterator[Frame]:
    """The frames of a video or an animation that differ, or the pages of a document, in order.

    min_side: pictures are reduced, but their shorter side stays at least that, where it was.
    most: so many at most, spread over the whole file where its length is known.

    Raises, after all that could be read:
        MediaError: the rest could not be, or is more than `most`; or what reads such a file is not
            installed.
    """
    with _opened(source) as (handle, name):
        yield from _reader(name)(handle, name or "animation", min_side, most)


def read_part(source: Path | bytes, part: Part | None, min_side: int | None) -> Image:
    """A part of a file, or all of one that is but a picture: RGB, upright.

    Raises:
        MediaError: it cannot be read, or has no such part any more; or what reads such a file is
            not installed.
    """
    if part is None:
        return decode(source, min_side=min_side).image
    if part.region is not None:
        x, y, width, height = part.region
        if not width or not height or max(x + width, y + height) > 100:
            raise MediaError("such a part is empty, or reaches beyond the picture")
        side = min_side and decode_side(min_side, part.region)
        return cut(decode(source, min_side=side).image, part.region)
    with _opened(source) as (handle, name):
        has_pages = name in ("PDF", "TIFF")
        if part.page is not None and not has_pages:
            raise MediaError(f"has no page {part.page}")
        if has_pages:
            if name == "PDF":
                from mmsearch.media.pdf import page
            else:
                from mmsearch.media.tiff_pages import page
            if part.page is None:
                raise MediaError("has no moments, but pages: #page=1")
            return page(handle, part.page, min_side)
        if name is None:
            from mmsearch.media.animation import frame_at
        else:
            from mmsearch.media.video import frame_at
        return frame_at(handle, name or "animation", part.time or 0.0, min_side)


_Read = Callable[[IO[bytes], str, int, int], Iterator[Frame]]


def _reader(name: str | None) -> _Read:
    if name == "PDF":
        from mmsearch.media.pdf import pages

        return pages
    if name == "TIFF":
        from mmsearch.media.tiff_pages import pages as tiff_pages

        return tiff_pages
    if name is None:
        from mmsearch.media.animation import frames
    else:
        from mmsearch.media.video import frames
    return frames


@contextmanager
def _opened(source: Path | bytes) -> Iterator[tuple[IO[bytes], str | None]]:
    """The bytes of a file, and which container it is, or "TIFF"; whatever goes wrong is a
    MediaError."""
    name = None
    try:
        with opened(source) as handle:
            head = handle.read(CONTAINER_HEAD)
            name = container(head) or ("TIFF" if sniff(head[:64]) == "TIFF" else None)
            handle.seek(0)
            yield handle, name
    except MediaError:
        raise
    except Exception as error:  # as in `media.decoding.decode`: hostile bytes, any error
        raise MediaError(reason_of(error, name or "file")) from error
