"""The listening socket: where it is, what it refuses to share, and what it never says."""

import socket

import pytest
from aiohttp import web

from foreman.core.addresses import Address
from foreman.core.errors import StartupError
from foreman.web.server import listening
from tests.e2e.raw import ask, connected


async def plain(_: web.Request) -> web.Response:
    return web.Response(text="hello")


def app() -> web.Application:
    app = web.Application()
    app.router.add_get("/", plain)
    return app


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


IPV6 = pytest.param("::1", marks=pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", IPV6])
async def test_it_says_where_it_listens(host: str) -> None:
    async with listening(app(), Address(host, 0)) as url:
        assert not url.endswith(":0")
        assert (await ask(url, "GET /")).body == b"hello"


async def test_a_port_in_use_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartupError, match=rf"cannot listen on 127\.0\.0\.1:{port}: "):
            async with listening(app(), Address("127.0.0.1", port)):
                pass


async def test_an_address_of_another_machine_is_one_clear_line_too() -> None:
    with pytest.raises(StartupError, match=r"cannot listen on 192\.0\.2\.1:0: "):
        async with listening(app(), Address("192.0.2.1", 0)):
            pass


async def test_what_cannot_be_parsed_is_answered_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with listening(app(), Address("127.0.0.1", 0)) as url:
        for junk in (b"my secret prompt\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nkey: " + b"s" * 70_000 + b"\r\n\r\n"):
            async with connected(url) as connection:
                await connection.send(junk)
                assert (await connection.answer()).status == 400
    assert not caplog.records


async def test_a_mistake_outside_of_any_handler_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fails(_: web.BaseRequest, __: web.StreamResponse) -> None:
        raise ZeroDivisionError

    broken = app()
    broken.on_response_prepare.append(fails)
    async with listening(broken, Address("127.0.0.1", 0)) as url, connected(url) as connection:
        await connection.request("GET /")
        await connection.closed()
    assert caplog.records
