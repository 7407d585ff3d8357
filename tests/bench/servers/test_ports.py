import socket

from bench.servers.ports import free_port


def test_somebody_can_listen_there() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as server:
        assert server.getsockname()[1] == port
