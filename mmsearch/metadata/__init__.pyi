from . import embedded as embedded, exif as exif, xmp as xmp
from .exif import with_maker as with_maker
from .fields import (
    FIELDS as FIELDS,
    LONGEST as LONGEST,
    OF_SEVERAL as OF_SEVERAL,
    PIXELS as PIXELS,
    Said as Said,
    captions as captions,
    clean as clean,
    merged as merged,
    number as number,
    position as position,
    words as words,
)
from .place_names import with_names as with_names
