"""Makes segments from items: what is new, what is encoded, what is merged and dropped.

May import every room from metadata to encoders.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
