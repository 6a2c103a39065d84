"""What is said of a picture, as typed fields: EXIF, XMP, IPTC, place names.

May import the ground floor.
"""

from mmsearch.metadata import embedded, exif, xmp
from mmsearch.metadata.exif import with_maker
from mmsearch.metadata.fields import (
    FIELDS,
    LONGEST,
    OF_SEVERAL,
    PIXELS,
    Said,
    captions,
    clean,
    merged,
    number,
    position,
    words,
)
from mmsearch.metadata.place_names import with_names

__all__ = [
    "FIELDS", "LONGEST", "OF_SEVERAL", "PIXELS", "Said", "captions", "clean", "embedded",
    "exif", "merged", "number", "position", "with_maker", "with_names", "words", "xmp",
]
