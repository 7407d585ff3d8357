"""What is known of the target, how soon, and by how few questions."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import orjson
import pytest

from foreman.core.job import LoadKey
from foreman.core.names import ModelName, parse
from foreman.core.residency import Residency, Swap
from foreman.engine.poller import Poller
from foreman.engine.target import Target
from foreman.testing import Die, Script, StubModel, StubOllama
from tests.engine.clock import BEGIN, HandClock
from tests.engine.serving import target_at

EVERY, PROBE_CAP = 5.0, 3.0
HELD = Script(hold=0)
LLAMA, QWEN = LoadKey("llama3:latest"), LoadKey("qwen3:8b")
UNKNOWN = parse("unknown")


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def poller(target: Target, clock: HandClock) -> Poller:
    return Poller(target, clock, every=EVERY, probe_cap=PROBE_CAP, swap=Swap.EXCLUSIVE)


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


def asked(stub: StubOllama, path: str) -> int:
    return len(stub.ledger.on(path))


def resident(poller: Poller) -> list[str]:
    return [runner.canonical for runner in poller.residency.runners]


async def load(stub: StubOllama, target: Target, key: LoadKey) -> None:
    exchange = target.load(key, "-1m")
    await exchange.head()
    await exchange.read()
    exchange.close()


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


BROKEN = {
    "an error": Script(status=500, body=b'{"error":"no"}'),
    "no JSON": Script(status=200, body=b"<html>"),
    "no list": Script(status=200, body=b'{"models":null}'),
    "strange entries": Script(status=200, body=b'{"models":{"name":1}}'),
    "closed": Script(die=Die.FIN),
    "cut": Script(die=Die.FIN, die_after_bytes=5),
}


async def test_the_log_says_by_its_address_which_target_answers(
    stub: StubOllama, poller: Poller, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await poller.refresh()
    fields = [getattr(record, "fields", {}) for record in caplog.records if getattr(record, "event", "") == "target_up"]
    assert fields == [{"target": stub.url}]


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


# -- names


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
