"""Decodes bytes to upright RGB, and finds pictures inside files: frames, pages, tiles.

May import sources, metadata and the ground floor.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
