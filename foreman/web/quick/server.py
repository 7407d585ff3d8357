"""All connections on the short way: made for whoever connects, and ended together."""

from foreman.web.quick.connection import QuickConnection
from foreman.web.quick.shared import Shared


class QuickServer:
    """The protocol factory of a listening socket."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def __repr__(self) -> str:
        return f"<QuickServer {len(self._shared.connections)} connections>"

    def __call__(self) -> QuickConnection:
        return QuickConnection(self._shared)

    async def close(self, seconds: float) -> None:
        """End all connections: the idle ones now, the others with their answer, and what is left after `seconds`."""
        shared = self._shared
        shared.closing = True
        for connection in list(shared.connections):
            connection.close()
        await shared.empty(seconds)
        for connection in list(shared.connections):
            connection.abort()
