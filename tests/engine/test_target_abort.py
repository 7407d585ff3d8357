"""Letting go of a request: what the target hears of it, and when foreman takes it for done."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import uvloop

from foreman.engine.target import Target
from foreman.testing import StubOllama
from tests.engine.serving import (
    CHAT,
    CHUNKED,
    PATIENCE,
    SHORT,
    Slow,
    full,
    heard,
    payload,
    rest,
    serving,
    talking_to,
    target_at,
)

pytestmark = pytest.mark.usefixtures("carried")


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    """The way to close one side of a connection differs between the loops."""
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner


BEGUN = {"before the head": (), "after the head": (CHUNKED,), "in the middle": (CHUNKED, b"3\r\nabc\r\n")}


@pytest.mark.parametrize("begun", BEGUN)
def test_abort_waits_until_the_target_has_let_go(runner: asyncio.Runner, begun: str) -> None:
    async def run() -> None:
        slow = Slow(*BEGUN[begun])
        async with talking_to(slow) as target:
            exchange = target.exchange(payload())
            await slow.asked.wait()
            if slow.begun:
                await exchange.head()
            aborting = asyncio.create_task(exchange.abort(PATIENCE))
            await slow.left.wait()
            await asyncio.sleep(0)
            assert not aborting.done()
            slow.returns.set()
            assert await aborting

    runner.run(run())


@pytest.mark.parametrize("begun", BEGUN)
def test_abort_gives_up_on_a_target_that_does_not_let_go(runner: asyncio.Runner, begun: str) -> None:
    async def run() -> None:
        slow = Slow(*BEGUN[begun])
        async with talking_to(slow) as target:
            exchange = target.exchange(payload())
            await slow.asked.wait()
            assert not await exchange.abort(0.01)
            await slow.left.wait()

    runner.run(run())


def test_abort_throws_away_what_still_comes(runner: asyncio.Runner) -> None:
    sent = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await heard(reader)
        writer.write(CHUNKED)
        for _ in range(100):
            writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            await writer.drain()
            sent += 65536

    async def run() -> None:
        async with talking_to(answer) as target:
            exchange = target.exchange(payload())
            await exchange.head()
            assert await exchange.abort(PATIENCE)
            assert sent == 6_553_600

    runner.run(run())


def test_abort_before_there_is_a_connection_sends_nothing(runner: asyncio.Runner) -> None:
    async def run() -> None:
        with ExitStack() as stack:
            async with target_at(full(stack)) as target, asyncio.timeout(PATIENCE):
                at_once, connecting = target.exchange(payload()), target.exchange(payload())
                assert await at_once.abort(60.0)
                await connecting.head(0.01)
                assert await connecting.abort(60.0)

    runner.run(run())


async def test_abort_after_the_end_is_no_wait(stub: StubOllama, target: Target) -> None:
    exchange = target.exchange(payload(json.dumps(CHAT).encode()))
    await exchange.head()
    await rest(exchange)
    assert await exchange.abort(0.0)


async def test_abort_and_close_may_come_again_and_in_any_order(stub: StubOllama, target: Target) -> None:
    for end in ("abort", "close"):
        exchange = target.exchange(payload(json.dumps(CHAT).encode()))
        await exchange.head()
        if end == "abort":
            assert await exchange.abort(PATIENCE)
        exchange.close()
        exchange.close()
        assert await exchange.abort(PATIENCE)


async def test_a_close_is_heard_by_the_target() -> None:
    slow = Slow(CHUNKED)
    async with talking_to(slow) as target:
        exchange = target.exchange(payload())
        await exchange.head()
        exchange.close()
        await slow.left.wait()


async def test_a_close_before_the_head_is_heard_too() -> None:
    slow = Slow()
    async with talking_to(slow) as target:
        exchange = target.exchange(payload())
        await slow.asked.wait()
        exchange.close()
        await slow.left.wait()


async def test_leaving_the_target_closes_all_connections() -> None:
    ended = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard(reader)
        writer.write(SHORT)
        await reader.read()
        ended.set()

    async with serving(answer) as url:
        async with target_at(url) as target:
            await target.get("/api/ps")
            assert not ended.is_set()
        await ended.wait()
