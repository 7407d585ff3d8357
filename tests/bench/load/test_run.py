import asyncio
from time import perf_counter

import aiohttp
import pytest

from bench.load.run import Result, load
from foreman.testing import Die, Script, StubOllama
from tests.bench.load.plans import plan


@pytest.mark.parametrize("stream", [True, False])
async def test_load_asks_as_often_as_told_and_counts_what_came_back(stream: bool) -> None:
    async with StubOllama() as stub:
        await load(plan(stub.url, stream=stream), result := Result())
        assert len(stub.ledger.on("/api/chat")) == 5
    assert (len(result.total), result.failures.total(), result.open) == (5, 0, 0)
    assert all(0 < first <= total for first, total in zip(result.first_byte, result.total, strict=True))


async def test_load_counts_failures_by_kind() -> None:
    async with StubOllama() as stub:
        bad = [Script(status=503), Script(die=Die.CLEAN, die_after_chunks=1), Script(die=Die.RST)]
        stub.script("*", bad)
        await load(plan(stub.url, clients=1), result := Result())
    assert len(result.total) == 2
    assert result.failures.keys() - {aiohttp.ClientOSError.__name__} == {"status 503", "an answer without its end"}
    assert result.failures.total() == 3


async def test_what_a_server_says_of_a_failure_is_kept() -> None:
    async with StubOllama(models=("llama3",)) as stub:
        await load(plan(stub.url, model="none"), result := Result())
    assert result.failures == {"status 404": 5}
    assert "none" in result.said["status 404"]


def test_what_a_server_says_cannot_harm_a_terminal() -> None:
    result = Result()
    result.failed("status 500", "\x1b[2J" + "x" * 1000)
    assert result.said["status 500"] == "[2J" + "x" * 196


async def test_load_ends_when_its_time_is_up_and_tells_how_far_it_is() -> None:
    told: list[int] = []
    result = Result()
    async with StubOllama() as stub:
        stub.script("*", Script(hold=0))
        await load(plan(stub.url, seconds=0.5), result, lambda: told.append(result.open))
    assert (result.open, result.ended) == (0, 0)
    assert max(told) == 2


async def test_what_there_is_when_it_is_stopped_can_be_shown() -> None:
    result = Result()
    async with StubOllama() as stub:
        stub.script("*", [Script(), Script(hold=0)])
        loading = asyncio.create_task(load(plan(stub.url, clients=1), result))
        await stub.ledger.held()
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading
    assert (result.open, len(result.total), result.ended) == (0, 1, 1)
    assert result.seconds > 0


async def test_the_key_is_sent_and_no_redirect_is_followed() -> None:
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await load(plan(f"http://127.0.0.1:{port}", clients=1, requests=1, key="secret"), result := Result())
    assert result.failures == {"status 307": 1}
    (head,) = heads
    assert b"\r\nAuthorization: Bearer secret\r\n" in head


async def test_a_heartbeat_is_no_first_byte() -> None:
    waited = 0.0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal waited
        await reader.readuntil(b"}}")
        asked = perf_counter()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n\n")
        for _ in range(200):  # the client lives in the same loop, and has heard of it by then
            await asyncio.sleep(0)
        waited = perf_counter() - asked
        writer.write(b'{"done":true} ')
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await load(plan(f"http://127.0.0.1:{port}", clients=1, requests=1), result := Result())
    assert result.first_byte[0] >= waited > 0
