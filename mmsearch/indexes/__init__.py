"""Nearest neighbours among vectors, all through FAISS; and the merging of results.

An index is built once and never changed: adding to a memory-mapped one aborts the process.

May import the ground floor.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
