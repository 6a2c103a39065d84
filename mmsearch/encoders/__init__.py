"""Makes unit vectors of one space from pictures and texts; `load_encoder` finds a model by name.

May import media and the ground floor.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
