from .local import (
    ask_local as ask_local,
    connected as connected,
    is_own_socket as is_own_socket,
    socket_in as socket_in,
)
from .remote import Remote as Remote, connect as connect
