"""Whether the target has a model, and how often that is worth a question."""

import asyncio

import pytest

from foreman.core.names import ModelName, parse
from foreman.engine.poller import Poller
from foreman.testing import StubModel, StubOllama
from tests.engine.clock import HandClock
from tests.engine.looking import BROKEN, HELD, asked

UNKNOWN = parse("unknown")


async def test_a_known_name_asks_nothing(stub: StubOllama, poller: Poller) -> None:
    await poller.refresh()
    for name in ("llama3", "LLAMA3:latest", "library/llama3"):
        assert await poller.knows(parse(name))
    assert asked(stub, "/api/tags") == 1


async def test_before_the_first_look_a_name_waits_for_it(stub: StubOllama, poller: Poller) -> None:
    assert await asyncio.gather(*(poller.knows(parse("llama3")) for _ in range(100))) == [True] * 100
    assert asked(stub, "/api/tags") == 1


async def test_the_first_look_is_enough_for_a_name_that_it_finds(stub: StubOllama, poller: Poller) -> None:
    stub.script("/api/tags", [HELD])
    looking = asyncio.create_task(poller.refresh())
    await stub.ledger.held()
    asking = asyncio.create_task(poller.knows(parse("llama3")))
    await asyncio.sleep(0)
    stub.release("/api/tags")
    assert await asking
    await looking
    assert asked(stub, "/api/tags") == 1


async def knows(poller: Poller, *names: ModelName) -> list[bool]:
    return await asyncio.gather(*(poller.knows(name) for name in names))


async def test_a_hundred_who_ask_for_an_unknown_name_cause_one_look(
    stub: StubOllama, poller: Poller, clock: HandClock
) -> None:
    await poller.refresh()
    clock.advance(60)
    assert await knows(poller, *[UNKNOWN] * 50, *(parse(f"other{n}") for n in range(50))) == [False] * 100
    assert asked(stub, "/api/tags") == 2


async def test_a_flood_of_unknown_names_causes_one_look_a_second(
    stub: StubOllama, poller: Poller, clock: HandClock
) -> None:
    await poller.refresh()
    for looks in (2, 3, 4):
        flood = asyncio.create_task(knows(poller, *[UNKNOWN] * 20))
        assert await clock.waits.get() == pytest.approx(1.0, abs=0.01)
        assert asked(stub, "/api/tags") == looks - 1
        clock.advance(1.0)
        assert await flood == [False] * 20
        assert asked(stub, "/api/tags") == looks


async def test_a_model_that_came_meanwhile_is_found(stub: StubOllama, poller: Poller, clock: HandClock) -> None:
    await poller.refresh()
    clock.advance(60)
    stub.library.add(StubModel.parse("fresh:1b"))
    assert await poller.knows(parse("fresh:1b"))


async def test_a_list_from_before_the_question_says_nothing_of_a_missing_name(
    stub: StubOllama, poller: Poller, clock: HandClock
) -> None:
    await poller.refresh()
    clock.advance(60)
    stub.script("/api/tags", [HELD])
    under_way = asyncio.create_task(poller.refresh())
    await stub.ledger.held()
    asking = asyncio.create_task(poller.knows(parse("fresh:1b")))
    await asyncio.sleep(0)
    stub.library.add(StubModel.parse("fresh:1b"))
    stub.release("/api/tags")
    await under_way
    clock.advance(60)
    assert await asking


async def test_nor_does_a_list_that_others_asked_for_before(stub: StubOllama, poller: Poller, clock: HandClock) -> None:
    await poller.refresh()
    clock.advance(60)
    stub.script("/api/tags", [HELD])
    others = asyncio.create_task(poller.knows(UNKNOWN))
    await stub.ledger.held()
    asking = asyncio.create_task(poller.knows(parse("fresh:1b")))
    await asyncio.sleep(0)
    stub.library.add(StubModel.parse("fresh:1b"))
    stub.release("/api/tags")
    assert not await others
    assert await clock.waits.get() == pytest.approx(1.0, abs=0.01)
    clock.advance(1.0)
    assert await asking


async def test_the_first_list_is_new_enough_to_miss_a_name(stub: StubOllama, poller: Poller) -> None:
    assert await knows(poller, *[UNKNOWN] * 100) == [False] * 100
    assert asked(stub, "/api/tags") == 1


async def test_while_the_target_is_down_nothing_is_known_to_be_missing(stub: StubOllama, poller: Poller) -> None:
    await poller.refresh()
    stub.refuse()
    await poller.refresh()
    polled = poller.polled_at
    assert await knows(poller, UNKNOWN, parse("llama3")) == [True, True]
    assert poller.polled_at == polled, "a target that is down is not asked for each request"


async def test_a_target_that_never_answered_knows_every_name(stub: StubOllama, poller: Poller) -> None:
    stub.refuse()
    assert await knows(poller, UNKNOWN) == [True]


async def test_a_target_that_dies_over_the_question_does_not_miss_the_name(
    stub: StubOllama, poller: Poller, clock: HandClock
) -> None:
    await poller.refresh()
    clock.advance(60)
    stub.refuse()
    assert await knows(poller, UNKNOWN) == [True]
    assert poller.reachable is False


@pytest.mark.parametrize("fault", BROKEN)
async def test_without_a_list_to_be_read_nothing_is_known_to_be_missing(
    stub: StubOllama, poller: Poller, clock: HandClock, fault: str
) -> None:
    await poller.refresh()
    clock.advance(60)
    stub.script("/api/tags", BROKEN[fault])
    assert await knows(poller, UNKNOWN, parse("llama3")) == [True, True]
