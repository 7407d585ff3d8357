"""What is known of the target, how soon, and by how few questions."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import orjson
import pytest

from foreman.core.names import parse
from foreman.core.residency import Residency, Swap
from foreman.engine.poller import Poller
from foreman.engine.target import Target
from foreman.testing import Die, Script, StubOllama
from tests.engine.clock import BEGIN, HandClock
from tests.engine.looking import BROKEN, EVERY, HELD, LLAMA, PROBE_CAP, QWEN, asked, load, resident
from tests.engine.serving import target_at


@contextlib.asynccontextmanager
async def impatient(stub: StubOllama, clock: HandClock) -> AsyncIterator[Poller]:
    """A poller that does not ask patiently."""
    async with target_at(stub.url, probe=0.3) as target:
        yield Poller(target, clock, every=EVERY, probe_cap=PROBE_CAP, swap=Swap.EXCLUSIVE)


@contextlib.asynccontextmanager
async def running(poller: Poller) -> AsyncIterator[None]:
    task = asyncio.create_task(poller.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


# -- one look


async def test_nothing_is_known_before_the_first_look(poller: Poller) -> None:
    assert (poller.inventory, poller.reachable, poller.version, poller.ps) == (None, None, None, None)
    assert dict(poller.models.models) == {}
    assert not poller.residency.known
    assert not poller.stale


async def test_one_look_learns_all_there_is(stub: StubOllama, target: Target, poller: Poller, clock: HandClock) -> None:
    await load(stub, target, LLAMA)
    await poller.refresh()
    assert list(poller.models.models) == ["nomic-embed-text:latest", "qwen3:8b", "llama3:latest"]
    assert poller.models.tags == await target.get("/api/tags")
    assert orjson.loads(poller.version or b"") == {"version": "0.33.0"}
    assert orjson.loads(poller.ps or b"")["models"][0]["name"] == "llama3:latest"
    assert resident(poller) == ["llama3:latest"]
    assert poller.reachable
    assert poller.polled_at == pytest.approx(BEGIN, abs=0.1)
    assert poller.succeeded_at == pytest.approx(BEGIN, abs=0.1)
    clock.advance(7)
    assert poller.age() == pytest.approx(7, abs=0.1)


async def test_a_target_that_died_has_the_models_it_had(stub: StubOllama, poller: Poller, clock: HandClock) -> None:
    await poller.refresh()
    models, version = poller.models, poller.version
    stub.refuse()
    clock.advance(60)
    await poller.refresh()
    assert (poller.reachable, poller.stale) == (False, True)
    assert (poller.models, poller.version) == (models, version)
    assert poller.last_error is not None
    assert "cannot be reached" in poller.last_error
    assert poller.age() == pytest.approx(60, abs=0.1)
    assert (poller.polled_at or 0) - (poller.succeeded_at or 0) == pytest.approx(60, abs=0.1)


async def test_a_target_that_died_has_nothing_loaded_that_one_could_count_on(
    stub: StubOllama, target: Target, poller: Poller
) -> None:
    await load(stub, target, LLAMA)
    poller.loaded(LLAMA)
    await poller.look()
    stub.refuse()
    await poller.refresh()
    assert poller.residency == Residency()


async def test_a_target_that_comes_back_is_told_of(stub: StubOllama, poller: Poller) -> None:
    woken: list[bool | None] = []
    poller.came_back = lambda: woken.append(poller.reachable)
    stub.refuse()
    await poller.refresh()
    assert woken == []
    await stub.accept()
    await poller.refresh()
    assert woken == [True]
    assert (poller.last_error, poller.stale) == (None, False)


async def test_a_target_without_a_version_answers_nevertheless(stub: StubOllama, poller: Poller) -> None:
    stub.script("/api/version", Script(status=404))
    await poller.refresh()
    assert poller.reachable
    assert poller.version is None
    assert poller.models.find(parse("llama3")) is not None


@pytest.mark.parametrize("script", [HELD, Script(die=Die.FIN), Script(die=Die.RST), Script(raw=b"SSH-2.0\r\n\r\n")])
async def test_a_target_that_does_not_tell_its_version_is_down(
    stub: StubOllama, clock: HandClock, script: Script
) -> None:
    stub.script("/api/version", script)
    async with impatient(stub, clock) as poller:
        await poller.refresh()
    assert poller.reachable is False
    assert asked(stub, "/api/tags") == 0


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_list_that_cannot_be_read_leaves_the_last_one(
    stub: StubOllama, poller: Poller, clock: HandClock, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    await poller.refresh()
    models = poller.models
    stub.script("/api/tags", BROKEN[fault])
    clock.advance(60)
    await poller.refresh()
    assert poller.models is models
    assert poller.reachable
    assert poller.age() == pytest.approx(60, abs=0.1)
    assert [record.levelno for record in caplog.records if "list of models" in record.message] == [logging.WARNING]


@pytest.mark.parametrize("fault", ["an error", "no JSON", "no list", "strange entries"])
async def test_a_target_that_does_not_show_what_is_loaded_has_nothing_one_could_wait_for(
    stub: StubOllama, target: Target, poller: Poller, fault: str
) -> None:
    await load(stub, target, QWEN)
    await poller.refresh()
    stub.script("/api/ps", BROKEN[fault])
    await poller.refresh()
    assert poller.reachable
    assert (resident(poller), poller.residency.known) == ([], False)


async def test_silence_about_what_is_loaded_means_that_something_loads(
    stub: StubOllama, target: Target, clock: HandClock
) -> None:
    await load(stub, target, LLAMA)
    async with impatient(stub, clock) as poller:
        await poller.refresh()
        stub.script("/api/ps", HELD)
        await poller.refresh()
        assert poller.reachable
        assert resident(poller) == ["llama3:latest"]


# -- again and again


async def test_it_looks_at_regular_times(stub: StubOllama, poller: Poller, clock: HandClock) -> None:
    async with running(poller):
        for looks in range(1, 5):
            assert await clock.waits.get() == EVERY
            assert asked(stub, "/api/version") == looks
            clock.advance(EVERY)


async def test_soon_is_now(stub: StubOllama, poller: Poller, clock: HandClock) -> None:
    async with running(poller):
        await clock.waits.get()
        poller.soon()
        await clock.waits.get()
    assert asked(stub, "/api/version") == 2


async def test_a_soon_during_a_look_is_not_lost(stub: StubOllama, poller: Poller, clock: HandClock) -> None:
    stub.script("/api/tags", [HELD])
    async with running(poller):
        await stub.ledger.held()
        poller.soon()
        poller.soon()
        stub.release("/api/tags")
        await clock.waits.get()
    assert asked(stub, "/api/tags") == 2


async def test_a_target_that_is_down_is_probed_at_once_and_then_ever_more_rarely(
    stub: StubOllama, poller: Poller, clock: HandClock
) -> None:
    async with running(poller):
        await clock.waits.get()
        stub.refuse()
        poller.lost("it broke")
        for pause in (0.5, 1.0, 2.0, PROBE_CAP):
            assert await clock.waits.get() == pause
            clock.advance(pause)
        assert await clock.waits.get() == PROBE_CAP
        await stub.accept()
        clock.advance(PROBE_CAP)
        assert await clock.waits.get() == EVERY
        assert poller.reachable


async def test_probes_are_never_rarer_than_looks(stub: StubOllama, target: Target, clock: HandClock) -> None:
    poller = Poller(target, clock, every=0.7, probe_cap=60.0, swap=Swap.EXCLUSIVE)
    stub.refuse()
    poller.lost("it broke")
    async with running(poller):
        for pause in (0.5, 0.7, 0.7):
            assert await clock.waits.get() == pause
            clock.advance(pause)


async def test_what_others_notice_is_probed_at_once(stub: StubOllama, poller: Poller, clock: HandClock) -> None:
    async with running(poller):
        await clock.waits.get()
        poller.lost("it broke in the middle of an answer")
        assert (poller.reachable, poller.last_error) == (False, "it broke in the middle of an answer")
        assert await clock.waits.get() == EVERY
        assert (poller.reachable, poller.last_error) == (True, None)
    assert asked(stub, "/api/version") == 2


async def test_a_target_that_hangs_is_down_until_it_answers(stub: StubOllama, clock: HandClock) -> None:
    async with impatient(stub, clock) as poller, running(poller):
        await clock.waits.get()
        stub.freeze()
        poller.soon()
        await clock.waits.get()
        assert poller.reachable is False
        stub.thaw()
        poller.soon()
        await clock.waits.get()
        assert poller.reachable


async def test_it_says_in_a_word_how_it_stands(poller: Poller) -> None:
    await poller.refresh()
    assert repr(poller) == "<Poller reachable=True, 3 models, 0 loaded>"
