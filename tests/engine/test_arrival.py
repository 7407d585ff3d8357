"""Every byte comes before the break, and every break is told: on real sockets, with a target that misbehaves."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from foreman.core.errors import TargetCut
from foreman.engine.arrival import arriving, notice_close

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ABC = b"3\r\nabc\r\n"

Act = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def answered(act: Act) -> AsyncIterator[aiohttp.ClientResponse]:
    """An answer whose head and first chunk have come; then the target does `act`."""
    acted = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + ABC)
        await acted.wait()
        await act(writer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = "http://{}:{}".format(*server.sockets[0].getsockname())
    async with server, aiohttp.ClientSession() as session, asyncio.timeout(10):
        response = await session.get(url)
        notice_close(response)
        assert await arriving(response) == b"abc"
        acted.set()
        try:
            yield response
        finally:
            response.close()


def sends(data: bytes, *, then_closes: bool = False, then_aborts: bool = False) -> Act:
    async def act(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        if then_aborts:
            writer.transport.abort()
        if then_closes:
            writer.close()

    return act


async def everything(response: aiohttp.ClientResponse) -> bytes:
    got = b""
    while chunk := await arriving(response):
        got += chunk
    return got


async def closed(response: aiohttp.ClientResponse) -> None:
    """Wait until the connection is gone, with nobody reading meanwhile."""
    assert response.connection is not None
    assert response.connection.protocol is not None
    if (future := response.connection.protocol.closed) is not None:
        await asyncio.wait((future,))


async def test_a_whole_answer_ends() -> None:
    async with answered(sends(ABC + b"0\r\n\r\n")) as response:
        assert await everything(response) == b"abc"


BROKEN = {
    "closed": sends(ABC, then_closes=True),
    "closed inside a chunk": sends(b"6\r\nabc", then_closes=True),
    "no chunk": sends(ABC + b"HTTP/1.1 500 Oops\r\n\r\n"),
}


@pytest.mark.parametrize("act", BROKEN.values(), ids=BROKEN.keys())
async def test_a_break_is_told_to_who_waits_for_bytes(act: Act) -> None:
    async with answered(act) as response:
        got = await arriving(response)
        with pytest.raises(TargetCut):
            got += await everything(response)
        assert got == b"abc"


@pytest.mark.parametrize("act", BROKEN.values(), ids=BROKEN.keys())
async def test_what_arrived_before_a_break_comes_first_to_who_was_busy(act: Act) -> None:
    async with answered(act) as response:
        await closed(response)
        assert await arriving(response) == b"abc"
        for _ in range(2):
            with pytest.raises(TargetCut, match="broke off"):
                await arriving(response)


async def test_a_reset_is_told_and_leaves_nothing_unlooked_at() -> None:
    async with answered(sends(b"", then_aborts=True)) as response:
        with pytest.raises(TargetCut):
            await everything(response)


async def test_an_answer_that_is_over_needs_no_watching() -> None:
    async with answered(sends(b"0\r\n\r\n")) as response:
        assert await everything(response) == b""
        notice_close(response)
        assert await arriving(response) == b""
