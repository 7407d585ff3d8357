"""Looks that many share, and looks that something has overtaken."""

import asyncio
import contextlib

import pytest

from foreman.core.names import parse
from foreman.core.residency import Residency, Swap
from foreman.engine.poller import Poller
from foreman.engine.target import Target
from foreman.testing import Die, Script, StubModel, StubOllama
from tests.engine.clock import HandClock
from tests.engine.looking import BROKEN, EVERY, HELD, LLAMA, PROBE_CAP, QWEN, asked, load, resident

# -- few questions


async def test_a_hundred_who_ask_at_once_share_one_look(stub: StubOllama, poller: Poller) -> None:
    await asyncio.gather(*(poller.refresh() for _ in range(100)))
    assert [asked(stub, path) for path in ("/api/version", "/api/tags", "/api/ps")] == [1, 1, 1]
    await asyncio.gather(*(poller.look() for _ in range(100)))
    assert asked(stub, "/api/ps") == 2


async def test_a_look_under_way_is_that_of_everybody(stub: StubOllama, poller: Poller) -> None:
    """Two at once could come back in the other order, and the older would be taken for the newer."""
    stub.script("/api/ps", HELD)
    looking = asyncio.create_task(poller.look())
    await stub.ledger.held()
    refreshing = asyncio.create_task(poller.refresh())
    await stub.ledger.wait_for(lambda ledger: ledger.on("/api/tags"))
    stub.release("/api/ps")
    await asyncio.gather(looking, refreshing)
    assert asked(stub, "/api/ps") == 1


async def test_who_gives_up_waiting_takes_the_look_from_nobody(stub: StubOllama, poller: Poller) -> None:
    stub.script("/api/tags", HELD)
    first, second = asyncio.create_task(poller.refresh()), asyncio.create_task(poller.refresh())
    await stub.ledger.held()
    first.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await first
    stub.release("/api/tags")
    await second
    assert poller.inventory is not None
    assert asked(stub, "/api/tags") == 1


async def test_anew_is_not_content_with_a_question_already_under_way(stub: StubOllama, poller: Poller) -> None:
    stub.script("/api/tags", [HELD])
    under_way = asyncio.create_task(poller.refresh())
    await stub.ledger.held()
    anew = [asyncio.create_task(poller.refresh(anew=True)) for _ in range(3)]
    joined = asyncio.create_task(poller.refresh())
    await asyncio.sleep(0)
    # What the target will say was decided when it was asked; what it has by now is another matter.
    stub.library.add(StubModel.parse("fresh:1b"))
    stub.release("/api/tags")
    await asyncio.gather(under_way, joined, *anew)
    assert poller.models.find(parse("fresh:1b")) is not None
    assert asked(stub, "/api/tags") == 2


async def test_anew_with_nothing_under_way_asks_once(stub: StubOllama, poller: Poller) -> None:
    await poller.refresh()
    await poller.refresh(anew=True)
    assert asked(stub, "/api/tags") == 2


async def test_a_look_is_as_old_as_it_may_be(stub: StubOllama, poller: Poller, clock: HandClock) -> None:
    await poller.look(max_age=2.0)
    clock.advance(1.9)
    await poller.look(max_age=2.0)
    assert asked(stub, "/api/ps") == 1
    clock.advance(0.2)
    await poller.look(max_age=2.0)
    assert asked(stub, "/api/ps") == 2
    await poller.look()
    assert asked(stub, "/api/ps") == 3


async def test_a_look_that_failed_counts_for_none(stub: StubOllama, poller: Poller) -> None:
    stub.script("/api/ps", [Script(die=Die.FIN), Script(die=Die.FIN)])
    await poller.look(max_age=2.0)
    assert not poller.residency.known
    await poller.look(max_age=2.0)
    assert poller.residency.known


# -- what was loaded meanwhile


async def test_a_look_that_began_before_a_load_ended_is_discarded(
    stub: StubOllama, target: Target, poller: Poller
) -> None:
    stub.script("/api/ps", [HELD])
    before = asyncio.create_task(poller.look())
    await stub.ledger.held()
    await load(stub, target, LLAMA)
    poller.loaded(LLAMA)
    await poller.look()
    stub.release("/api/ps")
    await before
    assert asked(stub, "/api/ps") == 2
    assert resident(poller) == ["llama3:latest"]
    assert [one.key for one in poller.residency.loaded] == [LLAMA]


async def test_a_load_is_looked_at_beside_the_job(stub: StubOllama, target: Target, poller: Poller) -> None:
    await poller.refresh()
    await load(stub, target, LLAMA)
    poller.loaded(LLAMA)
    assert [one.key for one in poller.residency.loaded] == [LLAMA]
    await stub.ledger.wait_for(lambda ledger: len(ledger.on("/api/ps")) == 2)
    await poller.look()
    assert asked(stub, "/api/ps") == 2
    assert resident(poller) == ["llama3:latest"]
    assert [one.context_length for one in poller.residency.loaded] == [poller.residency.runners[0].context_length]


async def test_a_look_that_began_before_an_unload_ended_is_discarded(
    stub: StubOllama, target: Target, poller: Poller
) -> None:
    await load(stub, target, LLAMA)
    await poller.look()
    stub.script("/api/ps", [HELD])
    looking = asyncio.create_task(poller.look())
    await stub.ledger.held()
    poller.unloaded("llama3:latest")
    stub.release("/api/ps")
    await looking
    assert (resident(poller), poller.residency.loaded) == ([], ())


async def test_a_look_from_before_the_target_was_lost_says_nothing(
    stub: StubOllama, target: Target, poller: Poller
) -> None:
    await load(stub, target, LLAMA)
    stub.script("/api/ps", [HELD])
    before = asyncio.create_task(poller.look())
    await stub.ledger.held()
    poller.lost("it broke")
    stub.release("/api/ps")
    await before
    assert poller.residency == Residency()


async def test_nor_is_it_new_enough_for_anybody(stub: StubOllama, poller: Poller) -> None:
    await poller.look(max_age=60.0)
    poller.lost("it broke")
    await poller.look(max_age=60.0)
    assert asked(stub, "/api/ps") == 2


@pytest.mark.parametrize("fault", ["an error", "no JSON"])
async def test_the_failure_of_an_overtaken_look_says_nothing(
    stub: StubOllama, target: Target, poller: Poller, fault: str
) -> None:
    await load(stub, target, LLAMA)
    stub.script("/api/ps", [Script(hold=0, status=BROKEN[fault].status, body=BROKEN[fault].body)])
    looking = asyncio.create_task(poller.look())
    await stub.ledger.held()
    poller.loaded(LLAMA)
    await poller.look()
    stub.release("/api/ps")
    await looking
    assert (resident(poller), poller.residency.known) == (["llama3:latest"], True)


async def test_exclusive_remembers_one_load_and_target_several(
    stub: StubOllama, target: Target, clock: HandClock
) -> None:
    stub.script("/api/ps", Script(die=Die.FIN))
    for swap, remembered in ((Swap.EXCLUSIVE, [QWEN]), (Swap.TARGET, [LLAMA, QWEN])):
        poller = Poller(target, clock, every=EVERY, probe_cap=PROBE_CAP, swap=swap)
        poller.loaded(LLAMA)
        poller.loaded(QWEN)
        await poller.look()
        assert [one.key for one in poller.residency.loaded] == remembered
