"""Trains projection heads on pairs of pictures and captions.

May import evaluation and every room below.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
