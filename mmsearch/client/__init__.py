"""Asking a server as one asks a `Collection`: queries out, hits in.

May import every room below; loads neither NumPy nor HTTPX before they are needed.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
