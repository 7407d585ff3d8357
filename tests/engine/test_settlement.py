"""How a claimed job ended: what is written, what is counted, and what its readers hear."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from foreman.core.errors import Draining, ForemanError, JobFailed, StorageFull
from foreman.core.job import FINISHED, Chosen, JobState, Next, Outcome, Stats
from foreman.core.lanes import Lane
from foreman.core.residency import Swap
from foreman.engine.live import Live, LiveJobs
from foreman.engine.relay import Budget, Head
from foreman.engine.reloads import Reloads
from foreman.engine.settlement import STORE_PAUSE_SECONDS, Settlement
from foreman.engine.sqlite import SqliteStore
from foreman.engine.start import Start
from tests.engine.clock import HandClock
from tests.engine.stored import back, done, failed, new_job

REMOTE = Next(lane=Lane.REMOTE)


class Tried:
    """An attempt that is over."""

    number = 1

    def __init__(self, error: ForemanError | None = None) -> None:
        self.error = error


class Subject:
    """Two remote jobs and a local one in a real store, the first of them claimed."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.clock = HandClock()
        self.jobs = LiveJobs(Budget(1 << 20))
        clock: Any = self.clock
        self.settlement = Settlement(store, self.jobs, clock, Reloads(cast(Any, None), Swap.TARGET, clock))

    async def claimed(self) -> Start:
        for number, lane in enumerate((Lane.REMOTE, Lane.REMOTE, Lane.LOCAL), 1):
            await self.store.submit(new_job(number, "far" if lane is Lane.REMOTE else "a", lane=lane))
        for lane in Lane:
            self.jobs.lanes.of(lane).depth.fill(await self.store.depth(lane))
        claim = await self.store.claim(REMOTE, 5_000)
        assert claim is not None
        return Start(self.jobs.taken(claim), claim)

    async def settle(self, live: Live, outcome: Outcome, following: Next | None, tried: Tried) -> Start | None:
        return await self.settlement.settle(live, cast(Any, tried), outcome, following)


@pytest.fixture
async def subject(tmp_path: Path) -> AsyncIterator[Subject]:
    async with SqliteStore.open(tmp_path / "foreman.db", "boot-1") as store:
        yield Subject(store)


async def test_the_next_one_of_the_lane_comes_with_the_end_of_the_last(subject: Subject) -> None:
    first = await subject.claimed()
    second = await subject.settle(first.live, done(stats=Stats(total_ms=30)), REMOTE, Tried())
    assert second is not None
    assert (second.live.lane, second.live.seq, second.written) == (Lane.REMOTE, 2, None)
    assert subject.jobs.running == [second.live]
    assert (first.live.ended.is_set(), first.live.relay.finished, first.live.state) == (True, True, JobState.DONE)
    assert await subject.settle(second.live, failed(), REMOTE, Tried()) is None
    assert (subject.jobs.running, subject.jobs.remote.depth.total, subject.jobs.local.depth.total) == ([], 0, 1)
    assert subject.settlement.history.estimate("far", "far").run_seconds is None  # one is not enough


async def test_the_readers_of_a_failed_one_hear_why(subject: Subject) -> None:
    start = await subject.claimed()
    error = JobFailed("the answer broke off", "truncated")
    await subject.settle(start.live, failed(), None, Tried(error))
    assert start.live.relay.error is error


async def test_a_choice_is_claimed_or_not_as_the_store_has_it(subject: Subject) -> None:
    start = await subject.claimed()
    finished = await subject.settlement.finish(start.live, cast(Any, Tried()), done(), Chosen(3))
    assert (finished.chosen, finished.next) == (True, None)


@pytest.mark.parametrize("released", [False, True])
async def test_one_that_goes_back_is_queued_in_its_lane_and_another_comes(subject: Subject, *, released: bool) -> None:
    start = await subject.claimed()
    relay = start.live.relay
    if released:
        relay.begin(Head(200, ()))
        relay.feed(b"half")
    following = await subject.settlement.hand_back(start.live, start.claim, back(not_before=99_000), REMOTE)
    assert following is not None
    assert (following.live.seq, start.live.state) == (2, JobState.QUEUED)
    assert subject.jobs.remote.depth.counts == await subject.store.depth(Lane.REMOTE)
    assert (isinstance(relay.error, JobFailed), start.live.relay is relay) == (released, not released)


async def test_one_that_goes_back_and_was_to_be_cancelled_is(subject: Subject) -> None:
    start = await subject.claimed()
    await subject.store.cancel(start.live.id, 5_000)
    assert await subject.settlement.hand_back(start.live, start.claim, back(), None) is None
    assert (start.live.state, start.live.ended.is_set()) == (JobState.CANCELLED, True)


@pytest.mark.parametrize("released", [False, True])
async def test_in_a_stop_the_readers_are_sent_away(subject: Subject, *, released: bool) -> None:
    start = await subject.claimed()
    subject.settlement.send_away(start.live)
    assert not start.live.relay.finished
    if released:
        start.live.relay.begin(Head(200, ()))
        start.live.relay.feed(b"half")
    relay = start.live.relay
    subject.settlement.stopping = True
    await subject.settlement.hand_back(start.live, start.claim, back(counted=False), None)
    assert isinstance(relay.error, JobFailed if released else Draining)
    job = await subject.store.get(start.live.id)
    assert job is not None
    assert (job.state, job.attempts, job.state in FINISHED) == (JobState.QUEUED, 0, False)


async def test_a_write_is_tried_until_it_succeeds(subject: Subject) -> None:
    left = iter((StorageFull("no"), StorageFull("still no"), None))

    async def write() -> int:
        error = next(left)
        if error is not None:
            raise error
        return 7

    writing = asyncio.create_task(subject.settlement.persist(write))
    for _ in range(2):
        assert await subject.clock.waits.get() == STORE_PAUSE_SECONDS
        subject.clock.advance(STORE_PAUSE_SECONDS)
    assert await writing == 7
    assert str(subject.settlement.trouble.error) == "still no"
    assert repr(subject.settlement) == "<Settlement stopping=False <StoreTrouble StorageFull('still no')>>"
