"""Measures recall@k of a model or a collection, with intervals.

May import every room below.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
