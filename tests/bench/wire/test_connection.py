import asyncio
from collections.abc import AsyncIterator

import pytest

from bench.wire.connection import AnswerVoid, Connection, Exchange, Request, connected
from foreman.testing import Die, Script, StubOllama

CHAT = b'{"model":"llama3","messages":[{"role":"user","content":"x"}],"stream":%s}'


@pytest.fixture
async def stub() -> AsyncIterator[StubOllama]:
    async with StubOllama() as started:
        yield started


class Asking:
    """One connection, one answer at a time."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()

    async def open(self, url: str) -> None:
        self.connection: Connection
        self.connection, self.host = await connected(
            url, lambda exchange: self.answer.set_result(exchange), lambda error: self.answer.set_exception(error)
        )

    async def ask(self, request: Request) -> Exchange:
        self.answer = asyncio.get_running_loop().create_future()
        self.connection.send(request.wire(self.host))
        return await self.answer


@pytest.fixture
async def asking(stub: StubOllama) -> AsyncIterator[Asking]:
    client = Asking()
    await client.open(stub.url)
    yield client
    client.connection.close()


async def test_both_kinds_of_body_are_read_to_their_end_on_one_connection(stub: StubOllama, asking: Asking) -> None:
    for stream in (b"true", b"false", b"true"):
        exchange = await asking.ask(Request("POST", "/api/chat", CHAT % stream))
        times = [at for at, _ in exchange.pieces]
        assert [exchange.sent, *times] == sorted([exchange.sent, *times])
        assert b'"done":true' in b"".join(piece for _, piece in exchange.pieces)
    assert len(stub.ledger.on("/api/chat")) == 3


async def test_bytes_that_come_one_by_one_are_read_too(stub: StubOllama, asking: Asking) -> None:
    stub.script("*", Script(slices=(1,), tokens=1))
    exchange = await asking.ask(Request("POST", "/api/chat", CHAT % b"true"))
    assert b"".join(piece for _, piece in exchange.pieces).endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("script", [Script(status=503), Script(die=Die.FIN, die_after_chunks=1), Script(die=Die.RST)])
async def test_an_answer_that_is_no_good_voids_the_figures(stub: StubOllama, asking: Asking, script: Script) -> None:
    stub.script("*", script)
    with pytest.raises(AnswerVoid):
        await asking.ask(Request("POST", "/api/chat", CHAT % b"true"))


async def test_a_connection_that_was_closed_meanwhile_is_no_hang(stub: StubOllama, asking: Asking) -> None:
    await asking.ask(Request("GET", "/api/version"))
    asking.connection.close()
    with pytest.raises(AnswerVoid, match="closed"):
        await asking.ask(Request("GET", "/api/version"))


def test_a_request_has_its_headers_and_its_length() -> None:
    wire = Request("POST", "/jobs", b"{}", (("Prefer", "wait=1"),)).wire("h:1")
    assert wire == (
        b"POST /jobs HTTP/1.1\r\nHost: h:1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
        b"Prefer: wait=1\r\n\r\n{}"
    )
    assert Request("GET", "/jobs").wire("h:1") == b"GET /jobs HTTP/1.1\r\nHost: h:1\r\n\r\n"
