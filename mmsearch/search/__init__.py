"""A query to hits: compose, search, rank, tell how likely a hit is.

May import every room from metadata to ingest.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
