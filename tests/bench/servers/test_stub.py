import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest

from bench.parts.workloads import chat, completion, embedding, generate
from bench.servers.answers import STAMP, Ask
from bench.servers.stub import Board, StubProtocol
from bench.servers.subjects import Target
from bench.wire.connection import Exchange, Request
from bench.wire.drive import Crowd


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
async def target(board: Board) -> AsyncIterator[Target]:
    server = await asyncio.get_running_loop().create_server(lambda: StubProtocol(board), "127.0.0.1", 0)
    async with server:
        yield Target(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")


def body(exchange: Exchange) -> bytes:
    return b"".join(piece for _, piece in exchange.pieces)


async def one(target: Target, request: Request) -> bytes:
    async with Crowd(target.url, request, 1) as crowd:
        (exchange,) = await crowd.ask(0.0)
    return body(exchange)


@pytest.mark.parametrize(
    ("request_", "stamps"),
    [
        (chat(Ask(chunks=3), stream=True), 4),
        (chat(Ask(chunks=3, gap_ms=1), stream=True), 4),
        (chat(Ask(first_ms=2, chunks=3), stream=False), 1),
        (generate(Ask(chunks=2), 300_000), 3),
        (completion(Ask(first_ms=1)), 1),
        (embedding(Ask()), 1),
    ],
    ids=["chat", "gap", "whole", "large", "openai", "embed"],
)
async def test_a_request_is_answered_as_it_asks(target: Target, request_: Request, stamps: int) -> None:
    found = [(int(arrived), int(written)) for arrived, written in STAMP.findall(await one(target, request_))]
    assert len(found) == stamps
    assert len({arrived for arrived, _ in found}) == 1
    assert [written for _, written in found] == sorted(written for _, written in found)
    ((arrived, last),) = await target.marks()
    assert arrived == found[0][0]
    assert last >= found[-1][1]
    assert await target.marks() == []


async def test_thinking_and_gaps_take_their_time(target: Target) -> None:
    """A timer of whole milliseconds may be one early."""
    said = STAMP.findall(await one(target, chat(Ask(first_ms=20, chunks=2, gap_ms=10), stream=True)))
    (arrived, first), (_, second), (_, end) = [tuple(map(int, pair)) for pair in said]
    assert first - arrived >= 19_000_000
    assert second - first >= 9_000_000
    assert end - second >= 9_000_000


async def test_requests_without_a_prompt_of_the_bench_are_loads(target: Target) -> None:
    said = await one(target, Request("POST", "/api/generate", b'{"model":"bench:latest","keep_alive":"30m"}'))
    assert orjson.loads(said.partition(b"\r\n\r\n")[2])["done_reason"] == "load"
    assert await target.marks() == []


async def test_answers_are_held_until_they_are_released(target: Target) -> None:
    await target.hold()
    async with Crowd(target.url, chat(Ask(), stream=True), 3) as crowd:
        asking = asyncio.create_task(crowd.ask(0.0))
        for path in ("/api/version", "/api/tags"):
            assert b" 200 OK" in await one(target, Request("GET", path))
        assert not asking.done()
        await target.release()
        assert len(await asking) == 3


async def test_a_body_in_chunks_is_read_too(target: Target) -> None:
    text = chat(Ask(chunks=1), stream=True).body
    parts = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (text[:50], text[50:]))
    reader, writer = await asyncio.open_connection("127.0.0.1", int(target.url.rpartition(":")[2]))
    head = b"POST /api/chat HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    for piece in (head, parts, b"0\r\n\r\n"):
        writer.write(piece)
        await writer.drain()
    assert b'"done":true' in await reader.readuntil(b"0\r\n\r\n")
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_leaves_takes_its_answer_along(target: Target, board: Board) -> None:
    await target.hold()
    async with Crowd(target.url, chat(Ask(), stream=True), 1) as crowd:
        asking = asyncio.create_task(crowd.ask(0.0))
        while not board.held:
            await one(target, Request("GET", "/"))
        asking.cancel()
        await asyncio.wait((asking,))
    await one(target, Request("GET", "/"))
    await target.release()
    await one(target, chat(Ask(), stream=True))
    assert len(await target.marks()) == 1
