"""Ports for what has to be told where to listen before it starts."""

import socket


def free_port() -> int:
    """A loopback port that nobody has at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
