from .run import serve as serve
from .settings import Settings as Settings
from .stdio import serve_agent as serve_agent
