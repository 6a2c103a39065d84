"""Collections over HTTP: an API for programs, a page for people. FastAPI on uvicorn.

May import every room below, but not the command line, which starts it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
