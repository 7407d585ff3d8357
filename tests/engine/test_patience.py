"""How long a silent target is waited for, and how it is left."""

import asyncio
import logging
from collections.abc import AsyncIterator

import orjson
import pytest

from foreman.core.errors import TargetLost, TargetSilent
from foreman.core.job import Payload
from foreman.core.residency import Swap
from foreman.core.retry import RetryPolicy
from foreman.engine.clock import SystemClock
from foreman.engine.exchange import Exchange
from foreman.engine.patience import DEAD_PROBES, Limits, Patience
from foreman.engine.poller import Poller
from foreman.engine.target import Target
from foreman.testing import Die, Ending, Script, StubOllama
from tests.engine.serving import target_at

CHAT = "/api/chat"
BODY = orjson.dumps({"model": "llama3", "messages": [{"role": "user", "content": "x"}]})
PROBE = 0.02


@pytest.fixture
async def impatient(stub: StubOllama) -> AsyncIterator[Target]:
    """A target whose probes must be answered at once."""
    async with target_at(stub.url, probe=PROBE) as target:
        yield target


def patience(target: Target, first_byte: float = 60.0) -> Patience:
    limits = Limits(first_byte, 60.0, PROBE, "30m", Swap.EXCLUSIVE, RetryPolicy(1.0, 60.0))
    poller = Poller(target, SystemClock(), every=60.0, probe_cap=PROBE, swap=Swap.EXCLUSIVE)
    return Patience(target, poller, SystemClock(), limits)


def exchange(target: Target) -> Exchange:
    return target.exchange(Payload(CHAT, (), BODY))


def probes(stub: StubOllama) -> int:
    return len(stub.ledger.on("/api/version"))


@pytest.mark.parametrize("first_byte", [60.0, PROBE])
async def test_a_target_that_answers_probes_is_waited_for(stub: StubOllama, target: Target, first_byte: float) -> None:
    stub.script(CHAT, Script(hold=0))
    waiting = patience(target, first_byte)
    async with waiting.ending(exchange(target)) as sent:
        head = asyncio.create_task(waiting.head(sent))
        await stub.ledger.wait_for(lambda _: probes(stub) > DEAD_PROBES + 2)
        assert not head.done()
        stub.release(CHAT)
        assert (await head).status == 200
        assert (await waiting.first(sent)).startswith(b"{")
    assert stub.ledger.on(CHAT)[0].ending is not Ending.OPEN


@pytest.mark.parametrize(("first_byte", "asked"), [(60.0, DEAD_PROBES), (PROBE, 1)])
async def test_a_dead_one_is_given_up(stub: StubOllama, impatient: Target, first_byte: float, asked: int) -> None:
    stub.freeze()
    waiting = patience(impatient, first_byte)
    with pytest.raises(TargetSilent):
        async with waiting.ending(exchange(impatient)) as sent:
            await waiting.head(sent)
    assert probes(stub) == asked
    await stub.ledger.wait_for(lambda ledger: ledger.on(CHAT)[0].ending is Ending.CLIENT_GONE)


async def test_what_ends_before_it_begins_is_lost(stub: StubOllama, target: Target) -> None:
    waiting = patience(target)
    for die in (Die.FIN, Die.CLEAN):
        stub.script(CHAT, Script(die=die, die_after_bytes=0))
        async with waiting.ending(exchange(target)) as sent:
            await waiting.head(sent)
            with pytest.raises(TargetLost):
                await waiting.first(sent)


async def test_the_rest_of_an_error(stub: StubOllama, target: Target) -> None:
    waiting = patience(target)
    stub.script(CHAT, Script(status=500, error="some words", slices=(3,)))
    async with waiting.ending(exchange(target)) as sent:
        assert (await waiting.head(sent)).status == 500
        assert orjson.loads(await waiting.rest(sent)) == {"error": "some words"}
    stub.script(CHAT, Script(status=500, error="some words", extra_length=5))
    async with waiting.ending(exchange(target)) as sent:
        await waiting.head(sent)
        with pytest.raises(TargetLost):
            await waiting.rest(sent)


async def test_leaving_in_the_middle_lets_the_target_stop(
    stub: StubOllama, target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    stub.script(CHAT, Script(hold=2))
    waiting = patience(target)
    with caplog.at_level(logging.WARNING):
        async with waiting.ending(exchange(target)) as sent:
            await waiting.head(sent)
            await waiting.first(sent)
    # The target has let go when the block ends, and what is loaded was looked at after that.
    assert stub.ledger.on(CHAT)[0].ending is Ending.CLIENT_GONE
    assert stub.ledger.entries[-1].path == "/api/ps"
    assert not caplog.records
