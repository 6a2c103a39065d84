"""Pages of a PDF as pictures and as text, through PDFium.

PDFium keeps state of its own and must not be called from two threads at once: every call is made
under one lock. What has been filled into a form becomes a part of its page first.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import ceil
from typing import IO, TYPE_CHECKING, Any

from mmsearch.errors import MediaError, MissingDecoder
from mmsearch.fragments import on_page
from mmsearch.media.keyframes import Frame
from mmsearch.metadata import MAX_CHARACTERS, clean_text
from mmsearch.sources import MAX_TEXT, text_pieces

if TYPE_CHECKING:
    from PIL.Image import Image

_ONE_AT_A_TIME = threading.RLock()
_SIDE = 512
_LONGEST = 4096
"""Pixels: a page that is a thousand times as long as it is wide must not fill the memory."""
_SECONDS, _MOST_SLOW = 30.0, 3
"""To draw a page: a map takes some seconds, what was made to take hours is given up, and after so
many pages of that kind the document."""
_MOST_READ = 8 * MAX_TEXT
"""Characters of a page that are looked at."""


class _Slow(MediaError):
    pass


def pages(handle: IO[bytes], name: str, min_side: int, most: int) -> Iterator[Frame]:
    """See `media.frames.read`; a page with text is followed by its text."""
    with _document(handle) as document:
        with _ONE_AT_A_TIME:
            total = len(document)
            title = clean_text(document.get_metadata_dict().get("Title", ""))[:MAX_CHARACTERS]
        meta = {"format": "PDF", "pages": total, **({"title": title} if title else {})}
        bad = slow = 0
        for number in range(1, min(total, most) + 1):
            try:
                image, text = _read(document, number, min_side)
            except _Slow:
                slow += 1
                if slow == _MOST_SLOW:
                    break
                continue
            except Exception:
                bad += 1
                continue
            yield Frame(on_page(number), image, meta)
            if any(character.isalnum() for character in text):
                yield Frame(on_page(number), None, meta, text)
    if slow:
        rest = f"; none after page {number} is indexed" if slow == _MOST_SLOW else ""
        raise MediaError(f"{slow} of {total} pages take more than {_SECONDS:g} s to draw{rest}")
    if bad:
        raise MediaError(f"damaged PDF: {bad} of {total} pages cannot be read")
    if total > most:
        raise MediaError(f"has {total} pages: the first {most} are indexed")


def page(handle: IO[bytes], number: int, min_side: int | None) -> Image:
    """The picture of a page, from 1."""
    with _document(handle) as document:
        if not 1 <= number <= len(document):
            raise MediaError(f"has no page {number}")
        return _read(document, number, min_side or _SIDE, with_text=False)[0]


@contextmanager
def _document(handle: IO[bytes]) -> Iterator[Any]:
    try:
        import pypdfium2
    except ImportError:
        raise MissingDecoder("a PDF", "pdf") from None
    with _ONE_AT_A_TIME:
        try:
            document = pypdfium2.PdfDocument(handle)
        except pypdfium2.PdfiumError as error:
            if "password" in str(error).lower():
                raise MediaError("encrypted PDF: it cannot be read without its password") from error
            raise
        if document.get_formtype():
            document.init_forms()
    try:
        yield document
    finally:
        with _ONE_AT_A_TIME:
            document.close()


def _read(document: Any, number: int, min_side: int, *, with_text: bool = True
          ) -> tuple[Image, str]:
    """A page as a picture, its shorter side twice `min_side`, and as text, cut at MAX_TEXT."""
    with _ONE_AT_A_TIME:
        one = document[number - 1]
        try:
            if document.formenv:
                with suppress(RuntimeError):
                    one.flatten()
                one.close()
                one = document[number - 1]
            width, height = one.get_size()
            scale = min(2 * min_side / min(width, height), _LONGEST / max(width, height))
            image = _drawn(one, ceil(width * scale), ceil(height * scale))
            text = ""
            if with_text:
                words = one.get_textpage()
                text = words.get_text_bounded()[:_MOST_READ]
                words.close()
            return image, next(text_pieces(_clean(text)[: 2 * MAX_TEXT]), "")
        finally:
            one.close()


def _drawn(page: Any, width: int, height: int) -> Image:
    """A page on white."""
    from pypdfium2 import PdfBitmap, internal, raw

    bitmap = PdfBitmap.new_native(width, height, raw.FPDFBitmap_BGR)
    bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, height)
    until = time.monotonic() + _SECONDS
    pause = raw.IFSDK_PAUSE(version=1)
    internal.set_callback(pause, "NeedToPauseNow", lambda _: time.monotonic() > until)
    done = raw.FPDF_RenderPageBitmap_Start(
        bitmap, page, 0, 0, width, height, 0, raw.FPDF_ANNOT, pause)
    raw.FPDF_RenderPage_Close(page)
    if done == raw.FPDF_RENDER_TOBECONTINUED:
        raise _Slow(f"takes more than {_SECONDS:g} s to draw")
    if done != raw.FPDF_RENDER_DONE:
        raise MediaError("a page that cannot be drawn")
    image: Image = bitmap.to_pil().convert("RGB")
    return image


def _clean(text: str) -> str:
    """Lines end with a newline alone, and nothing that UTF-8 or a terminal cannot have is left."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "ignore").decode()
    return "".join(c for c in text if c == "\n" or c.isprintable()).strip()
