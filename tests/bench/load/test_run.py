import asyncio

import aiohttp
import pytest

from bench.load.run import Result, load
from foreman.testing import Die, Script, StubOllama
from tests.bench.load.plans import plan


@pytest.mark.parametrize("stream", [True, False])
async def test_load_asks_as_often_as_told_and_counts_what_came_back(stream: bool) -> None:
    async with StubOllama() as stub:
        result = await load(plan(stub.url, stream=stream))
        assert len(stub.ledger.on("/api/chat")) == 5
    assert (len(result.total), result.failures.total(), result.timed_out) == (5, 0, False)
    assert all(0 < first <= total for first, total in zip(result.first_byte, result.total, strict=True))


async def test_load_counts_failures_by_kind() -> None:
    async with StubOllama() as stub:
        bad = [Script(status=503), Script(die=Die.CLEAN, die_after_chunks=1), Script(die=Die.RST)]
        stub.script("*", bad)
        result = await load(plan(stub.url, clients=1))
    assert len(result.total) == 2
    assert result.failures.keys() - {aiohttp.ClientOSError.__name__} == {"status 503", "no end in sight"}
    assert result.failures.total() == 3


async def test_load_ends_when_its_time_is_up_and_tells_how_far_it_is() -> None:
    told: list[int] = []

    def tell(result: Result) -> None:
        told.append(result.open)

    async with StubOllama() as stub:
        stub.script("*", Script(hold=0))
        result = await load(plan(stub.url, seconds=0.5), tell)
    assert result.timed_out
    assert result.open == 0
    assert max(told) == 2


async def test_a_heartbeat_is_no_first_byte() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}}")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n\n")
        await asyncio.sleep(0.05)
        writer.write(b'{"done":true} ')
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        result = await load(plan(f"http://127.0.0.1:{port}", clients=1, requests=1))
    assert result.first_byte[0] >= 0.05
