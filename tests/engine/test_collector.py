"""When Python's collector of cycles runs, and when it rests."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import pytest

from foreman.core.job import JobState, LoadKey
from foreman.engine import collector
from foreman.engine.live import Live, LiveJobs
from foreman.engine.relay import Budget
from tests.engine.clock import HandClock


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    before = (gc.isenabled(), gc.get_threshold())
    yield
    gc.set_threshold(*before[1])
    (gc.enable if before[0] else gc.disable)()


class Cycle:
    """Garbage once nobody holds it, and found only by the collector."""

    def __init__(self) -> None:
        self.itself = self


def old_garbage() -> "weakref.ref[Cycle]":
    """Garbage that only a full collection finds. None may come by itself meanwhile."""
    gc.disable()
    gc.collect()
    cycle = Cycle()
    gc.collect(1)
    return weakref.ref(cycle)


@pytest.mark.parametrize("enabled", [False, True])
def test_nothing_is_collected_during_a_start_and_all_is_as_before_after_the_end(enabled: bool) -> None:
    gc.set_threshold(500, 5, 7)
    (gc.enable if enabled else gc.disable)()
    with suppress(KeyError), collector.resting():
        assert not gc.isenabled()
        collector.settle()
        raise KeyError
    assert (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()) == (enabled, (500, 5, 7), 0)


def test_after_a_start_young_objects_are_collected_as_always_and_old_ones_seldom() -> None:
    young, _, _ = gc.get_threshold()
    with collector.resting():
        here = Cycle()
        stays = weakref.ref(here)
        collector.settle()
        assert gc.isenabled()
        assert gc.get_threshold() == (young, collector.MIDDLE_AFTER, collector.FULL_AFTER)
        del here
        gc.collect()
        assert stays() is not None, "what was there at the end of the start is not looked at"


@asynccontextmanager
async def tidied(jobs: LiveJobs) -> AsyncIterator[HandClock]:
    """The collector beside these jobs, each time it has begun to wait."""
    clock = HandClock()
    tidying = asyncio.create_task(collector.tidy(jobs, clock))
    try:
        assert await clock.waits.get() == collector.QUIET_SECONDS
        yield clock
        assert not tidying.done()
    finally:
        tidying.cancel()


async def quiet(clock: HandClock) -> None:
    """A quiet time long enough passes."""
    clock.advance(collector.QUIET_SECONDS)
    await clock.waits.get()


def living(jobs: LiveJobs) -> Live:
    live = Live("1", "a", LoadKey("a"), "/api/chat", "curl", jobs.relay(), 1)
    jobs.expect(live)
    return live


async def test_all_is_collected_in_a_quiet_moment() -> None:
    async with tidied(LiveJobs(Budget(1))) as clock:
        found = old_garbage()
        await quiet(clock)
        assert found() is None


async def test_not_while_a_job_lives_nor_soon_after() -> None:
    jobs = LiveJobs(Budget(1))
    async with tidied(jobs) as clock:
        found = old_garbage()
        live = living(jobs)
        await quiet(clock)
        assert found() is not None
        jobs.gone(live, JobState.DONE)
        await quiet(clock)
        assert found() is not None
        await quiet(clock)
        assert found() is None


async def test_not_where_nothing_has_grown_old_since_the_last_time() -> None:
    async with tidied(LiveJobs(Budget(1))) as clock:
        gc.disable()
        gc.collect()
        young = weakref.ref(Cycle())
        await quiet(clock)
        assert young() is not None
