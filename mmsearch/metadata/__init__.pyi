from . import embedded as embedded, exif as exif, xmp as xmp
from .dates import moment as moment
from .exif import camera_name as camera_name
from .fields import (
    CONFIDENCE as CONFIDENCE,
    CONTAINER_FIELDS as CONTAINER_FIELDS,
    FIELDS as FIELDS,
    LABEL as LABEL,
    MAX_CHARACTERS as MAX_CHARACTERS,
    PIXEL_FIELDS as PIXEL_FIELDS,
    Metadata as Metadata,
    caption_key as caption_key,
    clean_captions as clean_captions,
    clean_keywords as clean_keywords,
    clean_text as clean_text,
    gps_position as gps_position,
    is_label as is_label,
    merge_metadata as merge_metadata,
    number_within as number_within,
)
from .machine_words import without_words_of_machines as without_words_of_machines
from .place_names import with_place_names as with_place_names
