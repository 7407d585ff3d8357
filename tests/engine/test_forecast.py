"""The order ahead: as fresh as it must be, asked for as seldom as it can be."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from foreman.core.estimate import History, Sample
from foreman.core.job import Hot, JobState, LoadKey
from foreman.core.lanes import TAKING_TURNS, Lane, Slots
from foreman.core.order import Waiting
from foreman.engine.forecast import FRESH_SECONDS, LONG, Forecast
from foreman.engine.live import Live, LiveJobs
from foreman.engine.relay import Budget
from foreman.engine.store import Store
from tests.engine.clock import HandClock


class Rows:
    """A store that only knows who waits, counts how often it is asked, and can be slow."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.asked = 0
        self.step = 1
        self.far: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def waiting(self, limit: int, now: int, lane: Lane = Lane.LOCAL) -> Sequence[Waiting]:  # noqa: ARG002
        if lane is Lane.REMOTE:
            return [Waiting(seq, "far", "far") for seq in self.far]
        self.asked += 1
        rows = [Waiting(n * self.step, "a:latest", "a:latest") for n in range(1, self.count + 1)]
        await self.gate.wait()
        return rows[:limit]


class Subject:
    def __init__(self, count: int, slots: Slots = TAKING_TURNS) -> None:
        self.rows = Rows(count)
        self.clock = HandClock()
        self.hot = Hot(("a:latest",), ("a:latest",))
        self.jobs = LiveJobs(Budget(1), slots)
        self.forecast = Forecast(cast(Store, self.rows), self.jobs, cast(Any, self.clock), lambda: self.hot)

    def far(self, *seqs: int) -> None:
        """Have these wait in the remote lane, the local ones being 10, 20 and so on."""
        self.rows.step = 10
        self.rows.far = list(seqs)
        self.jobs.remote.depth.total = len(seqs)

    async def told(self, lane: Lane) -> list[tuple[int, int, str]]:
        """Of each job in a lane its `seq`, its position and why."""
        order = await self.forecast.order()
        return [(outlook.seq, outlook.position, outlook.reason) for outlook in order if outlook.lane is lane]

    def live(self, seq: int) -> Live:
        key = LoadKey("a:latest")
        return Live(f"{seq}", "a:latest", key, "/api/chat", "", self.jobs.relay(), 0, seq=seq, state=JobState.QUEUED)


async def test_one_answer_serves_while_nothing_changes() -> None:
    subject = Subject(3)
    for seq in (1, 2, 3):
        place = await subject.forecast.place(subject.live(seq))
        assert place is not None
        assert place.position == seq
    assert subject.rows.asked == 3  # each job may be newer than the answer before it
    assert [outlook.seq for outlook in await subject.forecast.order()] == [1, 2, 3]
    assert subject.rows.asked == 3


@pytest.mark.parametrize("what", ["change", "hot", "time"])
async def test_a_short_queue_is_asked_again_after_a_change(what: str) -> None:
    subject = Subject(2)
    await subject.forecast.order()
    if what == "change":
        subject.forecast.changed()
    elif what == "hot":
        subject.hot = Hot()
    else:
        subject.clock.advance(FRESH_SECONDS)
    order = await subject.forecast.order()
    assert subject.rows.asked == 2
    assert order[0].reason == ("swap" if what == "hot" else "loaded")


async def test_a_long_queue_is_asked_once_a_second_but_for_a_job_that_is_not_in_it() -> None:
    subject = Subject(LONG + 1)
    await subject.forecast.place(subject.live(LONG + 1))
    for _ in range(5):
        subject.forecast.changed()
        await subject.forecast.order()
    assert subject.rows.asked == 1
    subject.rows.count += 1
    newest = await subject.forecast.place(subject.live(LONG + 2))
    assert newest is not None
    assert (newest.position, subject.rows.asked) == (LONG + 2, 2)


async def test_a_job_that_does_not_wait_has_no_place_and_costs_no_endless_search() -> None:
    subject = Subject(1)
    assert await subject.forecast.place(subject.live(1000)) is None
    assert await subject.forecast.place(subject.live(1000)) is None
    assert subject.rows.asked == 1


async def test_who_asks_meanwhile_shares_the_answer() -> None:
    subject = Subject(2)
    subject.rows.gate.clear()
    asking = [asyncio.create_task(subject.forecast.order()) for _ in range(10)]
    leaves = asyncio.create_task(subject.forecast.order())
    await asyncio.sleep(0)
    leaves.cancel()
    subject.rows.gate.set()
    assert {len(order) for order in await asyncio.gather(*asking)} == {2}
    assert subject.rows.asked == 1


async def test_positions_count_within_a_lane_and_turns_of_the_other_are_told() -> None:
    subject = Subject(3)
    subject.far(15, 99)
    assert await subject.told(Lane.LOCAL) == [(10, 1, "loaded"), (20, 2, "remote_lane"), (30, 3, "loaded")]
    assert await subject.told(Lane.REMOTE) == [(15, 1, "local_lane"), (99, 2, "local_lane")]


async def test_while_remote_ones_run_the_first_local_one_waits_for_them_and_of_new_ones_nobody_knows_how_long() -> None:
    subject = Subject(2)
    subject.forecast.history = History([Sample("a:latest", "a:latest", None, 1_000, 1, 1)] * 3)
    subject.jobs.local.depth.fill({("a:latest", "a:latest"): 2})
    assert [outlook.expected_start for outlook in await subject.forecast.order()] == [0.0, 1.0]
    assert subject.jobs.lanes.take(Lane.REMOTE)
    subject.far(99)
    subject.forecast.changed()
    assert [outlook.expected_start for outlook in await subject.forecast.order()] == [None, None, None]
    assert await subject.told(Lane.LOCAL) == [(10, 1, "remote_lane"), (20, 2, "loaded")]
    assert await subject.told(Lane.REMOTE) == [(99, 1, "local_lane")]


async def test_starts_are_told_across_the_turns_of_the_lanes() -> None:
    subject = Subject(3)
    subject.forecast.history = History(
        [Sample("a:latest", "a:latest", None, 1_000, 1, 1)] * 3 + [Sample("far", "far", None, 4_000, 1, 1)] * 3
    )
    subject.jobs.local.depth.fill({("a:latest", "a:latest"): 3})
    subject.jobs.remote.depth.fill({("far", "far"): 2})
    subject.far(15, 16)
    told = {outlook.seq: outlook.expected_start for outlook in await subject.forecast.order()}
    assert told == {10: 0.0, 15: 1.0, 16: 1.0, 20: 5.0, 30: 6.0}
    running = subject.live(9)
    running.lane, running.key, running.model = Lane.REMOTE, LoadKey("far"), "far"
    subject.jobs._running[Lane.REMOTE][running] = None
    subject.jobs.lanes.take(Lane.REMOTE)
    running.taken_at = subject.clock.monotonic() - 1.0
    subject.forecast.changed()
    told = {outlook.seq: outlook.expected_start for outlook in await subject.forecast.order()}
    assert told == pytest.approx({10: 3.0, 15: 4.0, 16: 4.0, 20: 8.0, 30: 9.0}, abs=0.01)


async def test_while_a_local_one_runs_the_remote_ones_wait_for_it() -> None:
    subject = Subject(0)
    subject.far(1, 2)
    assert await subject.told(Lane.REMOTE) == [(1, 1, "slot"), (2, 2, "slot")]
    assert subject.jobs.lanes.take(Lane.LOCAL)
    subject.forecast.changed()
    assert await subject.told(Lane.REMOTE) == [(1, 1, "local_lane"), (2, 2, "local_lane")]


async def test_those_of_a_remote_that_is_left_alone_take_no_turn() -> None:
    subject = Subject(2)
    subject.far(5, 15)
    subject.jobs.lanes.open_keys = tuple
    assert await subject.told(Lane.LOCAL) == [(10, 1, "loaded"), (20, 2, "loaded")]
    order = await subject.forecast.order()
    assert [(outlook.seq, outlook.held) for outlook in order if outlook.lane is Lane.REMOTE] == [(5, True), (15, True)]


async def test_lanes_that_take_no_turns_do_not_wait_for_each_other() -> None:
    subject = Subject(2, Slots(exclusive=False))
    subject.far(1)
    subject.jobs.lanes.take(Lane.REMOTE)
    assert await subject.told(Lane.LOCAL) == [(10, 1, "loaded"), (20, 2, "loaded")]
    assert await subject.told(Lane.REMOTE) == [(1, 1, "slot")]
