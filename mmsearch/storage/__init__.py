"""What is on disk, and THE commit: catalog, segments, lock.

May import indexes and the ground floor.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
