"""What cameras and programs write where a description belongs: no caption, whatever it is in."""

from __future__ import annotations

import re

from mmsearch.metadata.fields import Metadata, clean_keywords, clean_text

_WRITTEN_BY_MACHINES = re.compile(
    r"(olympus|konica|minolta|samsung|kodak|sony|hp|digital still|nikon|casio)?[\s_-]*"
    r"(digital camera|camera|dsc|default|screenshot|untitled|image|exif_jpeg_picture|.*\.jpe?g"
    r"|dcim\\.*|created with .*|jpeg|photo|picture)?"
    r"|_?(ozno\w*|ozedf|cof|dav|mde|edf|nor|hdr|rhdr|sdr|hdrpl|cuva|burst|smart|vignette)"
    r"(_\w+)?|my beautiful picture|hellomoto|binary comment"
    r"|creator: .*|lead technologies.*|optimi[sz]ed by .*|compressed by .*|processed (by|with) .*"
    r"|file (source|written by) .*|intel\(r\) jpeg.*|lavc.*|applemark|\{.*\}", re.IGNORECASE)
"""As a whole; what else many pictures of one camera share, `storage` finds."""


def without_words_of_machines(beside: Metadata) -> Metadata:
    """What a file beside a picture says that programs write: their words are no captions there,
    either, but a description."""
    of_machines = [text for text in beside.captions if is_of_machine(text)]
    if not of_machines:
        return beside
    return Metadata(tuple(text for text in beside.captions if text not in of_machines),
                    {**beside.meta, "description": clean_keywords(of_machines)})


def is_of_machine(text: str) -> bool:
    return _WRITTEN_BY_MACHINES.fullmatch(clean_text(text)) is not None
