"""Exchanges on a kept connection that are cancelled or given up, and what the target sees of it."""

import asyncio
from contextlib import ExitStack

import pytest

from foreman.engine.exchange import Exchange
from tests.engine.flowing import MUCH, Flood, Phase, begun, wire_of
from tests.engine.loops import on_both_loops
from tests.engine.serving import (
    PATIENCE,
    full,
    payload,
    talking_to,
    target_at,
    until,
)

PHASES = ("sending", "waiting for the head", "in the head", "in the body")


async def use(exchange: Exchange) -> None:
    """As the worker does: cancelled at any await, it lets go at once."""
    try:
        await exchange.head()
        await exchange.pump(lambda _: None, 2 * PATIENCE)
    finally:
        exchange.close()


@pytest.mark.parametrize("phase", PHASES)
@on_both_loops
async def test_a_cancelled_exchange_is_seen_by_the_target(phase: str) -> None:
    server = Phase(phase)
    async with talking_to(server) as target:
        using = asyncio.create_task(use(target.exchange(payload(server.body))))
        await server.reached.wait()
        using.cancel()
        with pytest.raises(asyncio.CancelledError):
            await using
        await server.left.wait()
        await until(lambda: not target._wires._open)


@pytest.mark.parametrize("phase", PHASES)
@on_both_loops
async def test_an_exchange_that_is_given_up_is_seen_by_the_target(phase: str) -> None:
    server = Phase(phase)
    async with talking_to(server) as target:
        exchange = begun(target, server.body)
        await server.reached.wait()
        assert await exchange.abort(PATIENCE)
        await server.left.wait()
        assert (await wire_of(exchange)).closed.done() or phase == "sending"


@on_both_loops
async def test_what_was_not_sent_wholly_is_given_up_without_a_wait() -> None:
    """The target does not even read, so nothing it could say would be worth a wait."""
    server = Phase("sending")
    async with talking_to(server) as target:
        exchange = begun(target, bytes(MUCH))
        await server.reached.wait()
        sending = (await wire_of(exchange))._sending
        assert sending is not None
        assert await exchange.abort(0.0)
        with pytest.raises(asyncio.CancelledError):
            await sending
        await server.left.wait()


@on_both_loops
async def test_giving_up_while_connecting_opens_nothing() -> None:
    with ExitStack() as stack:
        async with target_at(full(stack)) as target:
            aborted, closed, cancelled = begun(target), begun(target), begun(target)
            using = asyncio.create_task(use(cancelled))
            await asyncio.sleep(0)
            assert await aborted.abort(60.0)
            closed.close()
            using.cancel()
            with pytest.raises(asyncio.CancelledError):
                await using
            for exchange in (aborted, closed, cancelled):
                assert exchange._opening is not None
                with pytest.raises(asyncio.CancelledError):
                    await exchange._opening
            assert not target._wires._open


@on_both_loops
async def test_giving_up_a_held_back_answer_lets_it_flow_until_the_target_has_closed() -> None:
    flood = Flood()
    async with talking_to(flood) as target:
        exchange = begun(target)
        await exchange.head(PATIENCE)
        transport = (await wire_of(exchange))._transport
        assert transport is not None
        await until(lambda: not transport.is_reading())
        waiting = exchange._waiting_bytes
        assert await exchange.abort(PATIENCE)
        assert flood.sent == MUCH
        assert exchange._waiting_bytes == waiting
