"""Finds the hits of a query: compose, search, rank, tell how likely each is a match.

May import every room from metadata to ingest.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
