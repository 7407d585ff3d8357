import asyncio
import gc
from itertools import pairwise

import pytest

from bench.wire import drive
from bench.wire.connection import AnswerVoid, Request
from bench.wire.drive import Crowd
from foreman.testing import Script, StubOllama

VERSION = Request("GET", "/api/version")
CHAT = Request("POST", "/api/chat", b'{"model":"llama3","messages":[{"role":"user","content":"x"}]}')


async def test_every_client_asks_once_and_then_until_the_time_is_up() -> None:
    async with StubOllama() as stub, Crowd(stub.url, VERSION, 3) as crowd:
        assert len(await crowd.ask(0.0)) == 3
        assert len(stub.ledger.on("/api/version")) == 3
        exchanges = await crowd.ask(0.05)
        assert len(stub.ledger.on("/api/version")) == 3 + len(exchanges)
        assert len(exchanges) >= 3


async def test_a_client_thinks_between_its_requests() -> None:
    async with StubOllama() as stub, Crowd(stub.url, VERSION, 1, think=0.02) as crowd:
        exchanges = await crowd.ask(0.05)
    times = [exchange.sent for exchange in exchanges]
    # A timer may fire a millisecond early, for its loop counts in whole ones.
    assert all(later - earlier >= 18_000_000 for earlier, later in pairwise(times))


async def test_clients_can_come_one_after_another() -> None:
    async with StubOllama() as stub, Crowd(stub.url, VERSION, 3) as crowd:
        sent = [exchange.sent for exchange in await crowd.ask(0.0, apart=0.02)]
    assert all(later - earlier >= 18_000_000 for earlier, later in pairwise(sent))


async def test_one_bad_answer_voids_the_turn() -> None:
    async with StubOllama() as stub, Crowd(stub.url, CHAT, 2) as crowd:
        stub.script("*", [Script(), Script(status=500)])
        with pytest.raises(AnswerVoid, match="500"):
            await crowd.ask(5.0)
    assert gc.isenabled()


async def test_an_answer_that_never_comes_is_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drive, "PATIENCE", 0.05)
    async with StubOllama() as stub, Crowd(stub.url, CHAT, 1) as crowd:
        stub.script("*", Script(hold=0))
        with pytest.raises(AnswerVoid, match="no answer"):
            await crowd.ask(0.0)


async def test_clients_that_shall_rest_ask_no_more() -> None:
    async with StubOllama() as stub, Crowd(stub.url, VERSION, 2) as crowd:
        asking = asyncio.create_task(crowd.ask(60.0))
        await stub.ledger.wait_for(lambda ledger: len(ledger.on("/api/version")) >= 4)
        crowd.rest()
        assert len(await asking) == len(stub.ledger.on("/api/version"))


def test_the_collector_works_again_when_the_last_of_several_is_done() -> None:
    with drive.no_collector():
        with drive.no_collector():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


async def test_the_collector_rests_while_clients_ask() -> None:
    async with StubOllama() as stub, Crowd(stub.url, CHAT, 1) as crowd:
        stub.script("*", Script(hold=0))
        asking = asyncio.create_task(crowd.ask(0.0))
        await stub.ledger.held()
        assert not gc.isenabled()
        stub.scripts.clear()
        await asking
    assert gc.isenabled()
