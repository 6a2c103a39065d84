"""Metadata of a picture as typed fields: EXIF, XMP, IPTC, place names.

May import the ground floor.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
